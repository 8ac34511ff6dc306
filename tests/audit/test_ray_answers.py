"""Answers on a Ray cluster are those of this process."""

import secrets

import pytest
import torch

from otoscope.audit.answers import Answers, Request
from otoscope.audit.clips import choose_clips
from otoscope.audit.cues import BandCue
from otoscope.classifiers import Conv2dClassifier
from otoscope.data import Clip

pytest.importorskip("ray", reason="the extra `cluster` is not installed")


def test_answers_are_those_of_this_process(monkeypatch):
    from otoscope.audit.ray_answers import RayAnswers

    for name, value in (("RAY_AUTH_TOKEN", secrets.token_hex(32)), ("CUDA_VISIBLE_DEVICES", "")):
        monkeypatch.setenv(name, value)
    classifier = Conv2dClassifier(["dog", "rain"], width=4, head_width=4).freeze()
    clips = [Clip(torch.rand(4000), number % 2, str(number), str(number)) for number in range(20)]
    chosen = choose_clips(clips, classifier.labels, classifier, None, seed=0)
    requests = [Request(index, "removed", BandCue(900, 1200)) for index in range(20)]
    with RayAnswers(1) as backend:
        remote = Answers(classifier, chosen, backend=backend)
        first, again = remote.ask(requests), remote.ask(requests)
    torch.testing.assert_close(torch.tensor(first), torch.tensor(Answers(classifier, chosen).ask(requests)))
    assert (first == again).all()
