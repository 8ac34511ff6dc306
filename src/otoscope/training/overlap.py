"""The overlap test: does the interpretation of a mixture of two clips keep the clip that was recognised?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor

from otoscope.audio import peak_normalize, save_audio
from otoscope.data import Clip
from otoscope.explanation import Explanation
from otoscope.files.json import write_json
from otoscope.metrics import si_sdr
from otoscope.plots import save_picture, spectra_picture
from otoscope.training.brain import InterpreterBrain
from otoscope.training.callbacks import spread


class OverlapTest(lightning.Callback):
    """Callback that explains mixtures of two test clips and measures which of them the interpretation keeps.

    The two clips of a mixture, *source* and *noise*, have different classes. The files of a mixture are written to
    ``<folder>/<source>-with-<noise>/``: ``mixture.wav source.wav noise.wav interpretation.wav specs.png
    overlap.json``. The mean scores become part of ``test.json``.

    Args:
        folder: Folder of the mixtures.
        clips: Number of mixtures; 0 for none.
        concat_sources: Whether to concatenate the first half of the source and the second half of the noise,
            instead of adding them.
        level: Weight of the source in the sum of both at equal energy; with 0.8 it is 12 dB above the noise.
    """

    def __init__(
        self, folder: str | Path, clips: int = 0, concat_sources: bool = False, level: float = 0.8
    ) -> None:
        self.folder = Path(folder)
        self.clips = clips
        self.concat_sources = concat_sources
        self.level = level

    def on_test_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Run the test on clips spread over the test set."""
        if self.clips < 1 or not trainer.is_global_zero or not isinstance(pl_module, InterpreterBrain):
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        results = []
        with pl_module.explaining() as explainer:
            for source, noise in _pairs(data.test_set, self.clips):
                parts = mixture_of(source.waveform, noise.waveform, self.concat_sources, self.level)
                name = f"{source.name}-with-{noise.name}"
                explanation = explainer.explain(parts[0], name=name, scores=False)
                labels = (data.labels[source.target], data.labels[noise.target])
                results.append(save_overlap(self.folder / explanation.name, explanation, parts, labels))
        scores = [name for name, value in results[0].items() if isinstance(value, float)] if results else []
        pl_module.extra_results["overlap"] = {
            "mixtures": len(results),
            **{name: sum(result[name] for result in results) / len(results) for name in scores},
        }


def mixture_of(
    source: Tensor, noise: Tensor, concat_sources: bool = False, level: float = 0.8
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mixture of two clips.

    Args:
        source: Waveform of the source, shape (samples,).
        noise: Waveform of the noise, cut or padded to the length of the source. Shape (samples',).
        concat_sources: Whether to concatenate the first half of the source and the second half of the noise,
            instead of adding them.
        level: Weight of the source in the sum of both at unit energy.

    Returns:
        The mixture with a peak of 1, and source and noise as they are in it: the mixture is their sum. Shape
        (samples,) each.
    """
    noise = torch.nn.functional.pad(noise, (0, max(0, len(source) - len(noise))))[: len(source)]
    if concat_sources:
        middle = len(source) // 2
        source, noise = source.clone(), noise.clone()
        source[middle:] = 0
        noise[:middle] = 0
    else:
        # at unit energy of both, the source is 20 log10(level / (1 - level)) dB above the noise
        source, noise = level * _unit(source), (1 - level) * _unit(noise)
    # one gain for all three, so that the parts still add up to the mixture
    gain = 1 / (source + noise).abs().max().clamp(min=1e-12)
    return gain * (source + noise), gain * source, gain * noise


def save_overlap(
    folder: Path, explanation: Explanation, parts: tuple[Tensor, Tensor, Tensor], labels: tuple[str, str]
) -> dict[str, Any]:
    """Write the sounds, the picture and the scores of a mixture.

    Args:
        folder: Folder to write.
        explanation: Explanation of the mixture.
        parts: Mixture, source and noise; shape (samples,) each.
        labels: Labels of source and noise.

    Returns:
        Content of ``overlap.json``: both labels, the predicted class, and the SI-SDR in dB of the interpretation
        and of the unmasked mixture, with the source or the noise as the reference.
    """
    mixture, source, noise = parts
    sounds = {"mixture": mixture, "source": source, "noise": noise, "interpretation": explanation.evidence}
    for name, waveform in sounds.items():
        save_audio(folder / f"{name}.wav", waveform, explanation.sample_rate_hz)
    frontend = explanation.frontend
    assert frontend is not None
    panels = {
        f"source: {labels[0]}": frontend.log_magnitude(peak_normalize(source[None]))[0].numpy(),
        f"noise: {labels[1]}": frontend.log_magnitude(peak_normalize(noise[None]))[0].numpy(),
        f"mixture: {explanation.predicted}": explanation.log_magnitude.numpy(),
        f"mask (mean {explanation.mask.mean():.2f})": explanation.mask.numpy(),
        "interpretation": (explanation.mask * explanation.log_magnitude).numpy(),
    }
    duration_s = len(mixture) / explanation.sample_rate_hz
    figure = spectra_picture(panels, explanation.name, explanation.sample_rate_hz, duration_s)
    save_picture(figure, folder / "specs.png")
    scores = {
        "si_sdr_to_source_db": float(si_sdr(explanation.evidence[None], source[None])),
        "si_sdr_to_noise_db": float(si_sdr(explanation.evidence[None], noise[None])),
        "mixture_si_sdr_to_source_db": float(si_sdr(mixture[None], source[None])),
        "mixture_si_sdr_to_noise_db": float(si_sdr(mixture[None], noise[None])),
    }
    result: dict[str, Any] = {"source": labels[0], "noise": labels[1], "predicted": explanation.predicted, **scores}
    write_json(folder / "overlap.json", result)
    return result


def _pairs(clips: Any, wanted: int) -> list[tuple[Clip, Clip]]:
    """Return clips spread over the data set, each with a clip of another class."""
    # The search for the other clip starts half the data set further on: sorted data has other classes there.
    pairs = []
    for index in spread(len(clips), wanted):
        source = clips[index]
        others = (clips[(index + len(clips) // 2 + step) % len(clips)] for step in range(len(clips)))
        noise = next((other for other in others if other.target != source.target), None)
        if noise is not None:
            pairs.append((source, noise))
    return pairs


def _unit(waveform: Tensor) -> Tensor:
    norm: Tensor = waveform.norm()
    return waveform / norm.clamp(min=1e-12)
