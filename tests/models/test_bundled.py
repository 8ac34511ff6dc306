"""The bundled model: size, card, attribution, sample recordings, and the note when it is uncertain."""

import csv
import json
import os
from pathlib import Path

import pytest
import torch

import otoscope
from otoscope.errors import ConfigurationError
from otoscope.methods import DEFAULT_METHOD, METHODS
from otoscope.models import bundled_model, sample_recordings

REPOSITORY = Path(__file__).parents[2]
ESC10 = Path(os.environ.get("OTOSCOPE_ESC10", REPOSITORY.parent / "shared" / "esc10"))
LIMITS = "ten everyday sounds; for anything else give --model"


@pytest.fixture(scope="module")
def explainer():
    return otoscope.load()


@pytest.fixture(scope="module")
def untrained():
    return otoscope.load(method="integrated_gradients", steps=4)


def test_the_model_folder_is_small():
    sizes = [path.stat().st_size for path in bundled_model().rglob("*") if path.is_file()]
    assert sum(sizes) <= 1.5e6


def test_load_without_a_path_opens_the_bundled_model(explainer, untrained):
    assert len(explainer.labels) == 10
    assert untrained.method == "integrated gradients"
    assert otoscope.load().method == METHODS[DEFAULT_METHOD].title
    assert untrained.labels == explainer.labels
    assert untrained.classifier.details["uncertain_below"] == explainer.classifier.details["uncertain_below"]
    assert otoscope.load(method="lmac").method == "L-MAC"
    assert otoscope.load(bundled_model()).method == "L-MAC"
    with pytest.raises(ConfigurationError, match="revision: main needs a path"):
        otoscope.load(revision="main")


@pytest.mark.parametrize("sample", sample_recordings(), ids=lambda sample: sample.name)
def test_samples_are_classified_as_their_labels(explainer, sample):
    explanation = explainer.explain(sample.path, scores=False)
    assert explanation.predicted == sample.labels[0]
    assert not any("uncertain" in note for note in explanation.notes)
    assert sample.path.stat().st_size <= 150_000


def test_one_sample_is_a_mixture_of_two_classes():
    mixtures = [sample for sample in sample_recordings() if len(sample.labels) == 2]
    assert len(mixtures) == 1
    assert len(set(mixtures[0].labels)) == 2


def test_white_noise_gets_a_note_with_classes_and_limits(explainer, untrained):
    noise = torch.randn(80_000, generator=torch.Generator().manual_seed(0))
    for model in (explainer, untrained):
        (note,) = model.explain(noise, scores=False).notes
        assert note.startswith("the prediction is uncertain (largest probability 0.")
        assert ", ".join(model.labels) in note
        assert note.endswith(LIMITS)


def test_the_card_states_command_folds_seed_and_accuracy():
    card = (bundled_model() / "README.md").read_text(encoding="utf-8")
    accuracy = json.loads((bundled_model() / "config.json").read_text())["metrics"]["accuracy"]
    assert f"| {accuracy['cross-validated']:.4g} |" in card
    recipe = ("otoscope train", "esc10_bundled.yaml", "seed", "folds")
    for words in (*recipe, "size: weights, MB", LIMITS, "CC BY 3.0", "cc-by-3.0"):
        assert words in card


def test_every_clip_has_an_author_in_card_and_notice():
    lines = json.loads((bundled_model() / "classifier" / "config.json").read_text())["attribution"]
    assert len(lines) == 320
    assert all(" by " in line for line in lines)
    card = (bundled_model() / "README.md").read_text(encoding="utf-8")
    notice = (REPOSITORY / "NOTICE").read_text(encoding="utf-8")
    assert all(line in card and line in notice for line in lines)
    for sample in sample_recordings():
        assert notice.count(f"- {sample.path.name}: ") == len(sample.clips)


@pytest.mark.skipif(not ESC10.is_dir(), reason="needs ESC-10; set OTOSCOPE_ESC10 to its folder")
def test_attribution_covers_every_clip_of_the_folds():
    with (ESC10 / "meta" / "esc50.csv").open(newline="") as table:
        rows = [row for row in csv.DictReader(table) if row["fold"] in "1234"]
    names = {row["filename"].rpartition("-")[0] for row in rows}
    lines = json.loads((bundled_model() / "classifier" / "config.json").read_text())["attribution"]
    assert names == {line.partition(".ogg: ")[0] for line in lines}
