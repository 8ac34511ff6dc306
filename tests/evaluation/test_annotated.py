"""Annotated events of recordings as ground truth: the truth scores 1, random bins about the share of the boxes."""

import json

import numpy as np
import pytest
import soundfile
import torch

from otoscope.data import AnnotatedRecordings, Annotation, Clip, Synthetic, annotated_bins, collate
from otoscope.data.synthetic.scenes import SyntheticScenes, active_samples
from otoscope.evaluation.batch import classify_batch
from otoscope.evaluation.conditions import Conditions
from otoscope.evaluation.mask_scores import control, decode, score
from otoscope.evaluation.run import run_evaluation
from otoscope.evaluation.settings import Settings

RATE_HZ = 16_000
CLASSES = ["siren", "rooster", "clock_tick"]  # those of the classifier of these tests
FAST = {"areas": [0.2], "curves": False, "sanity": False, "randomisation": False, "stability": False}
ONLY_CLEAN = Conditions(wham=None, white_noise=False, mixture=False, speech=None)
SCORES = ("mass", "rank", "pointing", "tIoU", "tF1")


def annotated_clip(classifier, events, samples=8000, name="clip"):
    noise = torch.randn(samples, generator=torch.Generator().manual_seed(3))
    return Clip(noise / noise.abs().max(), 0, name, name, annotations=events)


def scores_of(source, batch):
    """Return the scores of the map of each clip."""
    return [clip.scores["map"]["mask"] for clip in score(source, batch, [0.2], curves=False, seed=1)]


@pytest.fixture
def label(classifier):
    """Label that the classifier predicts for the noise of these tests."""
    batch = classify_batch(classifier, collate([annotated_clip(classifier, ())]), 1)
    return classifier.labels[int(batch.prediction.explained[0])]


def test_the_truth_scores_1_and_random_bins_the_share_of_the_boxes(classifier, label):
    clip = annotated_clip(classifier, (Annotation(label, 0.1, 0.3, 1000, 4000), Annotation(label, 0.2, 0.4)))
    batch = classify_batch(classifier, collate([clip]), 1)
    (truth,) = scores_of(control("truth", batch, 1), batch)
    assert {name: truth[name] for name in SCORES} == dict.fromkeys(SCORES, 1.0)
    (random,) = scores_of(control("random", batch, 1), batch)
    share = float(batch.annotated.float().mean())
    assert share == pytest.approx(0.4 + 0.2 * 3 / 8, abs=0.02)
    assert random["mass"] == pytest.approx(share, abs=0.02)
    assert random["rank"] == pytest.approx(share, abs=0.02)


def test_several_events_are_a_union_and_other_labels_do_not_count(classifier, label):
    other = next(name for name in classifier.labels if name != label)
    events = (Annotation(label, 0.0, 0.2), Annotation(label, 0.1, 0.25), Annotation(other, 0.3, 0.5))
    batch = classify_batch(classifier, collate([annotated_clip(classifier, events)]), 1)
    union = annotated_bins([Annotation(label, 0.0, 0.25)], label, classifier.frontend, batch.annotated.shape[-1])
    assert torch.equal(batch.annotated[0], union)


def test_clips_without_an_event_of_the_explained_label_are_left_out(classifier, label):
    other = next(name for name in classifier.labels if name != label)
    clips = [
        annotated_clip(classifier, (Annotation(label, 0.1, 0.2),), name="a"),
        annotated_clip(classifier, (Annotation(other, 0.1, 0.2),), name="b"),
        annotated_clip(classifier, None, name="c"),
    ]
    batch = classify_batch(classifier, collate(clips), 1)
    for row in ("truth", "random", "loudest"):
        results = scores_of(control(row, batch, 1), batch)
        assert [np.isnan([scores[name] for name in SCORES]).all() for scores in results] == [False, True, True]
    # The control has no scores of decisions there either.
    decisions = score(control("truth", batch, 1), batch, [0.2], curves=False)
    assert [np.isnan(clip.scores["own"]["mask"]["AI"]) for clip in decisions] == [False, True, True]


def test_without_annotations_there_are_no_such_scores(classifier, batch):
    assert classify_batch(classifier, batch, 1).annotated is None


def test_a_batch_with_padding_scores_each_clip_alike(classifier, label, kinds):
    event = (Annotation(label, 0.05, 0.2),)
    clips = [annotated_clip(classifier, event, samples, f"clip{samples}") for samples in (8000, 5000)]
    method = kinds["gradient"](classifier)
    together = classify_batch(classifier, collate(clips), 1)
    batches = [classify_batch(classifier, collate([clip]), 1) for clip in clips]
    if [int(batch.prediction.explained[0]) for batch in batches] != together.prediction.explained.tolist():
        pytest.skip("padding changes the decision of this network")
    apart = [scores_of(decode(method, batch), batch)[0] for batch in batches]
    for first, second in zip(scores_of(decode(method, together), together), apart, strict=True):
        assert [first[name] for name in SCORES] == pytest.approx(
            [second[name] for name in SCORES], abs=0.02, nan_ok=True
        )


@pytest.fixture
def field(tmp_path):
    """Scenes with exact events joined to recordings, and their selection tables."""
    scenes = SyntheticScenes(2, CLASSES, duration_s=0.5, snr_db=(10, 15))
    folder = tmp_path / "field"
    folder.mkdir()
    for number in range(2):
        part = [scenes[3 * number + index] for index in range(3)]
        soundfile.write(
            folder / f"day{number}.wav", np.concatenate([scene.mixture.numpy() for scene in part]), RATE_HZ
        )
        lines = ["Selection\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tAnnotation"]
        for index, scene in enumerate(part):
            active = np.flatnonzero(active_samples(scene.event.numpy(), RATE_HZ))
            begin_s, end_s = (0.5 * index + sample / RATE_HZ for sample in (active[0], active[-1] + 1))
            lines.append(f"{index + 1}\t{begin_s:.4f}\t{end_s:.4f}\t0\t8000\t{scene.label}")
        (folder / f"day{number}.Table.1.selections.txt").write_text("\n".join(lines) + "\n")
    return folder


def test_an_evaluation_on_annotated_recordings(classifier, field, gradient, tmp_path):
    data = AnnotatedRecordings(field, clip_s=0.5)
    report = run_evaluation(
        classifier, {"gradient": gradient}, data, tmp_path / "out", ONLY_CLEAN, Settings(**FAST), progress=False
    )
    facts = report.results["conditions"]["clean"]
    assert (facts["clips"], facts["recordings"]) == (6, 2)
    scores = report.results["scores"]["clean"]["map"]["mask"]
    assert set(scores) == {"gradient", "random", "loudest", "truth"}
    for name in SCORES:
        assert scores["gradient"][name]["n"] == facts["annotated"]
        if facts["annotated"]:
            assert scores["truth"][name]["mean"] == 1
    left_out = facts["clips"] - facts["annotated"]
    assert f"the other {left_out} are left out of mass, rank, pointing, tIoU, tF1" in report.text
    assert not report.results["undefined"]
    # The truth is a control: it is never the best method.
    leaders = report.results["leaders"]["clean"]["map"]["mask"]
    assert all(leaders[name]["best"] != "truth" for name in SCORES if name in leaders)


def test_corrected_tables_are_scored_again(classifier, field, gradient, tmp_path):
    def evaluate():
        data = AnnotatedRecordings(field, clip_s=0.5)
        settings = Settings(**FAST)
        return run_evaluation(
            classifier, {"gradient": gradient}, data, tmp_path / "out", ONLY_CLEAN, settings, progress=False
        )

    first = evaluate()
    lines = (tmp_path / "out" / "records" / "clean" / "gradient.jsonl").read_text().count("\n")
    assert evaluate().results["scores"] == first.results["scores"]
    assert (tmp_path / "out" / "records" / "clean" / "gradient.jsonl").read_text().count("\n") == lines
    table = field / "day0.Table.1.selections.txt"
    content = table.read_text().splitlines()
    cells = content[1].split("\t")
    content[1] = "\t".join([cells[0], "0.0", "0.5", *cells[3:]])
    table.write_text("\n".join(content) + "\n")
    evaluate()
    records = (tmp_path / "out" / "records" / "clean" / "gradient.jsonl").read_text().splitlines()
    # Only the clip whose annotation changed is scored again.
    assert [json.loads(line)["clip"] for line in records[lines:]] == ["day0-0.000-0.500"]


def test_other_data_have_no_truth_row(classifier, gradient, tmp_path):
    data = Synthetic(clips_per_class=4, classes=CLASSES, duration_s=0.5)
    report = run_evaluation(
        classifier, {"gradient": gradient}, data, tmp_path / "out", ONLY_CLEAN, Settings(**FAST), progress=False
    )
    assert "truth" not in report.results["scores"]["clean"]["map"]["mask"]
    assert "annotated" not in report.results["conditions"]["clean"]
