"""Events of a recording."""

import pytest
import soundfile
import torch

from otoscope.classifiers import Conv2dClassifier
from otoscope.explain import Explainer
from otoscope.interpreters import PIQInterpreter
from otoscope.recordings import Event


@pytest.fixture
def events():
    """Two events with a box of evidence and one without; labels and names with unusual characters."""
    scores = {"p_evidence": 0.81, "p_remainder": 0.1, "MM": 0.031}
    times = {"windows_begin_s": 12.0, "windows_end_s": 14.5}
    box = {"low_hz": 210.4, "high_hz": 1500.0, "evidence_begin_s": 12.5, "evidence_end_s": 13.25}
    return [
        Event(
            "field/night 1.wav", "dog", 12.5, 13.25, 0.974, 0.9, **times, **box, scores=scores, verdict="supported"
        ),
        Event("field/night 1.wav", "großer Brachvogel, Ruf", 3600.123456, 3725, 0.61, 0.55, 3600, 3725),
        Event("field/night 1.wav", 'dog "alarm"\tcall', 7200, 7201, 0.5, 0.5, 7199, 7202, **{**box, "low_hz": 0.0}),
    ]


@pytest.fixture
def tiny_explainer(experienced):
    """An explainer whose network is small, with random weights."""
    torch.manual_seed(0)
    classifier = experienced(Conv2dClassifier(["dog", "rain"], width=4, head_width=5))
    return Explainer(classifier, PIQInterpreter(classifier, codes=8))


@pytest.fixture
def short_clips(tmp_path):
    """Seven clips of a quarter of a second and more; the third is no sound."""
    folder = tmp_path / "clips"
    folder.mkdir()
    generator = torch.Generator().manual_seed(0)
    for index in range(7):
        samples = 0.1 * torch.randn(4000 + 400 * (index % 3), generator=generator)
        soundfile.write(folder / f"clip{index}.wav", samples.numpy(), 16_000)
    (folder / "clip2.wav").write_bytes(b"no sound at all")
    return folder
