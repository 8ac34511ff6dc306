"""L2I: listen to interpret (Parekh et al. 2022, arXiv 2202.11479)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from otoscope.audio import masked_mean
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


@dataclass
class L2IDecoded:
    """What L2I's network returns.

    Attributes:
        activations: Of the dictionary, 0 on padding. Shape (batch, components, time).
        pooled: Activations pooled over time. Shape (batch, components).
        logits: Of the interpreter's own classifier. Shape (batch, classes).
        relevance: Share that each component has in the explained class's logit, relative to the largest.
            In [-1, 1]. Shape (batch, components).
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
        classifier: What it will explain; gives the sizes, is not kept.
        dictionary: A dictionary's model folder, or the dictionary itself; kept as part of the interpreter.
            None: an empty one, to be filled by loading weights.
        decoder: ``light``, or ``published`` for published weights.
        components: Size of the dictionary where that is None; else it must fit.
        relevance_threshold: Components above it make the mask. Can be changed at any time, and differ from
            explanation to explanation: nothing is trained with it.
        pooling_frames: None: attention pooling, for clips of any length. A number: the published pooling, one
            learnt weight a frame, for clips of so many frames.
        alpha: Weight of the reconstruction.
        beta: Weight of the l1 norm of the activations.
        temperature: Of the classifier's logits as the interpreter's target. 0.01 for the published Conv2d head,
            whose logits are cosines in [-1, 1]; 1 for heads with a scale.

    Raises:
        ConfigurationError: The dictionary was made with another front-end, or an option is out of range.

    Reference:
        arXiv 2202.11479; METHODS, "L2I". Departures from the published code: the fidelity term is summed over
        classes, not averaged; relevance is vectorised over the batch; every frame gets a mask.

    Example:
        >>> from otoscope.classifiers import Conv2dClassifier
        >>> classifier = Conv2dClassifier(["dog", "rain"], width=8).freeze()
        >>> dictionary = NMFDictionary(torch.rand(513, 10), classifier.frontend)
        >>> spectrogram = torch.rand(2, 513, 100)
        >>> L2IInterpreter(classifier, dictionary).eval()(spectrogram, classifier(spectrogram)).shape
        torch.Size([2, 513, 100])
    """

    threshold_name = "relevance_threshold"
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
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        if min(alpha, beta) < 0 or temperature <= 0:
            raise ConfigurationError(
                f"l2i: alpha ({alpha}) and beta ({beta}) must not be negative, temperature ({temperature}) positive"
            )
        weights = _components_for(classifier, dictionary, components)
        bins, count = weights.shape
        self._config: dict[str, Any] = {"decoder": decoder, "components": count, "pooling_frames": pooling_frames}
        self._config |= {"alpha": alpha, "beta": beta, "temperature": temperature}
        self.relevance_threshold = relevance_threshold
        self.alpha, self.beta, self.temperature = alpha, beta, temperature
        self.register_buffer("dictionary", weights)
        self.decoder = make_activation_decoder(decoder, classifier.representation_shapes(), bins, count)
        self.pooling: TimePooling = (
            AttentionPooling(count) if pooling_frames is None else FixedLengthPooling(pooling_frames)
        )
        self.head = nn.Linear(count, len(classifier.labels), bias=False)
        use_channels_last(self)

    @property
    def relevance_threshold(self) -> float:
        """Components above it make the mask. In [-1, 1)."""
        return self._threshold

    @relevance_threshold.setter
    def relevance_threshold(self, value: float) -> None:
        if not -1 <= value < 1:
            raise ConfigurationError(f"relevance_threshold: {value} must lie in [-1, 1)")
        self._threshold = value

    @property
    def config(self) -> dict[str, Any]:
        """See `Interpreter.config`."""
        return {**self._config, "relevance_threshold": self.relevance_threshold}

    def decode(self, log_magnitude: Tensor, prediction: Prediction, frames: Tensor | None = None) -> L2IDecoded:
        """See `Interpreter.decode`."""
        hidden, time = prediction.representations, log_magnitude.shape[-1]
        if prediction.stretched and frames is not None:
            activations = decode_each(
                lambda clip, own: self.decoder([one[clip] for one in hidden], own), time, frames, self.training
            )
        else:
            activations = self.decoder(hidden, time, frames)
        pooled = self.pooling(activations, frames)
        contributions = pooled * self.head.weight[prediction.explained]
        largest = contributions.abs().amax(-1, keepdim=True)
        relevance = contributions / torch.where(largest > 0, largest, 1)
        return L2IDecoded(activations, pooled, self.head(pooled), relevance)

    def mask(self, decoded: L2IDecoded, frames: Tensor | None = None) -> Tensor:
        """See `Interpreter.mask`. Where the model is silent the mask is 0."""
        relevant = (decoded.relevance > self.relevance_threshold).to(decoded.activations)
        kept = self.dictionary @ (decoded.activations * relevant[..., None])
        # in exact arithmetic a share never exceeds the whole
        return kept.div_(self.dictionary @ decoded.activations + _EPSILON).clamp_(max=1)

    def loss(
        self,
        decoded: L2IDecoded,
        log_magnitude: Tensor,
        prediction: Prediction,
        frames: Tensor | None = None,
    ) -> Mapping[str, Tensor]:
        """Reconstruction, fidelity to the classifier, and l1 norm of the activations, each with its weight."""
        error = (self.dictionary @ decoded.activations - log_magnitude).square()
        return {
            "reconstruction": self.alpha * masked_mean(error, frames),
            "fidelity": _cross_entropy(decoded.logits, prediction, self.temperature),
            "sparsity": self.beta * masked_mean(decoded.activations, frames),
        }

    def components(self, decoded: L2IDecoded, frames: Tensor | None = None) -> list[Components]:
        """See `Interpreter.components`."""
        counts = [decoded.activations.shape[-1]] * len(decoded.activations) if frames is None else frames.tolist()
        return [
            Components(self.dictionary, activations[:, :count], relevance, self.relevance_threshold)
            for activations, relevance, count in zip(decoded.activations, decoded.relevance, counts, strict=True)
        ]

    def own_scores(self, decoded: L2IDecoded, prediction: Prediction) -> dict[str, Tensor]:
        """Whether the interpreter's own classifier agrees with the explained class, at best and among three."""
        ranked = decoded.logits.argsort(-1, descending=True)
        agrees = (ranked == prediction.explained[:, None]).float()
        return {"Fid-L2I": agrees[:, 0], "Fid-L2I@3": agrees[:, :3].sum(-1)}


def _cross_entropy(logits: Tensor, prediction: Prediction, temperature: float) -> Tensor:
    """Between the interpreter's classifier and the one it imitates; summed over classes, mean over clips."""
    imitated = prediction.logits / temperature
    if prediction.multi_label:
        each = F.binary_cross_entropy_with_logits(logits, imitated.sigmoid(), reduction="none")
        return each.sum(-1).mean()
    return F.cross_entropy(logits, imitated.softmax(-1))


def _components_for(
    classifier: Classifier, dictionary: str | os.PathLike[str] | NMFDictionary | None, components: int | None
) -> Tensor:
    """The dictionary's components, if it was made with the classifier's front-end."""
    bins = classifier.frontend.bins
    if components is not None and components < 1:
        raise ConfigurationError(f"components: {components} must be positive")
    if dictionary is None:
        return torch.zeros(bins, 100 if components is None else components)
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
