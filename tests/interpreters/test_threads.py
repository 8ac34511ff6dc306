"""One explainer in eight threads: each gets what it would get alone, and nothing that threads share changes."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
import torch

from otoscope.audio import Frontend, Spectrogram
from otoscope.classifiers import Conv2dClassifier, FocalNetClassifier, ViTClassifier
from otoscope.classifiers.external.layers import record_layers
from otoscope.explain import Explainer
from otoscope.interpreters import (
    HeardLMACInterpreter,
    L2IInterpreter,
    LMACInterpreter,
    PIQInterpreter,
    make_untrained,
)
from otoscope.methods import UNTRAINED
from otoscope.nn import NMFDictionary

THREADS = 8
FRONTEND = {"n_fft": 256, "window_ms": 16.0, "hop_ms": 8.0}
QUICK = {
    "expected_gradients": {"samples": 4, "batch": 3},
    "gradient_shap": {"samples": 4, "batch": 3},
    "integrated_gradients": {"steps": 4},
    "occlusion": {"patch_hz": 2000.0, "patch_s": 0.1},
    "optimised_mask": {"steps": 4, "cell_hz": 2000.0, "cell_s": 0.1},
    "refined": {"steps": 2, "refinements": 2},
    "rise": {"masks": 20},
    "segment_regression": {"passes": 20},
    "slime": {"samples": 20, "segment_hz": 2000.0, "segment_s": 0.1},
    "smoothgrad": {"samples": 4, "batch": 3},
}
TRAINED = ("piq", "l2i", "lmac", "heard_lmac")
LABELS = ["dog", "rain"]
FOCALNET = {"embed_dim": 8, "depths": [1, 1, 1, 1], "image_size": 64}
VIT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 64,
}
CLASSIFIERS = {
    "conv2d": lambda: Conv2dClassifier(LABELS, Frontend(**FRONTEND), width=4, head_width=5),
    "focalnet": lambda: FocalNetClassifier(LABELS, Frontend(**FRONTEND), backbone=FOCALNET),
    "vit": lambda: ViTClassifier(LABELS, Frontend(**FRONTEND), backbone=VIT),
}
CASES = [(name, "conv2d") for name in (*UNTRAINED, *TRAINED) if name != "amt"]
# AMT reads activation maps, which only these classifiers have.
CASES += [("amt", "focalnet"), ("amt", "vit")]


@pytest.fixture
def make_classifier(experienced):
    def make(kind):
        if kind != "conv2d":
            pytest.importorskip("transformers")
        return experienced(CLASSIFIERS[kind]()).freeze()

    return make


@pytest.fixture
def classifier(make_classifier):
    return make_classifier("conv2d")


def interpreter_of(method, classifier):
    if method == "piq":
        return PIQInterpreter(classifier, codes=8)
    if method == "l2i":
        return L2IInterpreter(classifier, NMFDictionary(torch.rand(129, 6), classifier.frontend))
    if method == "lmac":
        return LMACInterpreter(classifier)
    if method == "heard_lmac":
        return HeardLMACInterpreter(classifier)
    return make_untrained(method, classifier, **QUICK.get(method, {}))


def in_threads(function):
    """Run a function of the number of the thread in eight threads that start together."""
    barrier = Barrier(THREADS)

    def start(number):
        barrier.wait()
        return function(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(start, range(THREADS)))


@pytest.mark.parametrize(("method", "kind"), CASES)
def test_each_thread_gets_what_it_would_get_alone(method, kind, make_classifier):
    classifier = make_classifier(kind)
    explainer = Explainer(classifier, interpreter_of(method, classifier))
    clips = [0.1 * torch.randn(2400 + 100 * number) for number in range(THREADS)]
    has_threshold = explainer.interpreter.threshold_name is not None
    config = dict(explainer.interpreter.config)

    def explain(number):
        threshold = (number + 1) / 10 if has_threshold else None
        result = explainer.explain(clips[number], scores=False, threshold=threshold)
        return result.mask, result.importance

    alone = [explain(number) for number in range(THREADS)]
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    for _ in range(2):
        for together, expected in zip(in_threads(explain), alone, strict=True):
            for value, expected_value in zip(together, expected, strict=True):
                torch.testing.assert_close(value, expected_value, rtol=1e-4, atol=1e-5)
    assert explainer.interpreter.config == config
    # the generators that all threads share are not used, and not seeded
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()


def test_threads_do_not_see_the_thresholds_of_others(classifier):
    interpreter = make_untrained("saliency", classifier, area=0.5)
    changed = interpreter.with_threshold(0.1)
    assert (interpreter.area, changed.area) == (0.5, 0.1)
    assert interpreter.with_threshold(None) is interpreter
    assert [id(value) for value in changed.parameters()] == [id(value) for value in interpreter.parameters()]


def test_hooks_record_the_layers_of_their_own_thread(classifier):
    inputs = [torch.rand(1, 129, 30) for _ in range(THREADS)]
    name = next(name for name, part in classifier.named_modules() if isinstance(part, torch.nn.Conv2d))

    def record(number):
        recorded = []
        for _ in range(5):
            with record_layers(classifier, [name]) as outputs, torch.no_grad():
                classifier(inputs[number])
            recorded.append(outputs[name])
        return recorded

    alone = [record(number)[0] for number in range(THREADS)]
    for recorded, expected in zip(in_threads(record), alone, strict=True):
        assert all(torch.allclose(value, expected, atol=1e-5) for value in recorded)
    assert not any(part._forward_hooks for part in classifier.modules())


@pytest.mark.parametrize("kind", ["focalnet", "vit"])
def test_activation_maps_belong_to_their_own_thread(kind, make_classifier):
    classifier = make_classifier(kind)
    spectrograms = [Spectrogram(torch.rand(1, 129, 30)) for _ in range(THREADS)]

    def maps(number):
        with torch.no_grad():
            return classifier.predict(spectrograms[number]).activation_maps

    alone = [maps(number) for number in range(THREADS)]
    for together, expected in zip(in_threads(maps), alone, strict=True):
        assert list(together) == list(expected)
        for name, value in together.items():
            torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-4)
