"""Search for the shares of a recording that decide, on classifiers whose rules are known."""

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


def test_decisive_evidence_keeps_the_decision_and_loses_it_when_it_is_removed(classifier, clips):
    spectrogram, results = search(classifier, clips, knows_the_rule)
    whole = classifier.probabilities(spectrogram)[:, 0]
    mask = torch.stack([result.mask_of("decisive") for result in results])
    evidence = classifier.hear_masked(spectrogram, mask)
    remainder = classifier.hear_masked(spectrogram, spectrogram.zero_padding(1 - mask))
    for clip, result in enumerate(results):
        assert result.decisive == max(result.sufficient, result.necessary)
        assert float(mask[clip].sum()) / (513 * [44, 33][clip]) == pytest.approx(result.decisive, abs=1e-4)
        assert float(evidence[clip, 0]) >= 0.9 * float(whole[clip])
        assert int(evidence[clip].argmax()) == 0
        assert float(remainder[clip, 0]) < 0.5 * float(whole[clip])
        assert int(remainder[clip].argmax()) == 1
        assert torch.equal(result.mask_of("sufficient"), result.mask)


def test_more_than_half_of_a_sound_is_not_decisive(classifier, clips):
    # Taken from the top of the spectrum downwards, the bins of the rule come last.
    _, (result, _) = search(
        classifier, clips, lambda spectrogram: torch.arange(513.0)[:, None].expand_as(spectrogram.log_magnitude)
    )
    assert result.sufficient is not None
    assert result.sufficient > 0.5
    assert result.decisive is None
    assert result.decisive_mask is None
    assert torch.equal(result.mask_of("decisive"), result.mask)


class KeepsAtOneShare(LowBand):
    """Is convinced by evidence of any area but a quarter or more, and by remainders of 80 % or more of the bins."""

    def hear_masked(self, spectrogram, mask, normalize=None):
        area = mask.sum((1, 2)) / (mask.shape[1] * torch.tensor(spectrogram.frame_counts))
        tone = (area < 0.15) | (area > 0.8)
        probability = torch.where(tone, 0.99, 0.01)
        return torch.stack([probability, 1 - probability], -1)


def test_a_share_that_the_classifier_does_not_confirm_is_not_decisive(clips):
    """A tenth suffices and a fifth is necessary, but a fifth alone does not suffice."""
    classifier = KeepsAtOneShare(["tone", "other"]).freeze()
    _, results = search(classifier, clips, lambda spectrogram: 1 + torch.rand_like(spectrogram.log_magnitude))
    for result in results:
        assert result.sufficient is not None
        assert result.sufficient < 0.15
        assert result.necessary is not None
        assert result.necessary > 0.15
        assert result.decisive is None


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
        assert single.decisive == result.decisive
        assert torch.equal(single.decisive_mask, result.cut(single.mask.shape[1]).decisive_mask)


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
