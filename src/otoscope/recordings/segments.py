"""Events cut out of a recording as clips, at the sample rate and with the channels of the recording."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import soundfile

from otoscope.audio.containers import check_container
from otoscope.audio.opening import existing_file, opened, plain_path
from otoscope.recordings.event import Event
from otoscope.recordings.files import folder_name

SEGMENTS_NAME = "segments"
_BLOCK_FRAMES = 1 << 17
_TYPES = {
    **{"PCM_U8": "int16", "PCM_16": "int16", "PCM_24": "int32", "PCM_32": "int32"},
    **{"FLOAT": "float32", "DOUBLE": "float64"},
}
"""Formats of samples that wav can hold, with the type in which they are copied without rounding. Clips of other
formats, such as mp3, are saved as 24-bit integers."""


def cut_segments(recording: Path, events: Sequence[Event], folder: Path) -> None:
    """Write each event as a clip, in a folder of its label, and note the clip in the event.

    The recording is decoded once, block by block. The folders of labels are a data set that `otoscope train` reads.

    Args:
        recording: Sound file.
        events: Events; their ``segment`` is set.
        folder: Folder of the results.

    Raises:
        AudioError: The recording cannot be read.
        OSError: A clip cannot be written.
    """
    path = existing_file(recording)
    with opened(path, check_container(path)) as file, ExitStack() as stack:
        rate_hz = file.samplerate
        subtype = file.subtype if file.subtype in _TYPES else "PCM_24"
        kind = _TYPES.get(file.subtype, "float32")
        spans = [_span(event, rate_hz) for event in events]
        waiting = sorted(range(len(events)), key=lambda index: spans[index][0], reverse=True)
        clips: dict[int, soundfile.SoundFile] = {}
        position = 0
        while (waiting or clips) and len(block := _read(file, kind)):
            while waiting and spans[waiting[-1]][0] < position + len(block):
                index = waiting.pop()
                target = _target(folder, events[index], index + 1)
                clips[index] = stack.enter_context(_new_clip(target, rate_hz, file.channels, subtype))
                events[index].segment = str(target.relative_to(folder))
            for index in list(clips):
                begin, end = spans[index]
                _write(clips[index], block[max(begin - position, 0) : max(end - position, 0)])
                if end <= position + len(block):
                    clips.pop(index).close()
            position += len(block)


def _span(event: Event, rate_hz: int) -> tuple[int, int]:
    begin = round(event.begin_s * rate_hz)
    return begin, max(round(event.end_s * rate_hz), begin + 1)


def _target(folder: Path, event: Event, number: int) -> Path:
    label = folder_name(event.label)
    path = folder / SEGMENTS_NAME / label / f"{event.name(number)}.wav"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _read(file: soundfile.SoundFile, kind: str) -> np.ndarray:
    return np.asarray(file.read(_BLOCK_FRAMES, dtype=kind, always_2d=True))


def _new_clip(path: Path, rate_hz: int, channels: int, subtype: str) -> soundfile.SoundFile:
    try:
        return soundfile.SoundFile(plain_path(path), "w", rate_hz, channels, subtype, format="WAV")
    except soundfile.LibsndfileError as error:
        raise OSError(str(error)) from error


def _write(clip: soundfile.SoundFile, samples: np.ndarray) -> None:
    try:
        clip.write(samples)
    except soundfile.LibsndfileError as error:
        raise OSError(str(error)) from error
