import pytest

import otoscope
from otoscope.classifiers import Cnn14Classifier, Conv2dClassifier
from otoscope.errors import CheckpointError, DownloadError
from otoscope.explain import Explainer

WEIGHTS = "model.safetensors"


def test_a_pushed_model_can_be_fetched(hub, explainer, same):
    address = explainer.push_to_hub("me/new", token="hf_secret", license="mit", data="ESC-10, folds 1 to 3")
    assert address == f"{hub.address}/me/new/commit/{hub.commit('me/new')}"
    files = {"README.md", "config.json", WEIGHTS, "classifier/config.json", f"classifier/{WEIGHTS}"}
    assert set(hub.repositories["me/new"]) == files
    fetched = otoscope.load("me/new")
    assert same(fetched, explainer)
    assert fetched.details == {"license": "mit", "data": "ESC-10, folds 1 to 3"}
    explainer.classifier.push_to_hub("me/classifier", token="hf_secret")
    classifier = Conv2dClassifier.from_pretrained("me/classifier")
    assert classifier.labels == explainer.labels
    with pytest.raises(CheckpointError, match="holds a Conv2dClassifier, not a Cnn14Classifier"):
        Cnn14Classifier.from_pretrained("me/classifier")
    with pytest.raises(CheckpointError, match="holds a classifier without an interpreter"):
        Explainer.from_pretrained("me/classifier")


def test_a_failed_push_is_reported(explainer, monkeypatch):
    monkeypatch.setattr(
        "huggingface_hub.HfApi.create_repo", lambda *_, **__: (_ for _ in ()).throw(OSError("no route"))
    )
    with pytest.raises(DownloadError, match=r"me/new: cannot be written on the hub \(no route\)"):
        explainer.push_to_hub("me/new", token="hf_secret")
