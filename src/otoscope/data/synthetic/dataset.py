"""Synthetic scenes as clips with known events, and the data set of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch.utils.data import Dataset
from typing_extensions import override

from otoscope.audio import peak_normalize
from otoscope.data.clips import Clip
from otoscope.data.module import SoundData
from otoscope.data.synthetic.scenes import SyntheticScenes


class SyntheticClips(Dataset[Clip]):
    """`SyntheticScenes` as clips; each scene is generated once and then kept in memory.

    Args:
        scenes: Scenes to convert.
        key: Cache key of the scenes; the position is appended for each clip.
    """

    def __init__(self, scenes: SyntheticScenes, key: str) -> None:
        self.scenes = scenes
        self.key = key
        self._clips: dict[int, Clip] = {}

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> Clip:
        if index not in self._clips:
            scene = self.scenes[index]
            mixture = scene.mixture
            scaled = peak_normalize(mixture)
            # The event gets the gain of the mixture, so that it stays a part of the waveform.
            gain = scaled.abs().max() / mixture.abs().max().clamp(min=1e-12)
            key = f"{self.key}/{index}"
            self._clips[index] = Clip(scaled, scene.target, scene.name, key, event=gain * scene.event)
        return self._clips[index]


class Synthetic(SoundData):
    """Generated sound events over random backgrounds, with known ground truth.

    Args:
        clips_per_class: Number of training clips per class; validation and test have a quarter each.
        classes: Labels among those of `otoscope.data.synthetic.events.EVENTS` (default: all).
        duration_s: Length of each clip.
        snr_db: Lowest and highest level of the event over the background.
        **options: See `SoundData`; nothing is read or written, so there is no ``cache_folder``.

    Raises:
        ConfigurationError: An option is out of its range.
    """

    def __init__(
        self,
        clips_per_class: int = 40,
        classes: Sequence[str] | None = None,
        duration_s: float = 2.0,
        snr_db: tuple[float, float] = (0.0, 15.0),
        **options: Any,
    ) -> None:
        super().__init__(cache_folder=None, **options)
        self.clips_per_class = clips_per_class
        self.classes = classes
        self.duration_s = duration_s
        self.snr_db = snr_db

    @override
    def setup(self, stage: str) -> None:
        """Set up the three sets; each scene is generated when it is first read."""
        # The sets have the seeds 3 s, 3 s + 1 and 3 s + 2, so that data sets with adjacent seeds share no scene.
        held_out = max(1, self.clips_per_class // 4)
        self.train_set = self._clips(self.clips_per_class, 3 * self.seed)
        self.valid_set = self._clips(held_out, 3 * self.seed + 1)
        self.test_set = self._clips(held_out, 3 * self.seed + 2)
        self.labels = list(self.train_set.scenes.classes)

    def _clips(self, clips_per_class: int, seed: int) -> SyntheticClips:
        scenes = SyntheticScenes(
            clips_per_class, self.classes, self.duration_s, self.sample_rate_hz, self.snr_db, seed
        )
        options = (self.classes, self.duration_s, self.sample_rate_hz, self.snr_db, seed)
        return SyntheticClips(scenes, f"synthetic{options}")
