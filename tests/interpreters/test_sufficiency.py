"""Search for the smallest share of a recording that keeps the decision, on a classifier whose rule is known."""

import pytest
import torch

from otoscope.classifiers import Classifier, Prediction
from otoscope.interpreters.sufficiency import find_sufficient


class LowBand(Classifier):
    """Decides by the share of the energy between 900 and 1100 Hz, whatever the level."""

    representation_channels = ()

    def forward(self, log_magnitude, frames=None):
        energy = log_magnitude.expm1().square()
        band = energy[:, 58:71].sum((1, 2)) / energy.sum((1, 2)).clamp(min=1e-9)
        return Prediction(torch.stack([20 * (band - 0.5), torch.zeros_like(band)], -1), ())


def tone(frequency_hz, samples=8000):
    return torch.sin(2 * torch.pi * frequency_hz * torch.arange(samples) / 16_000)


@pytest.fixture
def classifier():
    return LowBand(["tone", "other"]).freeze()


@pytest.fixture
def clips():
    """A tone of 1 kHz beside a weaker one of 4 kHz, and a shorter clip that ends in digital silence."""
    mixture = tone(1000) + 0.5 * tone(4000)
    short = mixture[:6000].clone()
    short[3000:] = 0
    return torch.stack([mixture, torch.nn.functional.pad(short, (0, 2000))]), torch.tensor([8000, 6000])


def search(classifier, clips, importance, **options):
    spectrogram = classifier.hear(*clips)
    prediction = classifier.predict(spectrogram)
    assert prediction.predicted.tolist() == [0, 0]
    return spectrogram, find_sufficient(classifier, spectrogram, prediction, importance(spectrogram), **options)


def knows_the_rule(spectrogram):
    importance = torch.zeros_like(spectrogram.log_magnitude)
    importance[:, 58:71] = spectrogram.log_magnitude[:, 58:71]
    return importance


def test_the_share_is_small_for_the_truth_and_large_for_the_opposite(classifier, clips):
    _, good = search(classifier, clips, knows_the_rule)
    _, wrong = search(classifier, clips, lambda spectrogram: 1 - knows_the_rule(spectrogram).clamp(max=0.99))
    for clip in range(2):
        assert good[clip].sufficient < 0.01
        assert good[clip].sufficient == pytest.approx(
            float(good[clip].mask.sum()) / (513 * [44, 33][clip]), abs=1e-4
        )
        assert wrong[clip].sufficient is None or wrong[clip].sufficient > 0.3
        assert good[clip].necessary < 0.05


def test_the_share_was_tested_by_the_sound(classifier, clips):
    spectrogram, results = search(classifier, clips, knows_the_rule)
    whole = classifier.probabilities(spectrogram)[:, 0]
    heard = classifier.hear_masked(spectrogram, torch.stack([result.mask for result in results]))[:, 0]
    assert (heard >= 0.9 * whole).all()
    for clip, result in enumerate(results):
        tested = dict(result.evidence)
        assert tested[result.sufficient] == pytest.approx(float(heard[clip]), abs=1e-5)
        assert 6 <= len(result.evidence) <= 8
        # every smaller share that was tested fails
        assert all(p < 0.9 * whole[clip] for area, p in result.evidence if area < result.sufficient)


def test_silence_and_neutral_bins_are_never_taken(classifier, clips):
    spectrogram, results = search(classifier, clips, lambda spectrogram: torch.ones_like(spectrogram.log_magnitude))
    for clip, result in enumerate(results):
        loud = spectrogram.log_magnitude[clip] > 1e-6
        # all bins are equal: they are taken together or not at all, never drawn at random
        assert torch.equal(result.mask.bool(), loud & (torch.arange(44) < [44, 33][clip]))
    _, nothing = search(classifier, clips, lambda spectrogram: torch.zeros_like(spectrogram.log_magnitude))
    for result in nothing:
        assert not result.mask.any()
        assert result.sufficient is None
        assert result.necessary is None


def test_ranks_have_no_neutral_value(classifier, clips):
    def ranks(spectrogram):
        return knows_the_rule(spectrogram) - 10

    _, signed = search(classifier, clips, ranks)
    _, ranked = search(classifier, clips, ranks, neutral=None)
    assert not signed[0].mask.any()
    assert ranked[0].sufficient < 0.01


def test_a_clip_gets_the_same_result_in_every_batch(classifier, clips):
    _, together = search(classifier, clips, knows_the_rule)
    waveform, lengths = clips
    for clip, result in enumerate(together):
        alone = classifier.hear(waveform[clip : clip + 1, : lengths[clip]])
        (single,) = find_sufficient(classifier, alone, classifier.predict(alone), knows_the_rule(alone))
        assert torch.equal(single.mask, result.cut(single.mask.shape[1]).mask)
        assert single.sufficient == result.sufficient


def test_another_target_is_judged_by_its_own_probability(classifier, clips):
    spectrogram = classifier.hear(*clips)
    prediction = classifier.predict(spectrogram).towards(torch.tensor([1, 1]))
    importance = spectrogram.log_magnitude.clone()
    importance[:, 58:71] = 0
    results = find_sufficient(classifier, spectrogram, prediction, importance)
    whole = prediction.probabilities[:, 1]
    assert (classifier.hear_masked(spectrogram, torch.stack([r.mask for r in results]))[:, 1] >= 0.9 * whole).all()
    assert results[0].sufficient < 0.05


class BestAtTenPercent(LowBand):
    """Gets less convinced the further the area of what it hears is from a tenth, and never enough."""

    def hear_masked(self, spectrogram, mask, normalize=None):
        area = mask.sum((1, 2)) / (mask.shape[1] * torch.tensor(spectrogram.frame_counts))
        probability = 0.8 - (area - 0.1).abs()
        return torch.stack([probability, 1 - probability], -1)


def test_where_no_share_suffices_the_most_probable_one_is_returned(clips):
    classifier = BestAtTenPercent(["tone", "other"]).freeze()
    _, results = search(classifier, clips, lambda spectrogram: spectrogram.log_magnitude)
    for clip, result in enumerate(results):
        assert result.sufficient is None
        closest = min((area for area, _ in result.evidence), key=lambda area: abs(area - 0.1))
        assert closest < max(area for area, _ in result.evidence)
        assert float(result.mask.sum()) / (513 * [44, 33][clip]) == pytest.approx(closest)
