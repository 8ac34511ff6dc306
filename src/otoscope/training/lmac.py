"""Training of L-MAC, with noise added to the clips, and fine-tuning of an earlier run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from otoscope.classifiers.fingerprint import digest
from otoscope.data import Batch, batch_of
from otoscope.data.noise import WHAM_DB, NoiseFolder, mix
from otoscope.errors import CheckpointError, ConfigurationError
from otoscope.interpreters import LMACInterpreter
from otoscope.loading import load_interpreter
from otoscope.nn import DecoderName
from otoscope.training.brain import ClassifierSource, Interpretation, InterpreterBrain
from otoscope.training.seam import stage_name


class LMAC(InterpreterBrain):
    """Training of L-MAC, listenable maps for audio classifiers (arXiv 2403.13086).

    Args:
        classifier: Classifier, or its source; see `InterpreterBrain`.
        decoder: ``light``, or ``published`` (CNN14) for published weights.
        l_in: Weight of the cross-entropy of the evidence.
        l_out: Weight of the cross-entropy of the remainder, which is maximised.
        l1: Weight of the mean mask. The published code weights its sum over the clips of a batch by 0.4; for the
            published batches of 16 this equals 6.4 times the mean.
        tv: Weight of the mean squared difference of neighbouring bins.
        guidance: Weight of the cross-entropy between the mask and the loud bins of the clean clip, for fine-tuning;
            published: 4.
        guidance_correlation: Normalised product of masked and clean spectrogram at or above which a clip is guided.
        guidance_threshold: Share of the clean clip's maximum at or above which a bin is loud.
        decoder_width: Channels of the light decoder at half of the spectrogram's resolution (default: 16).
        start: Model folder of an earlier run to fine-tune, with the same decoder.
        noise_folder: Folder of noise that is added to the training clips, such as WHAM!; its part ``tr`` is used.
        noise_snr_db: Level of the clips above the noise in dB.
        **training: See `InterpreterBrain`.

    Raises:
        ConfigurationError: Both noise and `cache_representations` are given.
        CheckpointError: ``start`` holds no L-MAC interpreter that fits.
    """

    statistic_names = ("acc", "in_masks")

    def __init__(
        self,
        classifier: ClassifierSource,
        decoder: DecoderName = "light",
        l_in: float = 4.0,
        l_out: float = 0.2,
        l1: float = 6.4,
        tv: float = 0.0,
        guidance: float = 0.0,
        guidance_correlation: float = 0.6,
        guidance_threshold: float = 0.35,
        decoder_width: int | None = None,
        start: str | os.PathLike[str] | None = None,
        noise_folder: str | os.PathLike[str] | None = None,
        noise_snr_db: float = WHAM_DB,
        **training: Any,
    ) -> None:
        interpreter = partial(
            LMACInterpreter,
            decoder=decoder,
            l_in=l_in,
            l_out=l_out,
            l1=l1,
            tv=tv,
            guidance=guidance,
            guidance_correlation=guidance_correlation,
            guidance_threshold=guidance_threshold,
            decoder_width=decoder_width,
        )
        super().__init__(classifier, interpreter, **training)
        if noise_folder is not None and training.get("cache_representations"):
            raise ConfigurationError(
                "cache_representations: noise changes every clip in every epoch, so that nothing can be stored; "
                "leave out this option or noise_folder"
            )
        rate = self.frontend.sample_rate_hz
        self.noise = None if noise_folder is None else NoiseFolder(noise_folder, rate, "tr")
        self.noise_snr_db = noise_snr_db
        if start is not None:
            self._start_from(start)

    @override
    def compute_forward(self, batch: Any, stage: object) -> Interpretation:
        """Run front-end, frozen classifier and interpreter, and classify the masked clips.

        Noise is added to the clips in training only.
        """
        batch, stage = batch_of(batch), stage_name(stage)
        if self.noise is not None and stage == "train":
            batch = with_noise(batch, self.noise, self.noise_snr_db)
        forward = super().compute_forward(batch, stage)
        assert isinstance(self.interpreter, LMACInterpreter)
        # The loss and the scores of validation and test share these logits, so they are computed once per step.
        forward.masked_logits = self.interpreter.masked_logits(forward.decoded, forward.spectrogram)
        return forward

    @override
    def statistics(self, forward: Interpretation, batch: Batch) -> dict[str, Tensor]:
        assert isinstance(self.interpreter, LMACInterpreter)
        guided = self.interpreter.guided(forward.decoded.mask, forward.spectrogram, forward.clean)
        return {**super().statistics(forward, batch), "in_masks": guided}

    @override
    def loss_terms(self, forward: Interpretation) -> Mapping[str, Tensor]:
        assert isinstance(self.interpreter, LMACInterpreter)
        return self.interpreter.loss(
            forward.decoded, forward.spectrogram, forward.prediction, forward.clean, forward.masked_logits
        )

    def _start_from(self, folder: str | os.PathLike[str]) -> None:
        former, explained = load_interpreter(folder)
        if not isinstance(former, LMACInterpreter):
            raise CheckpointError(f"start: {folder} holds {type(former).__name__}, not L-MAC's interpreter")
        # Equal sizes are not enough: the decoder reads representations, which other weights would change.
        if digest(explained) != digest(self.classifier):
            raise CheckpointError(f"start: the interpreter in {folder} was trained to explain another classifier")
        try:
            self.interpreter.load_state_dict(former.state_dict())
        except RuntimeError as error:
            raise CheckpointError(
                f"start: the interpreter in {folder} does not fit; it needs the same classifier and decoder "
                f"({str(error).splitlines()[-1].strip()})"
            ) from error


def with_noise(batch: Batch, noise: NoiseFolder, snr_db: float) -> Batch:
    """Add a random piece of noise to each clip; the clips without the noise become `Batch.clean`.

    Args:
        batch: Clips; their padding stays silent.
        noise: Noise from which pieces are cut with torch's random state.
        snr_db: Level of each clip above its noise in dB.

    Returns:
        The mixtures, and as `Batch.clean` the clips at their level in the mixtures.
    """
    waveform, clean = torch.zeros_like(batch.waveform), torch.zeros_like(batch.waveform)
    for index, length in enumerate(batch.lengths.tolist()):
        # only the clip is mixed, so that zero-padding stays zero
        signal = batch.waveform[index, :length]
        mixture = mix(signal, noise.piece(length).to(signal), snr_db)
        waveform[index, :length], clean[index, :length] = mixture.waveform, mixture.signal
    return replace(batch, waveform=waveform, clean=clean)
