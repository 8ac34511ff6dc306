"""Output of a classifier: logits, and the feature maps that interpreters read."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from torch import Tensor

from otoscope.errors import ActivationMapError, choices


@dataclass
class Prediction:
    """Output of a classifier for a batch of clips, with the feature maps that interpreters read.

    Attributes:
        logits: Class scores before softmax or sigmoid. Shape (batch, classes).
        representations: Inner feature maps, the deepest last. Shape of each (batch, channels, frequency', time').
        target: Class to explain instead of the predicted one. Shape (batch,), int64.
        activation_maps: Maps of where the network itself looked, by name, where it has such maps; the default map
            comes last. Shape of each (batch, frequency', time').
        multi_label: Each class is decided independently: probabilities are sigmoids and need not sum to 1.
        stretched: Representations span the whole clip, whatever its length, so that they have no padding.
        sources: Tensor inside the network that each representation was made of, in the network's own layout. The
            logits are computed from it, so that gradients reach it (Grad-CAM). May be empty if the logits are
            computed from the representations themselves.
    """

    logits: Tensor
    representations: tuple[Tensor, ...]
    target: Tensor | None = None
    activation_maps: dict[str, Tensor] = field(default_factory=dict)
    multi_label: bool = False
    stretched: bool = False
    sources: tuple[Tensor, ...] = ()

    @property
    def probabilities(self) -> Tensor:
        """Softmax of the logits, or their sigmoid for multi-label classifiers. Shape (batch, classes)."""
        return class_probabilities(self.logits, self.multi_label)

    @property
    def predicted(self) -> Tensor:
        """Most probable class of each clip, shape (batch,)."""
        return self.logits.argmax(-1)

    @property
    def explained(self) -> Tensor:
        """Class that an explanation is about: the target if there is one, else the predicted class."""
        return self.predicted if self.target is None else self.target

    def activation_map(self, name: str | None = None) -> Tensor:
        """Return one of the network's activation maps.

        Args:
            name: Stage or layer (default: the one that the method was published with).

        Returns:
            Map, not negative. Shape (batch, frequency', time').

        Raises:
            ActivationMapError: The classifier has no such map.
        """
        if not self.activation_maps:
            raise ActivationMapError(
                "this classifier has no activation map; use FocalNet or ViT, or another method of explanation"
            )
        name = name or list(self.activation_maps)[-1]
        if name not in self.activation_maps:
            raise ActivationMapError(
                f"activation map: this classifier has no {name!r}; {choices(name, self.activation_maps)}"
            )
        return self.activation_maps[name]

    def towards(self, target: Tensor) -> Prediction:
        """Return the same prediction, to be explained for another class.

        Args:
            target: Class of each clip, shape (batch,), int64.
        """
        return replace(self, target=target)


def class_probabilities(logits: Tensor, multi_label: bool) -> Tensor:
    """Return the probability of each class, shape (batch, classes).

    Args:
        logits: Logits, shape (batch, classes).
        multi_label: Whether each class is decided independently.
    """
    return logits.sigmoid() if multi_label else logits.softmax(-1)
