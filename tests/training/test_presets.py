"""Settings that follow from recordings."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from otoscope.audio import Frontend
from otoscope.data.listed import Entry
from otoscope.errors import DataError
from otoscope.training.presets import Traits, describe, settings_for, survey

NARROW = Path(__file__).parents[2] / "recipes/ESC50/classification/hparams/conv2d_narrow.yaml"


@pytest.fixture
def recordings(tmp_path):
    paths = [tmp_path / f"{n}.wav" for n in range(6)]
    for path, rate_hz, duration_s in zip(paths, [8000] * 5 + [48_000], [0.5] * 5 + [2.0], strict=True):
        soundfile.write(path, np.zeros(round(rate_hz * duration_s)), rate_hz)
    return [Entry(path, "owl" if n % 3 else "wren") for n, path in enumerate(paths)]


def test_traits_are_read_from_the_headers(recordings, tmp_path):
    (tmp_path / "damaged.wav").write_bytes(b"no sound")
    entries = [*recordings, Entry(tmp_path / "damaged.wav", "owl")]
    assert survey(entries) == Traits(clips=7, classes=2, smallest_class=2, median_s=0.5, rate_hz=8000)
    segments = [Entry(recordings[-1].path, "owl", 0.5, 0.75)] * 3
    assert survey(segments).median_s == 0.25
    with pytest.raises(DataError, match="none of the recordings can be read"):
        survey([entries[-1]])


@pytest.mark.parametrize(
    ("rate_hz", "expected_hz"),
    [(8000, 8000), (11_025, 11_025), (16_000, 16_000), (44_100, 16_000), (250_000, 250_000)],
)
@pytest.mark.parametrize("median_s", [0.02, 0.4, 5.0])
def test_every_rate_and_duration_gives_a_front_end(rate_hz, expected_hz, median_s):
    settings = settings_for(Traits(480, 10, 48, median_s, rate_hz))
    assert settings.sample_rate_hz == expected_hz
    frontend = Frontend(settings.sample_rate_hz, settings.n_fft, settings.window_ms, settings.hop_ms)
    assert frontend.window_length <= frontend.n_fft


def test_five_seconds_of_surroundings_keep_the_settings_of_the_recipe():
    recipe = yaml.safe_load(NARROW.read_text())
    settings, given = settings_for(Traits(320, 10, 32, 5.0, 44_100)), recipe["model"]["init_args"]
    frontend = Frontend(settings.sample_rate_hz, settings.n_fft, settings.window_ms, settings.hop_ms)
    assert frontend.same_as(Frontend())
    for name in ("time_shift", "mixup_alpha", "learning_rate"):
        assert getattr(settings, name) == given[name]
    assert settings.speed_change == settings.silence_s == 0
    assert (settings.max_epochs, settings.batch_size) == (recipe["trainer"]["max_epochs"], 16)


def test_words_are_neither_rotated_nor_mixed():
    settings = settings_for(Traits(480, 10, 48, 0.42, 8000))
    assert not settings.time_shift
    assert settings.mixup_alpha == 0
    assert settings.speed_change > 0
    assert settings.silence_s == pytest.approx(0.042)


def test_a_chosen_rate_or_window_fits_the_transform():
    traits = Traits(480, 10, 48, 0.42, 8000)
    assert settings_for(traits, rate_hz=16_000).n_fft == 512
    assert settings_for(traits, window_ms=40.0).n_fft == 512


def test_description_has_the_values_that_are_taken():
    traits = Traits(480, 10, 48, 0.42, 8000)
    text = describe(traits, {"model.classifier.frontend.hop_ms": 8.0, "model.time_shift": False})
    assert (
        "480 recordings of 10 classes (at least 48 each, median 0.42 s, 8000 Hz): hop_ms 8, time_shift false;"
        in text
    )
    assert "\n" not in text
