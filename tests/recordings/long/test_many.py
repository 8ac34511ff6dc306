"""Several long recordings: names, manifest, failures, and what is up to date."""

import shutil

import numpy as np
import pytest
import soundfile

from otoscope.errors import ConfigurationError
from otoscope.recordings import (
    LongOptions,
    explain_long_recordings,
    find_recordings,
    read_manifest,
    split_by_length,
)

OPTIONS = LongOptions(window_s=2.0, hop_s=1.0, labels=("low",), explain="none")


@pytest.fixture
def nights(night, tmp_path):
    """A folder with two recordings, one that cannot be read, and a short one."""
    folder = tmp_path / "nights"
    (folder / "a").mkdir(parents=True)
    shutil.copyfile(night, folder / "a" / "night.wav")
    shutil.copyfile(night, folder / "night.wav")
    (folder / "empty.wav").write_bytes(b"")
    soundfile.write(folder / "short.wav", np.random.default_rng(0).uniform(-0.1, 0.1, 16_000), 16_000)
    return folder


@pytest.fixture
def recordings(nights):
    return find_recordings([str(nights)])


def run(explainer, recordings, tmp_path, **options):
    return explain_long_recordings(explainer, recordings, tmp_path / "out", OPTIONS, **options)


def test_recordings_are_split_by_their_length(explainer, recordings):
    def names(options):
        return [[recording.name for recording in part] for part in split_by_length(recordings, explainer, options)]

    everything_short = [["a/night", "empty", "night", "short"], []]
    two_long = [["empty", "short"], ["a/night", "night"]]
    # The model does not state how long its clips were; the nights have exactly 30 s.
    assert names(LongOptions()) == everything_short
    explainer.classifier.details = {"clip_s": 15.0}
    assert names(LongOptions()) == everything_short
    explainer.classifier.details = {"clip_s": 14.0}
    assert names(LongOptions()) == two_long
    assert names(LongOptions(window_s=29)) == two_long
    assert names(LongOptions(window_s=31)) == everything_short
    assert names(LongOptions(start_s=0.5)) == [["empty"], ["a/night", "night", "short"]]


def test_default_windows_have_the_length_of_the_clips_of_the_training(explainer):
    assert LongOptions().resolved(explainer.classifier).window_s == 5
    explainer.classifier.details = {"clip_s": 3}
    resolved = LongOptions().resolved(explainer.classifier)
    assert (resolved.window_s, resolved.hop_s, resolved.low_confidence) == (3, 1.5, 0.25)


def test_results_failures_and_manifest(explainer, recordings, nights, tmp_path):
    results = []
    outcome = run(explainer, recordings, tmp_path, on_explained=results.append)
    assert (outcome.explained, list(outcome.failed)) == (3, [str(nights / "empty.wav")])
    assert [result.summary.split(":")[0] for result in results] == ["a/night", "night", "short"]
    lines = read_manifest(tmp_path / "out" / "manifest.jsonl")
    assert [line["status"] for line in lines] == ["explained", "failed", "explained", "explained"]
    assert [len(line["events"]) for line in lines if line["status"] == "explained"] == [2, 2, 0]
    assert (tmp_path / "out" / "a" / "night" / "timeline.json").is_file()
    # The sounds of a timeline are no recordings.
    with pytest.raises(Exception, match="holds no sound file"):
        find_recordings([str(tmp_path / "out")])


def test_what_is_up_to_date_is_skipped(explainer, recordings, nights, tmp_path):
    run(explainer, recordings, tmp_path)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("timeline.json")}
    again = run(explainer, recordings, tmp_path, skip_existing=True)
    assert (again.explained, again.skipped, len(again.failed)) == (0, 3, 1)
    assert times == {path: path.stat().st_mtime_ns for path in times}
    assert len(read_manifest(tmp_path / "out" / "manifest.jsonl")) == 4
    samples, rate_hz = soundfile.read(nights / "night.wav")
    soundfile.write(nights / "night.wav", samples[: 20 * rate_hz], rate_hz)
    (tmp_path / "out" / "short" / "timeline.npz").write_bytes(b"damaged")
    again = run(explainer, recordings, tmp_path, skip_existing=True)
    assert (again.explained, again.skipped) == (2, 1)


def test_recordings_of_one_name_get_folders_of_their_own(explainer, night, tmp_path):
    (tmp_path / "other").mkdir()
    shutil.copyfile(night, tmp_path / "other" / "night.wav")
    for path in (night, tmp_path / "other" / "night.wav"):
        run(explainer, find_recordings([str(path)]), tmp_path)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["manifest.jsonl", "night", "night-2"]
    (tmp_path / "out" / "night" / "notes.txt").touch()
    run(explainer, find_recordings([str(night)]), tmp_path)
    assert (tmp_path / "out" / "night" / "notes.txt").is_file()
    assert (tmp_path / "out" / "night-3" / "timeline.json").is_file()


def test_options_that_do_not_fit_the_model_are_an_error(explainer, recordings, tmp_path):
    with pytest.raises(ConfigurationError, match="cat"):
        explain_long_recordings(explainer, recordings, tmp_path, LongOptions(labels=("cat",)))
    # once for all recordings, and not for each
    with pytest.raises(ConfigurationError, match=r"^hop_s: 7 exceeds window_s \(5\).*choose"):
        explain_long_recordings(explainer, recordings, tmp_path, LongOptions(window_s=5.0, hop_s=7.0))
    assert not (tmp_path / "manifest.jsonl").exists()


@pytest.mark.parametrize(
    "options",
    [
        {"min_confidence": 1.5},
        {"min_confidence": 0.4, "low_confidence": 0.6},
        {"top_k": 0},
        {"batch_size": 0},
        {"pages": -1},
        {"start_s": -1.0},
        {"start_s": 5.0, "end_s": 3.0},
        {"explain": "some"},
        {"borders": "none"},
        {"tables": ("excel",)},
    ],
)
def test_values_out_of_range(options):
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        LongOptions(**options)
