"""The inputs of published networks, made from waveforms in torch, so that gradients reach the waveform.

Each equals the feature extractor of `transformers` that it stands for, and takes clips of one length.
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

from otoscope.errors import ConfigurationError

_KALDI_FLOOR = 1.192092955078125e-07
_LENGTH, _HOP, _TRANSFORM, _PREEMPHASIS = 400, 160, 512, 0.97  # of the filter bank, as AST was published
_LOWEST_HZ = 20


class Features(nn.Module, ABC):
    """Waveform in, network input out.

    Args:
        sample_rate_hz: Rate of the waveforms.
    """

    input_name = "input_values"
    """The argument of the network that takes it."""

    def __init__(self, sample_rate_hz: int) -> None:
        super().__init__()
        self.sample_rate_hz = sample_rate_hz

    def span(self, samples: int) -> int:
        """Samples that the network's input spans; not those of the clip where it has a length of its own."""
        return samples

    @abstractmethod
    def forward(self, waveform: Tensor) -> Tensor:
        """Makes the input of clips of one length, shape (batch, samples)."""


class UnitVariance(Features):
    """The waveform with mean 0 and variance 1 in each clip, as wav2vec2 and its kin take it.

    Args:
        sample_rate_hz: Rate of the waveforms.
        normalize: False: the waveform as it is.
    """

    def __init__(self, sample_rate_hz: int = 16_000, normalize: bool = True) -> None:
        super().__init__(sample_rate_hz)
        self.normalize = normalize

    def forward(self, waveform: Tensor) -> Tensor:
        """See `Features.forward`. Shape (batch, samples)."""
        if not self.normalize:
            return waveform
        centred = waveform - waveform.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + 1e-7).sqrt()


class FilterBank(Features):
    """Kaldi's log mel filter bank, normalised, of a fixed number of frames, as AST takes it.

    Args:
        sample_rate_hz: Rate of the waveforms.
        mel_bins: Filters.
        frames: Of the result, 10 ms each; clips are cut or continued with zeros.
        mean: Subtracted.
        std: Half of what it is divided by.
        normalize: False: neither.
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
        """Centres of the filters. Shape (mel bins,)."""
        low, high = (1127 * math.log1p(hertz / 700) for hertz in (_LOWEST_HZ, self.sample_rate_hz // 2))
        return 700 * (torch.linspace(low, high, self.filters.shape[1] + 2)[1:-1] / 1127).expm1()

    def span(self, samples: int) -> int:
        """See `Features.span`."""
        return self.frames * _HOP

    def forward(self, waveform: Tensor) -> Tensor:
        """See `Features.forward`. Shape (batch, frames, mel bins)."""
        waveform = F.pad(waveform, (0, max(0, _LENGTH - waveform.shape[-1])))
        pieces = _precise(waveform).unfold(-1, _LENGTH, _HOP)[:, : self.frames]
        pieces = pieces - pieces.mean(-1, keepdim=True)
        before = torch.cat([pieces[..., :1], pieces[..., :-1]], -1)
        window = torch.hann_window(_LENGTH, periodic=False, dtype=pieces.dtype, device=pieces.device)
        transform = torch.fft.rfft((pieces - _PREEMPHASIS * before) * window, _TRANSFORM)
        power = torch.view_as_real(transform).square().sum(-1)
        bank = (power @ self.filters.to(power)).clamp(min=_KALDI_FLOOR).log().to(waveform.dtype)
        bank = F.pad(bank, (0, 0, 0, self.frames - bank.shape[1]))
        return (bank - self.mean) / (2 * self.std) if self.normalize else bank


class ShortTimeMel(Features):
    """Mel spectrogram of power with a Hann window, centred and mirrored at the ends.

    Args:
        sample_rate_hz: Rate of the waveforms.
        n_fft: Length of window and transform.
        hop_length: In samples.
        **bank: Of ``transformers.audio_utils.mel_filter_bank``.
    """

    input_name = "input_features"
    filters: Tensor

    def __init__(self, sample_rate_hz: int, n_fft: int, hop_length: int, **bank: Any) -> None:
        super().__init__(sample_rate_hz)
        self.n_fft, self.hop_length = n_fft, hop_length
        filters = _mel_filters(num_frequency_bins=n_fft // 2 + 1, sampling_rate=sample_rate_hz, **bank)
        self.register_buffer("filters", filters, persistent=False)

    def mel_power(self, waveform: Tensor) -> Tensor:
        """Shape (batch, mel bins, frames)."""
        waveform = _precise(waveform)
        window = torch.hann_window(self.n_fft, dtype=waveform.dtype, device=waveform.device)
        transform = torch.stft(waveform, self.n_fft, self.hop_length, window=window, return_complex=True)
        power = torch.view_as_real(transform).square().sum(-1)
        return self.filters.to(power).T @ power


class WhisperMel(ShortTimeMel):
    """Log mel spectrogram of 30 s with at most 8 decades of range, as Whisper takes it.

    Args:
        sample_rate_hz: Rate of the waveforms.
        mel_bins: Filters.
        n_fft: Length of window and transform.
        hop_length: In samples.
        samples: Of the clip; others are cut or continued with zeros.
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

    def span(self, samples: int) -> int:
        """See `Features.span`."""
        return self.samples

    def forward(self, waveform: Tensor) -> Tensor:
        """See `Features.forward`. Shape (batch, mel bins, frames)."""
        waveform = waveform[:, : self.samples]
        waveform = F.pad(waveform, (0, self.samples - waveform.shape[-1]))
        logarithm = self.mel_power(waveform)[..., :-1].clamp(min=1e-10).log10()
        logarithm = logarithm.maximum(logarithm.amax((1, 2), keepdim=True) - 8)
        return ((logarithm + 4) / 4).to(waveform.dtype)


class ClapMel(ShortTimeMel):
    """Mel spectrogram in dB of 10 s, short clips repeated, as CLAP takes it.

    Longer clips are cut to their beginning, where the published extractor takes random pieces.

    Args:
        sample_rate_hz: Rate of the waveforms.
        mel_bins: Filters.
        n_fft: Length of window and transform.
        hop_length: In samples.
        samples: Of the clip.
        lowest_hz: Of the filters.
        highest_hz: Of the filters.
        padding: ``repeatpad`` (whole repetitions, then zeros), ``repeat`` or ``pad``.
        fusion: The network fuses four views, which are equal for clips that are not longer.
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

    def span(self, samples: int) -> int:
        """See `Features.span`."""
        return self.samples

    def forward(self, waveform: Tensor) -> Tensor:
        """See `Features.forward`. Shape (batch, views, frames, mel bins)."""
        waveform = waveform[:, : self.samples]
        times = self.samples // waveform.shape[-1]
        if self.padding != "pad" and waveform.shape[-1] < self.samples:
            waveform = waveform.repeat(1, times + (self.padding == "repeat"))[:, : self.samples]
        waveform = F.pad(waveform, (0, self.samples - waveform.shape[-1]))
        decibels = 10 * self.mel_power(waveform).clamp(min=1e-10).log10()
        views = decibels.transpose(1, 2)[:, None].to(waveform.dtype)
        return views.expand(-1, 4, -1, -1) if self.fusion else views


def make_features(extractor: Any) -> Features:
    """The differentiable counterpart of a feature extractor of `transformers`.

    Args:
        extractor: A feature extractor, or a mapping such as ``preprocessor_config.json`` holds.

    Raises:
        ConfigurationError: It is of a kind that is not known here.
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
        "ClapFeatureExtractor, Wav2Vec2FeatureExtractor and WhisperFeatureExtractor have); wrap features and model "
        'in one nn.Module and give it to TorchClassifier with input="waveform"'
    )


_AST = {"mel_bins": "num_mel_bins", "frames": "max_length", "mean": "mean", "std": "std"}
_WHISPER = {"mel_bins": "feature_size", "n_fft": "n_fft", "hop_length": "hop_length"}
_CLAP = {"mel_bins": "feature_size", "n_fft": "fft_window_size", "hop_length": "hop_length"}
_CLAP |= {"lowest_hz": "frequency_min", "highest_hz": "frequency_max", "padding": "padding"}


def _mel_filters(**options: Any) -> Tensor:
    from otoscope.classifiers.image import transformers_package

    transformers_package()
    from transformers.audio_utils import mel_filter_bank

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "At least one mel filter")  # AST was published with such
        return torch.from_numpy(np.asarray(mel_filter_bank(**options), dtype=np.float32))


def _precise(waveform: Tensor) -> Tensor:
    """In double precision, as the extractors compute: quiet bands beside loud ones need it."""
    return waveform if waveform.device.type == "mps" else waveform.double()
