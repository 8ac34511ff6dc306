"""Base class of adapters around external networks: their input, clips of different lengths, representations."""

from __future__ import annotations

import contextlib
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from otoscope.audio import Frontend, Spectrogram
from otoscope.classifiers.base import Classifier, Prediction
from otoscope.classifiers.external.class_paths import reject_untrusted
from otoscope.classifiers.external.failures import failure_advice
from otoscope.errors import ConfigurationError, OtoscopeError, RepresentationError, ShapeError, first_line

_PROBED_FRAMES = 512
_SUM_TOLERANCE = 1e-2


@dataclass
class NetworkOutput:
    """Output of an external network for clips of one length.

    Attributes:
        logits: Class scores, shape (batch, classes).
        representations: Feature maps. Shape of each (batch, channels, frequency', time').
        span: Number of frames of the front-end that the columns of time' cover (default: those of the network's
            input).
        sources: Tensors that the representations were made of; see `Prediction.sources`.
    """

    logits: Tensor
    representations: tuple[Tensor, ...] = ()
    span: float | None = None
    sources: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class _Layout:
    """Channels and time resolution of a representation, whose time' is the number of frames over 2**halvings."""

    channels: int
    halvings: int


class ExternalClassifier(Classifier):
    """Base class of adapters: runs a network on each clip without its padding, as a spectrogram or as a waveform.

    Clips of equal length go through the network together, others separately, so that the result for a clip never
    depends on its batch, whatever the network does with its input. Representations are resampled over time to the
    frames of the front-end divided by a power of two, so that interpreters can separate valid columns from padding.

    Args:
        labels: Names of the classes in the order of the logits. A single class, which a sigmoid decides, stands for
            two: itself and its absence, such as ``siren`` and ``not siren``.
        frontend: Front-end that computes the spectrograms, at the sample rate of the network.
        takes_waveform: Whether the network takes waveforms; the spectrogram is then inverted to a waveform first.
        multi_label: Whether each class is decided independently.
        duration_s: Length of all inputs, for networks that take only one; clips are cut, or padded with silence.
            None: any length.
        minimum_s: Shortest input of the network; shorter clips are padded with silence.

    Raises:
        ConfigurationError: A length is not positive, or ``minimum_s`` exceeds ``duration_s``.
    """

    def __init__(
        self,
        labels: Sequence[str],
        frontend: Frontend | None = None,
        takes_waveform: bool = False,
        multi_label: bool = False,
        duration_s: float | None = None,
        minimum_s: float = 0.0,
    ) -> None:
        super().__init__(labels, frontend)
        if (duration_s is not None and duration_s <= 0) or minimum_s < 0:
            raise ConfigurationError(f"duration_s ({duration_s}) and minimum_s ({minimum_s}) must be positive")
        if duration_s is not None and minimum_s > duration_s:
            raise ConfigurationError(f"minimum_s ({minimum_s}) exceeds duration_s ({duration_s})")
        if len(self.labels) == 1:
            # below a probability of 0.5 the decision is for the absence, and that is what is explained
            self.labels = [self.labels[0], f"not {self.labels[0]}"]
        self.needs_phase = takes_waveform
        self.multi_label = multi_label and not self.single_output
        self.duration_s = duration_s
        self.minimum_s = minimum_s
        self._layouts: tuple[_Layout, ...] | None = None

    normalized_by_default = False

    @property
    def single_output(self) -> bool:
        """Whether the labels are a class and its absence, so that the network may have one output, of a sigmoid."""
        return self.labels[1:] == [f"not {self.labels[0]}"]

    @abstractmethod
    def run_network(self, inputs: Tensor) -> NetworkOutput:
        """Run the network on clips of one length.

        Args:
            inputs: Waveforms (batch, samples) if `needs_phase`, else log magnitudes (batch, frequency, time).
        """

    @property
    def representation_channels(self) -> tuple[int, ...]:
        """Channels of each representation, the deepest last; the first call runs the network on silence.

        Raises:
            RepresentationError: The classifier has no representation.
        """
        layouts = self._probe()
        if not layouts:
            raise RepresentationError(self.no_representation)
        return tuple(layout.channels for layout in layouts)

    @property
    @override
    def clip_s(self) -> float | None:
        return super().clip_s or self.duration_s

    @classmethod
    def from_folder(cls, config: Mapping[str, Any], folder: Path, **given: Any) -> Self:
        """Build the classifier that a model folder describes, without importing anything for it."""
        reject_untrusted({name: value for name, value in config["init"].items() if name not in given}, folder)
        return super().from_folder(config, folder, **given)

    @property
    def no_representation(self) -> str:
        """Message of the error that is raised when a method reads representations and there is none."""
        return f"{type(self).__name__} has no representation, which this method reads"

    @override
    def representation_shapes(self, frames: int = _PROBED_FRAMES) -> list[tuple[int, ...]]:
        _ = self.representation_channels  # raises where there is none
        return super().representation_shapes(frames)

    def forward(self, log_magnitude: Tensor, frames: Tensor | None = None) -> Prediction:
        """Classify log-magnitude spectrograms; see `Classifier.forward`.

        Args:
            log_magnitude: Log magnitude, shape (batch, frequency, time).
            frames: Valid frames of each clip, where clips were padded. Shape (batch,).

        Raises:
            PhaseError: The network takes waveforms: call `predict` with the whole spectrogram.
        """
        return self.predict(Spectrogram(log_magnitude, frames=frames))

    def predict(self, spectrogram: Spectrogram) -> Prediction:
        """Classify spectrograms, clips of equal length together.

        Args:
            spectrogram: Spectrogram of the clips, with its phase if `needs_phase`.

        Raises:
            PhaseError: The network takes waveforms and the spectrogram has no phase.
            ConfigurationError: The network fails, or returns NaN.
            ShapeError: The network returns another number of logits than there are labels.
        """
        layouts = self._probe()
        if self.needs_phase:
            spectrogram.require_phase(f"{type(self).__name__}, whose network takes waveforms,")
        time = spectrogram.log_magnitude.shape[-1]
        logits, positions, representations = [], [], []
        for index, clips in spectrogram.by_length():
            inputs = self._network_input(clips)
            output = self._run_checked(inputs)
            count = clips.log_magnitude.shape[-1]
            span = output.span or self._span(inputs, count)
            fitted = zip(output.representations, layouts, strict=True)
            representations.append([_fit_time(h, layout.halvings, span, count, time) for h, layout in fitted])
            logits.append(output.logits)
            positions.append(index)
        # back to the order of the batch
        order = torch.cat(positions).argsort()
        merged = tuple(torch.cat(parts)[order] for parts in zip(*representations, strict=True))
        # Grad-CAM asks for gradients of clips of one length only; these sources are in the graph of the logits
        sources = output.sources if len(positions) == 1 else ()
        all_logits = logits[0] if len(positions) == 1 else torch.cat(logits)[order]
        if all_logits.shape[-1] == 1:
            # the softmax of (z / 2, -z / 2) is the sigmoid of z, and its complement
            all_logits = torch.cat([all_logits, -all_logits], -1) / 2
        return Prediction(all_logits, merged, multi_label=self.multi_label, sources=sources)

    @override
    def heard_samples(self, samples: int) -> int:
        return samples if self.duration_s is None else min(samples, self._samples_of(self.duration_s))

    def _samples_of(self, seconds: float) -> int:
        return round(seconds * self.frontend.sample_rate_hz)

    def _network_input(self, clips: Spectrogram) -> Tensor:
        """Return the input of the network, cut or padded with silence to the length that it takes."""
        hop = self.frontend.hop_length
        exact = None if self.duration_s is None else self._samples_of(self.duration_s)
        least = self._samples_of(self.minimum_s)
        log_magnitude = clips.log_magnitude
        count = log_magnitude.shape[-1]
        if not self.needs_phase:
            length = max(count, self.frontend.frames(least) if least else 1)
            length = length if exact is None else self.frontend.frames(exact)
            return F.pad(log_magnitude[..., :length], (0, max(0, length - count)))
        # n frames belong to clips of (n - 1) * hop to n * hop - 1 samples: take the longest, to lose no sample. The
        # front-end never returns fewer frames than those of one window; such spectrograms are zero-padded.
        samples = count * hop - 1
        missing = (0, max(0, self.frontend.frames(1) - count))
        log_magnitude, phase = F.pad(log_magnitude, missing), F.pad(clips.require_phase("the network"), missing)
        waveform = self.frontend.inverse(Spectrogram(log_magnitude, phase, samples))
        length = max(samples, least) if exact is None else exact
        return F.pad(waveform[..., :length], (0, max(0, length - samples)))

    def _span(self, inputs: Tensor, frames: int) -> float:
        """Return the number of frames that the network's input covers, after cutting or padding."""
        length, hop = inputs.shape[-1], self.frontend.hop_length
        if not self.needs_phase:
            return length
        return frames if length == frames * hop - 1 else length / hop

    def _run_checked(self, inputs: Tensor) -> NetworkOutput:
        output = self._run_guarded(inputs)
        self._check(output, inputs)
        return output

    def _run_guarded(self, inputs: Tensor) -> NetworkOutput:
        """Run the network; raise any error in its code as one that names the options to check."""
        # cuDNN's recurrent layers compute gradients in training mode only
        recurrent = inputs.is_cuda and any(isinstance(part, nn.RNNBase) for part in self.modules())
        try:
            with torch.backends.cudnn.flags(enabled=False) if recurrent else contextlib.nullcontext():
                return self.run_network(inputs)
        except (OtoscopeError, MemoryError, torch.cuda.OutOfMemoryError):
            raise
        except Exception as error:
            domain = "waveforms" if self.needs_phase else "spectrograms"
            raise ConfigurationError(
                f"{type(self).__name__}: the network or function failed on {domain} of shape {tuple(inputs.shape)} "
                f"({type(error).__name__}: {first_line(error)}); {failure_advice(error, inputs, self)}"
            ) from error

    def _check(self, output: NetworkOutput, inputs: Tensor) -> None:
        batch = len(inputs)
        self.reject_nan(output.logits, inputs)
        expected = [(batch, len(self.labels)), *([(batch, 1)] if self.single_output else [])]
        if tuple(output.logits.shape) not in expected:
            first = ", ".join(self.labels[:5]) + (", ..." if len(self.labels) > 5 else "")
            raise ShapeError(
                f"{type(self).__name__}: the network returned shape {tuple(output.logits.shape)} for {batch} clips "
                f"and {len(self.labels)} labels ({first}); it must be (clips, labels): give as many labels as it "
                "has classes, and keep the axis of the clips (a squeeze removes it)"
            )

    def follow(self, network: nn.Module) -> None:
        """Move the front-end to the device of a network, as it was given."""
        weights = next(network.parameters(), None)
        if weights is not None:
            for part in self.children():
                # a network on several devices stays as it is
                if part is not network:
                    part.to(weights.device)

    @torch.no_grad()
    def run_on_silence(self) -> tuple[Tensor, NetworkOutput]:
        """Run the network on silence in evaluation mode, and return its input and its output.

        Raises:
            ConfigurationError: The network fails.
        """
        modes = {module: module.training for module in self.modules()}
        self.eval()
        inputs = self._network_input(self.frontend.silence(_PROBED_FRAMES))
        try:
            # not checked: a sound network may return NaN for silence
            return inputs, self._run_guarded(inputs)
        finally:
            for module, training in modes.items():
                module.training = training

    def _probe(self) -> tuple[_Layout, ...]:
        """Return the layout of each representation; the first call runs the network on silence."""
        if self._layouts is None:
            if not self.representation_names:
                self._layouts = ()
                return ()
            inputs, output = self.run_on_silence()
            span = output.span or self._span(inputs, _PROBED_FRAMES)
            self._layouts = tuple(
                _Layout(h.shape[1], max(0, round(math.log2(span / h.shape[-1])))) for h in output.representations
            )
        return self._layouts


def _fit_time(hidden: Tensor, halvings: int, span: float, frames: int, longest: int) -> Tensor:
    """Resample a representation over time to the columns of a clip, and zero-pad it to those of the batch.

    Args:
        hidden: Representation whose columns cover ``span`` frames, shape (batch, channels, frequency', time').
        halvings: Each column of the result covers ``2**halvings`` frames.
        span: Number of frames that the present columns cover; more than ``frames`` if the input was padded.
        frames: Number of frames of the clips.
        longest: Number of frames of the batch.
    """
    # frames of the clip   |--------|          columns after resampling   x x x x x x
    # span of the input    |------------|      cut to the clip            x x x x
    #                                          padded to the batch        x x x x 0 0 0
    columns, all_columns = max(frames >> halvings, 1), max(longest >> halvings, 1)
    fitted = columns if span == frames else max(1, round(span / 2**halvings))
    if hidden.shape[-1] != fitted:
        size = (hidden.shape[-2], fitted)
        hidden = F.interpolate(hidden, size, mode="bilinear", align_corners=False, antialias=True)
    hidden = hidden[..., :columns]
    return F.pad(hidden, (0, all_columns - hidden.shape[-1]))


def check_probabilities(values: Tensor, multi_label: bool, source: str) -> Tensor:
    """Check that values are probabilities, and clamp rounding errors.

    Args:
        values: Values to check, shape (batch, classes).
        multi_label: Whether each class is decided independently, so that the values need not sum to 1.
        source: Where the values come from, for messages.

    Returns:
        Probabilities in [0, 1], shape (batch, classes).

    Raises:
        ConfigurationError: The values are not probabilities.
    """
    detached = values.detach()
    low, high = float(detached.min()), float(detached.max())
    if low < -1e-6 or high > 1 + 1e-4:
        raise ConfigurationError(
            f"{source}: expected probabilities in [0, 1], got values from {low:.3g} to {high:.3g}; if they are "
            "logits, return their softmax, or set output=logits if there is that option"
        )
    total = detached.sum(-1)
    # a single value is that of a sigmoid
    if not multi_label and values.shape[-1] > 1 and ((total - 1).abs() > _SUM_TOLERANCE).any():
        worst = float(total[(total - 1).abs().argmax()])
        raise ConfigurationError(
            f"{source}: the probabilities of a clip sum to {worst:.3g}, not 1; set multi_label=True if each "
            "class is decided independently"
        )
    return values.clamp(0, 1)


def logits_of(probabilities: Tensor, multi_label: bool) -> Tensor:
    """Return logits whose softmax, or sigmoid for multi-label classifiers, gives these probabilities.

    Args:
        probabilities: Probabilities in [0, 1], shape (batch, classes).
        multi_label: Whether to invert the sigmoid instead of the softmax; so it is for a single class.

    Returns:
        Logits, which are finite even for probabilities of 0 and 1. Shape (batch, classes).

    Example:
        >>> logits_of(torch.tensor([[0.25, 0.75]]), multi_label=False).softmax(-1)
        tensor([[0.2500, 0.7500]])
        >>> logits_of(torch.tensor([[0.25, 0.0]]), multi_label=True).sigmoid().round(decimals=4)
        tensor([[0.2500, 0.0000]])
    """
    epsilon = torch.finfo(probabilities.dtype).eps
    if multi_label or probabilities.shape[-1] == 1:
        return torch.logit(probabilities, eps=epsilon)
    # the softmax of logarithms returns the probabilities, because they sum to 1
    return probabilities.clamp(min=epsilon**2).log()


def frontend_at(sample_rate_hz: int) -> Frontend:
    """Return the default front-end at another sample rate; window and hop have the same duration.

    Args:
        sample_rate_hz: Sample rate of the network.

    Example:
        >>> frontend_at(16_000).same_as(Frontend()), frontend_at(48_000).describe()
        (True, '48000 Hz, n_fft 2048, window 1115 samples, hop 557 samples')
    """
    return Frontend(sample_rate_hz)
