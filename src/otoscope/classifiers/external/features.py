"""Inputs of published networks, computed from waveforms in torch, so that gradients reach the waveform.

Each class reproduces one feature extractor of `transformers`, for batches of clips of one length.
"""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from otoscope.errors import ConfigurationError

# Kaldi's filter bank, as AST was published with it: 25 ms windows every 10 ms at 16 kHz.
_LENGTH, _HOP, _TRANSFORM, _PREEMPHASIS = 400, 160, 512, 0.97
_LOWEST_HZ = 20
_KALDI_FLOOR = 1.192092955078125e-07


class Features(nn.Module, ABC):
    """Base class: computes the input of a network from waveforms.

    Args:
        sample_rate_hz: Sample rate of the waveforms.
    """

    input_name = "input_values"
    """Name of the network's argument that takes the features."""

    def __init__(self, sample_rate_hz: int) -> None:
        super().__init__()
        self.sample_rate_hz = sample_rate_hz

    def span(self, samples: int) -> int:
        """Return the number of samples that the features cover, which differs for features of a fixed length.

        Args:
            samples: Number of samples of the clip.
        """
        return samples

    def heard_samples(self, samples: int) -> int:
        """Return how many samples of a clip the features are computed from, from its beginning.

        Args:
            samples: Number of samples of the clip.
        """
        return min(samples, self.span(samples))

    @abstractmethod
    def forward(self, waveform: Tensor) -> Tensor:
        """Compute the features of clips of one length.

        Args:
            waveform: Waveforms, shape (batch, samples).
        """


class UnitVariance(Features):
    """Waveform with mean 0 and variance 1 in each clip, the input of wav2vec2 and related models.

    The features have shape (batch, samples).

    Args:
        sample_rate_hz: Sample rate of the waveforms.
        normalize: Whether to normalise; False returns the waveform unchanged.
    """

    def __init__(self, sample_rate_hz: int = 16_000, normalize: bool = True) -> None:
        super().__init__(sample_rate_hz)
        self.normalize = normalize

    @override
    def forward(self, waveform: Tensor) -> Tensor:
        if not self.normalize:
            return waveform
        centred = waveform - waveform.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + 1e-7).sqrt()


class FilterBank(Features):
    """Kaldi's log mel filter bank, normalised, with a fixed number of frames: the input of AST.

    The features have shape (batch, frames, mel bins).

    Args:
        sample_rate_hz: Sample rate of the waveforms.
        mel_bins: Number of filters.
        frames: Number of frames, every 10 ms; clips are cut, or their features zero-padded, to this length.
        mean: Value that is subtracted from the features.
        std: Standard deviation; the features are divided by twice this value.
        normalize: Whether to subtract and divide.
    """

    filters: Tensor

    def __init__(
        self,
        sample_rate_hz: int = 16_000,
        mel_bins: int = 128,
        frames: int = 1024,
        mean: float = -4.2677393,
        std: float = 4.5689974,
        normalize: bool = True,
    ) -> None:
        super().__init__(sample_rate_hz)
        self.frames, self.mean, self.std, self.normalize = frames, mean, std, normalize
        filters = _mel_filters(
            num_frequency_bins=_TRANSFORM // 2 + 1,
            num_mel_filters=mel_bins,
            min_frequency=_LOWEST_HZ,
            max_frequency=sample_rate_hz // 2,
            sampling_rate=sample_rate_hz,
            norm=None,
            mel_scale="kaldi",
            triangularize_in_mel_space=True,
        )
        self.register_buffer("filters", filters, persistent=False)

    @property
    def centers_hz(self) -> Tensor:
        """Centre frequencies of the filters in Hz, shape (mel bins,)."""
        # evenly spaced on Kaldi's mel scale, 1127 ln(1 + f / 700)
        low, high = (1127 * math.log1p(hertz / 700) for hertz in (_LOWEST_HZ, self.sample_rate_hz // 2))
        return 700 * (torch.linspace(low, high, self.filters.shape[1] + 2)[1:-1] / 1127).expm1()

    @override
    def span(self, samples: int) -> int:
        return self.frames * _HOP

    @override
    def heard_samples(self, samples: int) -> int:
        # the last frame is longer than a hop
        return min(samples, (self.frames - 1) * _HOP + _LENGTH)

    @override
    def forward(self, waveform: Tensor) -> Tensor:
        waveform = F.pad(waveform, (0, max(0, _LENGTH - waveform.shape[-1])))
        # As in Kaldi: frames are not centred, and an incomplete last one is dropped; each loses its mean; and
        # x[n] - 0.97 x[n - 1] is taken inside the frame, with x[-1] = x[0].
        pieces = _precise(waveform).unfold(-1, _LENGTH, _HOP)[:, : self.frames]
        pieces = pieces - pieces.mean(-1, keepdim=True)
        previous = torch.cat([pieces[..., :1], pieces[..., :-1]], -1)
        window = torch.hann_window(_LENGTH, periodic=False, dtype=pieces.dtype, device=pieces.device)
        transform = torch.fft.rfft((pieces - _PREEMPHASIS * previous) * window, _TRANSFORM)
        power = torch.view_as_real(transform).square().sum(-1)
        bank = (power @ self.filters.to(power)).clamp(min=_KALDI_FLOOR).log().to(waveform.dtype)
        # the published extractor pads the logarithms with 0 before it normalises them
        bank = F.pad(bank, (0, 0, 0, self.frames - bank.shape[1]))
        return (bank - self.mean) / (2 * self.std) if self.normalize else bank


class ShortTimeMel(Features):
    """Base class: mel power spectrogram with a Hann window; frames are centred, ends mirrored.

    Args:
        sample_rate_hz: Sample rate of the waveforms.
        n_fft: Length of window and transform in samples.
        hop_length: Distance between frames in samples.
        **bank: Options of ``transformers.audio_utils.mel_filter_bank``.
    """

    input_name = "input_features"
    filters: Tensor

    def __init__(self, sample_rate_hz: int, n_fft: int, hop_length: int, **bank: Any) -> None:
        super().__init__(sample_rate_hz)
        self.n_fft, self.hop_length = n_fft, hop_length
        filters = _mel_filters(num_frequency_bins=n_fft // 2 + 1, sampling_rate=sample_rate_hz, **bank)
        self.register_buffer("filters", filters, persistent=False)

    def mel_power(self, waveform: Tensor) -> Tensor:
        """Return the mel power spectrogram, shape (batch, mel bins, frames), in the precision of the transform."""
        waveform = _precise(waveform)
        window = torch.hann_window(self.n_fft, dtype=waveform.dtype, device=waveform.device)
        transform = torch.stft(waveform, self.n_fft, self.hop_length, window=window, return_complex=True)
        power = torch.view_as_real(transform).square().sum(-1)
        return self.filters.to(power).T @ power


class WhisperMel(ShortTimeMel):
    """Log mel spectrogram of 30 s with a range of at most 8 decades: the input of Whisper.

    The features have shape (batch, mel bins, frames).

    Args:
        sample_rate_hz: Sample rate of the waveforms.
        mel_bins: Number of filters.
        n_fft: Length of window and transform in samples.
        hop_length: Distance between frames in samples.
        samples: Number of samples to which clips are cut or zero-padded.
    """

    def __init__(
        self,
        sample_rate_hz: int = 16_000,
        mel_bins: int = 80,
        n_fft: int = 400,
        hop_length: int = 160,
        samples: int = 480_000,
    ) -> None:
        bank: dict[str, Any] = {"num_mel_filters": mel_bins, "min_frequency": 0.0, "max_frequency": 8000.0}
        super().__init__(sample_rate_hz, n_fft, hop_length, **bank, norm="slaney", mel_scale="slaney")
        self.samples = samples

    @override
    def span(self, samples: int) -> int:
        return self.samples

    @override
    def forward(self, waveform: Tensor) -> Tensor:
        waveform = waveform[:, : self.samples]
        waveform = F.pad(waveform, (0, self.samples - waveform.shape[-1]))
        # as published: without the last frame, at most 8 decades below the clip's maximum, and (x + 4) / 4
        logarithm = self.mel_power(waveform)[..., :-1].clamp(min=1e-10).log10()
        logarithm = logarithm.maximum(logarithm.amax((1, 2), keepdim=True) - 8)
        return ((logarithm + 4) / 4).to(waveform.dtype)


class ClapMel(ShortTimeMel):
    """Mel spectrogram in dB of 10 s, short clips repeated: the input of CLAP.

    The features have shape (batch, views, frames, mel bins). Of longer clips only the beginning is used; the
    published extractor draws random pieces.

    Args:
        sample_rate_hz: Sample rate of the waveforms.
        mel_bins: Number of filters.
        n_fft: Length of window and transform in samples.
        hop_length: Distance between frames in samples.
        samples: Number of samples to which clips are cut or padded.
        lowest_hz: Lower end of the filter bank.
        highest_hz: Upper end of the filter bank.
        padding: Padding of short clips: ``repeatpad`` (whole repetitions, then zeros), ``repeat`` or ``pad``.
        fusion: Whether the network fuses four views of a clip; they are equal for clips that are not longer.

    Raises:
        ConfigurationError: The padding is unknown.
    """

    def __init__(
        self,
        sample_rate_hz: int = 48_000,
        mel_bins: int = 64,
        n_fft: int = 1024,
        hop_length: int = 480,
        samples: int = 480_000,
        lowest_hz: float = 50,
        highest_hz: float = 14_000,
        padding: str = "repeatpad",
        fusion: bool = False,
    ) -> None:
        bank: dict[str, Any] = {
            "num_mel_filters": mel_bins,
            "min_frequency": lowest_hz,
            "max_frequency": highest_hz,
        }
        bank |= {"norm": None, "mel_scale": "htk"} if fusion else {"norm": "slaney", "mel_scale": "slaney"}
        super().__init__(sample_rate_hz, n_fft, hop_length, **bank)
        if padding not in ("repeatpad", "repeat", "pad"):
            raise ConfigurationError(f"padding: {padding!r} is none of repeatpad, repeat, pad")
        self.samples, self.padding, self.fusion = samples, padding, fusion

    @override
    def span(self, samples: int) -> int:
        return self.samples

    @override
    def forward(self, waveform: Tensor) -> Tensor:
        waveform = waveform[:, : self.samples]
        times = self.samples // waveform.shape[-1]
        # repeatpad:  x x x | x x x | 0 0      repeat:  x x x | x x x | x x
        if self.padding != "pad" and waveform.shape[-1] < self.samples:
            waveform = waveform.repeat(1, times + (self.padding == "repeat"))[:, : self.samples]
        waveform = F.pad(waveform, (0, self.samples - waveform.shape[-1]))
        decibels = 10 * self.mel_power(waveform).clamp(min=1e-10).log10()
        views = decibels.transpose(1, 2)[:, None].to(waveform.dtype)
        return views.expand(-1, 4, -1, -1) if self.fusion else views


def make_features(extractor: Any) -> Features:
    """Return the differentiable counterpart of a feature extractor of `transformers`.

    Args:
        extractor: Feature extractor, or the contents of its ``preprocessor_config.json``.

    Raises:
        ConfigurationError: There is no counterpart.
    """
    options = dict(extractor if isinstance(extractor, dict) else extractor.to_dict())
    kind = str(options.get("feature_extractor_type") or type(extractor).__name__)
    rate = int(options.get("sampling_rate", 16_000))
    if kind == "Wav2Vec2FeatureExtractor":
        return UnitVariance(rate, bool(options.get("do_normalize", True)))
    if kind == "ASTFeatureExtractor":
        numbers = {name: options[key] for name, key in _AST.items() if key in options}
        return FilterBank(rate, normalize=bool(options.get("do_normalize", True)), **numbers)
    if kind == "WhisperFeatureExtractor":
        numbers = {name: options[key] for name, key in _WHISPER.items() if key in options}
        return WhisperMel(rate, samples=int(options.get("chunk_length", 30)) * rate, **numbers)
    if kind == "ClapFeatureExtractor":
        numbers = {name: options[key] for name, key in _CLAP.items() if key in options}
        fusion = options.get("truncation", "fusion") == "fusion"
        return ClapMel(rate, samples=int(options.get("max_length_s", 10)) * rate, fusion=fusion, **numbers)
    raise ConfigurationError(
        f"feature_extractor: {kind} has no differentiable counterpart here (ASTFeatureExtractor, "
        "ClapFeatureExtractor, Wav2Vec2FeatureExtractor and WhisperFeatureExtractor have one); wrap features and "
        'model in one nn.Module and pass it to TorchClassifier with input="waveform"'
    )


# names of our options -> names in preprocessor_config.json
_AST = {"mel_bins": "num_mel_bins", "frames": "max_length", "mean": "mean", "std": "std"}
_WHISPER = {"mel_bins": "feature_size", "n_fft": "n_fft", "hop_length": "hop_length"}
_CLAP = {"mel_bins": "feature_size", "n_fft": "fft_window_size", "hop_length": "hop_length"}
_CLAP |= {"lowest_hz": "frequency_min", "highest_hz": "frequency_max", "padding": "padding"}


def _mel_filters(**options: Any) -> Tensor:
    from otoscope.classifiers.image import transformers_package

    transformers_package()
    from transformers.audio_utils import mel_filter_bank

    with warnings.catch_warnings():
        # AST was published with filters that are narrower than a bin and hold only zeros
        warnings.filterwarnings("ignore", "At least one mel filter")
        return torch.from_numpy(np.asarray(mel_filter_bank(**options), dtype=np.float32))


def _precise(waveform: Tensor) -> Tensor:
    """Convert to double precision, which the extractors use: quiet bands beside loud ones need it."""
    # MPS has no double precision
    return waveform if waveform.device.type == "mps" else waveform.double()
