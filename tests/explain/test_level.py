"""Recordings as people hold them, at the level that their classifier hears."""

import json

import numpy as np
import pytest
import soundfile
import torch

from otoscope import CallableClassifier
from otoscope.audio import Frontend, save_audio
from otoscope.classifiers import Conv2dClassifier, save_classifier
from otoscope.cli.main import main
from otoscope.data import Clip, collate
from otoscope.errors import AudioError, ConfigurationError, ShapeError
from otoscope.evaluation.batch import classify_batch, classify_parts
from otoscope.explain import Explainer
from otoscope.interpreters import make_untrained
from otoscope.loading import load_classifier

LABELS = ["loud", "soft"]


def loudness(waveforms):
    level = np.clip(2 * np.abs(waveforms).mean(axis=1), 0, 1)
    return np.stack([level, 1 - level], axis=1)


def network(rate_hz=16_000):
    torch.manual_seed(1)
    return Conv2dClassifier(LABELS, Frontend(rate_hz), width=4, depth=2, head_width=8)


KINDS = {"trained here": network, "external": lambda: CallableClassifier(loudness, LABELS)}


def explainer_of(classifier):
    method = "occlusion" if isinstance(classifier, CallableClassifier) else "saliency"
    return Explainer(classifier, make_untrained(method, classifier))


@pytest.fixture
def clip():
    return 0.2 * torch.randn(6_000, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", KINDS)
def test_the_saved_sounds_get_the_printed_numbers(kind, clip, tmp_path):
    explainer = explainer_of(KINDS[kind]())
    result = explainer.explain(clip)
    result.save(tmp_path / "a")
    for name, expected in (
        ("original", result.probabilities),
        ("interpretation", result.evidence_probabilities),
        ("remainder", result.remainder_probabilities),
    ):
        again = explainer.explain(tmp_path / "a" / f"{name}.wav", scores=False)
        assert again.probabilities == pytest.approx(expected, abs=1e-4)


def test_only_networks_that_were_trained_so_hear_a_peak_of_1(clip):
    ours, external = explainer_of(network()), explainer_of(KINDS["external"]())
    assert (ours.classifier.normalize, external.classifier.normalize) == (True, False)
    quiet, loud = (ours.explain(gain * clip, scores=False).probabilities for gain in (0.01, 1))
    assert quiet == pytest.approx(loud, abs=1e-5)
    quiet, loud = (external.explain(gain * clip, scores=False).probabilities for gain in (0.01, 1))
    assert quiet["loud"] == pytest.approx(0.01 * loud["loud"], rel=0.05)
    assert loud["loud"] == pytest.approx(2 * float(clip.abs().mean()), rel=0.05)
    asked = external.explain(0.01 * clip, scores=False, normalize=True)
    assert asked.probabilities["loud"] == pytest.approx(2 * float((clip / clip.abs().max()).abs().mean()), rel=0.05)
    assert float(asked.original.abs().max()) == pytest.approx(0.01 * float(clip.abs().max()))


def test_the_level_travels_with_the_model(tmp_path):
    config = json.loads((save_classifier(network(), tmp_path / "a") / "config.json").read_text())
    assert config["normalize"] is True
    other = network()
    other.normalize = False
    assert load_classifier(save_classifier(other, tmp_path / "b")).normalize is False
    # a folder of an earlier version, whose networks were trained at a peak of 1
    del config["normalize"]
    (tmp_path / "a" / "config.json").write_text(json.dumps(config))
    assert load_classifier(tmp_path / "a").normalize is True


@pytest.mark.parametrize("kind", KINDS)
def test_evaluations_hear_as_explanations_do(kind, clip):
    classifier = KINDS[kind]().freeze()
    peak = clip.abs().max()
    item = Clip(clip / peak, 0, "a", "a", peak=float(peak))
    batch = classify_batch(classifier, collate([item]), 0)
    result = explainer_of(classifier).explain(clip)
    explained = torch.tensor([[result.probabilities[label] for label in LABELS]])
    torch.testing.assert_close(batch.prediction.probabilities, explained, rtol=0, atol=1e-4)
    heard = classify_parts(batch, [result.mask[None]], heard=True).heard
    evidence = torch.tensor([[result.evidence_probabilities[label] for label in LABELS]])
    torch.testing.assert_close(heard[0], evidence, rtol=0, atol=1e-4)


def test_what_people_hold_is_explained(clip):
    explainer = explainer_of(network())
    plain = explainer.explain(clip, scores=False)
    assert plain.notes == []
    stereo = np.stack([clip.numpy(), 0.5 * clip.numpy()])
    mixed, reversed_stereo = explainer.explain_batch([stereo, stereo.T[::-1]], scores=False)
    assert mixed.notes == ["2 channels are mixed down"]
    torch.testing.assert_close(mixed.original, 0.75 * clip)
    torch.testing.assert_close(reversed_stereo.original, 0.75 * clip.flip(0))
    assert explainer.explain(stereo, channel=0, scores=False).probabilities == plain.probabilities
    rows = torch.stack([clip, clip.flip(0)])
    assert explainer.interpret_batch(rows).evidence.shape == rows.shape
    resampled = explainer.explain(clip, scores=False, sample_rate_hz=48_000)
    assert resampled.original.shape == (2_000,)


def test_mistakes_with_recordings_are_named(clip, tmp_path):
    explainer = explainer_of(network())
    path = save_audio(tmp_path / "a.wav", clip)
    with pytest.raises(ConfigurationError, match="states its own sample rate"):
        explainer.explain(path, sample_rate_hz=8_000)
    for single in (str(path), {"array": clip}, 3):
        with pytest.raises(ShapeError, match="sequence of recordings"):
            explainer.explain_batch(single)
    with pytest.raises(ShapeError):
        explainer.explain_batch(clip)
    with pytest.raises(AudioError, match="no channel 1"):
        explainer.explain(path, channel=1)


@pytest.mark.parametrize("rate_hz", [8_000, 44_100, 48_000, 96_000, 256_000, 384_000])
def test_any_sample_rate_works(rate_hz):
    explainer = explainer_of(network(rate_hz))
    result = explainer.explain(0.1 * torch.randn(rate_hz // 8), scores=False)
    assert result.evidence.shape == (rate_hz // 8,)
    assert result.evidence.isfinite().all()
    parts = result.evidence + result.remainder
    if bool(((result.mask == 0) | (result.mask == 1)).all()):
        torch.testing.assert_close(parts, result.original, rtol=0, atol=1e-4)


def test_channel_and_level_on_the_command_line(clip, tmp_path, capsys):
    save_classifier(network(), tmp_path / "model")
    soundfile.write(tmp_path / "wide.wav", np.stack([clip, -clip], 1), 16_000, subtype="FLOAT")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.M4A").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
    arguments = ["--model", str(tmp_path / "model"), "--method", "saliency", "--out", str(tmp_path / "out")]
    assert main(["explain", str(tmp_path / "wide.wav"), *arguments]) == 2
    assert "--channel 0" in capsys.readouterr().err
    assert main(["explain", str(tmp_path / "wide.wav"), *arguments, "--channel", "0", "--normalize", "false"]) == 0
    content = json.loads((tmp_path / "out" / "wide" / "explanation.json").read_text())
    assert content["source"]["options"]["channel"] == 0
    assert content["source"]["options"]["normalize"] is False
    assert main(["explain", str(tmp_path / "in"), *arguments]) == 1
    source, target = tmp_path / "in" / "a.M4A", tmp_path / "in" / "a.wav"
    assert f"ffmpeg -i {source} {target}" in capsys.readouterr().err
