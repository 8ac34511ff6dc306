"""Long recordings: events at known times, one continuous sound, and runs that are killed."""

import json

import numpy as np
import pytest
import soundfile

from otoscope.audio import read_recording
from otoscope.errors import AudioError, ConfigurationError, OtoscopeError
from otoscope.recordings import Timeline, explain_long
from otoscope.recordings.long import run as run_module

OPTIONS = {"window_s": 2.0, "hop_s": 1.0}


def contents(folder):
    """Files of a result by name. The arrays of npz files have the times of writing in their archive."""
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                files[path.name] = {name: arrays[name].tobytes() for name in arrays.files}
        elif path.is_file():
            files[str(path.relative_to(folder))] = path.read_bytes()
    return files


def test_events_have_the_borders_and_frequencies_of_the_sounds(explainer, night, tones, tmp_path):
    options = {"borders": "evidence", "labels": ("low", "high"), **OPTIONS}
    timeline = explain_long(explainer, night, tmp_path / "out", **options)
    events = timeline.events
    assert [event.label for event in events] == ["low", "high", "low", "high"]
    for event, tone in zip(events, tones, strict=True):
        # A frame is centred up to half a window from the sound that it hears; 5 % of the energy lie outside.
        assert event.begin_s == pytest.approx(tone.begin_s, abs=0.03 + 0.04 * (tone.end_s - tone.begin_s))
        assert event.end_s == pytest.approx(tone.end_s, abs=0.03 + 0.04 * (tone.end_s - tone.begin_s))
        assert event.low_hz < tone.frequency_hz < event.high_hz < event.low_hz + 300
        assert event.windows_begin_s <= tone.begin_s + 0.5
        assert event.windows_end_s >= tone.end_s - 0.5
        assert event.confidence > 0.5
        assert event.explained_windows == event.windows
        assert 0 < event.scores["MM"] < 0.1
        assert event.verdict in ("supported", "partly", "not supported")
    assert timeline.explained_windows <= len(timeline.window_begins_s) == 29


def test_the_joined_evidence_is_that_of_the_whole_recording(explainer, night, tmp_path):
    """Window borders are not heard: the mask of this interpreter depends on each bin alone."""
    explain_long(explainer, night, tmp_path / "out", labels=("low",), explain="all", **OPTIONS)
    whole = explainer.explain(str(night), target="low", scores=False)
    for name, expected in (("evidence", whole.evidence), ("remainder", whole.remainder)):
        sound, rate_hz = soundfile.read(tmp_path / "out" / f"{name}.flac")
        assert (rate_hz, len(sound)) == (16_000, len(expected))
        difference = sound - expected.numpy()
        level_db = 20 * np.log10(difference.std() / expected.numpy().std())
        assert level_db < -60


def test_soft_masks_are_joined_at_the_level_of_each_window(explainer, night, tmp_path):
    """Windows of tones that are equally loud have one level, which is that of the whole recording."""
    explainer.classifier.normalize = True
    explainer.interpreter.keeps = 0.5
    explain_long(explainer, night, tmp_path / "out", labels=("high",), start_s=9.5, end_s=15, **OPTIONS)
    cut = read_recording(night).samples[round(9.5 * 16_000) : 15 * 16_000]
    expected = explainer.explain(cut, target="high", scores=False).evidence.numpy()
    sound, _ = soundfile.read(tmp_path / "out" / "evidence.flac")
    middle = slice(2000, -2000)
    assert np.abs(sound - expected)[middle].std() < 0.01 * expected[middle].std()


def test_without_evidence_the_remainder_is_the_recording(explainer, night, tmp_path):
    explain_long(explainer, night, tmp_path / "out", labels=("low",), **OPTIONS)
    sounds = {name: soundfile.read(tmp_path / "out" / f"{name}.flac")[0] for name in ("evidence", "remainder")}
    recording = read_recording(night).samples.numpy()
    quiet = slice(19 * 16_000, 30 * 16_000)  # no low tone, and no window with one
    assert not sounds["evidence"][quiet].any()
    np.testing.assert_allclose(sounds["remainder"][quiet], recording[quiet], atol=1e-5)
    np.testing.assert_allclose(sounds["evidence"] + sounds["remainder"], recording, atol=1e-3)


def test_a_part_has_the_times_of_the_recording(explainer, night, tmp_path):
    options = {"start_s": 8, "end_s": 20, "labels": ("high",), "borders": "evidence", **OPTIONS}
    timeline = explain_long(explainer, night, tmp_path / "out", **options)
    (event,) = timeline.events
    assert event.begin_s == pytest.approx(9.0, abs=0.3)
    assert event.end_s == pytest.approx(15.5, abs=0.3)
    assert (timeline.start_s, timeline.duration_s) == (8, 12)
    assert timeline.window_begins_s[0] == 8


@pytest.mark.parametrize(
    ("explain", "top_k", "count"), [("none", None, 0), ("changes", None, 2), ("events", 1, 1), ("all", None, 29)]
)
def test_windows_that_are_explained(explainer, night, tmp_path, explain, top_k, count):
    options = {"explain": explain, "top_k": top_k, "labels": ("high",)}
    timeline = explain_long(explainer, night, tmp_path / "out", **options, **OPTIONS)
    assert timeline.explained_windows == count
    assert len(timeline.events) == 2
    assert (tmp_path / "out" / "evidence.flac").exists() == (count > 0)
    if not count:
        assert timeline.events[0].begin_s == timeline.events[0].windows_begin_s
        assert timeline.events[0].low_hz is None


def test_sounds_at_one_time_are_events_of_their_own(explainer, record, tmp_path):
    tones = [(4, 7, 500), (5, 9, 4000)]
    path = record("both.wav", tones, 12)
    options = {"min_confidence": 0.3, "low_confidence": 0.3, "labels": ("low", "high"), "borders": "evidence"}
    low, high = explain_long(explainer, path, tmp_path / "out", **options, **OPTIONS).events
    for event, (begin_s, end_s, frequency_hz) in zip((low, high), tones, strict=True):
        assert event.low_hz < frequency_hz < event.high_hz < event.low_hz + 300
        assert (event.begin_s, event.end_s) == pytest.approx((begin_s, end_s), abs=0.2)
    # The sound holds both where they overlap.
    evidence, _ = soundfile.read(tmp_path / "out" / "evidence.flac")
    recording = read_recording(path).samples.numpy()
    middle = slice(round(5.5 * 16_000), round(6.5 * 16_000))
    assert np.abs(evidence - recording)[middle].std() < 0.01 * recording[middle].std()


def test_borders_are_those_of_windows_by_default(explainer, night, tmp_path):
    timeline = explain_long(explainer, night, tmp_path / "out", labels=("high",), **OPTIONS)
    for event in timeline.events:
        assert (event.begin_s, event.end_s) == (event.windows_begin_s, event.windows_end_s)
        assert event.evidence_begin_s > event.begin_s


@pytest.mark.parametrize("options", [{"top_k": 1}, {"explain": "changes"}])
def test_borders_beside_windows_without_a_mask_are_those_of_windows(explainer, night, tones, tmp_path, options):
    options = {"borders": "evidence", "labels": ("high",), "end_s": 20, **options, **OPTIONS}
    timeline = explain_long(explainer, night, tmp_path / "out", **options)
    (event,) = timeline.events
    assert event.explained_windows == 1
    assert event.end_s == event.windows_end_s
    if "explain" in options:
        assert event.begin_s == pytest.approx(tones[1].begin_s, abs=0.1)
    else:
        assert event.evidence_end_s < event.end_s


@pytest.mark.parametrize("explain", ["events", "all"])
def test_windows_below_a_level_are_no_events(explainer, record, tmp_path, explain):
    path = record("levels.wav", [(3, 4.5, 500, 0.3), (12, 13.5, 500, 0.02)], 18)
    options = {"labels": ("low",), "min_confidence": 0.3, "explain": explain, **OPTIONS}
    assert len(explain_long(explainer, path, tmp_path / "any", **options).events) == 2
    timeline = explain_long(explainer, path, tmp_path / "loud", min_level_db=-30, **options)
    (event,) = timeline.events
    assert event.begin_s == pytest.approx(3, abs=0.6)
    loud = int((timeline.levels_db >= -30).sum())
    assert 0 < loud < 5
    assert timeline.explained_windows == (loud if explain == "all" else event.windows)
    assert timeline.notes == [f"{17 - loud} of 17 windows are below -30 dB and not regarded"]


def test_a_recording_without_events(explainer, night, tmp_path):
    timeline = explain_long(explainer, night, tmp_path / "out", start_s=27, labels=("low",), **OPTIONS)
    assert timeline.events == []
    assert timeline.explained_windows == 0
    assert (tmp_path / "out" / "events.csv").read_text().count("\n") == 1


def test_files_of_the_result(explainer, night, tmp_path):
    timeline = explain_long(explainer, night, tmp_path / "out", segments=True, labels=("low",), **OPTIONS)
    files = contents(tmp_path / "out")
    assert {"evidence.flac", "remainder.flac", "timeline.json", "timeline.npz", "timeline.png", "windows.csv"} <= {
        *files
    }
    assert {"events.raven.txt", "events.audacity.txt", "events.csv", "events.jsonl"} <= {*files}
    assert set(timeline.paths) >= {"evidence.flac", "timeline.png", "windows.csv"}
    for event in timeline.events:
        assert event.page in files
        clip, rate_hz = soundfile.read(tmp_path / "out" / event.segment, dtype="int16")
        recording, _ = soundfile.read(night, dtype="int16")
        begin = round(event.begin_s * rate_hz)
        np.testing.assert_array_equal(clip, recording[begin : begin + len(clip)])
    assert not list(tmp_path.glob(".*.unfinished"))
    loaded = Timeline.load(tmp_path / "out")
    assert loaded.to_dict() == json.loads((tmp_path / "out" / "timeline.json").read_text())
    rows = (tmp_path / "out" / "windows.csv").read_text().splitlines()
    assert rows[0] == "file,begin_s,end_s,level_db,predicted,low,high,nothing"
    assert len(rows) == 30
    # a sine of amplitude 0.3, and noise of -80 dB in a third of its band
    levels_db = [float(row.split(",")[3]) for row in rows[1:]]
    assert levels_db[10] == pytest.approx(-13.5, abs=0.2)
    assert levels_db[5] == pytest.approx(-84, abs=2)


class Killed(BaseException):
    """Ends a run as a signal would."""


def die_after(count):
    def step(size):
        nonlocal count
        count -= 1
        if count < 0:
            raise Killed

    return step


class DyingBar:
    """Progress bar that ends the run after some updates."""

    def __init__(self, step):
        self.update = step

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


@pytest.mark.parametrize("stage", ["classify", "explain", "write"])
def test_a_killed_run_resumes_with_an_equal_result(explainer, night, tmp_path, monkeypatch, stage):
    options = {**OPTIONS, "batch_size": 1, "segments": True, "labels": ("low",), "end_s": 20}
    explain_long(explainer, night, tmp_path / "whole", **options)
    calls = explainer.interpreter.calls
    bar = run_module._bar
    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(
                run_module,
                "_bar",
                lambda name, *rest: DyingBar(die_after(2)) if name == stage else bar(name, *rest),
            )
            with pytest.raises(Killed):
                explain_long(explainer, night, tmp_path / "killed", **options)
    assert not (tmp_path / "killed").exists()
    assert (tmp_path / ".killed.unfinished").exists()
    explain_long(explainer, night, tmp_path / "killed", **options)
    # What was done is not done again, except the batch that was under way.
    assert explainer.interpreter.calls - calls <= calls + 2
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_other_options_start_anew(explainer, night, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "_bar", lambda *_: DyingBar(die_after(1)))
        with pytest.raises(Killed):
            explain_long(explainer, night, tmp_path / "out", explain="none", **OPTIONS)
    timeline = explain_long(explainer, night, tmp_path / "out", explain="none", window_s=4.0)
    assert len(timeline.window_begins_s) == 14


def test_a_damaged_batch_is_computed_again(explainer, night, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(explainer.interpreter, "mask", lambda *_: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            explain_long(explainer, night, tmp_path / "out", labels=("low",), **OPTIONS)
    (tmp_path / ".out.unfinished" / "predictions.npy").write_bytes(b"not an array")
    assert len(explain_long(explainer, night, tmp_path / "out", labels=("low",), **OPTIONS).events) == 2


def test_one_window_that_fails_does_not_end_the_run(explainer, night, tmp_path, monkeypatch):
    explain = explainer.explain_batch

    def failing(sounds, target, *rest, **options):
        if target == "low":
            raise OtoscopeError("no reason for low")
        return explain(sounds, target, *rest, **options)

    monkeypatch.setattr(explainer, "explain_batch", failing)
    timeline = explain_long(explainer, night, tmp_path / "out", labels=("low", "high"), **OPTIONS)
    assert "could not be explained: no reason for low" in timeline.notes[-1]
    assert [event.low_hz is None for event in timeline.events] == [True, False, True, False]
    with pytest.raises(OtoscopeError, match="no window could be explained; no reason for low"):
        explain_long(explainer, night, tmp_path / "low", labels=("low",), **OPTIONS)


def test_mistakes_are_reported_before_any_work(explainer, night, tmp_path):
    with pytest.raises(ConfigurationError, match="cat"):
        explain_long(explainer, night, tmp_path / "out", labels=("cat",))
    with pytest.raises(ConfigurationError, match="hop_s"):
        explain_long(explainer, night, tmp_path / "out", window_s=1, hop_s=2)
    with pytest.raises(ConfigurationError, match="window_s: 0"):
        explain_long(explainer, night, tmp_path / "out", window_s=0)
    with pytest.raises(ConfigurationError, match="min_level_db: 6"):
        explain_long(explainer, night, tmp_path / "out", min_level_db=6)
    with pytest.raises(ConfigurationError, match="threshold"):
        explain_long(explainer, night, tmp_path / "out", threshold=0.5)
    with pytest.raises(AudioError, match="no such file"):
        explain_long(explainer, tmp_path / "day.wav", tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(OtoscopeError, match="holds files of something else"):
        explain_long(explainer, night, tmp_path / "mine")
    assert not list(tmp_path.glob(".*"))


def test_samples_beyond_full_scale_are_scaled(explainer, tmp_path, night):
    samples, rate_hz = soundfile.read(night)
    soundfile.write(tmp_path / "loud.wav", 8 * samples, rate_hz, subtype="FLOAT")
    timeline = explain_long(explainer, tmp_path / "loud.wav", tmp_path / "out", labels=("low",), **OPTIONS)
    assert any("divided by" in note for note in timeline.notes)
    remainder, _ = soundfile.read(tmp_path / "out" / "remainder.flac")
    assert 0.9 < np.abs(remainder).max() <= 1


@pytest.mark.parametrize("normalize", [True, False])
def test_predictions_are_those_of_each_window_alone(explainer, night, tmp_path, monkeypatch, normalize):
    options = {"explain": "none", "normalize": normalize, **OPTIONS}
    shared = explain_long(explainer, night, tmp_path / "shared", **options)
    heard = []

    class OwnEar(type(explainer.classifier)):
        def hear(self, waveform, *arguments, **keywords):
            heard.append(len(waveform))
            return super().hear(waveform, *arguments, **keywords)

    explainer.classifier.__class__ = OwnEar
    alone = explain_long(explainer, night, tmp_path / "alone", **options)
    assert sum(heard) == len(alone.probabilities) == len(shared.probabilities)
    assert np.allclose(shared.probabilities, alone.probabilities, atol=1e-5)
    assert np.array_equal(shared.levels_db, alone.levels_db)
    assert np.array_equal(shared.log_magnitude, alone.log_magnitude)


def test_the_picture_without_evidence_needs_no_further_pass(explainer, night, tmp_path, monkeypatch):
    options = {"labels": ("low",), "explain": "none", **OPTIONS}
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "synthesise", lambda *_: pytest.fail("the recording is decoded again"))
        explain_long(explainer, night, tmp_path / "once", **options)
    # A run whose predictions an earlier one has made draws it in the last pass, with equal values.
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "find_runs", lambda *_: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            explain_long(explainer, night, tmp_path / "twice", **options)
    explain_long(explainer, night, tmp_path / "twice", **options)
    assert contents(tmp_path / "twice") == contents(tmp_path / "once")
    with np.load(tmp_path / "once" / "timeline.npz") as arrays:
        assert arrays["log_magnitude"].max() > 1
        assert not arrays["evidence_share"].any()


def test_faults_at_the_end_of_a_recording_are_reported(explainer, tmp_path):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 20 * 16_000)
    soundfile.write(tmp_path / "opposite.wav", np.stack([samples, -samples], 1), 16_000)
    with pytest.raises(AudioError, match="cancel out"):
        explain_long(explainer, tmp_path / "opposite.wav", tmp_path / "out", **OPTIONS)
    assert not (tmp_path / "out").exists()
