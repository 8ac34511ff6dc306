"""The example of external classifiers: weights from a package, random transformers, ONNX beside its original."""

import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest
import torch

from otoscope import load_audio, save_audio
from otoscope.interpreters import make_untrained

REPOSITORY = Path(__file__).parents[1]
SCRIPT = REPOSITORY / "examples" / "external_classifiers.py"
ESC10 = Path(os.environ.get("OTOSCOPE_ESC10", REPOSITORY.parent / "shared" / "esc10"))
SNEEZE = ESC10 / "audio" / "4-157297-A-21.ogg"
FEW = {"rise": {"masks": 12}, "slime": {"samples": 12}, "occlusion": {"batch": 64}}


@pytest.fixture(scope="module")
def example():
    pytest.importorskip("transformers")
    spec = importlib.util.spec_from_file_location("external_classifiers", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["external_classifiers"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Part of a real sneeze if ESC-10 is there, else a burst of noise."""
    if SNEEZE.is_file():
        waveform = load_audio(SNEEZE)
        loudest = int(waveform.abs().argmax())
        waveform = waveform[max(0, loudest - 4000) : loudest + 6000]
    else:
        waveform = 0.01 * torch.randn(10_000)
        waveform[4000:6000] += 0.5 * torch.randn(2000)
    return save_audio(tmp_path_factory.mktemp("clips") / "clip.wav", waveform)


def _explain(example, classifiers, method, clip):
    waveform = load_audio(clip)
    return [
        example.Explainer(classifier, make_untrained(method, classifier, **FEW[method])).explain(
            waveform, scores=False
        )
        for classifier in classifiers
    ]


@pytest.mark.parametrize("method", ["rise", "slime", "occlusion"])
def test_a_network_in_onnx_gets_the_mask_of_its_original(example, clip, method):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    original, black_box = _explain(example, example.resnet_pair(), method, clip)
    assert original.predicted == black_box.predicted
    assert 0 < original.mask.mean() < 1
    assert (original.mask != black_box.mask).float().mean() < 1e-3


@pytest.mark.parametrize("method", ["rise", "slime"])
def test_both_forms_of_the_speech_detector_get_the_same_mask(example, clip, method):
    pytest.importorskip("silero_vad")
    pytest.importorskip("onnxruntime")
    original, black_box = _explain(example, (example.speech(), example.speech_onnx()), method, clip)
    assert abs(original.probabilities["speech"] - black_box.probabilities["speech"]) < 1e-3
    assert (original.mask != black_box.mask).float().mean() < 1e-3


def test_gradients_explain_the_speech_detector(example, clip):
    pytest.importorskip("silero_vad")
    classifier = example.speech()
    interpreter = make_untrained("integrated_gradients", classifier, steps=4)
    explanation = example.Explainer(classifier, interpreter).explain(load_audio(clip))
    assert explanation.label == "speech"
    assert explanation.scores["p_evidence"] > explanation.controls["random"]["p_evidence"]


@pytest.mark.parametrize("name", ["ast", "wav2vec2"])
def test_random_transformers_are_explained(example, clip, name):
    classifier = example.classifiers([name])[name]
    methods = example.methods_for(classifier)
    assert set(example.BLACK_BOX_METHODS) <= set(methods)
    explanation = example.Explainer(classifier, make_untrained("saliency", classifier)).explain(load_audio(clip))
    assert explanation.mask.shape[0] == 513
    assert 0 < explanation.mask.mean() < 1
    assert all(torch.isfinite(values).all() for values in (explanation.mask, explanation.evidence))


def test_the_command_prints_json(example, clip, monkeypatch, capsys):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(
        example, "QUICK", {**FEW, "integrated_gradients": {"steps": 2}, "smoothgrad": {"samples": 2}}
    )
    command = [str(SCRIPT), str(clip), "--quick", "--classifiers", "resnet"]
    monkeypatch.setattr(sys, "argv", command)
    example.main()
    results = json.loads(capsys.readouterr().out)
    assert set(results["explanations"]) == {"resnet", "resnet-onnx"}
    assert set(results["explanations"]["resnet-onnx"]) == {"rise", "slime", "occlusion"}
    assert set(results["agreement"]["resnet"]) == {"rise", "slime", "occlusion"}
    assert all(value > 0.99 for value in results["agreement"]["resnet"].values())
