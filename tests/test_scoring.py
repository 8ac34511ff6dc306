"""The method beside its controls, on one batch."""

import pytest
import torch

from otoscope.audio import Spectrogram
from otoscope.classifiers import Classifier, Conv2dClassifier, Prediction
from otoscope.metrics import ideal_mask, score_mask, scores_shown
from otoscope.scoring import CONTROLS, format_table, score_against_controls, score_prediction


@pytest.fixture
def classifier(experienced):
    return experienced(Conv2dClassifier(["dog", "rain", "clock"], width=4, head_width=6)).freeze()


@pytest.fixture
def event():
    return torch.randn(3, 6000) * torch.linspace(0, 1, 6000)


@pytest.fixture
def waveform(event):
    return event + 0.3 * torch.randn(3, 6000)


def scored(classifier, waveform, masks, event=None, lengths=None, **options):
    spectrogram = classifier.frontend(waveform, lengths)
    prediction = classifier.predict(spectrogram)
    names = [f"clip{i}" for i in range(len(waveform))]
    return score_against_controls(classifier, spectrogram, prediction, masks, names, waveform, event, **options)


@pytest.fixture
def mask(classifier, waveform):
    return 0.5 * torch.rand_like(classifier.frontend.log_magnitude(waveform))


def test_methods_come_first_and_controls_have_their_area(classifier, waveform, mask):
    rows = scored(classifier, waveform, {"mine": mask, "half": mask / 2})
    assert list(rows) == ["mine", "half", "all-pass", "random", "loudest"]
    for values in rows.values():
        assert set(values) == set(scores_shown("training", truth=False))
        assert all(value.shape == (3,) for value in values.values())
    for control in ("random", "loudest"):
        torch.testing.assert_close(rows[control]["MM"], rows["mine"]["MM"], atol=1e-3, rtol=0)
    torch.testing.assert_close(rows["half"]["MM"], rows["mine"]["MM"] / 2)
    assert rows["all-pass"]["MM"].tolist() == [1, 1, 1]
    assert rows["all-pass"]["AD"].abs().max() < 1e-3


def test_scores_are_those_of_the_metrics(classifier, waveform, mask):
    log_magnitude = classifier.frontend.log_magnitude(waveform)

    def classify(log_magnitude, frames):
        return classifier(log_magnitude, frames).probabilities

    expected = score_mask(classify, log_magnitude, mask, classify(log_magnitude, None))
    torch.testing.assert_close(scored(classifier, waveform, {"mine": mask})["mine"], expected)


def test_masked_clips_that_are_classified_already_are_not_classified_again(classifier, waveform, mask, monkeypatch):
    spectrogram = classifier.frontend(waveform)
    prediction = classifier.predict(spectrogram)
    expected = score_prediction(classifier, spectrogram, prediction, mask)
    parts = [spectrogram.masked(part) for part in (mask, 1 - mask)]
    masked = torch.stack([classifier.probabilities(part) for part in parts])
    monkeypatch.setattr(classifier, "forward", lambda *_: pytest.fail("ran the classifier"))
    scores = score_prediction(classifier, spectrogram, prediction, mask, probabilities=masked)
    torch.testing.assert_close(scores, expected)


def test_known_events_add_scores_and_the_ideal_control(classifier, waveform, event):
    frontend = classifier.frontend
    ideal = ideal_mask(frontend.log_magnitude(event), frontend.log_magnitude(waveform - event))
    rows = scored(classifier, waveform, {"mine": ideal}, event)
    assert list(rows) == ["mine", *CONTROLS]
    torch.testing.assert_close(rows["mine"], rows["ideal"])
    torch.testing.assert_close(rows["ideal"]["IoU"], torch.ones(3))
    assert (rows["ideal"]["SI-SDRi"] > rows["random"]["SI-SDRi"]).all()
    assert rows["all-pass"]["SI-SDRi"].abs().max() < 0.1
    assert "IoU" not in scored(classifier, waveform, {"mine": ideal})["mine"]


def test_controls_can_be_left_out(classifier, waveform, mask, event):
    assert list(scored(classifier, waveform, {"mine": mask}, event, controls=False)) == ["mine"]


def test_the_random_control_depends_on_the_seed(classifier, waveform, mask, event):
    def run(seed):
        return scored(classifier, waveform, {"mine": mask}, event, seed=seed)["random"]["IoU"]

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))


def test_padding_never_counts(classifier, waveform, event):
    lengths = torch.tensor([6000, 4000, 4000])
    cut = waveform.clone(), event.clone()
    for sounds in cut:
        sounds[1:, 4000:] = 0
    frames = classifier.frontend.frames(lengths)
    full = torch.full((3, 513, int(frames.max())), 0.4)
    mask = full * (torch.arange(full.shape[-1]) < frames[:, None, None])
    together = scored(classifier, cut[0], {"mine": mask}, cut[1], lengths)
    parts = cut[0][1:2, :4000], cut[1][1:2, :4000]
    alone = scored(classifier, parts[0], {"mine": mask[1:2, :, : frames[1]]}, parts[1])
    for name in ("mine", "all-pass", "loudest", "ideal"):
        for score, value in alone[name].items():
            tolerance = {"atol": 0.2 if score == "SI-SDRi" else 2e-2, "rtol": 1e-2}
            torch.testing.assert_close(together[name][score][1:2], value, **tolerance, msg=f"{name} {score}")


def test_table_has_a_line_for_each_method_and_a_dash_for_missing_values():
    rows = {"PIQ": {"AI": 25.0, "FF": float("nan")}, "a method of long name": {"AI": 3.0}}
    lines = format_table(rows).splitlines()
    assert lines[0].split() == ["AI", "FF"]
    assert lines[1].split() == ["PIQ", "25.000", "-"]
    assert lines[2].split() == ["a", "method", "of", "long", "name", "3.000", "-"]
    assert len({len(line) for line in lines}) == 1
    assert format_table(rows, ["FF", "MM"]).splitlines()[0].split() == ["FF", "MM"]


class Presence(Classifier):
    """Decides independently of each other whether there are low and high sounds; more certain of the low ones."""

    multi_label = True
    representation_channels = ()

    def forward(self, log_magnitude, frames=None):
        low, high = log_magnitude[:, :64].amax((1, 2)), log_magnitude[:, 64:].amax((1, 2))
        return Prediction(torch.stack([6 * (low - 0.5), 2 * (high - 0.5)], -1), (), multi_label=True)


def test_fidelity_of_sigmoids_is_that_of_the_explained_label():
    classifier = Presence(["low", "high"]).freeze()
    log_magnitude, masks = torch.zeros(3, 513, 4), torch.ones(3, 513, 4)
    log_magnitude[:, [10, 200]] = 2.0
    masks[1, 100:], masks[2, :100] = 0, 0  # everything; low sounds only; high sounds only
    spectrogram = Spectrogram(log_magnitude)
    prediction = classifier.predict(spectrogram)
    assert (prediction.probabilities > 0.9).all()
    for target, expected in ((0, [1, 1, 0]), (1, [1, 0, 1])):
        explained = prediction.towards(torch.full((3,), target))
        assert score_prediction(classifier, spectrogram, explained, masks)["Fid-In"].tolist() == expected
        parts = torch.stack([classifier.probabilities(spectrogram.masked(part)) for part in (masks, 1 - masks)])
        again = score_prediction(classifier, spectrogram, explained, masks, probabilities=parts)
        assert again["Fid-In"].tolist() == expected
