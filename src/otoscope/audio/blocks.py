"""Reading a sound file block by block, mixed to mono, with every check that needs the samples."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import soundfile

from otoscope.audio.containers import check_container
from otoscope.audio.mpeg import missing_end
from otoscope.audio.opening import checked_info, existing_file, ogg_ends, opened
from otoscope.audio.waveforms import cancellation_error, cancels, mixing_note, require_channel
from otoscope.errors import AudioError, ConfigurationError

_BLOCK_SAMPLES = 1 << 17
_SMALLEST_BLOCK = 1 << 12
_LEVEL_STEP = 13
"""Distance of the samples that show whether channels cancel out: all of them would take as long as decoding."""
_INT16_FULL_SCALE = 1 << 15
_MPEG = ("MP3", "MPEG")
_NOT_SOUGHT = (*_MPEG, "OGG")
"""Formats whose frames depend on those before: a part of them is reached by decoding what precedes it."""


class MonoBlocks:
    """Blocks of a sound file, or of a part of it, each the mean of the channels or one of them.

    The file can be iterated several times; each time it is decoded anew, in constant memory.

    Args:
        path: Sound file in any format that libsndfile reads.
        channel: Channel to take instead of the average, counted from 0.
        start_s: Begin of the part.
        end_s: End of the part (default: that of the file, which a later time means too).

    Raises:
        AudioError: The file is missing, empty, truncated or not audio, has an implausible header, or has no such
            channel. The iteration raises it too, at its end: samples are missing, NaN or infinite, or the channels
            cancel out.
        ConfigurationError: The part is empty or begins behind the end of the recording.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        channel: int | None = None,
        start_s: float = 0.0,
        end_s: float | None = None,
    ) -> None:
        self.path = existing_file(path)
        self.channel = channel
        self._container = check_container(self.path)
        with opened(self.path, self._container) as file:
            self.info = checked_info(self.path, file)
            self._format, self._subtype = str(file.format), str(file.subtype)
        if self._format == "OGG" and not ogg_ends(self.path):
            raise AudioError(f"{self.path}: truncated, the stream's last page is missing; copy or export it again")
        if channel is not None:
            require_channel(channel, self.info.channels, str(self.path))
        self._begin, self._end = self._part(start_s, end_s)

    @property
    def notes(self) -> list[str]:
        """Remarks on the file, for the user. Those on an mp3 need all of its frames."""
        notes = list(self._container.notes)
        if self._format in _MPEG and (fault := missing_end(self.path)):
            notes.append(f"the recording seems to be truncated: it {fault}")
        if self._is_mixed:
            notes.append(mixing_note(self.info.channels))
        return notes

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield the blocks, in single precision, or double if the file holds floats. Shape (samples,) each."""
        return self.blocks()

    def blocks(self, check: bool = True) -> Iterator[np.ndarray]:
        """Yield the blocks.

        Args:
            check: Whether to raise an error at the end if samples are NaN or infinite, or the channels cancel out;
                False where the same file was checked before.
        """
        levels = np.zeros(2)  # summed absolute samples of the mixture and of the channels
        count = bad = 0
        with opened(self.path, self._container) as file:
            blocks = self._decoded(file)
            try:
                for block in blocks:
                    mono = self._mixed_down(block, levels if check else None)
                    if check and not self.is_bounded and not np.isfinite(mono).all():
                        bad += int(np.count_nonzero(~np.isfinite(mono)))
                    count += len(mono)
                    yield mono
            except (soundfile.LibsndfileError, RuntimeError, ValueError) as error:
                raise AudioError(f"{self.path}: damaged or truncated ({error}); copy or export it again") from error
        self._check_count(count)
        if cancels(*levels):
            raise cancellation_error(str(self.path), self.info.channels)
        if bad:
            raise AudioError(
                f"{self.path}: {bad} samples are NaN or infinite; export the recording again or cut them"
            )

    @property
    def is_bounded(self) -> bool:
        """Whether the header states the length, and the samples are integers: not beyond full scale, and no NaN."""
        return self._format not in _MPEG and self._subtype.startswith(("PCM_", "ULAW", "ALAW"))

    @property
    def samples(self) -> int:
        """Number of samples that the part has by the header of the file."""
        return (self.info.frames if self._end is None else self._end) - self._begin

    @property
    def _is_mixed(self) -> bool:
        return self.info.channels > 1 and self.channel is None

    def _part(self, start_s: float, end_s: float | None) -> tuple[int, int | None]:
        """Return the first frame of the part, and the one behind its last; None: the end of the file."""
        rate = self.info.sample_rate_hz
        duration_s = self.info.frames / rate
        if start_s < 0 or (end_s is not None and end_s <= start_s):
            raise ConfigurationError(f"start_s {start_s:g}, end_s {end_s}: 0 <= start_s < end_s must hold")
        begin = round(start_s * rate)
        if begin >= self.info.frames:
            raise ConfigurationError(
                f"start_s {start_s:g}: {self.path} ends at {duration_s:.2f} s; choose an earlier begin"
            )
        end = None if end_s is None else max(round(end_s * rate), begin + 1)
        return begin, (None if end is None or end >= self.info.frames else end)

    def _decoded(self, file: soundfile.SoundFile) -> Iterator[np.ndarray]:
        """Yield blocks of all channels of the part, floats or 16-bit integers. Shape (frames, channels) each."""
        # Floats may be as large as their format allows, so that sums overflow in single precision. Integers of 16
        # bits are converted here, in a third of the time that libsndfile takes.
        dtype = {"FLOAT": "float64", "DOUBLE": "float64", "PCM_16": "int16"}.get(self._subtype, "float32")
        # Block by block, so that a damaged header that announces terabytes cannot exhaust the memory.
        size = max(_BLOCK_SAMPLES // self.info.channels, _SMALLEST_BLOCK)
        position = 0
        if self._begin and self._format not in _NOT_SOUGHT and file.seekable():
            position = file.seek(self._begin)
        while self._end is None or position < self._end:
            rest = size if self._end is None else min(size, self._end - position)
            block = file.read(rest, dtype=dtype, always_2d=True)
            if not len(block):
                return
            skipped = min(max(self._begin - position, 0), len(block))
            position += len(block)
            if skipped < len(block):
                yield block[skipped:]

    def _mixed_down(self, block: np.ndarray, levels: np.ndarray | None) -> np.ndarray:
        """Return the mono samples of a block, and add to the levels of the mixture and of the channels, if any."""
        chosen = self.channel or 0
        values = block if self._is_mixed else block[:, chosen : chosen + 1]
        if block.dtype == np.int16:
            # All channels at once, as they lie in memory, in half the time of one after the other. Sums of integers
            # of 16 bits, and their division by a power of two, are exact in single precision.
            values = values.astype(np.float32)
        channels = values.T
        with np.errstate(over="ignore", invalid="ignore"):
            # Channel by channel, which takes a tenth of the time of a mean over the short axis.
            mono: np.ndarray = channels[0] + channels[1] if len(channels) > 1 else channels[0].copy()
            for channel in channels[2:]:
                mono += channel
            unit = 1.0 if block.dtype != np.int16 else 1 / _INT16_FULL_SCALE
            if len(channels) == 2:
                mono *= mono.dtype.type(unit / 2)  # exact, in one pass
            else:
                if unit != 1:
                    mono *= np.float32(unit)
                if self._is_mixed:
                    mono /= len(channels)
            if self._is_mixed and levels is not None:
                level = unit * np.abs(values[::_LEVEL_STEP]).sum(dtype=np.float64) / len(channels)
                levels += np.abs(mono[::_LEVEL_STEP]).sum(dtype=np.float64), level
        return mono

    def _check_count(self, count: int) -> None:
        """Raise an error if samples are missing at the end."""
        end = self.info.frames if self._end is None else self._end
        # The header of an mp3 only estimates the length, so fewer frames than announced are no fault there.
        if count == 0 or (self._format not in _MPEG and count < end - self._begin):
            raise AudioError(
                f"{self.path}: truncated, holds {self._begin + count} of the {self.info.frames} frames that its "
                "header announces; copy or export it again"
            )
