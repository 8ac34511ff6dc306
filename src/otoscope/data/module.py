"""Base class of the data sets, and the reproducible shuffling of training clips."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence, Sized
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import distributed
from torch.utils.data import DataLoader, Dataset, DistributedSampler
from typing_extensions import override

from otoscope.data.clips import Batch, Clip, ClipFile, ClipFiles, collate, decode_missing
from otoscope.errors import AudioError, ConfigurationError, DataError
from otoscope.files.array_cache import ArrayCache, default_cache_folder
from otoscope.seeding import generator_for

_DEFAULT_RATE_HZ = 16_000


class EpochShuffle(DistributedSampler[int]):
    """Shuffling that depends on seed and epoch alone, so that a resumed run repeats an uninterrupted one.

    Where several processes train together, they get the clips of this order in turn, so that their batches make up
    the batch that one process would have.

    Args:
        data: Data set to shuffle.
        seed: Seed of the order.
    """

    def __init__(self, data: Sized, seed: int) -> None:
        together = distributed.is_available() and distributed.is_initialized()
        processes, rank = (distributed.get_world_size(), distributed.get_rank()) if together else (1, 0)
        # Lightning recognises this class and does not deal the clips itself, which would shuffle them once more.
        super().__init__(data, processes, rank, seed=seed)  # type: ignore[arg-type]
        self.data = data

    @override
    def __iter__(self) -> Iterator[int]:
        generator = generator_for(self.seed, self.epoch)
        order = torch.randperm(len(self.data), generator=generator).tolist()
        # All processes need equally many clips, so the first ones come again at the end.
        order += order[: self.total_size - len(order)]
        return iter(order[self.rank :: self.num_replicas])


class SoundData(lightning.LightningDataModule):
    """Base class of the data sets. To write your own, set ``labels`` and the three sets in ``setup``.

    Args:
        batch_size: Number of clips in a batch.
        num_workers: Number of worker processes of each loader; 0 is fastest for cached clips.
        sample_rate_hz: Sample rate of the waveforms (default: that of the model; 16 000 Hz without one).
        seed: Seed of the order of the training clips, of a random division, and of generated clips.
        cache_folder: Folder of the decoded clips (default: the user's cache folder).
        skip_bad: Whether to leave out files that cannot be read as sound, instead of reporting them as an error.

    Raises:
        ConfigurationError: An option is out of its range.
    """

    labels: list[str]
    train_set: Dataset[Clip]
    valid_set: Dataset[Clip]
    test_set: Dataset[Clip]

    def __init__(
        self,
        batch_size: int = 16,
        num_workers: int = 0,
        sample_rate_hz: int | None = None,
        seed: int = 1234,
        cache_folder: str | os.PathLike[str] | None = None,
        skip_bad: bool = False,
    ) -> None:
        super().__init__()
        if batch_size < 1 or num_workers < 0:
            raise ConfigurationError(
                f"data: batch_size ({batch_size}) must be 1 or more, num_workers ({num_workers}) 0 or more"
            )
        self.batch_size = batch_size
        self.num_workers = num_workers
        if sample_rate_hz is not None and sample_rate_hz < 1:
            raise ConfigurationError(f"data.sample_rate_hz: {sample_rate_hz} must be positive")
        self.sample_rate_hz = _DEFAULT_RATE_HZ if sample_rate_hz is None else sample_rate_hz
        self.rate_is_chosen = sample_rate_hz is not None
        self.seed = seed
        self.skip_bad = skip_bad
        self.cache_folder = Path(cache_folder) if cache_folder else default_cache_folder()

    def __repr__(self) -> str:
        parts = [f"{len(self.labels)} classes"] if hasattr(self, "labels") else []
        parts.append(f"{self.sample_rate_hz} Hz")
        for name in ("train", "valid", "test"):
            clips = getattr(self, f"{name}_set", None)  # absent before `setup`
            if isinstance(clips, Sized):
                parts.append(f"{name} {len(clips)}")
        return f"{type(self).__name__}({', '.join(parts)})"

    def take_rate(self, model_rate_hz: int) -> None:
        """Adopt the sample rate of the model, before anything is decoded.

        Args:
            model_rate_hz: Sample rate that the model's front-end takes.

        Raises:
            ConfigurationError: Another rate was chosen for the data.
        """
        if model_rate_hz == self.sample_rate_hz:
            return
        if self.rate_is_chosen:
            raise ConfigurationError(
                f"data.sample_rate_hz: the clips are to have {self.sample_rate_hz} Hz, but the model's front-end "
                f"takes {model_rate_hz} Hz; leave out data.sample_rate_hz, or set both to the same rate"
            )
        self.sample_rate_hz = model_rate_hz

    def take_clip_length(self, clip_s: float | None) -> None:
        """Adopt the length of the clips that the model was trained on, where the data set cuts clips itself.

        Args:
            clip_s: Length in seconds; None if the model does not state it.
        """

    def train_dataloader(self) -> DataLoader[Clip]:
        """Return a loader that shuffles the training clips anew in each epoch."""
        clips = _with_length(self.train_set)
        # Batch normalisation has no statistics of a batch of one clip, so a last batch of one is left out.
        sampler = EpochShuffle(clips, self.seed)
        single = len(sampler) % self.batch_size == 1 < len(sampler)
        return self.loader(self.train_set, sampler=sampler, drop_last=single)

    def val_dataloader(self) -> DataLoader[Clip]:
        """Return a loader of the validation clips, in order."""
        return self.loader(self.valid_set)

    def test_dataloader(self) -> DataLoader[Clip]:
        """Return a loader of the test clips, in order."""
        return self.loader(self.test_set)

    def loader(self, clips: Dataset[Clip], **options: Any) -> DataLoader[Clip]:
        """Return a loader that makes a `Batch` of each ``batch_size`` clips.

        Args:
            clips: Clips to load.
            **options: Further options of `torch.utils.data.DataLoader`.
        """
        collate_fn: Callable[[list[Clip]], Batch] = collate
        return DataLoader(
            clips,
            self.batch_size,
            num_workers=self.num_workers,
            collate_fn=collate_fn,
            persistent_workers=self.num_workers > 0,
            **options,
        )

    def decode_all(self) -> None:
        """Decode all clips that the cache does not hold yet; see `decode_missing`.

        Raises:
            AudioError: Files are no usable sounds, and ``skip_bad`` is False; the message names them all.
            DataError: No clip of a set is left.
        """
        reasons: dict[str, None] = {}  # in order, each once: a file may be in two sets
        for clips in (self.train_set, self.valid_set, self.test_set):
            if isinstance(clips, ClipFiles):
                errors = decode_missing(clips)
                reasons |= dict.fromkeys(map(str, errors.values()))
                if self.skip_bad and errors:
                    clips.leave_out(errors)
                    if not len(clips):
                        raise DataError(f"data: no clip of a set can be read: {'; '.join(reasons)}")
        if not reasons:
            return
        count = f"{len(reasons)} file{'s' * (len(reasons) > 1)} cannot be used"
        if not self.skip_bad:
            remedy = "" if len(reasons) == 1 else f"{count}; leave them out with --data.skip_bad true: "
            raise AudioError(remedy + "; ".join(reasons))
        print(f"{count} and left out:", *reasons, sep="\n  ", file=sys.stderr)

    def clip_files(self, files: Sequence[ClipFile]) -> ClipFiles:
        """Return files as a set of clips at the rate of this data set, decoded through its cache."""
        return ClipFiles(files, self.sample_rate_hz, ArrayCache(self.cache_folder / "clips"))


def _with_length(clips: Dataset[Clip]) -> Sized:
    if not isinstance(clips, Sized):
        raise ConfigurationError(f"{type(clips).__name__} has no length; a training set needs one")
    return clips
