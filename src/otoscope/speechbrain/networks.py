"""Networks of SpeechBrain, recognised by their parameters: for files that nothing describes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

_MARKS = {
    "Conv2dEncoder_v2": ("conv4", "bn4", "resblock"),
    "Cnn14": ("norm0", "conv_block1", "conv_block6"),
    "FocalNetBackbone": ("focalnet",),
    "ViTModel": ("embeddings.cls_token", "embeddings.patch_embeddings"),
    "VectorQuantizedPSI_Audio": ("codebook", "decoder"),
    "PsiOptimized": ("decoder.0", "decoder.14"),
    "CNN14PSI": ("convt1", "convt8"),
    "Classifier": ("blocks.1.w", "weight"),
    "NMFDecoderAudio": ("W",),
    "Linear": ("weight", "bias"),
}
"""Parts that each network has, in the order in which the networks are tried."""

KEYS = {
    "Conv2dEncoder_v2": "embedding_model",
    "Cnn14": "embedding_model",
    "FocalNetBackbone": "embedding_model",
    "ViTModel": "embedding_model",
    "VectorQuantizedPSI_Audio": "psi_model",
    "PsiOptimized": "psi_model",
    "CNN14PSI": "psi_model",
    "Classifier": "classifier",
    "NMFDecoderAudio": "nmf_decoder",
    "Linear": "classifier",
}
"""Key in SpeechBrain's hyperparameter files under which each network stands."""

_HEAD_DIMENSION = 64  # of every published ViT


def recognise(weights: Mapping[str, Tensor]) -> str | None:
    """Return the class of SpeechBrain or transformers that has such parameters, None if it is unknown.

    Args:
        weights: State dict.

    Example:
        >>> import torch
        >>> recognise({"W": torch.rand(513, 100)}), recognise({"conv": torch.ones(1)})
        ('NMFDecoderAudio', None)
    """
    for name, parts in _MARKS.items():
        if all(any(key == part or key.startswith(f"{part}.") for key in weights) for part in parts):
            return name
    return None


def focalnet_options(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the options of ``FocalNetConfig`` that the parameters of a ``FocalNetBackbone`` show.

    The size of its picture is not among them: the network is convolutional, and takes any.

    Args:
        weights: State dict.
    """
    patches = weights["focalnet.embeddings.patch_embeddings.projection.weight"]
    depths, levels, windows = [], [], []
    for stage in range(_count(weights, r"focalnet\.encoder\.stages\.(\d+)\.")):
        prefix = rf"focalnet\.encoder\.stages\.{stage}\.layers"
        depths.append(_count(weights, rf"{prefix}\.(\d+)\."))
        levels.append(_count(weights, rf"{prefix}\.0\.modulation\.focal_layers\.(\d+)\."))
        first = weights[f"focalnet.encoder.stages.{stage}.layers.0.modulation.focal_layers.0.0.weight"]
        # The kernel of the first level is the window; each further level adds two to it.
        windows.append(first.shape[-1])
    hidden = [
        weights[f"focalnet.encoder.stages.{stage}.downsample.projection.weight"].shape[0]
        for stage in range(len(depths) - 1)
    ]
    width = patches.shape[0]
    return {
        "embed_dim": width,
        "patch_size": patches.shape[-1],
        "depths": depths,
        # The last stage does not widen.
        "hidden_sizes": [*hidden, hidden[-1] if hidden else width],
        "focal_levels": levels,
        "focal_windows": windows,
        "mlp_ratio": weights["focalnet.encoder.stages.0.layers.0.mlp.fc1.weight"].shape[0] / width,
        "use_layerscale": any(name.endswith("gamma_1") for name in weights),
    }


def vit_options(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the options of ``ViTConfig`` that the parameters of a ``ViTModel`` show.

    The number of attention heads is not among their shapes. It is assumed that each has 64 dimensions, as in every
    published ViT.

    Args:
        weights: State dict, in the spelling of any version of transformers.
    """
    width, _, _, patch = weights["embeddings.patch_embeddings.projection.weight"].shape
    tokens = weights["embeddings.position_embeddings"].shape[1]
    mlp = next(
        value for name, value in weights.items() if re.search(r"\.(intermediate\.dense|mlp\.fc1)\.weight$", name)
    )
    return {
        "hidden_size": width,
        "patch_size": patch,
        # A square of patches, and the class token.
        "image_size": math.isqrt(tokens - 1) * patch,
        "num_hidden_layers": _count(weights, r"(?:encoder\.layer|layers)\.(\d+)\."),
        "num_attention_heads": max(1, width // _HEAD_DIMENSION),
        "intermediate_size": mlp.shape[0],
        "qkv_bias": any(re.search(r"(query|q_proj)\.bias$", name) for name in weights),
    }


def _count(weights: Mapping[str, Tensor], pattern: str) -> int:
    """Return how many numbers the group of a pattern has at the start of the names."""
    return len({match[1] for name in weights if (match := re.match(pattern, name))})
