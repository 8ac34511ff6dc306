"""Headers whose sizes are placeholders, too large, or too small."""

import io

import numpy as np
import pytest
import soundfile
import torch

from otoscope.audio import audio_info, read_recording
from otoscope.errors import AudioError

SAMPLES = (0.3 * np.sin(np.arange(8_000) * 0.2)).astype(np.float32)
PLACEHOLDERS_32 = (0, 0x7FFFF000, 0x7FFFFFFF, 0x7FFF0000, 0x80000000, 0xFFFFFFFF, 0xFFFFFFDB, 0xFFFFF000)
PLACEHOLDERS_64 = (*PLACEHOLDERS_32, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFF000)
# offset of the size behind the name of the chunk, its bytes, their order
SIZES = {
    "WAV": (b"data", 4, 4, "little"),
    "WAVEX": (b"data", 4, 4, "little"),
    "RF64": (b"ds64", 16, 8, "little"),
    "AIFF": (b"SSND", 4, 4, "big"),
    "SVX": (b"BODY", 4, 4, "big"),
    "W64": (b"data", 16, 8, "little"),
    "CAF": (b"data", 4, 8, "big"),
    "AU": (b".snd", 8, 4, "big"),
}


def sound(container, subtype="PCM_16"):
    buffer = io.BytesIO()
    soundfile.write(buffer, SAMPLES, 16_000, format=container, subtype=subtype)
    return buffer.getvalue()


def with_size(content, container, change):
    """Return a file with another size of its sound; ``change`` gets the present one."""
    name, offset, width, order = SIZES[container]
    at = content.find(name) + offset
    present = int.from_bytes(content[at : at + width], order)
    return content[:at] + change(present).to_bytes(width, order) + content[at + width :]


def written(tmp_path, content):
    path = tmp_path / "a.sound"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("container", SIZES)
def test_placeholders_are_read_to_the_end(tmp_path, container):
    whole = read_recording(written(tmp_path, sound(container)))
    assert whole.notes == ()
    for size in PLACEHOLDERS_64 if SIZES[container][2] == 8 else PLACEHOLDERS_32:
        path = written(tmp_path, with_size(sound(container), container, lambda _, size=size: size))
        recording = read_recording(path)
        # chunks behind the sound are read as sound, because its end is not known
        assert len(whole.samples) <= len(recording.samples) <= len(whole.samples) + 60, hex(size)
        assert torch.equal(recording.samples[: len(whole.samples)], whole.samples), hex(size)
        assert "placeholder" in recording.notes[0]
        assert audio_info(path).frames == len(recording.samples)


def test_a_bw64_file_is_read(tmp_path):
    content = sound("RF64")
    path = written(tmp_path, b"BW64" + content[4:])
    assert torch.equal(read_recording(path).samples, read_recording(written(tmp_path, content)).samples)


def test_a_flac_of_unknown_length_is_read(tmp_path):
    whole = read_recording(written(tmp_path, sound("FLAC"))).samples
    content = bytearray(sound("FLAC"))
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    assert torch.equal(read_recording(written(tmp_path, content)).samples, whole)
    with pytest.raises(AudioError, match=r"truncated|damaged"):
        read_recording(written(tmp_path, content[:-200]))


@pytest.mark.parametrize("share", [0.5, 0.98])
@pytest.mark.parametrize("container", [*SIZES, "FLAC"])
def test_truncated_files_are_refused(tmp_path, container, share):
    content = sound(container)
    with pytest.raises(AudioError, match=r"truncated|damaged"):
        read_recording(written(tmp_path, content[: int(share * len(content))]))


@pytest.mark.parametrize("container", SIZES)
def test_a_size_below_that_of_the_file_is_reported(tmp_path, container):
    """As in a recording beyond 4 GiB, whose size wraps."""
    path = written(tmp_path, with_size(sound(container), container, lambda present: present // 4))
    with pytest.raises(AudioError, match=r"more follow.*ffmpeg -ignore_length 1"):
        read_recording(path)
    path = written(tmp_path, with_size(sound(container), container, lambda present: present // 8 * 6))
    recording = read_recording(path)
    assert "more follow" in recording.notes[0]
    assert len(recording.samples) > 5_900


@pytest.mark.parametrize(
    "rest",
    [b"LIST\x04\0\0\0abcd" + b"id3 \x08\0\0\0" + bytes(8), bytes(4096), b"TAG" + b"title".ljust(125)],
    ids=["chunks", "zeros", "tag"],
)
def test_metadata_behind_the_sound_is_no_fault(tmp_path, rest):
    recording = read_recording(written(tmp_path, sound("WAV") + rest))
    assert recording.notes == ()
    assert len(recording.samples) == 8_000


@pytest.mark.parametrize("container", ["WAV", "AIFF", "AU"])
def test_an_empty_recording_is_no_placeholder(tmp_path, container):
    buffer = io.BytesIO()
    soundfile.write(buffer, SAMPLES[:0], 16_000, format=container, subtype="PCM_16")
    with pytest.raises(AudioError, match="holds no samples"):
        read_recording(written(tmp_path, buffer.getvalue()))


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_a_truncated_mp3_has_a_note(tmp_path, mode):
    path = tmp_path / "a.mp3"
    noise = np.random.default_rng(0).standard_normal(40_000) * 0.1
    soundfile.write(path, noise, 16_000, format="MP3", bitrate_mode=mode)
    assert read_recording(path).notes == ()
    content = path.read_bytes()
    for share in (0.3, 0.7, 0.97):
        path.write_bytes(content[: int(share * len(content))])
        recording = read_recording(path)
        assert "truncated" in recording.notes[0]
        assert len(recording.samples) < 40_000


def test_tags_of_an_mp3_are_no_fault(tmp_path):
    path = tmp_path / "a.mp3"
    soundfile.write(path, np.random.default_rng(0).standard_normal(40_000) * 0.1, 16_000, format="MP3")
    content = path.read_bytes()
    path.write_bytes(b"ID3\x04\0\0\0\0\x01\x00" + bytes(128) + content + b"TAG" + b"title".ljust(125))
    assert read_recording(path).notes == ()
