"""Compare the largest probabilities of classifiers on clips of ESC-10 and on other sounds.

``python uncertainty.py RUNS --data_folder=<ESC-10>`` prints, for each kind of sound, the share of clips whose
largest probability lies below some thresholds. `bundle.py` takes the chosen one as ``--uncertain_below``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import yaml
from torch import Tensor

from otoscope.audio import peak_normalize
from otoscope.classifiers import Classifier
from otoscope.data import ESC50
from otoscope.data.synthetic.backgrounds import babble, coloured_noise, hiss, mains_hum, rumble
from otoscope.data.synthetic.events import EVENTS
from otoscope.loading import load_classifier

THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
RATE_HZ, SAMPLES, COUNT = 16_000, 80_000, 20
FOLDS = ("fold1", "fold2", "fold3", "fold4")


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the options, and print the table."""
    parser = argparse.ArgumentParser(description="Largest probabilities on ESC-10 and on other sounds.")
    parser.add_argument("runs", type=Path, help="Folder of the runs `classifier` and `fold1` to `fold4`.")
    parser.add_argument("--data_folder", type=Path, required=True, help="ESC-10.")
    options = parser.parse_args(arguments)
    print(f"| Sounds | Clips | Median | {' | '.join(f'< {value}' for value in THRESHOLDS)} |")
    print("|---|---|---|" + "---|" * len(THRESHOLDS))
    correct, wrong = held_out(options.runs, options.data_folder)
    print_row("ESC-10, withheld fold, predicted rightly", correct)
    print_row("ESC-10, withheld fold, predicted wrongly", wrong)
    classifier = load_classifier(options.runs / "classifier" / "model")
    for name, waveforms in other_sounds(classifier.labels):
        print_row(name, [classify(classifier, waveform)[0] for waveform in waveforms])


def print_row(name: str, values: Sequence[float]) -> None:
    """Print the median and the shares below the thresholds."""
    array = np.array(values)
    shares = " | ".join(f"{100 * float((array < value).mean()):.0f} %" for value in THRESHOLDS)
    print(f"| {name} | {len(array)} | {np.median(array):.2f} | {shares} |", flush=True)


def held_out(runs: Path, data_folder: Path) -> tuple[list[float], list[float]]:
    """Return the largest probabilities of the clips of each fold, of the classifier that was not trained on it."""
    correct: list[float] = []
    wrong: list[float] = []
    for run in (runs / name for name in FOLDS):
        init = yaml.safe_load((run / "hyperparams.yaml").read_text(encoding="utf-8"))["data"]["init_args"]
        data = ESC50(**{**init, "data_folder": data_folder, "cache_folder": None})
        data.prepare_data()
        classifier = load_classifier(run / "model")
        for index in range(len(data.test_set)):  # type: ignore[arg-type]
            clip = data.test_set[index]
            probability, predicted = classify(classifier, clip.waveform)
            (correct if predicted == clip.target else wrong).append(probability)
    return correct, wrong


def other_sounds(labels: Sequence[str]) -> Iterator[tuple[str, list[Tensor]]]:
    """Yield kinds of generated sounds that no class describes, or that only resemble a class."""
    random = [np.random.default_rng(seed) for seed in range(COUNT)]
    seconds = np.arange(SAMPLES) / RATE_HZ
    backgrounds = {
        "white noise": coloured_noise(0.0),
        "pink noise": coloured_noise(-3.0),
        "hiss": hiss,
        "mains hum": mains_hum,
        "rumble": rumble,
        "babble (speech-like)": babble,
    }
    for name, function in backgrounds.items():
        yield name, [_tensor(function(rng, SAMPLES, RATE_HZ)) for rng in random]
    tones = [np.sin(2 * np.pi * 100 * 1.25**step * seconds) for step in range(COUNT)]
    yield "pure tones, 100 Hz to 7 kHz", [_tensor(tone) for tone in tones]
    for is_class in (True, False):
        events = [function for label, function in EVENTS.items() if (label in labels) == is_class]
        name = "synthetic events of its classes" if is_class else "synthetic events of other classes"
        yield name, [_tensor(function(rng, SAMPLES, RATE_HZ)) for function in events for rng in random[:5]]


def classify(classifier: Classifier, waveform: Tensor) -> tuple[float, int]:
    """Return the largest probability and its class."""
    with torch.no_grad():
        spectrogram = classifier.frontend(peak_normalize(waveform[None].float()))
        probabilities = classifier.predict(spectrogram).probabilities[0]
    return float(probabilities.max()), int(probabilities.argmax())


def _tensor(wave: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(wave, dtype=np.float32))


if __name__ == "__main__":
    main()
