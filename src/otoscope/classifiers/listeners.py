"""Designed listeners: classifiers without training whose decision depends on a known part of the sound."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from otoscope.audio import Frontend, zero_padding
from otoscope.classifiers.base import Classifier, Prediction
from otoscope.designs import LISTENER_DESIGNS, OTHER, Design, Part
from otoscope.errors import ConfigurationError, choices
from otoscope.seeding import generator_for

AUDIBLE = 1.0
"""Log magnitude that a bin must exceed to be noticed, about 40 dB below a sine of full scale."""
_BINS_NEEDED = 8
"""Number of bins, each one unit above `AUDIBLE`, at which a part counts as filled with sound."""
TOLERANCE = 0.1
"""Largest change of a logit by sound outside the parts, if the listener is rough; 0 if it is smooth."""
_MARGIN = 0.35
"""Rise within two frames that counts as an onset, as a share of full presence."""
_RIPPLE_SIZE, _RIPPLE_STRIDE, _RIPPLE_TERMS = 5, 4, 5000


class ListenerClassifier(Classifier):
    """Small differentiable network with weights set by construction; it is known what it listens to.

    A first layer with a threshold notices audible bins, a second one adds them over the frequencies of each part of
    the design, and the rule of the design combines the parts. Sound outside the parts changes no logit. With it,
    an explanation can be compared with the truth, not with the place of an event that the classifier may ignore.

    Gradients of such a network are as clean as those of no trained one. A rough listener therefore adds a ripple to
    each logit: it depends on the whole spectrogram and is smaller than `TOLERANCE`, so that it decides nothing, but
    its gradient is not small. It is to explanations what the noise of a trained network's gradients is.

    Args:
        labels: Names of the classes of the design and of the class ``other`` (default: those of the design).
        frontend: Front-end that computes the spectrograms.
        design: Name of the design; see `otoscope.designs.LISTENER_DESIGNS`.
        gain: Logit of a class whose cue is present, and minus that of a class whose cue is absent; the logit of
            ``other`` is 0.
        roughness: Frequency of the ripple, in radians per unit of the log magnitude; 0 for a smooth listener. At
            10, the gradient of the ripple is as large in a loud bin as that of the cue.

    Raises:
        ConfigurationError: There is no such design, or the labels do not fit it.

    Reference:
        After Zhang et al. 2023, AttributionLab, arXiv 2310.06514, which designs networks for pictures.

    Example:
        >>> listener = ListenerClassifier(design="band").freeze()
        >>> time_s = torch.arange(16_000) / 16_000
        >>> tone = 0.5 * torch.sin(2 * torch.pi * 700 * time_s)[None]
        >>> listener.labels[int(listener.predict(listener.frontend(tone)).predicted)]
        'low band'
    """

    takes_bfloat16 = False

    def __init__(
        self,
        labels: Sequence[str] | Mapping[Any, str] | None = None,
        frontend: Frontend | None = None,
        design: str = "band",
        gain: float = 4.0,
        roughness: float = 0.0,
    ) -> None:
        if design not in LISTENER_DESIGNS:
            raise ConfigurationError(f"design: there is no {design!r}; {choices(design, LISTENER_DESIGNS)}")
        rules = LISTENER_DESIGNS[design]
        super().__init__([*rules.labels, OTHER] if labels is None else labels, frontend)
        if len(self.labels) != len(rules.labels) + 1:
            raise ConfigurationError(
                f"labels: the design {design} has {len(rules.labels)} classes and {OTHER!r}, got {self.labels}"
            )
        if gain <= 0 or roughness < 0:
            raise ConfigurationError(f"gain ({gain}) must be positive, roughness ({roughness}) not negative")
        self.design, self.gain, self.roughness = design, gain, roughness
        parts = [part for parts in rules.parts.values() for part in parts]
        # A parameter, although nothing trains it: the check that shuffles weights finds it there.
        self.bands = nn.Parameter(torch.stack([_frequency_weights(part, self.frontend) for part in parts]))

        self.ripple = nn.Parameter(_ripple_kernels(len(rules.parts)))

    @property
    def rules(self) -> Design:
        """Design of this listener."""
        return LISTENER_DESIGNS[self.design]

    @property
    def representation_channels(self) -> tuple[int, ...]:
        """One representation with a channel for each part of the design."""
        return (len(self.bands),)

    @property
    def representation_names(self) -> tuple[str, ...]:
        """Name of the layer that it comes from."""
        return ("parts",)

    @override
    def forward(self, log_magnitude: Tensor, frames: Tensor | None = None) -> Prediction:
        audible = (zero_padding(log_magnitude, frames) - AUDIBLE).relu()
        parts = audible[:, None] * self.bands[None, :, :, None]
        # tanh saturates: a sound that fills a part twice as much changes little
        presence = parts.sum(2).tanh()
        amounts, first = [], 0
        for label, of_label in self.rules.parts.items():
            amounts.append(self._amount(label, presence[:, first : first + len(of_label)]))
            first += len(of_label)
        logits = self.gain * (2 * torch.stack(amounts, dim=1) - 1)
        if self.roughness:
            logits = logits + self._ripple(zero_padding(log_magnitude, frames))
        return Prediction(nn.functional.pad(logits, (0, 1)), (parts,))

    def _amount(self, label: str, presence: Tensor) -> Tensor:
        """Return how surely the cue of a class is present, in [0, 1), shape (batch,).

        Args:
            label: Class.
            presence: Presence of sound in each part of the class, shape (batch, parts, time).
        """
        rule, parts = self.rules.rule, self.rules.parts[label]
        if rule == "either":
            amounts = [self._duration(presence[:, part]) for part in range(len(parts))]
            return 1 - (1 - amounts[0]) * (1 - amounts[1])
        if rule == "and not":
            return self._duration(presence[:, 0]) * (1 - self._duration(presence[:, 1]))
        if rule == "all":
            return self._duration(presence.prod(1))
        if rule == "onset":
            return self._duration(_rise(presence[:, 0]))
        if rule == "present":
            return self._duration(presence[:, 0] * self._window(parts[0], presence))
        assert self.rules.delay_s is not None
        delay = self._frames(self.rules.delay_s[label])
        if rule == "sequence":
            return self._duration(presence[:, 0] * _later(presence[:, 1], delay))
        # A period of a rhythm: sound, none half a period later, and sound again.
        pulses = presence[:, 0]
        return self._duration(pulses * (1 - _later(pulses, delay // 2)) * _later(pulses, delay))

    def _ripple(self, log_magnitude: Tensor) -> Tensor:
        """Return a small, quickly varying function of the whole spectrogram, shape (batch, classes with a cue)."""
        # Padded in time so far that every kernel that touches the last frame is counted, as it is in a padded clip:
        #   0 0 | x x x x x x | 0 0 0 0 0 0 0 0 0
        reach, beyond = _RIPPLE_SIZE // 2, _RIPPLE_SIZE + _RIPPLE_STRIDE
        padded = nn.functional.pad(log_magnitude[:, None], (reach, beyond, reach, reach))
        projected = nn.functional.conv2d(padded, self.ripple[:, None], stride=_RIPPLE_STRIDE)
        # Silence has the sine 0, so that padding changes nothing. The outer sine bounds the sum; tanh would do so
        # too, but its gradient vanishes where the sum is large.
        terms = (self.roughness * projected).sin().sum((2, 3)) / math.sqrt(_RIPPLE_TERMS)
        ripple: Tensor = TOLERANCE * terms.sin()
        return ripple

    def _duration(self, presence: Tensor) -> Tensor:
        # The sum and not the mean: silence at the end of a clip, such as padding, changes nothing.
        return (presence.sum(-1) / self._frames(self.rules.needed_s)).tanh()

    def _window(self, part: Part, presence: Tensor) -> Tensor:
        hop_s = self.frontend.hop_length / self.frontend.sample_rate_hz
        time_s = torch.arange(presence.shape[-1], device=presence.device) * hop_s
        return ((time_s >= part.start_s) & (time_s <= part.end_s)).to(presence)

    def _frames(self, duration_s: float) -> int:
        return max(1, round(duration_s * self.frontend.sample_rate_hz / self.frontend.hop_length))


def _frequency_weights(part: Part, frontend: Frontend) -> Tensor:
    """Return the weight of each frequency in a part, shape (frequency,)."""
    frequency_hz = torch.arange(frontend.bins) * frontend.sample_rate_hz / frontend.n_fft
    inside = ((frequency_hz >= part.low_hz) & (frequency_hz <= part.high_hz)).float()
    # A narrow band cannot have many audible bins, so it needs fewer.
    return inside / min(_BINS_NEEDED, max(1.0, 0.6 * float(inside.sum())))


def _ripple_kernels(classes: int) -> Tensor:
    """Return random kernels of unit norm, the same in every listener, shape (classes, size, size)."""
    kernels = torch.randn(classes, _RIPPLE_SIZE, _RIPPLE_SIZE, generator=generator_for("ripple of listeners"))
    unit: Tensor = kernels / kernels.flatten(1).norm(dim=1)[:, None, None]
    return unit


def _later(presence: Tensor, frames: int) -> Tensor:
    """Return the presence a number of frames later; none beyond the end of the clip."""
    # a delay longer than the clip leaves nothing
    return nn.functional.pad(presence[..., frames:], (0, min(frames, presence.shape[-1])))


def _rise(presence: Tensor) -> Tensor:
    """Return how far the presence rises within two frames beyond `_MARGIN`, shape (batch, time)."""
    # Silence before the clip, so that a sound at its very begin counts as an onset.
    before = nn.functional.pad(presence, (2, 0))[..., : presence.shape[-1]]
    return (presence - before - _MARGIN).relu()
