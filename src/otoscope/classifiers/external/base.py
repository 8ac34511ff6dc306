"""Common ground of classifiers that were not written for this house: input, clips of several lengths, layers."""

from __future__ import annotations

import contextlib
import math
import weakref
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from otoscope.audio import Frontend, Spectrogram
from otoscope.classifiers.base import Classifier, Prediction
from otoscope.classifiers.external.class_paths import refuse_strangers
from otoscope.errors import (
    ConfigurationError,
    OtoscopeError,
    PhaseError,
    RepresentationError,
    ShapeError,
    first_line,
)

_PROBED_FRAMES = 512
_SUM_TOLERANCE = 1e-2


@dataclass
class Heard:
    """What a foreign network says of clips of one length.

    Attributes:
        logits: Shape (batch, classes).
        representations: Shape each (batch, channels, frequency', time').
        span: Frames of the front-end that the columns of time' span. None: those of the network's input.
        sources: What the representations were made of, see `Prediction.sources`.
    """

    logits: Tensor
    representations: tuple[Tensor, ...] = ()
    span: float | None = None
    sources: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class _Layout:
    """What one run on silence told of a representation; its time' is the frames halved so often."""

    channels: int
    halvings: int


class ForeignClassifier(Classifier):
    """Hands each clip to a network at its own length, as a spectrogram or as a waveform.

    Clips of equal length go through the network together, others apart, so that a padded clip gets what it would
    get alone, whatever the network does with its input. Representations are resampled over time to the frames of
    the front-end halved a whole number of times, which is how interpreters find a clip's columns among padding.

    Args:
        labels: Names of the classes in the order of the logits.
        frontend: Makes the spectrograms, at the rate at which the network hears.
        hears_waveform: The network takes waveforms: spectrograms go back through the inverse transform.
        multi_label: Each class is decided for itself.
        duration_s: The only length that the network takes; clips are cut, or continued with silence. None: any.
        minimum_s: Shorter clips are continued with silence.

    Raises:
        ConfigurationError: A length is not positive, or the shortest exceeds the only one; or there is one class
            that is not decided for itself.
    """

    def __init__(
        self,
        labels: Sequence[str],
        frontend: Frontend | None = None,
        hears_waveform: bool = False,
        multi_label: bool = False,
        duration_s: float | None = None,
        minimum_s: float = 0.0,
    ) -> None:
        super().__init__(labels, frontend)
        if (duration_s is not None and duration_s <= 0) or minimum_s < 0:
            raise ConfigurationError(f"duration_s ({duration_s}) and minimum_s ({minimum_s}) must be positive")
        if duration_s is not None and minimum_s > duration_s:
            raise ConfigurationError(f"minimum_s ({minimum_s}) exceeds duration_s ({duration_s})")
        if len(self.labels) == 1 and not multi_label:
            raise ConfigurationError(
                f"labels: the only class, {self.labels[0]!r}, would always have probability 1; say "
                "multi_label=True if it is decided by a sigmoid"
            )
        self.needs_phase = hears_waveform
        self.multi_label = multi_label
        self.duration_s = duration_s
        self.minimum_s = minimum_s
        self._layouts: tuple[_Layout, ...] | None = None
        self._latest: weakref.ref[Spectrogram] | None = None
        if hears_waveform:
            self.frontend.register_forward_hook(self._remember)

    @abstractmethod
    def hear(self, sound: Tensor) -> Heard:
        """Runs the network on clips of one length.

        Args:
            sound: Waveforms (batch, samples) if `needs_phase`, else log magnitudes (batch, frequency, time).
        """

    @property
    def representation_channels(self) -> tuple[int, ...]:
        """See `Classifier.representation_channels`.

        Raises:
            RepresentationError: The classifier has none.
        """
        layouts = self._probe()
        if not layouts:
            raise RepresentationError(self.no_representation)
        return tuple(layout.channels for layout in layouts)

    @classmethod
    def from_folder(cls, config: Mapping[str, Any], folder: Path, **given: Any) -> Self:
        """See `Classifier.from_folder`. Nothing is imported for a folder's sake."""
        refuse_strangers({name: value for name, value in config["init"].items() if name not in given}, folder)
        return super().from_folder(config, folder, **given)

    @property
    def no_representation(self) -> str:
        """What to tell a method that asks for representations where there are none."""
        return f"{type(self).__name__} has no representation, which this method reads"

    def representation_shapes(self, frames: int = _PROBED_FRAMES) -> list[tuple[int, ...]]:
        """See `Classifier.representation_shapes`."""
        _ = self.representation_channels  # raises where there are none
        return super().representation_shapes(frames)

    def forward(
        self, log_magnitude: Tensor, frames: Tensor | None = None, phase: Tensor | None = None
    ) -> Prediction:
        """See `Classifier.forward`.

        Args:
            log_magnitude: Shape (batch, frequency, time).
            frames: Frames that belong to each clip, where clips were padded. Shape (batch,).
            phase: In radians, for networks that hear waveforms. Shape as ``log_magnitude``. By default that of the
                spectrogram that this classifier's front-end made last, if it still exists and ``log_magnitude``
                may be that spectrogram, masked.

        Raises:
            PhaseError: The network hears waveforms and there is no phase.
            ShapeError: The phase has another shape.
        """
        layouts = self._probe()
        phase = self._phase_of(log_magnitude, phase) if self.needs_phase else None
        time = log_magnitude.shape[-1]
        logits, rows_of_all, representations = [], [], []
        for rows, count in _equal_lengths(frames, log_magnitude):
            part = log_magnitude[rows, :, :count]
            sound = self._sound(part, None if phase is None else phase[rows, :, :count])
            heard = self._heard(sound)
            self._check(heard, sound)
            logits.append(heard.logits)
            rows_of_all.append(rows)
            span = heard.span or self._span(sound, count)
            placed = zip(heard.representations, layouts, strict=True)
            representations.append([_placed(h, one.halvings, span, count, time) for h, one in placed])
        order = torch.cat(rows_of_all).argsort()
        merged = tuple(torch.cat(parts)[order] for parts in zip(*representations, strict=True))
        if len(rows_of_all) == 1:  # clips of one length, as those that ask for gradients send them
            return Prediction(logits[0], merged, multi_label=self.multi_label, phase=phase, sources=heard.sources)
        return Prediction(torch.cat(logits)[order], merged, multi_label=self.multi_label, phase=phase)

    def _sound(self, log_magnitude: Tensor, phase: Tensor | None) -> Tensor:
        """What the network takes, as long as it wants it."""
        rate, hop = self.frontend.sample_rate_hz, self.frontend.hop_length
        exact = None if self.duration_s is None else round(self.duration_s * rate)
        least = round(self.minimum_s * rate)
        if phase is None:
            count = log_magnitude.shape[-1]
            wanted = max(count, self.frontend.frames(least) if least else 1)
            wanted = wanted if exact is None else self.frontend.frames(exact)
            return F.pad(log_magnitude[..., :wanted], (0, max(0, wanted - count)))
        # frames tell the length up to one hop; all that may belong to the clip is kept
        samples = log_magnitude.shape[-1] * hop - 1
        missing = max(0, self.frontend.frames(1) - log_magnitude.shape[-1])  # fewer no front-end makes
        log_magnitude, phase = F.pad(log_magnitude, (0, missing)), F.pad(phase, (0, missing))
        waveform = self.frontend.inverse(Spectrogram(log_magnitude, phase, samples))
        wanted = max(samples, least) if exact is None else exact
        return F.pad(waveform[..., :wanted], (0, max(0, wanted - samples)))

    def _span(self, sound: Tensor, frames: int) -> float:
        """Frames of the front-end that the network's input spans; not those of the clip where it was fitted."""
        length, hop = sound.shape[-1], self.frontend.hop_length
        if not self.needs_phase:
            return length
        return frames if length == frames * hop - 1 else length / hop

    def _heard(self, sound: Tensor) -> Heard:
        """What the network says; without cuDNN if it is recurrent, whose gradient needs training mode there."""
        recurrent = sound.is_cuda and any(isinstance(part, nn.RNNBase) for part in self.modules())
        try:
            with torch.backends.cudnn.flags(enabled=False) if recurrent else contextlib.nullcontext():
                return self.hear(sound)
        except (OtoscopeError, MemoryError, torch.cuda.OutOfMemoryError):
            raise
        except Exception as error:
            kind = "waveforms" if self.needs_phase else "spectrograms"
            raise ConfigurationError(
                f"{type(self).__name__}: what it explains failed on {kind} of shape {tuple(sound.shape)} "
                f"({type(error).__name__}: {first_line(error)}); check input, axes, mel_bins, minimum_s, "
                "duration_s and the sample rate"
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_latest": None}  # what was heard last does not travel

    def _check(self, heard: Heard, sound: Tensor) -> None:
        batch = len(sound)
        if heard.logits.isnan().any() and not sound.isnan().any():
            raise ConfigurationError(
                f"{type(self).__name__}: the network returned NaN; silence or a logarithm of 0 may be the cause"
            )
        if heard.logits.shape != (batch, len(self.labels)):
            first = ", ".join(self.labels[:5]) + (", ..." if len(self.labels) > 5 else "")
            raise ShapeError(
                f"{type(self).__name__}: the network returned shape {tuple(heard.logits.shape)} for {batch} clips "
                f"and {len(self.labels)} labels ({first}); it must be (clips, labels): give as many labels as it "
                "has classes, and keep the axis of the clips (a squeeze removes it)"
            )

    def _has_representations(self) -> bool:
        return bool(self.representation_names)

    @torch.no_grad()
    def _probe(self) -> tuple[_Layout, ...]:
        """Channels and time resolution of each representation; costs one run of the network, once."""
        if self._layouts is None:
            if not self._has_representations():
                self._layouts = ()
                return ()
            silence = torch.zeros(1, self.frontend.bins, _PROBED_FRAMES, device=self.frontend.window.device)
            modes = {module: module.training for module in self.modules()}
            self.eval()
            sound = self._sound(silence, silence if self.needs_phase else None)
            try:
                heard = self._heard(sound)
            finally:
                for module, training in modes.items():
                    module.training = training
            span = heard.span or self._span(sound, _PROBED_FRAMES)
            self._layouts = tuple(
                _Layout(h.shape[1], max(0, round(math.log2(span / h.shape[-1])))) for h in heard.representations
            )
        return self._layouts

    def _remember(self, frontend: nn.Module, inputs: Any, output: Spectrogram) -> None:
        self._latest = weakref.ref(output)

    def _phase_of(self, log_magnitude: Tensor, phase: Tensor | None) -> Tensor:
        if phase is None:
            latest = None if self._latest is None else self._latest()
            if (
                latest is None
                or latest.log_magnitude.shape != log_magnitude.shape
                or bool((log_magnitude.detach() > latest.log_magnitude + 1e-4).any())
            ):
                raise PhaseError(
                    f"{type(self).__name__} hears waveforms, so it needs the spectrogram's phase: call "
                    "classifier.predict(log_magnitude, frames, phase)"
                )
            phase = latest.phase
        if phase.shape != log_magnitude.shape:
            raise ShapeError(
                f"a phase of shape {tuple(phase.shape)} does not fit a spectrogram of shape "
                f"{tuple(log_magnitude.shape)}"
            )
        return phase


def _equal_lengths(frames: Tensor | None, log_magnitude: Tensor) -> list[tuple[Tensor, int]]:
    """Rows of the batch that have so many frames, for every number of frames there is."""
    device = log_magnitude.device
    if frames is None:
        return [(torch.arange(len(log_magnitude), device=device), log_magnitude.shape[-1])]
    frames = frames.to(device)
    return [((frames == count).nonzero()[:, 0], count) for count in sorted(set(frames.tolist()))]


def _placed(hidden: Tensor, halvings: int, span: float, frames: int, longest: int) -> Tensor:
    """Resamples the columns that span so many frames to those of the clip, with nothing behind its end."""
    own, all_columns = max(frames >> halvings, 1), max(longest >> halvings, 1)
    fitted = own if span == frames else max(1, round(span / 2**halvings))
    if hidden.shape[-1] != fitted:
        size = (hidden.shape[-2], fitted)
        hidden = F.interpolate(hidden, size, mode="bilinear", align_corners=False, antialias=True)
    hidden = hidden[..., :own]
    return F.pad(hidden, (0, all_columns - hidden.shape[-1]))


def check_probabilities(values: Tensor, multi_label: bool, source: str) -> Tensor:
    """Probabilities within [0, 1].

    Args:
        values: Said to be probabilities. Shape (batch, classes).
        multi_label: They need not sum to 1.
        source: Where they come from, for messages.

    Raises:
        ConfigurationError: They are none.
    """
    known = values.detach()
    low, high = float(known.min()), float(known.max())
    if low < -1e-6 or high > 1 + 1e-4:
        raise ConfigurationError(
            f"{source}: expected probabilities in [0, 1], got values from {low:.3g} to {high:.3g}; if they are "
            "logits, take their softmax or say output=logits where there is that option"
        )
    total = known.sum(-1)
    if not multi_label and ((total - 1).abs() > _SUM_TOLERANCE).any():
        worst = float(total[(total - 1).abs().argmax()])
        raise ConfigurationError(
            f"{source}: the probabilities of a clip sum to {worst:.3g}, not 1; say multi_label=True if each "
            "class is decided for itself"
        )
    return values.clamp(0, 1)


def logits_of(probabilities: Tensor, multi_label: bool) -> Tensor:
    """Logits whose softmax, or sigmoid with several labels a clip, are these probabilities.

    Args:
        probabilities: In [0, 1]. Shape (batch, classes).
        multi_label: Sigmoid instead of softmax.

    Returns:
        Finite, also for 0 and 1. Shape (batch, classes).

    Example:
        >>> logits_of(torch.tensor([[0.25, 0.75]]), multi_label=False).softmax(-1)
        tensor([[0.2500, 0.7500]])
        >>> logits_of(torch.tensor([[0.25, 0.0]]), multi_label=True).sigmoid().round(decimals=4)
        tensor([[0.2500, 0.0000]])
    """
    tiny = torch.finfo(probabilities.dtype).eps
    if multi_label:
        return torch.logit(probabilities, eps=tiny)
    return probabilities.clamp(min=tiny**2).log()


def frontend_at(sample_rate_hz: int) -> Frontend:
    """The usual front-end at another rate: window and hop last as long, the transform is long enough for them.

    Args:
        sample_rate_hz: At which a network hears.

    Example:
        >>> frontend_at(16_000).same_as(Frontend()), frontend_at(48_000).describe()
        (True, '48000 Hz, n_fft 2048, window 1115 samples, hop 557 samples')
    """
    window_ms = Frontend().window_ms
    n_fft = 1024
    while n_fft < 1.8 * sample_rate_hz * window_ms / 1000:
        n_fft *= 2
    return Frontend(sample_rate_hz, n_fft)
