"""What every data set is to the rest of the house: clips, batches, and three loaders."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from tqdm import tqdm

from otoscope.audio import load_audio, peak_normalize
from otoscope.errors import ConfigurationError, DataError
from otoscope.files.array_cache import ArrayCache, default_cache_folder, file_key


@dataclass
class Clip:
    """One recording.

    Attributes:
        waveform: Peak-normalised. Shape (samples,).
        target: Index of its class.
        name: Stable and safe as a file name.
        key: Changes when the waveform does; what caches go by.
        event: The part of the waveform that its label is about, where that is known. Shape (samples,).
    """

    waveform: Tensor
    target: int
    name: str
    key: str
    event: Tensor | None = None


@dataclass
class Batch:
    """Clips, padded with zeros to the longest.

    Attributes:
        waveform: Shape (batch, samples).
        lengths: Samples of each clip. Shape (batch,).
        target: Index of the class. Shape (batch,), int64.
        name: Of each clip.
        key: Of each clip; see `Clip`.
        padded: Whether the clips differ in length.
        event: Of each clip, where every clip has one. Shape (batch, samples).
        clean: The clips as they lie in ``waveform``, without the noise that was laid over them. Shape
            (batch, samples).
    """

    waveform: Tensor
    lengths: Tensor
    target: Tensor
    name: list[str]
    key: list[str]
    padded: bool
    event: Tensor | None = None
    clean: Tensor | None = None

    @property
    def sig(self) -> tuple[Tensor, Tensor]:
        """Waveforms and lengths relative to the longest, the words of the reference's batch."""
        return self.waveform, self.lengths / self.waveform.shape[-1]

    def __len__(self) -> int:
        return len(self.name)


def collate(clips: Sequence[Clip]) -> Batch:
    """Puts clips into a batch.

    Example:
        >>> long, short = Clip(torch.ones(3), 0, "a", "a"), Clip(torch.ones(1), 1, "b", "b")
        >>> collate([long, short]).waveform
        tensor([[1., 1., 1.],
                [1., 0., 0.]])
    """
    lengths = torch.tensor([len(clip.waveform) for clip in clips])
    events = [clip.event for clip in clips if clip.event is not None]
    return Batch(
        waveform=_padded([clip.waveform for clip in clips]),
        lengths=lengths,
        target=torch.tensor([clip.target for clip in clips]),
        name=[clip.name for clip in clips],
        key=[clip.key for clip in clips],
        padded=bool((lengths != lengths[0]).any()),
        event=_padded(events) if len(events) == len(clips) else None,
    )


def _padded(waveforms: Sequence[Tensor]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(waveforms), batch_first=True)


@dataclass(frozen=True)
class ClipFile:
    """A sound file with its class."""

    path: Path
    target: int


class ClipFiles(Dataset[Clip]):
    """Sound files, each decoded and resampled once, then read from a memory-mapped cache.

    Args:
        files: The files with their classes.
        sample_rate_hz: Rate of the waveforms.
        cache: Keeps the decoded waveforms.
    """

    def __init__(self, files: Sequence[ClipFile], sample_rate_hz: int, cache: ArrayCache) -> None:
        self.files = list(files)
        self._names = unique_names([file.path for file in self.files])
        self.sample_rate_hz = sample_rate_hz
        self.cache = cache

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Clip:
        file = self.files[index]
        key = self.key(index)
        samples = self.cache.get(self._name(file), key, lambda: load_audio(file.path, self.sample_rate_hz).numpy())
        waveform = peak_normalize(torch.from_numpy(samples.copy()))
        return Clip(waveform, file.target, self._names[index], key)

    def key(self, index: int) -> str:
        """The clip's key, without reading its sound.

        Raises:
            DataError: The file has gone.
        """
        path = self.files[index].path
        try:
            return f"{file_key(path)}|{self.sample_rate_hz}"
        except OSError as error:
            raise DataError(f"{path}: listed in the data set, but cannot be read ({error.strerror})") from error

    def missing(self) -> list[int]:
        """Which clips are not in the cache yet."""
        return [i for i, file in enumerate(self.files) if not self.cache.has(self._name(file), self.key(i))]

    def _name(self, file: ClipFile) -> str:
        return f"{file.path.resolve()}|{self.sample_rate_hz}"


def unique_names(paths: Sequence[Path]) -> list[str]:
    """A name for each file: its own without the suffix, with so many folders in front as tell it from the others.

    Example:
        >>> unique_names([Path("dog/a.wav"), Path("cat/a.wav"), Path("cat/b.wav"), Path("cat/b.ogg")])
        ['dog-a', 'cat-a', 'b.wav', 'b.ogg']
    """
    places = Counter(path.with_suffix("") for path in set(paths))
    plain = [path.with_suffix("") if places[path.with_suffix("")] == 1 else path for path in paths]
    names = [path.name for path in plain]
    for depth in range(2, max((len(path.parts) for path in plain), default=0) + 1):
        owners: dict[str, set[Path]] = {}
        for name, path in zip(names, plain, strict=True):
            owners.setdefault(name, set()).add(path)
        if all(len(sharing) == 1 for sharing in owners.values()):
            break
        names = [
            name if len(owners[name]) == 1 else "-".join(path.parts[-depth:])
            for name, path in zip(names, plain, strict=True)
        ]
    seen: Counter[str] = Counter()
    for i, name in enumerate(names):
        seen[name] += 1
        names[i] = name if seen[name] == 1 else f"{name}-{seen[name]}"  # one file, listed twice
    return names


def fill_cache(files: ClipFiles, progress: bool = True) -> None:
    """Decodes what the cache does not hold yet, on all cores, with a progress bar when it takes long.

    Raises:
        AudioError: A file is no usable sound; the message names it.
    """
    missing = files.missing()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(files.__getitem__, missing)
        bar = tqdm(results, total=len(missing), desc="Decoding clips", disable=not progress, delay=1, leave=False)
        for _ in bar:
            pass


class EpochShuffle(Sampler[int]):
    """Shuffles by seed and epoch alone, so that a resumed run sees what an uninterrupted one does."""

    def __init__(self, data: Sized, seed: int) -> None:
        self.data = data
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the Trainer before each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        digest = hashlib.sha256(f"{self.seed}/{self.epoch}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))
        return iter(torch.randperm(len(self.data), generator=generator).tolist())

    def __len__(self) -> int:
        return len(self.data)


class SoundData(lightning.LightningDataModule):
    """Base of the data sets. Write your own by deriving: set ``labels`` and the three sets in ``setup``.

    Args:
        batch_size: Clips in a batch.
        num_workers: Worker processes of each loader; 0 is right for cached clips.
        sample_rate_hz: Rate of the waveforms.
        seed: Of the order of the training clips.
        cache_folder: Where decoded clips are kept; by default the user's cache folder.
    """

    labels: list[str]
    train_set: Dataset[Clip]
    valid_set: Dataset[Clip]
    test_set: Dataset[Clip]

    def __init__(
        self,
        batch_size: int = 16,
        num_workers: int = 0,
        sample_rate_hz: int = 16_000,
        seed: int = 1234,
        cache_folder: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__()
        if batch_size < 1 or num_workers < 0:
            raise ConfigurationError(
                f"data: batch_size ({batch_size}) must be 1 or more, num_workers ({num_workers}) 0 or more"
            )
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.sample_rate_hz = sample_rate_hz
        self.seed = seed
        self.cache_folder = Path(cache_folder) if cache_folder else default_cache_folder()

    def train_dataloader(self) -> DataLoader[Clip]:
        """Shuffled anew each epoch; without a last batch of one clip, which has no batch statistics."""
        clips = _sized(self.train_set)
        single = len(clips) % self.batch_size == 1 < len(clips)
        return self.loader(self.train_set, sampler=EpochShuffle(clips, self.seed), drop_last=single)

    def val_dataloader(self) -> DataLoader[Clip]:
        """In order."""
        return self.loader(self.valid_set)

    def test_dataloader(self) -> DataLoader[Clip]:
        """In order."""
        return self.loader(self.test_set)

    def loader(self, clips: Dataset[Clip], **options: Any) -> DataLoader[Clip]:
        """A loader of `Batch` over any of the sets."""
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
        """Fills the cache with every clip that it lacks; see `fill_cache`."""
        for clips in (self.train_set, self.valid_set, self.test_set):
            if isinstance(clips, ClipFiles):
                fill_cache(clips)

    def clip_files(self, files: Sequence[ClipFile]) -> ClipFiles:
        """Files as a set of clips at this rate, decoded through the cache."""
        return ClipFiles(files, self.sample_rate_hz, ArrayCache(self.cache_folder / "clips"))


def _sized(clips: Dataset[Clip]) -> Sized:
    if not isinstance(clips, Sized):
        raise ConfigurationError(f"{type(clips).__name__} has no length; a training set needs one")
    return clips
