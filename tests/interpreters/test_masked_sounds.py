"""Sounds of hard masks: the same as those of the classifier, with gradients that say what a bin would change."""

import pytest
import torch

from otoscope.audio import Spectrogram
from otoscope.classifiers import Conv2dClassifier
from otoscope.errors import PhaseError
from otoscope.interpreters.masked_sounds import MaskedSounds, answers_to_hard_masks


@pytest.fixture
def classifier():
    torch.manual_seed(0)
    return Conv2dClassifier(["dog", "rain", "sea"], width=4).freeze()


def hard_mask(clip):
    return (torch.rand_like(clip.log_magnitude) > 0.7).float()


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("samples", [8000, 300, 8191])
def test_sounds_are_those_of_the_classifier(classifier, normalize, samples):
    clip = classifier.hear(0.1 * torch.randn(2, samples), normalize=normalize)
    mask = hard_mask(clip)
    heard, expected = MaskedSounds(classifier, clip).heard(mask), classifier.heard(clip, mask)
    torch.testing.assert_close(heard.log_magnitude, expected.log_magnitude, rtol=1e-4, atol=1e-4)
    assert heard.normalized == expected.normalized


@pytest.mark.parametrize("lengths", [None, torch.tensor([8000, 5000])])
@pytest.mark.parametrize("count", [1, 2])
def test_answers_to_two_masks_of_each_clip_are_those_of_the_classifier(classifier, count, lengths):
    lengths = None if lengths is None else lengths[:count]
    clips = classifier.hear(0.1 * torch.randn(count, 8000), lengths)
    masks = clips.repeat(2).zero_padding((torch.rand(2 * count, *clips.log_magnitude.shape[1:]) > 0.6).float())
    for normalize in (None, True, False):
        answers = answers_to_hard_masks(classifier, clips, normalize)(masks)
        torch.testing.assert_close(answers, classifier.hear_masked(clips.repeat(2), masks, normalize))


def test_the_gradient_is_the_change_of_the_sound_when_bins_are_switched(classifier):
    """Also for bins outside the mask, where a phase times a magnitude of zero would have no gradient."""
    clip = classifier.hear(torch.randn(1, 4000), normalize=False)
    mask = hard_mask(clip).requires_grad_()
    sounds = MaskedSounds(classifier, clip)

    def energy(switches):
        return sounds.heard(switches).magnitude.square().sum()

    (gradient,) = torch.autograd.grad(energy(mask), mask)
    for switched in (mask.detach().bool(), ~mask.detach().bool()):
        # the energy is quadratic in the mask: the difference around the mask is its derivative exactly
        direction = switched * torch.randn_like(mask) * 0.1
        change = (energy(mask + direction) - energy(mask - direction)).detach()
        torch.testing.assert_close((gradient * direction).sum(), change / 2, rtol=1e-3, atol=1e-2)
        assert abs(float(change)) > 1


def test_a_spectrogram_without_phase_has_no_sound(classifier):
    with pytest.raises(PhaseError, match="phase"):
        MaskedSounds(classifier, Spectrogram(torch.rand(1, 513, 40)))
