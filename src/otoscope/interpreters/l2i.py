"""L2I: listen to interpret (Parekh et al. 2022, arXiv 2202.11479)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from otoscope.audio import Spectrogram
from otoscope.audio.padding import masked_mean
from otoscope.classifiers import Classifier, Prediction
from otoscope.errors import ConfigurationError
from otoscope.interpreters.base import Components, Interpreter
from otoscope.nn import (
    AttentionPooling,
    DecoderName,
    FixedLengthPooling,
    NMFDictionary,
    TimePooling,
    make_activation_decoder,
    use_channels_last,
)
from otoscope.nn.decoders import decode_each
from otoscope.store.folder import open_model

_EPSILON = 1e-10
_COMPONENTS = 100
_COSINE_TEMPERATURE = 0.01  # published; the softmax of cosines in [-1, 1] is almost flat without it
"""Size of an empty dictionary, as published."""


@dataclass
class L2IDecoded:
    """Result of `L2IInterpreter.decode`.

    Attributes:
        activations: Activations of the dictionary, not negative, 0 in the padding. Shape (batch, components, time).
        pooled: Activations pooled over time. Shape (batch, components).
        logits: Logits of the linear classifier on the pooled activations. Shape (batch, classes).
        relevance: Contribution of each component to the logit of the explained class, relative to the largest, in
            [-1, 1]. Shape (batch, components).
    """

    activations: Tensor
    pooled: Tensor
    logits: Tensor
    relevance: Tensor


class L2IInterpreter(Interpreter[L2IDecoded]):
    r"""Explains the classifier's decision by the components of an NMF dictionary.

    A network turns the classifier's representations into activations H of a fixed dictionary W, such that
    W H models the spectrogram; a linear classifier on the pooled activations z imitates the decision. The
    relevance of component k for class c is :math:`z_k \theta_{ck} / \max_j |z_j \theta_{cj}|`, and the mask
    is the share of the relevant components, :math:`W_L H_L / (W H)`.

    Args:
        classifier: Classifier to explain; only its sizes are used.
        dictionary: Dictionary, or its model folder; it becomes part of the interpreter. None: an empty dictionary,
            to be filled by loading weights.
        decoder: ``light``, or ``published`` for published weights.
        components: Size of the dictionary (default: that of ``dictionary``, which it must equal; 100 for an empty
            one).
        relevance_threshold: Components with a larger relevance make the mask. It can be changed at any time, and
            for each explanation, because nothing is trained with it.
        pooling_frames: None: attention pooling, for clips of any length. A number: the published pooling, with one
            learnt weight per frame, for clips with this number of frames.
        alpha: Weight of the reconstruction.
        beta: Weight of the l1 norm of the activations.
        temperature: Divisor of the classifier's logits, which the interpreter's classifier imitates (default: 1, or
            0.01 for published heads, whose logits are cosines in [-1, 1]).
        decoder_width: Channels of the light decoder (default: 256).

    Raises:
        ConfigurationError: The dictionary was made with another front-end, or an option is out of range.

    Reference:
        arXiv 2202.11479. Departures from the published code: the fidelity term is summed over classes, not
        averaged; relevance is computed for each clip of a batch; every frame gets a mask.

    Example:
        >>> from otoscope.classifiers import Conv2dClassifier
        >>> classifier = Conv2dClassifier(["dog", "rain"], width=8).freeze()
        >>> dictionary = NMFDictionary(torch.rand(513, 10), classifier.frontend)
        >>> spectrogram = Spectrogram(torch.rand(2, 513, 100))
        >>> L2IInterpreter(classifier, dictionary).eval()(spectrogram, classifier.predict(spectrogram)).shape
        torch.Size([2, 513, 100])
    """

    threshold_name = "relevance_threshold"
    argument_attributes: ClassVar[Mapping[str, str]] = {"decoder": "decoder_name", "components": "component_count"}
    unsaved_arguments: ClassVar[tuple[str, ...]] = ("classifier", "dictionary")
    own_score_names = ("Fid-L2I", "Fid-L2I@3")
    dictionary: Tensor

    def __init__(
        self,
        classifier: Classifier,
        dictionary: str | os.PathLike[str] | NMFDictionary | None = None,
        decoder: DecoderName = "light",
        components: int | None = None,
        relevance_threshold: float = 0.2,
        pooling_frames: int | None = None,
        alpha: float = 10.0,
        beta: float = 0.8,
        temperature: float | None = None,
        decoder_width: int | None = None,
    ) -> None:
        super().__init__()
        if temperature is None:
            temperature = _COSINE_TEMPERATURE if classifier.cosine_logits else 1.0
        if min(alpha, beta) < 0 or temperature <= 0:
            raise ConfigurationError(
                f"l2i: alpha ({alpha}) and beta ({beta}) must not be negative, temperature ({temperature}) positive"
            )
        weights = _components_for(classifier, dictionary, components)
        bins, count = weights.shape
        self.decoder_name, self.component_count, self.pooling_frames = decoder, count, pooling_frames
        self.relevance_threshold = relevance_threshold
        self.alpha, self.beta, self.temperature = alpha, beta, temperature
        self.register_buffer("dictionary", weights)
        shapes = classifier.representation_shapes()
        self.decoder_width = decoder_width
        self.decoder = make_activation_decoder(decoder, shapes, bins, count, decoder_width)
        self.pooling: TimePooling = (
            AttentionPooling(count) if pooling_frames is None else FixedLengthPooling(pooling_frames)
        )
        self.head = nn.Linear(count, len(classifier.labels), bias=False)
        use_channels_last(self)

    @property
    def relevance_threshold(self) -> float:
        """Relevance, in [-1, 1), above which a component is part of the mask."""
        return self._threshold

    @relevance_threshold.setter
    def relevance_threshold(self, value: float) -> None:
        if not -1 <= value < 1:
            raise ConfigurationError(f"relevance_threshold: {value} must lie in [-1, 1)")
        self._threshold = value

    @override
    def decode(self, spectrogram: Spectrogram, prediction: Prediction) -> L2IDecoded:
        hidden, time = prediction.representations, spectrogram.log_magnitude.shape[-1]
        frames = spectrogram.frames
        # stretched representations have no padding to cut off: each clip is decoded to its own number of frames
        if prediction.stretched and frames is not None:
            activations = decode_each(
                lambda clips, count: self.decoder([values[clips] for values in hidden], count),
                time,
                frames,
                self.training,
            )
        else:
            activations = self.decoder(hidden, time, frames)
        pooled = self.pooling(activations, frames)
        # The head has no bias: the logit of class c is the sum of the contributions z_k theta_ck.
        contributions = pooled * self.head.weight[prediction.explained]
        largest = contributions.abs().amax(-1, keepdim=True)
        # a silent clip has no contribution at all, and relevance 0 instead of 0 / 0
        relevance = contributions / torch.where(largest > 0, largest, 1)
        return L2IDecoded(activations, pooled, self.head(pooled), relevance)

    @override
    def mask(self, decoded: L2IDecoded, spectrogram: Spectrogram) -> Tensor:
        # W_L H_L / (W H): the share of the relevant components L in the whole model, 0 where the model is silent,
        # hence in the padding
        relevant = (decoded.relevance > self.relevance_threshold).to(decoded.activations)
        part = self.dictionary @ (decoded.activations * relevant[..., None])
        # in place, as these are the largest tensors; a part exceeds the whole by rounding only
        return part.div_(self.dictionary @ decoded.activations + _EPSILON).clamp_(max=1)

    def loss(self, decoded: L2IDecoded, spectrogram: Spectrogram, prediction: Prediction) -> Mapping[str, Tensor]:
        """Return reconstruction, fidelity to the classifier and l1 norm of the activations, each weighted."""
        error = (self.dictionary @ decoded.activations - spectrogram.log_magnitude).square()
        return {
            "reconstruction": self.alpha * masked_mean(error, spectrogram.frames),
            "fidelity": _cross_entropy(decoded.logits, prediction, self.temperature),
            "sparsity": self.beta * masked_mean(decoded.activations, spectrogram.frames),
        }

    @override
    def components(self, decoded: L2IDecoded, spectrogram: Spectrogram) -> list[Components]:
        clips = zip(decoded.activations, decoded.relevance, spectrogram.frame_counts, strict=True)
        return [
            Components(self.dictionary, activations[:, :count], relevance, self.relevance_threshold)
            for activations, relevance, count in clips
        ]

    def own_scores(self, decoded: L2IDecoded, prediction: Prediction) -> dict[str, Tensor]:
        """Return whether the interpreter's classifier ranks the explained class first, or in the first three."""
        ranked = decoded.logits.argsort(-1, descending=True)
        agrees = (ranked == prediction.explained[:, None]).float()
        return {"Fid-L2I": agrees[:, 0], "Fid-L2I@3": agrees[:, :3].sum(-1)}


def _cross_entropy(logits: Tensor, prediction: Prediction, temperature: float) -> Tensor:
    """Return the cross-entropy to the imitated classifier, summed over classes, mean over clips. Shape ()."""
    # Soft targets: the whole distribution of the classifier is imitated, not its first class alone. The temperature
    # sharpens logits that are cosines, whose softmax is almost flat.
    imitated = prediction.logits / temperature
    if prediction.multi_label:
        values = F.binary_cross_entropy_with_logits(logits, imitated.sigmoid(), reduction="none")
        return values.sum(-1).mean()
    return F.cross_entropy(logits, imitated.softmax(-1))


def _components_for(
    classifier: Classifier, dictionary: str | os.PathLike[str] | NMFDictionary | None, components: int | None
) -> Tensor:
    """Return the components of the dictionary, shape (frequency, components), after checking that it fits."""
    bins = classifier.frontend.bins
    if components is not None and components < 1:
        raise ConfigurationError(f"components: {components} must be positive")
    if dictionary is None:
        return torch.zeros(bins, _COMPONENTS if components is None else components)
    name = "the dictionary" if isinstance(dictionary, NMFDictionary) else f"the dictionary in {dictionary}"
    dictionary = dictionary if isinstance(dictionary, NMFDictionary) else open_model(dictionary, role="dictionary")
    if not dictionary.frontend.same_as(classifier.frontend):
        raise ConfigurationError(
            f"dictionary: {name} was made with another front-end ({dictionary.frontend.describe()}) than the "
            f"classifier ({classifier.frontend.describe()}); train it with the classifier's"
        )
    if components not in (None, len(dictionary)):
        raise ConfigurationError(f"components: {components} asked for, {name} has {len(dictionary)}")
    return dictionary.components.clone()
