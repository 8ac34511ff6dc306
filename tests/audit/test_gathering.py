"""Evidence of all classes of a data set."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import otoscope
from otoscope.audit.evidence import ClassEvidence
from otoscope.audit.gathering import PROFILES_NAME, EvidenceOptions, evidence_explainer, gather_evidence
from otoscope.errors import ConfigurationError, GradientError

OPTIONS = EvidenceOptions("integrated_gradients", {"steps": 4}, score_examples=False, batch_size=4)
LABELS = ["low", "high"]


@pytest.fixture(scope="module")
def clips(tone_clip):
    """Clips of ``low`` with two pitches, and of ``high``, whose last one is mistaken."""
    low = [tone_clip(500 + 2 * k, 0, f"low {k}", recording=f"r{k}") for k in range(8)]
    low += [tone_clip(1600 + 2 * k, 0, f"low {k}", recording=f"r{k}") for k in range(8, 13)]
    high = [tone_clip(4000 + 5 * k, 1, f"high {k}", recording="one") for k in range(4)]
    return [*low, *high, tone_clip(500, 1, "mistaken")]


@pytest.fixture(scope="module")
def gathered(two_bands, clips, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evidence")
    return folder, gather_evidence(two_bands, clips, LABELS, folder, OPTIONS, progress=False)


def test_each_class_has_its_evidence(gathered):
    _, result = gathered
    assert list(result.classes) == LABELS
    assert (result.method, result.explained, result.reused, result.failures) == ("integrated gradients", 18, 0, {})
    low, high = (result.classes[label] for label in LABELS)
    assert (low.clips, low.recordings, low.decided) == (13, 13, 13)
    assert (high.clips, high.decided) == (5, 4)
    assert high.recordings == 2
    assert 3900 < high.frequency.main.low < high.frequency.main.high < 4100
    assert high.frequency.main.sound < 0.5
    assert (low.time.unit, low.time.edges[-1]) == ("s", 0.5)
    assert sum(low.frequency.evidence) == pytest.approx(1, abs=1e-3)
    assert sum(low.frequency.sound) == pytest.approx(1, abs=1e-3)
    assert all(a <= b for a, b in zip(low.frequency.low, low.frequency.high, strict=True))
    assert low.nearest.label == "high"
    assert low.nearest.overlap < 0.1
    assert low.outside is None


def test_clips_that_listen_elsewhere_are_a_cluster(gathered):
    low = gathered[1].classes["low"]
    assert [cluster.clips for cluster in low.clusters] == [8, 5]
    assert sum(cluster.share for cluster in low.clusters) == pytest.approx(1, abs=1e-4)
    first, second = low.clusters
    assert first.main_hz.high < 600 < 1500 < second.main_hz.low
    assert set(second.names) == {f"low {k}" for k in range(8, 13)}
    assert second.medoid in second.names


def test_examples_are_medoids_and_outliers_with_sounds(gathered):
    folder, result = gathered
    low = result.classes["low"]
    assert [example.role for example in low.examples] == ["typical", "typical", "outlying"]
    assert [example.name for example in low.examples[:2]] == [cluster.medoid for cluster in low.clusters]
    assert [example.clips for example in low.examples] == [8, 5, 1]
    for example in low.examples:
        explanation = otoscope.Explanation.load(folder / example.folder)
        assert (explanation.label, explanation.name) == ("low", example.name)
        assert explanation.evidence.abs().max() > 0
        assert example.probability == pytest.approx(explanation.probabilities["low"], abs=1e-4)


def test_a_second_run_explains_nothing_again(gathered, two_bands, clips, monkeypatch):
    folder, first = gathered
    monkeypatch.setattr("otoscope.audit.gathering.profile_clips", None)
    monkeypatch.setattr("otoscope.explain.Explainer.explain", None)
    second = gather_evidence(two_bands, clips, LABELS, folder, OPTIONS, progress=False)
    assert second.reused == 18
    assert second.classes == first.classes


def test_a_killed_run_resumes_to_the_same_result(gathered, two_bands, clips, tmp_path):
    folder, complete = gathered
    lines = (folder / PROFILES_NAME).read_bytes().splitlines(keepends=True)
    # killed while the sixth profile was written; another classifier has left lines too
    foreign = json.dumps({**json.loads(lines[7]), "stamp": "another"}).encode() + b"\n"
    (tmp_path / PROFILES_NAME).write_bytes(b"".join([foreign, *lines[:5], lines[5][:300]]))
    resumed = gather_evidence(two_bands, clips, LABELS, tmp_path, OPTIONS, progress=False)
    assert resumed.reused == 5
    assert resumed.classes == complete.classes


def test_a_changed_clip_is_explained_again(gathered, two_bands, clips):
    folder, _ = gathered
    changed = [replace(clips[0], key="new"), *clips[1:]]
    assert gather_evidence(two_bands, changed, LABELS, folder, OPTIONS, progress=False).reused == 17


def test_workers_give_the_same_result(gathered, two_bands, clips):
    threads = torch.get_num_threads()
    options = replace(OPTIONS, workers=2, typical=0, outlying=0)
    result = gather_evidence(two_bands, clips, LABELS, None, options, progress=False)
    torch.set_num_threads(threads)
    for label, evidence in result.classes.items():
        np.testing.assert_allclose(
            evidence.frequency.evidence, gathered[1].classes[label].frequency.evidence, atol=1e-4
        )


def test_classes_that_the_classifier_does_not_know_are_left_out(two_bands, clips):
    result = gather_evidence(two_bands, clips[-5:], ["low", "bird"], None, OPTIONS, progress=False)
    assert result.classes == {}
    result = gather_evidence(two_bands, clips[12:15], ["low", "bird"], None, OPTIONS, progress=False)
    assert list(result.classes) == ["low"]
    assert result.classes["low"].notes == ["The profiles rest on 1 clip only."]


def test_a_black_box_is_explained_without_gradients(tone_clip):
    def answer(waveforms: np.ndarray) -> np.ndarray:
        spectrum = np.abs(np.fft.rfft(waveforms)) ** 2
        share = spectrum[:, : spectrum.shape[1] // 4].sum(1) / spectrum.sum(1)
        return np.stack([share, 1 - share], 1)

    classifier = otoscope.CallableClassifier(answer, LABELS, 16_000)
    assert evidence_explainer(classifier, EvidenceOptions()).method == "segment regression"
    options = EvidenceOptions("segment_regression", {"passes": 60}, typical=0, outlying=0)
    result = gather_evidence(
        classifier, [tone_clip(500), tone_clip(4000, 1)], LABELS, None, options, progress=False
    )
    assert result.classes["high"].frequency.main.low > 3000
    assert result.classes["low"].frequency.main.high < 1000
    with pytest.raises(GradientError):
        gather_evidence(classifier, [tone_clip(500)], LABELS, None, OPTIONS, progress=False)


def test_a_network_that_breaks_the_gradient_is_explained_as_a_black_box(tone_clip, two_bands):
    class Detached(torch.nn.Module):
        def forward(self, log_magnitude):
            return two_bands.module(log_magnitude.detach())

    classifier = otoscope.TorchClassifier(Detached(), LABELS)
    options = EvidenceOptions(typical=0, outlying=0)
    result = gather_evidence(classifier, [tone_clip(4000, 1)], LABELS, None, options, progress=False)
    assert result.method == "segment regression"
    assert result.classes["high"].frequency.main.low > 3000


def test_without_scikit_learn_there_is_one_cluster_and_a_note(two_bands, clips, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    result = gather_evidence(two_bands, clips[:12], LABELS, None, OPTIONS, progress=False)
    assert len(result.classes["low"].clusters) == 1
    assert "pip install" in result.notes[0]


def test_nothing_is_explained_if_that_is_asked_for(two_bands, clips):
    assert gather_evidence(two_bands, clips, LABELS, None, EvidenceOptions("none")).classes == {}


def test_evidence_is_the_same_from_json(gathered):
    for evidence in gathered[1].classes.values():
        content = json.loads(json.dumps(evidence.to_dict()))
        assert ClassEvidence.from_dict(content).to_dict() == evidence.to_dict()


@pytest.mark.parametrize("options", [{"clips_per_class": 0}, {"workers": 0}, {"typical": -1}])
def test_options_out_of_range_are_errors(options):
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        EvidenceOptions(**options)
