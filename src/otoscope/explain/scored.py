"""Scores of a batch of clips: heard and seen, of the method and of its controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from otoscope.explain.analysis import Analysis
from otoscope.interpreters.masked_sounds import answers_to_hard_masks
from otoscope.scoring import control_masks, hear_parts, score_prediction

Scores = dict[str, float]
_Table = dict[str, dict[str, Tensor]]


@dataclass
class ScoredBatch:
    """Scores of the clips of a batch.

    Attributes:
        method: Row of the method in both tables; the other rows are its controls.
        heard: Scores of the sounds, by row and name. Shape of each (batch,).
        seen: Scores of the masked spectrograms. Shape of each (batch,).
        parts: Class probabilities of the sounds of evidence and remainder. Shape (2, batch, classes).
    """

    method: str
    heard: _Table
    seen: _Table
    parts: Tensor

    def heard_row(self, clip: int) -> tuple[Scores, dict[str, Scores]]:
        """Return the heard scores of one clip by the method, and by each control."""
        return self._row(self.heard, clip)

    def seen_row(self, clip: int) -> tuple[Scores, dict[str, Scores]]:
        """Return the scores of the masked spectrogram of one clip by the method, and by each control."""
        return self._row(self.seen, clip)

    def _row(self, table: _Table, clip: int) -> tuple[Scores, dict[str, Scores]]:
        rows = {
            row: {name: float(values[clip]) for name, values in scores.items()} for row, scores in table.items()
        }
        return rows.pop(self.method), rows


@torch.no_grad()
def score_batch(analysis: Analysis, method: str, mask: Tensor, names: Sequence[str]) -> ScoredBatch:
    """Score a mask and its controls by their sounds and by the masked spectrograms.

    Args:
        analysis: Clips.
        method: Title of the method that made the mask.
        mask: Mask in [0, 1], shape (batch, frequency, time).
        names: Name of each clip; the controls depend on it.
    """
    classifier, spectrogram, prediction = analysis.classifier, analysis.spectrogram, analysis.prediction
    answers_to = answers_to_hard_masks(classifier, spectrogram, analysis.normalize)

    def hear(part: Tensor) -> Tensor:
        if not bool(((part == 0) | (part == 1)).all()):
            return hear_parts(classifier, spectrogram, part, analysis.normalize)
        both = torch.cat([part, spectrogram.zero_padding(1 - part)])
        return answers_to(both).view(2, len(part), -1)

    parts = hear(mask)
    heard = {method: score_prediction(classifier, spectrogram, prediction, mask, probabilities=parts)}
    seen = {method: score_prediction(classifier, spectrogram, prediction, mask)}
    for name, control in control_masks(mask, spectrogram, names).items():
        sounds = hear(control)
        heard[name] = score_prediction(classifier, spectrogram, prediction, control, probabilities=sounds)
        seen[name] = score_prediction(classifier, spectrogram, prediction, control)
    return ScoredBatch(method, heard, seen, parts)
