"""Synthetic scenes as a data set: sound events over backgrounds, with the event known apart."""

from __future__ import annotations

from collections.abc import Sequence

from torch.utils.data import Dataset

from otoscope.audio import peak_normalize
from otoscope.data.module import Clip, SoundData
from otoscope.data.scenes import SyntheticScenes


class SyntheticClips(Dataset[Clip]):
    """`SyntheticScenes` as clips; each scene is made once and then kept in memory."""

    def __init__(self, scenes: SyntheticScenes, key: str) -> None:
        self.scenes = scenes
        self.key = key
        self._made: dict[int, Clip] = {}

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> Clip:
        if index not in self._made:
            scene = self.scenes[index]
            mixture = scene.mixture
            scaled = peak_normalize(mixture)
            gain = scaled.abs().max() / mixture.abs().max().clamp(min=1e-12)
            key = f"{self.key}/{index}"
            self._made[index] = Clip(scaled, scene.target, scene.name, key, event=gain * scene.event)
        return self._made[index]


class Synthetic(SoundData):
    """Procedurally generated sound events over random backgrounds, with known ground truth.

    Args:
        clips_per_class: Training clips of each class; validation and test have a quarter each.
        classes: Labels of `otoscope.data.sounds.EVENTS`; all by default.
        duration_s: Length of each clip.
        snr_db: Range of the event's level over the background's.
        batch_size: Clips in a batch.
        num_workers: Worker processes of each loader.
        sample_rate_hz: Rate of the waveforms.
        seed: Makes the whole data set.
    """

    def __init__(
        self,
        clips_per_class: int = 40,
        classes: Sequence[str] | None = None,
        duration_s: float = 2.0,
        snr_db: tuple[float, float] = (0.0, 15.0),
        batch_size: int = 16,
        num_workers: int = 0,
        sample_rate_hz: int = 16_000,
        seed: int = 1234,
    ) -> None:
        super().__init__(batch_size, num_workers, sample_rate_hz, seed)
        self.clips_per_class = clips_per_class
        self.classes = classes
        self.duration_s = duration_s
        self.snr_db = snr_db

    def setup(self, stage: str) -> None:
        """Makes the three sets; no scene is drawn before it is asked for."""
        few = max(1, self.clips_per_class // 4)
        self.train_set = self._clips(self.clips_per_class, 3 * self.seed)
        self.valid_set = self._clips(few, 3 * self.seed + 1)
        self.test_set = self._clips(few, 3 * self.seed + 2)
        self.labels = list(self.train_set.scenes.classes)

    def _clips(self, clips_per_class: int, seed: int) -> SyntheticClips:
        scenes = SyntheticScenes(
            clips_per_class, self.classes, self.duration_s, self.sample_rate_hz, self.snr_db, seed
        )
        options = (self.classes, self.duration_s, self.sample_rate_hz, self.snr_db, seed)
        return SyntheticClips(scenes, f"synthetic{options}")
