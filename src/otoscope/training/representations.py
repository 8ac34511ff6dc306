"""Cache of the frozen classifier's predictions, so that training runs the classifier only once per clip."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from otoscope.audio import Spectrogram
from otoscope.classifiers import Classifier, Prediction
from otoscope.classifiers.fingerprint import traits_of
from otoscope.files.array_cache import ArrayCache


class RepresentationCache:
    """Predictions of a frozen classifier, stored on disk and read memory-mapped.

    Args:
        classifier: Frozen classifier.
        folder: Folder of the cache.
    """

    def __init__(self, classifier: Classifier, folder: Path) -> None:
        self.classifier = classifier
        self.cache = ArrayCache(folder)
        self.fingerprint = json.dumps(traits_of(classifier), sort_keys=True)

    def predict(self, keys: Sequence[str], spectrogram: Spectrogram) -> Prediction:
        """Return the prediction for clips; only what is not stored is computed.

        Args:
            keys: Cache key of each clip.
            spectrogram: Spectrogram of the clips, without padding.
        """
        stored = [self._clip(key, clip) for key, clip in zip(keys, spectrogram.split(1), strict=True)]
        device = spectrogram.log_magnitude.device
        logits, *representations = (torch.stack(parts).to(device) for parts in zip(*stored, strict=True))
        return Prediction(
            logits,
            tuple(representations),
            multi_label=self.classifier.multi_label,
            stretched=self.classifier.stretched,
        )

    def _clip(self, key: str, clip: Spectrogram) -> list[torch.Tensor]:
        """Return logits and representations of one clip."""
        predictions: list[Prediction] = []  # filled by the first part that is not stored

        def compute(part: int) -> np.ndarray:
            if not predictions:
                with torch.no_grad():
                    predictions.append(self.classifier.predict(clip))
            prediction = predictions[0]
            values = (prediction.logits, *prediction.representations)[part]
            return values[0].float().cpu().contiguous().numpy()

        # One entry per array, so that each is read on its own; the fingerprint makes another classifier miss them.
        count = 1 + len(self.classifier.representation_channels)
        name = f"{self.fingerprint}|{key}"
        arrays = [self.cache.get(f"{name}|{part}", name, partial(compute, part)) for part in range(count)]
        # PyTorch does not accept read-only memory maps without a warning.
        return [torch.from_numpy(array.copy()) for array in arrays]
