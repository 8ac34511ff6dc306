"""From an upload to the files of a result."""

import json
import zipfile

import pytest
from tests.report.folders import content, save_clip

from otoscope.app.explaining import AppModel, Choice, model_title, read_clip, write_page
from otoscope.app.limits import Limits
from otoscope.errors import AudioError, ConfigurationError, DataError
from otoscope.explain import Explainer
from otoscope.interpreters import PIQInterpreter

LIMITS = Limits(duration_s=2)


def test_result_holds_report_and_archive(model, shelf, recording, tmp_path):
    answer = model.explain(recording, Choice(target="rain"), LIMITS, shelf)
    assert answer.name == "a clip"
    assert answer.summary.startswith("a clip: rain (p = ")
    folder = shelf.folder / answer.token
    assert sorted(path.name for path in folder.iterdir()) == ["explanation.zip", "report.html"]
    page = shelf.file(answer.token, "report.html").read_text()
    assert "Explanation of a clip" in page
    assert "data-otoscope-player" in page
    with zipfile.ZipFile(shelf.file(answer.token, "explanation.zip")) as archive:
        names = archive.namelist()
        values = json.loads(archive.read("a clip/explanation.json"))
    assert {"a clip/original.wav", "a clip/interpretation.wav", "a clip/mask.npz"} <= set(names)
    assert values["source"] == {"model": "small model", "options": {"target": "rain"}}
    # No path of the machine, neither in the page nor in the numbers.
    for text in (page, json.dumps(values)):
        assert str(tmp_path) not in text


def test_contrast_compares_two_classes(model, shelf, recording):
    answer = model.explain(recording, Choice(target="rain", against="dog"), LIMITS, shelf)
    page = shelf.file(answer.token, "report.html").read_text()
    assert '<th scope="row" class="explained">rain' in page
    assert '<th scope="row">cat' not in page


@pytest.mark.parametrize(("area", "expected"), [(0.3, 0.3), ("sufficient", None)])
def test_area_and_method_are_used(model, area, expected):
    explainer = model.explainer_of(Choice(method="grad_cam", area=area))
    assert explainer.method == "Grad-CAM"
    assert explainer.classifier is model.explainer.classifier  # not a copy for each request
    if expected is not None:
        assert explainer.interpreter.config["area"] == expected


def test_default_is_the_explainer_of_the_model(model):
    assert model.explainer_of(Choice()) is model.explainer
    assert model.explainer_of(Choice(target="dog")) is model.explainer


def test_trained_method_has_no_area_to_choose(model):
    classifier = model.explainer.classifier
    trained = AppModel(Explainer(classifier, PIQInterpreter(classifier, codes=8)), "trained")
    with pytest.raises(ConfigurationError, match="PIQ has none to choose"):
        trained.explainer_of(Choice(area=0.1))
    assert trained.explainer_of(Choice(method="saliency", area=0.1)).method == "saliency"


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (Choice(target="bird"), "bird"),
        (Choice(against="dog"), "choose the target too"),
        (Choice(target="dog", against="dog"), "dog"),
        (Choice(method="piq"), "piq"),
    ],
)
def test_choice_that_does_not_fit_leaves_nothing(model, shelf, recording, choice, message):
    with pytest.raises(ConfigurationError, match=message):
        model.explain(recording, choice, LIMITS, shelf)
    assert not list(shelf.folder.iterdir())


def test_refused_recording_leaves_nothing(model, shelf, recording):
    recording.write_bytes(b"PK\3\4" + bytes(100))
    with pytest.raises(AudioError, match=r"^a clip.wav: not a sound file"):
        model.explain(recording, Choice(), LIMITS, shelf)
    assert not list(shelf.folder.iterdir())


def test_only_methods_that_fit_are_offered(model):
    assert {"saliency", "rise"} <= set(model.methods)
    assert "piq" not in model.methods
    model.explainer.classifier.__class__ = type(
        "BlackBox", (type(model.explainer.classifier),), {"differentiable": False}
    )
    assert "saliency" not in model.methods
    assert "rise" in model.methods


def test_page_of_a_stored_explanation_states_no_path(tmp_path):
    source = {
        "recording": {"path": "/srv/secret/x.wav"},
        "model": "/srv/models/piq/model",
        "options": {"target": None, "baselines": "/srv/clips"},
    }
    save_clip(tmp_path / "x", content("x", source=source))
    clip = read_clip(tmp_path / "x")
    assert clip.source == {"model": "piq", "options": {"target": None}}
    write_page(clip, tmp_path / "x.html")
    text = (tmp_path / "x.html").read_text()
    assert "/srv" not in text
    assert str(tmp_path) not in text


def test_damaged_explanation_leaves_no_page(tmp_path):
    save_clip(tmp_path / "x", content("x"))
    (tmp_path / "x" / "original.wav").write_bytes(b"")
    with pytest.raises(DataError):
        write_page(read_clip(tmp_path / "x"), tmp_path / "x.html")
    assert not (tmp_path / "x.html").exists()


def test_title_of_a_model_is_no_path(tmp_path):
    (tmp_path / "runs" / "mine" / "model").mkdir(parents=True)
    assert model_title(str(tmp_path / "runs" / "mine" / "model")) == "mine"
    assert model_title("owner/name") == "owner/name"
