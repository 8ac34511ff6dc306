"""The decoder without transposed convolutions: steady where its inputs are, conditioned, and blind to padding."""

import pytest
import torch

from otoscope.audio import Frontend, Spectrogram
from otoscope.classifiers import Cnn14Classifier, Conv2dClassifier
from otoscope.nn import LightMask, SmoothMask
from otoscope.nn.decoders.smooth import normalized

FRONTEND = {"n_fft": 256, "window_ms": 16.0, "hop_ms": 8.0}
BINS = 129
CLASSIFIERS = {
    "conv2d": lambda: Conv2dClassifier(["dog", "rain"], Frontend(**FRONTEND), width=3, head_width=4),
    "conv2d-deepest": lambda: Conv2dClassifier(["dog", "rain"], Frontend(**FRONTEND), width=3, depth=7),
    "cnn14": lambda: Cnn14Classifier(["dog", "rain"], Frontend(**FRONTEND), width=2, mel_bins=64),
}


@pytest.fixture(params=CLASSIFIERS)
def classifier(request, experienced):
    torch.manual_seed(0)
    return experienced(CLASSIFIERS[request.param]()).freeze()


def decoder_of(classifier):
    return SmoothMask(classifier.representation_shapes(), BINS, 2, narrowest=4)


def decode(decoder, classifier, spectrogram, label=0, area=0.2):
    count = len(spectrogram)
    sound = normalized(spectrogram.log_magnitude, spectrogram.frames)
    representations = classifier.predict(spectrogram).representations
    target, areas = torch.full((count,), label), torch.full((count,), area)
    return decoder(representations, sound, target, areas, spectrogram.frames).detach()


@pytest.mark.parametrize("frames", [1, 3, 17, 100, 431])
def test_every_bin_of_every_frame_gets_a_value(classifier, frames):
    ranking = decode(decoder_of(classifier), classifier, Spectrogram(torch.rand(2, BINS, frames)))
    assert ranking.shape == (2, BINS, frames)
    assert ranking.isfinite().all()
    assert ranking.std() > 0


@pytest.mark.parametrize("lengths", [[200, 131, 67, 3], [67, 48, 17, 16, 1], [31, 17, 2]], ids=str)
def test_padding_does_not_change_the_values_of_a_clip(classifier, lengths):
    decoder, log_magnitude = decoder_of(classifier), torch.rand(len(lengths), BINS, max(lengths))
    together = decode(decoder, classifier, Spectrogram(log_magnitude, frames=torch.tensor(lengths)))
    for row, clip, length in zip(together, log_magnitude, lengths, strict=True):
        alone = decode(decoder, classifier, Spectrogram(clip[None, :, :length]))[0]
        torch.testing.assert_close(row[:, :length], alone, rtol=1e-3, atol=1e-4)


def test_class_and_area_change_the_values(classifier):
    decoder, clip = decoder_of(classifier), Spectrogram(torch.rand(1, BINS, 67))
    first = decode(decoder, classifier, clip)
    for other in (decode(decoder, classifier, clip, label=1), decode(decoder, classifier, clip, area=0.4)):
        assert (other - first).abs().max() > 1e-3


def test_a_steady_input_gives_a_steady_output_unlike_that_of_transposed_convolutions():
    torch.manual_seed(0)
    shapes, frames = [(6, 8, 32)], 512
    steady = torch.rand(1, 6, 8, 1).expand(-1, -1, -1, 32)
    sound = torch.rand(1, BINS, 1).expand(-1, -1, frames)
    smooth = SmoothMask(shapes, BINS, 2)([steady], sound, torch.tensor([0]), torch.tensor([0.2]))
    transposed = LightMask(shapes, BINS).eval()([steady], frames)
    # Both ends are left out, where zeros enter the convolutions.
    changes = [values[..., 160:352].diff(dim=-1).abs().mean() / values.std() for values in (smooth, transposed)]
    assert changes[0] < 1e-4
    assert changes[1] > 0.1


def test_normalised_values_of_a_padded_clip_are_those_of_the_clip_alone():
    values, frames = 3 + 2 * torch.rand(2, 5, 9), torch.tensor([9, 4])
    together = normalized(values, frames)
    for row, clip, count in zip(together, values, frames, strict=True):
        alone = clip[:, :count]
        expected = (alone - alone.mean()) / alone.std(correction=0)
        torch.testing.assert_close(row[:, :count], expected, rtol=1e-4, atol=1e-4)
        assert row[:, count:].count_nonzero() == 0
    assert normalized(torch.full((1, 2, 3), 7.0), None).count_nonzero() == 0
