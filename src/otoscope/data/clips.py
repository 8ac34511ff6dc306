"""Clips, batches of clips, and sound files as a data set of clips."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from otoscope.audio import load_audio, peak_normalize
from otoscope.data.annotations import Annotation
from otoscope.data.segments import load_segment
from otoscope.errors import AudioError, DataError
from otoscope.files.array_cache import ArrayCache, file_key


@dataclass
class Clip:
    """One item of a data set.

    Attributes:
        waveform: Peak-normalised samples. Shape (samples,).
        target: Index of the clip's class.
        name: Stable name, safe as a file name.
        key: Cache key; changes with the waveform.
        event: The part of the waveform that the label describes, if it is known. Shape (samples,).
        peak: Largest absolute sample of the recording before it was scaled to a peak of 1.
        recording: Recording that the clip was cut from, if it is known; clips of one recording are not independent.
        annotations: Events that a person has marked in the clip; None if nobody has listened for any.
    """

    waveform: Tensor
    target: int
    name: str
    key: str
    event: Tensor | None = None
    peak: float = 1.0
    recording: str | None = None
    annotations: tuple[Annotation, ...] | None = None


class PaddedData(NamedTuple):
    """Padded values of a batch, with the names that SpeechBrain gives them.

    Attributes:
        data: Values of the clips, zero-padded to one length. Shape (batch, length).
        lengths: Share of the length that each clip fills, in (0, 1]. Shape (batch,).
    """

    data: Tensor
    lengths: Tensor


@dataclass
class Batch:
    """Clips, zero-padded at the end to the length of the longest.

    Attributes:
        waveform: Shape (batch, samples).
        lengths: Number of samples of each clip, without the padding. Shape (batch,).
        target: Class index of each clip. Shape (batch,), int64.
        name: Name of each clip.
        key: Cache key of each clip.
        padded: Whether any clip is padded, that is, whether the clips differ in length.
        event: Event of each clip, if every clip has one. Shape (batch, samples).
        clean: The clips as loud as in ``waveform``, without the noise that was mixed in. Shape (batch, samples).
        peak: Largest absolute sample of each recording before it was scaled to a peak of 1. Shape (batch,).
        annotations: Annotated events of each clip, None for clips without annotations (default: for all).
    """

    waveform: Tensor
    lengths: Tensor
    target: Tensor
    name: list[str]
    key: list[str]
    padded: bool
    event: Tensor | None = None
    clean: Tensor | None = None
    peak: Tensor | None = None
    annotations: list[tuple[Annotation, ...] | None] | None = None

    @property
    def sig(self) -> PaddedData:
        """Waveforms, and lengths relative to the longest clip (SpeechBrain's ``sig``)."""
        return PaddedData(self.waveform, self.lengths / self.waveform.shape[-1])

    @property
    def id(self) -> list[str]:
        """Name of each clip (SpeechBrain's ``id``)."""
        return self.name

    @property
    def class_string_encoded(self) -> PaddedData:
        """Class indices, shape (batch, 1), each of full length (SpeechBrain's ``class_string_encoded``)."""
        return PaddedData(self.target[:, None], torch.ones(len(self), device=self.target.device))

    def __len__(self) -> int:
        return len(self.name)


def collate(clips: Sequence[Clip]) -> Batch:
    """Make a batch of clips.

    Example:
        >>> long, short = Clip(torch.ones(3), 0, "a", "a"), Clip(torch.ones(1), 1, "b", "b")
        >>> collate([long, short]).waveform
        tensor([[1., 1., 1.],
                [1., 0., 0.]])
    """
    lengths = torch.tensor([len(clip.waveform) for clip in clips])
    # A batch has events only if every clip has one: a row of zeros would look like a silent event.
    events = [clip.event for clip in clips if clip.event is not None]
    return Batch(
        waveform=_zero_padded([clip.waveform for clip in clips]),
        lengths=lengths,
        target=torch.tensor([clip.target for clip in clips]),
        name=[clip.name for clip in clips],
        key=[clip.key for clip in clips],
        padded=bool((lengths != lengths[0]).any()),
        event=_zero_padded(events) if len(events) == len(clips) else None,
        peak=torch.tensor([clip.peak for clip in clips]),
        annotations=[clip.annotations for clip in clips],
    )


def batch_of(batch: Any) -> Batch:
    """Return a batch as a `Batch`.

    Args:
        batch: Batch, or an object with the attribute ``sig`` and optionally ``id`` and ``class_string_encoded``,
            such as a batch of SpeechBrain; its waveforms must be zero-padded at the end.

    Returns:
        The same clips. Clips without ``class_string_encoded`` have the target -1.
    """
    if isinstance(batch, Batch):
        return batch
    waveform, shares = batch.sig
    lengths = (shares * waveform.shape[-1]).round().long()
    names = [str(name) for name in getattr(batch, "id", range(len(waveform)))]
    target = torch.full((len(waveform),), -1, device=waveform.device)
    if (encoded := getattr(batch, "class_string_encoded", None)) is not None:
        target = encoded[0].reshape(len(waveform)).long()
    return Batch(waveform, lengths, target, names, names, padded=bool((lengths != waveform.shape[-1]).any()))


def _zero_padded(waveforms: Sequence[Tensor]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(waveforms), batch_first=True)


@dataclass(frozen=True)
class ClipFile:
    """A sound file, or a segment of one, with the index of its class.

    Attributes:
        path: Sound file.
        target: Index of its class.
        begin_s: Begin of the segment.
        end_s: End of the segment; None for the whole file.
        recording: Recording that the file was cut from, if a table names it (default: the file itself).
        annotations: Annotated events in the segment, if there are annotations.
    """

    path: Path
    target: int
    begin_s: float = 0.0
    end_s: float | None = None
    recording: str | None = None
    annotations: tuple[Annotation, ...] | None = None

    def load(self, sample_rate_hz: int) -> Tensor:
        """Decode the sound at a sample rate, as a mono waveform of shape (samples,).

        Raises:
            AudioError: It cannot be read.
        """
        if self.end_s is None:
            return load_audio(self.path, sample_rate_hz)
        return load_segment(self.path, self.begin_s, self.end_s, sample_rate_hz)

    @property
    def part(self) -> str:
        """Begin and end, for names and keys; empty for the whole file."""
        return "" if self.end_s is None else f"-{self.begin_s:.3f}-{self.end_s:.3f}"


class ClipFiles(Dataset[Clip]):
    """Sound files as a data set: each is decoded and resampled once, then read from a memory-mapped cache.

    Args:
        files: Sound files with their classes.
        sample_rate_hz: Sample rate of the waveforms.
        cache: Cache of the decoded waveforms.
    """

    def __init__(self, files: Sequence[ClipFile], sample_rate_hz: int, cache: ArrayCache) -> None:
        self.files = list(files)
        recordings = list(dict.fromkeys(file.path for file in self.files))
        name_of = dict(zip(recordings, unique_names(recordings), strict=True))
        self._names = _numbered([name_of[file.path] + file.part for file in self.files])
        self.sample_rate_hz = sample_rate_hz
        self.cache = cache

    def __repr__(self) -> str:
        return f"ClipFiles({len(self)} clips, {self.sample_rate_hz} Hz)"

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Clip:
        file = self.files[index]
        key = self.key(index)
        samples = self.cache.get(self._cache_name(file), key, lambda: file.load(self.sample_rate_hz).numpy())
        # The cached array is read-only and shared; the caller gets a copy that it may change.
        waveform = torch.from_numpy(samples.copy())
        peak = float(waveform.abs().max()) or 1.0  # silence stays silent
        recording = file.recording or str(file.path)
        return Clip(
            peak_normalize(waveform),
            file.target,
            self._names[index],
            key,
            peak=peak,
            recording=recording,
            annotations=file.annotations,
        )

    def key(self, index: int) -> str:
        """Return the cache key of a clip without reading its sound.

        Raises:
            DataError: The file no longer exists.
        """
        file = self.files[index]
        try:
            return f"{file_key(file.path)}{file.part}|{self.sample_rate_hz}"
        except OSError as error:
            raise DataError(
                f"{file.path}: listed in the data set, but cannot be read ({error.strerror})"
            ) from error

    def leave_out(self, indices: Collection[int]) -> None:
        """Remove clips; the others keep their names."""
        remaining = [i for i in range(len(self.files)) if i not in indices]
        self.files = [self.files[i] for i in remaining]
        self._names = [self._names[i] for i in remaining]

    def missing(self) -> list[int]:
        """Return the indices of the clips that are not in the cache yet."""
        return [i for i, file in enumerate(self.files) if not self.cache.has(self._cache_name(file), self.key(i))]

    def _cache_name(self, file: ClipFile) -> str:
        # Without the time of the file, so that a changed file replaces its former array.
        return f"{file.path.resolve()}{file.part}|{self.sample_rate_hz}"


def unique_names(paths: Sequence[Path]) -> list[str]:
    """Name files without their suffix, prefixed with as many parent folders as needed to be unique.

    Example:
        >>> unique_names([Path("dog/a.wav"), Path("cat/a.wav"), Path("cat/b.wav"), Path("cat/b.ogg")])
        ['dog-a', 'cat-a', 'b.wav', 'b.ogg']
    """
    # The suffix stays where two files differ in nothing else.
    stems = Counter(path.with_suffix("") for path in set(paths))
    plain = [path.with_suffix("") if stems[path.with_suffix("")] == 1 else path for path in paths]
    names = [path.name for path in plain]
    # Each round adds one more folder to the names that several paths still share.
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
    return _numbered(names)


def _numbered(names: Sequence[str]) -> list[str]:
    """Return names with their repetitions numbered: a file that is listed twice still has one name."""
    seen: Counter[str] = Counter()
    result = []
    for name in names:
        seen[name] += 1
        result.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return result


def fill_cache(files: ClipFiles, progress: bool = True) -> None:
    """Decode the files that are not in the cache yet; see `decode_missing`.

    Raises:
        AudioError: Files are no usable sounds; the message names them all.
    """
    if errors := decode_missing(files, progress):
        raise AudioError("; ".join(map(str, errors.values())))


def decode_missing(files: ClipFiles, progress: bool = True) -> dict[int, AudioError]:
    """Decode the files that are not in the cache yet, on all cores, with a progress bar if it takes long.

    Returns:
        Error of each file that is not a usable sound, by its index.
    """
    missing = files.missing()

    def decode(index: int) -> AudioError | None:
        try:
            files[index]
        except AudioError as error:
            return error
        return None

    # Threads suffice: libsndfile and soxr release the interpreter lock.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        errors = pool.map(decode, missing)
        bar = tqdm(errors, "Decoding clips", total=len(missing), disable=not progress, delay=1, leave=False)
        return {index: error for index, error in zip(missing, bar, strict=True) if error is not None}
