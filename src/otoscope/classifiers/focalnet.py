"""FocalNet, an image network, on the spectrogram as a picture."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from otoscope.classifiers.hooks import forward_hooks
from otoscope.classifiers.image import ImageClassifier, make_backbone, transformers_package

_BASE = {"embed_dim": 128, "depths": [2, 2, 18, 2]}


class FocalNetClassifier(ImageClassifier):
    """FocalNet backbone, spatial mean of its last feature map, cosine head.

    The default size is that of ``microsoft/focalnet-base``. The representation is the last feature map, resized to
    twice its size as in the published PIQ: 1024 x 14 x 14. The activation maps are the norms over channels of the
    modulators, the outputs of the context projection in the last layer of each stage.

    Args:
        labels: Names of the classes.
        frontend: Front-end that computes the spectrograms.
        backbone: Options of ``FocalNetConfig`` that differ from the base size.
        weights: Pretrained weights of the backbone: a hub id or a local folder. None: random.
        gradient_checkpointing: Whether training recomputes activations, which takes less memory and more time.
        head_width: Dimension of the vectors whose cosine the head takes.
        scale: Factor on the cosines.
        train_scale: Whether to learn the factor.
        input_mean: Value that is subtracted from the log magnitude.
        input_std: Value that the result is divided by.

    Reference:
        Yang et al. 2022, arXiv 2203.11926.
    """

    @classmethod
    @override
    def backbone_config(cls) -> Any:
        return transformers_package().FocalNetConfig

    def _backbone(self, options: dict[str, Any], weights: str | None) -> Any:
        options = options if weights else {**_BASE, **options}
        if not weights and "hidden_sizes" not in options:
            # FocalNetConfig does not derive them from embed_dim: the width doubles with each stage but the last
            widths = [options["embed_dim"] * 2**stage for stage in range(1, len(options["depths"]))]
            options["hidden_sizes"] = [*widths, widths[-1]]
        return make_backbone("FocalNetBackbone", {**options, "out_features": ["stage4"]}, weights)

    @property
    def embedding_size(self) -> int:
        """Channels of the last feature map."""
        return int(self.backbone.config.hidden_sizes[-1])

    @override
    def layers(self) -> list[nn.Module]:
        inner = self.backbone.focalnet
        return [inner.embeddings, *(layer for stage in inner.encoder.stages for layer in stage.layers), self.head]

    @override
    def embed(self, picture: Tensor) -> Tensor:
        embedding: Tensor = self.backbone(picture).feature_maps[-1].mean((-1, -2))
        return embedding

    @override
    def see(self, picture: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor], Tensor]:
        # the backbone does not return the modulators: hooks record them while it runs
        modulators: list[Tensor] = []
        layers = [stage.layers[-1].modulation.projection_context for stage in self.backbone.focalnet.encoder.stages]
        with forward_hooks({layer: lambda *call: modulators.append(call[2]) for layer in layers}):
            features = self.backbone(picture).feature_maps[-1]
        # the logits do not depend on the enlarged copy, so `features` is the source of its gradient
        raised = F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
        maps = {f"stage{i}": values.norm(dim=1).transpose(-1, -2) for i, values in enumerate(modulators, start=1)}
        return features.mean((-1, -2)), raised, maps, features
