"""Several targets in a long recording, each with sounds of its own, and contrasts window by window."""

import numpy as np
import pytest
import soundfile
import torch

from otoscope.audio import read_recording
from otoscope.classifiers import Classifier, Prediction
from otoscope.errors import ConfigurationError
from otoscope.explain import Explainer
from otoscope.interpreters import make_untrained
from otoscope.recordings import Timeline, explain_long

OPTIONS = {"window_s": 2.0, "hop_s": 1.0}
RATE_HZ = 16_000
BANDS_HZ = {"dog": 500, "cat": 4500, "owl": 6500, "both": 2500}
WIDTH_HZ = 1000


class Bands(Classifier):
    """Three animals with a band each, and a band that speaks for the first two alike."""

    representation_channels = (1,)
    multi_label = True

    def __init__(self, labels=("dog", "cat", "owl"), frontend=None):
        super().__init__(labels, frontend)
        self.normalize = False

    def forward(self, log_magnitude, frames=None):
        width_hz = self.frontend.sample_rate_hz / self.frontend.n_fft
        loudness = {}
        for name, low_hz in BANDS_HZ.items():
            low, high = round(low_hz / width_hz), round((low_hz + WIDTH_HZ) / width_hz)
            loudness[name] = log_magnitude[:, low:high].amax(1).mean(1)
        shared = loudness["both"]
        logits = torch.stack([loudness["dog"] + shared, loudness["cat"] + shared, loudness["owl"]], 1)
        return Prediction(10 * logits - 3, (log_magnitude[:, None],), multi_label=True)


@pytest.fixture
def explainer():
    classifier = Bands().freeze()
    return Explainer(classifier, make_untrained("integrated_gradients", classifier, area=0.02))


@pytest.fixture
def night(record):
    """A dog and a cat at one time from 2 to 5 s, and what speaks for both from 8 to 10 s."""
    return record("night.wav", [(2, 5, 1000), (2, 5, 5000), (8, 10, 3000)], 12)


def level_db(path, frequency_hz, begin_s, end_s):
    """Return the level of a tone in a part of a sound."""
    samples, rate_hz = soundfile.read(path)
    part = samples[round(begin_s * rate_hz) : round(end_s * rate_hz)]
    spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part)))) / len(part)
    return 20 * np.log10(spectrum[round(frequency_hz * len(part) / rate_hz)] + 1e-9)


def test_each_target_has_events_and_sounds_of_its_own(explainer, night, tmp_path):
    timeline = explain_long(explainer, night, tmp_path / "out", targets=("dog", "cat"), **OPTIONS)
    # A multi-label classifier hears both in one window.
    together = [event for event in timeline.events if event.begin_s < 6]
    assert sorted(event.label for event in together) == ["cat", "dog"]
    assert all(event.explained_windows == event.windows for event in timeline.events)
    sounds = {label: tmp_path / "out" / "targets" / label / "evidence.flac" for label in ("dog", "cat")}
    for label, path in sounds.items():
        pitch_hz, other_hz = (1000, 5000) if label == "dog" else (5000, 1000)
        assert level_db(path, pitch_hz, 3, 4) > level_db(path, other_hz, 3, 4) + 20
        remainder = path.with_name("remainder.flac")
        assert level_db(remainder, other_hz, 3, 4) == pytest.approx(level_db(night, other_hz, 3, 4), abs=0.5)
        assert level_db(remainder, pitch_hz, 3, 4) < level_db(night, pitch_hz, 3, 4) - 1
    # The sound of all holds the evidence of each.
    both = tmp_path / "out" / "evidence.flac"
    for label, pitch_hz in (("dog", 1000), ("cat", 5000)):
        assert level_db(both, pitch_hz, 3, 4) == pytest.approx(level_db(sounds[label], pitch_hz, 3, 4), abs=1)


def test_evidence_and_remainder_of_a_target_are_the_recording(explainer, night, tmp_path):
    explain_long(explainer, night, tmp_path / "out", targets=("dog", "owl"), **OPTIONS)
    recording = read_recording(night).samples.numpy()
    for label in ("dog", "owl"):
        parts = [
            soundfile.read(tmp_path / "out" / "targets" / label / f"{name}.flac")[0]
            for name in ("evidence", "remainder")
        ]
        # Exact where no window is explained; soft masks of overlapping windows multiply the logarithm.
        np.testing.assert_allclose(sum(parts)[: RATE_HZ // 2], recording[: RATE_HZ // 2], atol=1e-5)
        assert (sum(parts) - recording).std() < 0.1 * recording.std()
    assert not soundfile.read(tmp_path / "out" / "targets" / "owl" / "evidence.flac")[0].any()


def test_a_target_without_an_event_is_reported(explainer, night, tmp_path):
    timeline = explain_long(explainer, night, tmp_path / "out", targets=("owl", "dog"), **OPTIONS)
    (note,) = [note for note in timeline.notes if note.startswith("owl: no window reaches 0.5")]
    assert "its highest probability is 0." in note
    assert {event.label for event in timeline.events} == {"dog"}


def test_a_single_target_has_no_further_sounds(explainer, night, tmp_path):
    timeline = explain_long(explainer, night, tmp_path / "out", targets=("dog",), **OPTIONS)
    assert not (tmp_path / "out" / "targets").exists()
    assert {event.label for event in timeline.events} == {"dog"}


def test_labels_may_be_events_without_being_explained(explainer, night, tmp_path):
    options = {"targets": ("dog",), "labels": ("dog", "cat"), **OPTIONS}
    timeline = explain_long(explainer, night, tmp_path / "out", **options)
    explained = {event.label: event.explained_windows > 0 for event in timeline.events}
    assert explained == {"dog": True, "cat": False}


def test_all_windows_are_explained_for_every_target(explainer, night, tmp_path):
    explain_long(explainer, night, tmp_path / "all", targets=("dog", "cat"), explain="all", **OPTIONS)
    # Where nothing of the cat is heard, its evidence is another sound than that of the dog.
    dog, cat = (
        soundfile.read(tmp_path / "all" / "targets" / label / "evidence.flac")[0] for label in ("dog", "cat")
    )
    quiet = slice(11 * RATE_HZ, 12 * RATE_HZ)
    assert dog[quiet].any()
    assert cat[quiet].any()
    assert not np.array_equal(dog[quiet], cat[quiet])


def test_a_contrast_is_explained_window_by_window(explainer, night, tmp_path):
    options = {"targets": ("dog",), **OPTIONS}
    alone = explain_long(explainer, night, tmp_path / "alone", **options)
    pair = explain_long(explainer, night, tmp_path / "pair", against="cat", **options)
    # The events are those that the classifier hears among all labels.
    assert [event.windows_begin_s for event in pair.events] == [event.windows_begin_s for event in alone.events]
    assert pair.against == Timeline.load(tmp_path / "pair").against == "cat"
    assert all("dog against cat" in event.notes[0] for event in pair.events)
    # What speaks for both explains the dog, but not why it is a dog rather than a cat.
    assert level_db(tmp_path / "alone" / "evidence.flac", 3000, 8.5, 9.5) > -37
    assert level_db(tmp_path / "pair" / "evidence.flac", 3000, 8.5, 9.5) < -60
    assert level_db(tmp_path / "pair" / "evidence.flac", 1000, 3, 4) > -37


def test_several_targets_against_a_label(explainer, night, tmp_path):
    timeline = explain_long(explainer, night, tmp_path / "out", targets=("dog", "cat"), against="owl", **OPTIONS)
    for label, pitch_hz in (("dog", 1000), ("cat", 5000)):
        assert level_db(tmp_path / "out" / "targets" / label / "evidence.flac", pitch_hz, 3, 4) > -37
    notes = {event.notes[0].partition(":")[0] for event in timeline.events}
    assert notes == {"dog against owl", "cat against owl"}


def test_mistakes_are_reported(explainer, night, tmp_path):
    with pytest.raises(ConfigurationError, match="'cat' is compared with a target"):
        explain_long(explainer, night, tmp_path / "out", against="cat")
    with pytest.raises(ConfigurationError, match="target itself"):
        explain_long(explainer, night, tmp_path / "out", targets=("dog", "cat"), against="cat")
    with pytest.raises(ConfigurationError, match="targets: 'dog' is not among the labels"):
        explain_long(explainer, night, tmp_path / "out", targets=("dog",), labels=("cat",))
    with pytest.raises(ConfigurationError, match=r"^target: .*does not know 'fox'"):
        explain_long(explainer, night, tmp_path / "out", targets=("fox",))
    with pytest.raises(ConfigurationError, match=r"^labels: .*does not know 'fox'"):
        explain_long(explainer, night, tmp_path / "out", labels=("fox",))
    with pytest.raises(ConfigurationError, match=r"^against: .*does not know 'fox'"):
        explain_long(explainer, night, tmp_path / "out", targets=("dog",), against="fox")
    assert not list(tmp_path.glob("*out*"))
