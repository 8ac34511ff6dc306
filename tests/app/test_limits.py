"""What visitors may upload, and the words that refuse it."""

import shutil
import zipfile

import numpy as np
import pytest
import soundfile

from otoscope.app.limits import Limits, foreign_path, public_message, read_upload, shown_name, upload_name
from otoscope.errors import AudioError, ConfigurationError

RATE_HZ = 16_000
LIMITS = Limits(upload_mb=1, duration_s=2)
HASH = "0a" * 32


def write(path, seconds, rate_hz=RATE_HZ, **options):
    samples = 0.1 * np.random.default_rng(0).standard_normal(round(seconds * rate_hz))
    soundfile.write(path, samples, rate_hz, **options)
    return path


def refusal(path, limits=LIMITS):
    with pytest.raises(AudioError) as error:
        read_upload(path, RATE_HZ, limits)
    message = str(error.value)
    assert "\n" not in message
    assert str(path.parent) not in message
    return message


def test_reads_a_recording_at_the_rate_of_the_model(tmp_path):
    waveform = read_upload(write(tmp_path / "a.flac", 1.0, 8_000), RATE_HZ, LIMITS)
    assert waveform.samples.shape == (RATE_HZ,)


def test_archive_renamed_to_wav_is_refused(tmp_path):
    path = tmp_path / "a.wav"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", "y")
    assert refusal(path).startswith("a.wav: not a sound file")


def test_sound_under_another_name_is_accepted(tmp_path):
    path = shutil.move(write(tmp_path / "a.wav", 1.0), tmp_path / "a.txt")
    assert len(read_upload(path, RATE_HZ, LIMITS).samples) == RATE_HZ


def test_recording_of_two_hours_is_refused_by_its_header(tmp_path):
    # Silence: two hours of it are a small file.
    path = tmp_path / "night.flac"
    with soundfile.SoundFile(path, "w", 8_000, 1, format="FLAC") as file:
        for _ in range(120):
            file.write(np.zeros(60 * 8_000, np.int16))
    assert path.stat().st_size < LIMITS.upload_bytes
    assert refusal(path) == (
        "night.flac: lasts 7200.0 s; this app explains recordings of at most 2 s. Cut out a part of it."
    )


def test_samples_are_counted_where_the_header_states_fewer(tmp_path, monkeypatch):
    from otoscope.app import limits

    class Short(limits.MonoBlocks):
        def __init__(self, path):
            super().__init__(path)
            self.info = type(self.info)(self.info.sample_rate_hz, 1, 100)

        def __iter__(self):
            for _ in range(1000):  # endless compared with the limit, but never decoded beyond it
                yield np.zeros(RATE_HZ)
            raise AssertionError("decoded beyond the limit")

    monkeypatch.setattr(limits, "MonoBlocks", Short)
    assert "is too long" in refusal(write(tmp_path / "a.wav", 1.0))


def test_large_file_is_refused(tmp_path):
    path = tmp_path / "a.wav"
    with path.open("wb") as file:
        file.truncate(1_000_001)
    assert refusal(path) == "The file is too large: this app accepts at most 1 MB."


def test_file_that_was_removed_is_refused(tmp_path):
    assert refusal(tmp_path / "a.wav") == "a.wav: is no longer there; upload it again"


@pytest.mark.parametrize(
    "path",
    [
        "../../etc/passwd",
        "/etc/passwd",
        f"uploads/{HASH}/../x.wav",
        f"uploads/{HASH}/..",
        f"uploads/{HASH[:-1]}/a.wav",
        f"uploads/{HASH}/a/b.wav",
        f"uploads/{HASH}/a\\b.wav",
        f"/srv/uploads/{HASH}/a.wav",
        "http://example.com/a.wav",
        "",
    ],
)
def test_path_that_names_no_upload(path):
    assert upload_name(path) is None
    assert foreign_path({"data": [None, {"path": path}]})


def test_path_of_an_upload():
    path = f"uploads/{HASH}/a b'\".wav"
    assert upload_name(path) == "a b'\".wav"
    assert not foreign_path({"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}, "/etc/passwd", 1]})
    assert foreign_path([[{"x": {"path": ["/etc/passwd"]}}]])


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\a\\dog.wav", "dog"),
        (".wav", "wav"),
        ("", "recording"),
        ("a\u202eb.wav", "ab"),
        ("<b>.wav", "<b>"),
        ("x" * 500 + ".wav", "x" * 80),
    ],
)
def test_shown_name(name, shown):
    assert shown_name(name) == shown


def test_messages_hold_no_path_of_the_server():
    error = ValueError("/tmp/otoscope-app-1/uploads/x/a b.wav: damaged (see /usr/lib/y.py), or z")
    message = public_message(error, "/tmp/otoscope-app-1/uploads/x/a b.wav")
    assert message == "a b.wav: damaged (see y.py), or z"
    assert public_message(ValueError("16/44 kHz, 1 / 2 and/or: a/b")) == "16/44 kHz, 1 / 2 and/or: a/b"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"upload_mb": 0}, "--max_upload_mb 0: must be positive"),
        ({"duration_s": 500}, "--max_duration_s 500: must be at most 120"),
        ({"keep_min": float("nan")}, "--keep_min nan: must be positive"),
        ({"queue": -1}, "--queue -1: must be positive"),
    ],
)
def test_limits_must_be_sensible(values, message):
    with pytest.raises(ConfigurationError, match=message):
        Limits(**values)
