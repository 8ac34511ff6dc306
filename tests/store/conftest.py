"""Fixtures of the tests of the store: a local hub, and an explainer published on it."""

import importlib.util
from pathlib import Path

import pytest
import torch

from otoscope.classifiers import Conv2dClassifier
from otoscope.explain import Explainer
from otoscope.interpreters import PIQInterpreter

_SPEC = importlib.util.spec_from_file_location("hub_server", Path(__file__).parents[1] / "hub_server.py")
hub_server = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(hub_server)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A local hub and an empty cache."""
    from huggingface_hub import constants

    with hub_server.running() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        template = server.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
        yield server


@pytest.fixture
def no_network(hub):
    def switch_off():
        hub.requests.clear()
        hub.shutdown()
        hub.server_close()

    return switch_off


@pytest.fixture
def explainer(experienced):
    classifier = experienced(Conv2dClassifier(["dog", "rain", "siren"], width=6, head_width=5))
    return Explainer(classifier, PIQInterpreter(classifier, codes=12))


@pytest.fixture
def published(hub, explainer, tmp_path):
    hub.add("me/piq", explainer.save_pretrained(tmp_path / "saved", metrics={"scores": {"PIQ": {"AI": 12.5}}}))
    return "me/piq"


@pytest.fixture
def same():
    def compare(first, second):
        """Whether two explainers make the same mask."""
        waveform = torch.randn(8000, generator=torch.Generator().manual_seed(1))
        return torch.equal(first.explain(waveform, scores=False).mask, second.explain(waveform, scores=False).mask)

    return compare
