"""Heard L-MAC: its goals, one by one, the areas of its masks, and what training finds."""

import math

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from otoscope.audio import Frontend
from otoscope.classifiers import Classifier, Conv2dClassifier, Prediction
from otoscope.errors import ConfigurationError, GradientError
from otoscope.interpreters import HeardLMACDecoded, HeardLMACInterpreter
from otoscope.interpreters.heard_lmac import log_odds, total_variation
from otoscope.metrics.ranking import largest_bins

FRONTEND = Frontend(n_fft=64, window_ms=4, hop_ms=2)


@pytest.fixture
def classifier():
    torch.manual_seed(0)
    return Conv2dClassifier(["dog", "rain", "sea"], FRONTEND, width=6, head_width=5, scale=5).freeze()


@pytest.fixture
def clips():
    """Three clips of different lengths, each with a level of its own."""
    return [(0.1 + 0.2 * index) * torch.randn(length) for index, length in enumerate((1600, 900, 300))]


def heard(classifier, clips):
    lengths = torch.tensor([len(clip) for clip in clips])
    return classifier.hear(pad_sequence(clips, batch_first=True), lengths)


def terms(interpreter, ranking, areas, spectrogram, target=None):
    prediction = interpreter.classifier.predict(spectrogram)
    prediction = prediction if target is None else prediction.towards(target)
    decoded = HeardLMACDecoded(ranking, areas, prediction)
    return {name: value.item() for name, value in interpreter.loss(decoded, spectrogram, prediction).items()}


@pytest.mark.parametrize("target", [None, (2, 0, 1)])
def test_terms_by_hand(classifier, clips, target):
    """Each clip alone: its mask, the sounds of both parts, scaled and analysed again, and the log-odds."""
    interpreter = HeardLMACInterpreter(classifier, gain=3.0, drop=4.0, l_in=2.0, l_out=0.5, tv=7.0)
    spectrogram = heard(classifier, clips)
    ranking, areas = torch.randn_like(spectrogram.log_magnitude), torch.tensor([0.1, 0.3, 0.5])
    target = None if target is None else torch.tensor(target)
    evidence = remainder = roughness = 0.0
    for index, clip in enumerate(clips):
        alone = classifier.hear(clip[None])
        mask = largest_bins(ranking[index, :, : alone.log_magnitude.shape[-1]], float(areas[index]))[None]
        label = int(classifier.predict(alone).predicted) if target is None else int(target[index])

        def odds(spectrogram, label=label):
            p = classifier.probabilities(spectrogram)[0, label].double()
            return float((p / (1 - p)).log())

        def part(mask, alone=alone):
            sound = classifier.frontend.inverse(alone.masked(mask))
            return classifier.frontend(sound / sound.abs().max())

        whole = odds(alone)
        evidence += max(0, max(0, whole) + 3 - odds(part(mask))) / 3
        remainder += max(0, odds(part(1 - mask)) - min(0, whole) + 4) / 3
        roughness += (mask.diff(dim=1).abs().mean() + mask.diff(dim=2).abs().mean()).item() / 3
    expected = {"evidence": 2 * evidence, "remainder": 0.5 * remainder, "roughness": 7 * roughness}
    assert min(evidence, remainder) > 0
    assert terms(interpreter, ranking, areas, spectrogram, target) == pytest.approx(expected, rel=1e-3)


def test_goals_that_are_reached_cost_nothing(classifier, clips):
    spectrogram = heard(classifier, clips)
    ranking, areas = torch.randn_like(spectrogram.log_magnitude), torch.full((3,), 0.2)
    interpreter = HeardLMACInterpreter(classifier, tv=0)
    interpreter.gain = interpreter.drop = -1e3
    assert terms(interpreter, ranking, areas, spectrogram) == {"evidence": 0, "remainder": 0}


@pytest.mark.parametrize("area", [0.05, 0.2, 0.5])
def test_masks_keep_exactly_their_area_of_each_clip(classifier, clips, area):
    spectrogram = heard(classifier, clips)
    interpreter = HeardLMACInterpreter(classifier, area=area).eval()
    mask = interpreter(spectrogram, classifier.predict(spectrogram))
    for row, count in zip(mask, spectrogram.frame_counts, strict=True):
        assert row.sum() == round(area * count * len(row))
        assert row[:, count:].count_nonzero() == 0
    assert set(mask.unique().tolist()) == {0, 1}


def test_another_area_after_decoding_gives_the_mask_of_this_area(classifier, clips):
    spectrogram = heard(classifier, clips)
    prediction = classifier.predict(spectrogram)
    interpreter = HeardLMACInterpreter(classifier).eval()
    decoded = interpreter.decode(spectrogram, prediction)
    other = HeardLMACInterpreter(classifier, area=0.4).eval()
    other.load_state_dict(interpreter.state_dict())
    mask = interpreter.with_threshold(0.4).mask(decoded, spectrogram)
    assert torch.equal(mask, other(spectrogram, prediction))
    # another map, not only another cut of the same one
    assert not torch.equal(mask[0], largest_bins(decoded.ranking[0], 0.4))
    assert interpreter.area == 0.2


def test_areas_of_a_batch_cover_the_range_evenly_in_their_logarithm(classifier):
    interpreter = HeardLMACInterpreter(classifier, areas=(0.05, 0.4))
    areas = interpreter.draw_areas(6)
    parts = (areas / 0.05).log() / math.log(8) * 6
    assert sorted(parts.floor().int().tolist()) == list(range(6))
    assert not torch.equal(areas, interpreter.draw_areas(6))


def test_training_decodes_each_clip_for_an_area_of_its_own(classifier, clips):
    spectrogram = heard(classifier, clips)
    prediction = classifier.predict(spectrogram)
    interpreter = HeardLMACInterpreter(classifier).train()
    decoded = interpreter.decode(spectrogram, prediction)
    assert len(decoded.areas.unique()) == 3
    soft = interpreter.soft_mask(decoded, spectrogram)
    torch.testing.assert_close(soft, interpreter.mask(decoded, spectrogram))
    soft.sum().backward()
    assert all(value.grad is not None for value in interpreter.parameters())
    assert decoded.areas.tolist() != interpreter.eval().decode(spectrogram, prediction).areas.tolist()


@pytest.mark.parametrize("multi_label", [False, True])
def test_log_odds_are_those_of_the_probabilities(multi_label):
    logits, target = torch.randn(5, 4).double(), torch.tensor([0, 3, 2, 1, 1])
    p = (logits.sigmoid() if multi_label else logits.softmax(-1)).gather(1, target[:, None])[:, 0]
    torch.testing.assert_close(log_odds(logits, target, multi_label), (p / (1 - p)).log())


def test_log_odds_have_a_gradient_where_probabilities_have_none():
    logits = torch.tensor([[60.0, 0.0]], requires_grad=True)
    log_odds(logits, torch.tensor([0])).sum().backward()
    assert logits.grad.tolist() == [[1, -1]]


def test_total_variation_counts_edges_of_the_clip_only():
    mask = torch.zeros(2, 4, 6)
    mask[:, 1:3, 2:4] = 1
    # 4 of 18 neighbours in frequency differ, 4 of 20 in time; of the first three frames 2 of 9 and 2 of 8
    expected = torch.tensor([4 / 18 + 4 / 20, 2 / 9 + 2 / 8])
    torch.testing.assert_close(total_variation(mask, torch.tensor([6, 3])), expected)
    assert total_variation(mask[:1, :, 2:3], None).isfinite().all()


class Bands(Classifier):
    """Decides between two classes by the levels of two bands, and represents each clip by both levels."""

    representation_channels = (2,)

    def forward(self, log_magnitude, frames=None):
        energy = log_magnitude.expm1().square()
        bands = torch.stack([energy[:, 6:12].sum(1), energy[:, 20:26].sum(1)], 1)
        share = bands.sum(-1) / energy.sum((1, 2)).clamp(min=1e-9)[:, None]
        logits = 8 * (share - share.flip(1))
        columns = bands[:, :, None, : bands.shape[-1] // 4 * 4].unflatten(-1, (-1, 4)).mean(-1)
        return Prediction(logits, (columns.expand(-1, -1, 4, -1),))


def test_training_finds_the_band_of_each_class():
    """In mixtures of two tones and noise, the mask of a class covers its own tone and not the other."""
    torch.manual_seed(0)
    classifier = Bands(["low", "high"], FRONTEND).freeze()
    time = torch.arange(1600) / 16_000
    tones = torch.stack([torch.sin(2 * torch.pi * hz * time) for hz in (2250, 5750)])
    levels = 0.5 + torch.rand(4, 2)
    spectrogram = classifier.hear(levels @ tones + 0.1 * torch.randn(4, 1600))
    interpreter = HeardLMACInterpreter(classifier, area=0.2, areas=(0.2, 0.2), tv=0.1).train()
    optimizer = torch.optim.Adam(interpreter.parameters(), lr=0.02)
    losses = []
    for step in range(60):
        prediction = classifier.predict(spectrogram).towards(torch.full((4,), step % 2))
        loss = sum(interpreter.loss(interpreter.decode(spectrogram, prediction), spectrogram, prediction).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < 0.6 * sum(losses[:10])
    prediction = classifier.predict(spectrogram)
    for label, (band, other) in enumerate((((6, 12), (20, 26)), ((20, 26), (6, 12)))):
        mask = interpreter.eval()(spectrogram, prediction.towards(torch.full((4,), label)))
        assert mask[:, slice(*band)].mean() > 2 * mask[:, slice(*other)].mean()


def test_invalid_options_are_refused(classifier):
    for options, message in (
        ({"tv": -1}, r"tv \(-1\) must not be negative"),
        ({"areas": (0.5, 0.1)}, "areas"),
        ({"areas": (0.1,)}, "areas"),
        ({"area": 1.0}, "area: 1.0 must lie between 0 and 1"),
        ({"softness": 0}, "softness"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            HeardLMACInterpreter(classifier, **options)
    classifier.differentiable = False
    with pytest.raises(GradientError, match="heard L-MAC needs gradients"):
        HeardLMACInterpreter(classifier)
