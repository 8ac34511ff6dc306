"""Expected gradients: what they sum to, which recordings they compare with, and how these are kept."""

import captum.attr
import numpy as np
import pytest
import torch
from attributions import BINS, FRAMES, RectangleClassifier, attribution_of

from otoscope.audio import Spectrogram, save_audio
from otoscope.classifiers import Conv2dClassifier
from otoscope.errors import CheckpointError, ConfigurationError
from otoscope.interpreters import ExpectedGradientsInterpreter, save_interpreter
from otoscope.interpreters.baselines import LONGEST_S, fit_to_length, read_baselines
from otoscope.loading import load_interpreter

HOP = 128
SAMPLES = (FRAMES - 1) * HOP
"""Samples of a recording with as many frames as the clips have."""


@pytest.fixture
def conv2d(experienced):
    return experienced(
        Conv2dClassifier(["dog", "rain", "clock"], RectangleClassifier().frontend, width=4, head_width=4)
    ).freeze()


@pytest.fixture
def clip(conv2d):
    return conv2d.hear(torch.randn(1, SAMPLES, generator=torch.Generator().manual_seed(0)))


def recordings(count, samples=SAMPLES):
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn(samples, generator=generator) * torch.linspace(0.1, 1, samples) ** k
        for k in range(1, count + 1)
    ]


@pytest.mark.parametrize("multi_label", [False, True])
def test_they_sum_to_the_score_over_the_mean_score_of_the_baselines(conv2d, clip, multi_label):
    conv2d.multi_label = multi_label
    sounds = recordings(4)
    heard = conv2d.hear(torch.stack(sounds))
    for target in range(3):
        attribution = attribution_of(
            "expected_gradients", conv2d, clip, target, baselines=sounds, samples=256, score="log_probability"
        )
        scores = [conv2d.probabilities(part).log()[:, target] for part in (clip, heard)]
        expected = scores[0][0] - scores[1].mean()
        assert float(attribution.sum()) == pytest.approx(float(expected), abs=0.02 * float(attribution.abs().sum()))


def test_they_agree_with_gradient_shap_of_captum_without_noise(conv2d, clip):
    sounds = recordings(3)
    heard = conv2d.hear(torch.stack(sounds)).log_magnitude
    assert heard.shape == (3, BINS, FRAMES)
    target = int(conv2d.predict(clip).predicted)
    torch.manual_seed(0)
    np.random.seed(0)
    method = captum.attr.GradientShap(lambda log_magnitude: conv2d(log_magnitude).logits)
    expected = method.attribute(
        clip.log_magnitude.clone().requires_grad_(), heard, n_samples=3000, stdevs=0.0, target=target
    )
    attribution = attribution_of("expected_gradients", conv2d, clip, baselines=sounds, samples=300, batch=50)
    # Both are estimates of one integral, by draws of their own.
    assert torch.corrcoef(torch.stack([attribution.flatten(), expected.detach().flatten()]))[0, 1] > 0.99
    assert (attribution.sum() - expected.sum()).abs() < 0.02 * attribution.abs().sum()


def test_with_silence_as_baseline_they_are_integrated_gradients(conv2d, clip):
    few, many = (
        attribution_of("expected_gradients", conv2d, clip, baselines=[torch.zeros(SAMPLES)], samples=count)
        for count in (16, 256)
    )
    expected = attribution_of("integrated_gradients", conv2d, clip, steps=64)
    errors = [float((value - expected).abs().sum() / expected.abs().sum()) for value in (few, many)]
    assert errors[1] < 0.05
    assert errors[1] < errors[0]


def test_what_clip_and_baselines_have_in_common_counts_for_nothing(conv2d, clip):
    same = Spectrogram(clip.log_magnitude, clip.phase, clip.length)
    interpreter = ExpectedGradientsInterpreter(conv2d, samples=4, baselines=recordings(1))
    interpreter.baselines.copy_(clip.log_magnitude)
    assert interpreter.decode(same, conv2d.predict(same)).count_nonzero() == 0


def test_every_baseline_and_every_part_of_the_line_is_used_equally_often(conv2d):
    interpreter = ExpectedGradientsInterpreter(conv2d, samples=12, baselines=recordings(4))
    order, positions, _ = interpreter._draws()
    assert order.bincount().tolist() == [3, 3, 3, 3]
    assert (positions * 12).floor().int().sort().values.tolist() == list(range(12))


def test_baselines_of_other_lengths_are_cut_or_repeated(conv2d, clip):
    sounds = [*recordings(1, SAMPLES // 3), *recordings(1, 2 * SAMPLES)]
    attribution = attribution_of("expected_gradients", conv2d, clip, baselines=sounds, samples=8)
    assert attribution.isfinite().all()
    values = torch.arange(5.0)[None]
    for frames in range(1, 12):
        for place in (0.0, 0.3, 0.999):
            part = fit_to_length(values, frames, place)[0]
            assert len(part) == frames
            assert (part.diff().remainder(5) == 1).all()
            if frames < 5:  # without a seam
                assert (part.diff() == 1).all()


def test_recordings_from_folders_patterns_and_lists(conv2d, tmp_path):
    for number, sound in enumerate(recordings(5)):
        save_audio(tmp_path / ("a" if number < 2 else "b") / f"{number}.wav", 0.1 * sound)
    (tmp_path / "a" / "notes.txt").write_text("no sound")
    for source, count in (
        (tmp_path, 5),
        (str(tmp_path / "a"), 2),
        (tmp_path / "b" / "4.wav", 1),
        (str(tmp_path / "*" / "[13].wav"), 2),
        ([str(tmp_path / "a"), torch.randn(1000), tmp_path / "b" / "3.wav"], 4),
    ):
        assert len(read_baselines(source, conv2d, 10, 0).frames) == count
    few, again, other = (read_baselines(tmp_path, conv2d, 3, seed).log_magnitude for seed in (0, 0, 2))
    assert len(few) == 3
    assert torch.equal(few, again)
    assert few.shape != other.shape or not torch.equal(few, other)


def test_of_a_long_recording_a_part_is_taken(conv2d):
    rate_hz = conv2d.frontend.sample_rate_hz
    baselines = read_baselines([torch.randn(int(1.5 * LONGEST_S * rate_hz))], conv2d, 1, 0)
    assert int(baselines.frames) == conv2d.hear(torch.zeros(1, int(LONGEST_S * rate_hz))).log_magnitude.shape[-1]


def test_without_recordings_the_samples_of_the_package_are_taken(conv2d):
    interpreter = ExpectedGradientsInterpreter(conv2d)
    assert interpreter.shape[0] == 4
    assert interpreter.baselines.amax((1, 2)).min() > 0


def test_a_model_folder_keeps_the_baselines(conv2d, clip, tmp_path):
    interpreter = ExpectedGradientsInterpreter(conv2d, samples=4, baselines=[*recordings(2), torch.randn(3000)])
    expected = interpreter.decode(clip, conv2d.predict(clip))
    folder = save_interpreter(interpreter, conv2d, tmp_path / "model")
    assert "baselines" not in interpreter.config
    loaded, classifier = load_interpreter(folder)
    assert torch.equal(loaded.frames, interpreter.frames)
    assert torch.equal(loaded.decode(clip, classifier.predict(clip)), expected)


def test_impossible_baselines_of_a_model_folder_are_refused(conv2d, tmp_path):
    interpreter = ExpectedGradientsInterpreter(conv2d, samples=4, baselines=recordings(1))
    interpreter.frames.fill_(10_000)
    with pytest.raises(CheckpointError, match="its baselines are no recordings"):
        load_interpreter(save_interpreter(interpreter, conv2d, tmp_path / "model"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"baselines": "no/such/folder"}, "baselines: .*folder holds no sound file"),
        ({"baselines": []}, "baselines: the list is empty"),
        ({"baselines": 3}, "baselines: expected a folder, .* got int"),
        ({"samples": 0}, "samples: 0 must be a whole number"),
        ({"most_baselines": 0}, "most_baselines: 0 must be a whole number"),
        ({"shape": [0, 3]}, r"shape: \[0, 3\] must be two numbers of 1 or more"),
    ],
)
def test_options_out_of_range_are_named(conv2d, options, message):
    with pytest.raises(ConfigurationError, match=message):
        ExpectedGradientsInterpreter(conv2d, **options)
