"""Accuracy of the README's command for one's own recordings, beside its linear baseline, as JSON.

Two sides train on the same division of the same recordings: `before` with the settings of the hyperparameter
file (--follow_data false, at 16 kHz), `after` with those that follow from the recordings. Recordings in folders
named after their classes are taken from --data_folder. Without it, words are synthesised: ten words, each a
sequence of vowels and fricatives, spoken by six voices of different pitch and vocal tract, eight times each, in 0.3
to 1 s, at 8 kHz.

Usage: ``python benchmarks/own_recordings.py [--data_folder sounds] [--seeds 1234,1] [--out results.json]``
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from otoscope.audio import save_audio

ROOT = Path(__file__).parents[1]
RATE_HZ = 8000
VOICES = 6
REPETITIONS = 8
SIDES = {"before": ["--follow_data", "false"], "after": []}
_FRAME = 40  # samples between two shapes of the vocal tract: 5 ms
_BANDWIDTHS_HZ = (80.0, 110.0, 160.0)

Array = NDArray[np.float64]


class Sound(NamedTuple):
    """Speech sound: formants of a vowel, or the centre of a fricative's noise.

    Attributes:
        formants_hz: First three formants.
        voiced: Level of the voice.
        noise: Level of the noise.
        noise_hz: Centre of the noise.
        share: Share of the word, before the tempo varies it.
    """

    formants_hz: tuple[float, float, float]
    voiced: float
    noise: float
    noise_hz: float
    share: float


def _vowel(first: float, second: float, third: float, share: float) -> Sound:
    return Sound((first, second, third), 1.0, 0.0, 2500.0, share)


def _hiss(centre_hz: float, level: float, share: float) -> Sound:
    return Sound((400.0, 1500.0, 2500.0), 0.0, level, centre_hz, share)


_EE, _AH, _OO, _EH, _AW = (
    (290.0, 2250.0, 2900.0),
    (700.0, 1150.0, 2500.0),
    (330.0, 950.0, 2300.0),
    (540.0, 1800.0, 2500.0),
    (560.0, 880.0, 2450.0),
)
_NASAL = Sound((260.0, 1100.0, 2300.0), 0.35, 0.0, 2500.0, 0.25)
WORDS: dict[str, tuple[Sound, ...]] = {
    "zero": (_hiss(3200, 0.3, 0.15), _vowel(*_EE, 0.35), _vowel(480, 1300, 1700, 0.2), _vowel(*_AW, 0.3)),
    "one": (_vowel(*_OO, 0.25), _vowel(*_AH, 0.4), _NASAL),
    "two": (_hiss(3000, 0.4, 0.12), _vowel(*_EE, 0.1), _vowel(*_OO, 0.5)),
    "three": (_hiss(2400, 0.1, 0.2), _vowel(460, 1300, 1650, 0.15), _vowel(*_EE, 0.5)),
    "four": (_hiss(2200, 0.1, 0.2), _vowel(*_AW, 0.45), _vowel(480, 1200, 1700, 0.2)),
    "five": (_hiss(2200, 0.1, 0.15), _vowel(*_AH, 0.35), _vowel(*_EE, 0.25), _hiss(2200, 0.06, 0.1)),
    "six": (_hiss(3300, 0.4, 0.25), _vowel(390, 1990, 2550, 0.2), _hiss(1800, 0.02, 0.15), _hiss(3300, 0.4, 0.3)),
    "seven": (_hiss(3300, 0.4, 0.2), _vowel(*_EH, 0.2), _hiss(2200, 0.05, 0.1), _vowel(*_EH, 0.15), _NASAL),
    "eight": (_vowel(*_EH, 0.3), _vowel(*_EE, 0.25), _hiss(1800, 0.01, 0.15), _hiss(3000, 0.3, 0.1)),
    "nine": (_NASAL, _vowel(*_AH, 0.35), _vowel(*_EE, 0.25), _NASAL),
}


def synthesise(word: Sequence[Sound], voice: int, generator: np.random.Generator) -> Array:
    """Return a word as one voice speaks it: a source through three resonances that move from sound to sound.

    Args:
        word: Sounds of the word.
        voice: Number of the voice, which sets pitch, length of the vocal tract and loudness of the hiss.
        generator: Random numbers of this repetition: tempo, melody, articulation, background.

    Returns:
        Samples at `RATE_HZ`, with a peak of 1.
    """
    of_voice = np.random.default_rng(voice)
    pitch_hz, tract, hiss = of_voice.uniform(90, 240), of_voice.uniform(0.85, 1.2), of_voice.uniform(0.4, 1.6)
    duration_s = float(np.clip(generator.normal(0.5, 0.12), 0.3, 1.0))
    samples = int(duration_s * RATE_HZ)
    shares = np.array([sound.share * generator.uniform(0.6, 1.5) for sound in word])
    centres = (np.cumsum(shares) - shares / 2) / shares.sum() * samples
    place = np.arange(samples)

    def track(values: Sequence[float]) -> Array:
        return np.interp(place, centres, np.asarray(values) * generator.normal(1, 0.09, len(values)))

    melody = pitch_hz * generator.uniform(0.85, 1.15) * np.linspace(generator.uniform(0.95, 1.2), 0.85, samples)
    phase = np.cumsum(melody) / RATE_HZ
    # A pulse of each period of the voice, with the slope of a glottal pulse, and noise for the hiss.
    pulses = np.diff(np.floor(phase), prepend=0.0)
    source = np.convolve(pulses, 0.9 ** np.arange(40))[:samples] * track([sound.voiced for sound in word])
    spoken = source + 0.01 * generator.standard_normal(samples)
    for number, bandwidth_hz in enumerate(_BANDWIDTHS_HZ):
        spoken = _resonance(spoken, tract * track([sound.formants_hz[number] for sound in word]), bandwidth_hz)
    noise = generator.standard_normal(samples) * hiss * track([sound.noise for sound in word])
    hissed = _resonance(noise, track([sound.noise_hz for sound in word]), 900.0)
    fade = np.minimum(1, np.minimum(place, place[::-1]) / (0.02 * RATE_HZ))
    wave = (spoken / np.abs(spoken).max() + 0.5 * hissed / max(1.0, float(np.abs(hissed).max()))) * fade
    # A microphone of random tilt, then the noise of a room.
    wave = wave + generator.uniform(-0.6, 0.6) * np.concatenate([[0.0], wave[:-1]])
    room_db = generator.uniform(6, 25)
    wave = wave / np.abs(wave).max()
    wave += 10 ** (-room_db / 20) * np.sqrt(np.mean(wave**2)) * generator.standard_normal(samples)
    loudest: Array = wave / np.abs(wave).max()
    return loudest


def _resonance(signal: Array, centre_hz: Array, bandwidth_hz: float) -> Array:
    """Filter by a resonance of two poles whose frequency moves, with a gain of 1 at its peak, roughly."""
    radius = np.exp(-np.pi * bandwidth_hz / RATE_HZ)
    angle = 2 * np.pi * np.clip(centre_hz, 60, 0.95 * RATE_HZ / 2) / RATE_HZ
    feedback = 2 * radius * np.cos(angle)
    result = np.zeros(len(signal) + 2)
    for index, value in enumerate(signal):
        result[index + 2] = (1 - radius) * value + feedback[index] * result[index + 1] - radius**2 * result[index]
    return result[2:]


def write_words(folder: Path) -> Path:
    """Synthesise all words, in folders named after them."""
    for word, sounds in WORDS.items():
        for voice in range(VOICES):
            for repetition in range(REPETITIONS):
                generator = np.random.default_rng([voice, repetition, *word.encode()])
                wave = torch.from_numpy(synthesise(sounds, voice, generator)).float()
                save_audio(folder / word / f"{word}_{voice}_{repetition}.wav", wave, RATE_HZ)
    return folder


def train(folder: Path, hparams: Path, options: Sequence[str], seed: int, threads: int) -> dict[str, Any]:
    """Run the README's command, and return its accuracy, that of the linear baseline, and the seconds it took."""
    with tempfile.TemporaryDirectory() as temporary:
        command = [sys.executable, "-m", "otoscope", "train", str(hparams), "--data", "otoscope.data.AudioFolder"]
        command += ["--data_folder", str(folder), "--output_folder", str(Path(temporary) / "run"), "--json"]
        command += ["--seed", str(seed), "--trainer.enable_progress_bar", "false", *options]
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            "OTOSCOPE_CACHE": str(Path(temporary) / "cache"),
        }
        begin = time.perf_counter()
        finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - begin
        if finished.returncode:
            raise SystemExit(finished.stderr)
        result = json.loads(finished.stdout)
    settings = [line for line in finished.stderr.splitlines() if line.startswith("settings that follow")]
    # Reported at once, because the other side may take minutes more.
    print(f"seed {seed}, {' '.join(options) or 'settings that follow'}: {result['accuracy']:.3f}", file=sys.stderr)
    return {
        "seed": seed,
        "accuracy": result["accuracy"],
        "linear_baseline": result["linear_baseline"],
        "clips": result["clips"],
        "seconds": round(seconds, 1),
        "settings": settings[0] if settings else None,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare both sides, and print the results as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data_folder", type=Path, help="Recordings in class folders (default: synthesised words)."
    )
    parser.add_argument(
        "--hparams", type=Path, default=ROOT / "recipes/ESC50/classification/hparams/conv2d_narrow.yaml"
    )
    parser.add_argument("--seeds", default="1234", help="Seeds of division and training, separated by commas.")
    parser.add_argument("--sides", default=",".join(SIDES), help="Sides to run, separated by commas.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="File for the JSON, which is printed too.")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.data_folder or write_words(Path(temporary) / "words")
        results = {
            side: [
                train(folder, options.hparams, SIDES[side], int(seed), options.threads)
                for seed in options.seeds.split(",")
            ]
            for side in options.sides.split(",")
        }
    report = {
        "data": "class folders" if options.data_folder else "synthesised words",
        "hparams": options.hparams.name,
        "threads": options.threads,
        "cores": os.cpu_count(),
        "load_average": [round(load, 1) for load in os.getloadavg()],
        "torch": torch.__version__,
        **results,
    }
    text = json.dumps(report, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
