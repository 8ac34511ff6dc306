"""L-MAC beside heard L-MAC: scores of masks and of their sounds, and stripes of the masks, as JSON.

Each model folder is measured with its own mask, and with masks of equal area: the best bins of L-MAC's map, and
the masks that heard L-MAC makes for these areas; with --controls, also random and loudest bins. Stripes are the
share of a mask's variation over time that is faster than 7/8 of the highest rate, at which it alternates from frame
to frame; that of white noise is 1/8.

Usage: ``python benchmarks/heard_lmac.py runs/lmac/model runs/heard_lmac/model --data_folder ESC-10 --folds 4
[--areas 0.1 0.2 0.3] [--figure masks.png] [--out results.json]``
With ``--words``, the clips are 480 words of 0.3 to 1 s, synthesised as by `own_recordings.py` but by other random
numbers; ``--write_words FOLDER`` writes the 480 words of `own_recordings.py`, to train on, and stops.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

# benchmarks are a package beside the scripts, also if one of them is run by its path
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.own_recordings import RATE_HZ, REPETITIONS, VOICES, WORDS, synthesise, write_words

from otoscope.audio import Spectrogram, peak_normalize
from otoscope.audio.waveforms import to_mono
from otoscope.classifiers import Classifier, Prediction
from otoscope.data import ESC50, Clip, collate
from otoscope.interpreters import Interpreter
from otoscope.loading import load_interpreter
from otoscope.metrics.ranking import largest_bins
from otoscope.plots.files import save_picture
from otoscope.scoring import control_masks, hear_parts, score_prediction

SCORES = ("AI", "AD", "AG", "FF", "Fid-In", "MM")
OWN = "own"
CONTROLS = ("random", "loudest")
_BATCH = 8
_STRIPES_FROM = 7 / 8

Values = dict[str, list[float]]
"""Values of all clips, by name of the score."""


def esc_clips(folder: str, folds: Sequence[int], rate_hz: int) -> Iterator[Clip]:
    """Yield the clips of some folds."""
    # no clip of the others is read, but a data set needs some to train on and to choose by
    train, valid = [fold for fold in range(1, 5) if fold not in folds][:2]
    data = ESC50(folder, [train], [valid], list(folds), sample_rate_hz=rate_hz)
    data.setup("test")
    return (data.test_set[index] for index in range(len(data.test_set)))  # type: ignore[arg-type]


def word_clips(labels: Sequence[str], rate_hz: int) -> Iterator[Clip]:
    """Yield words that `own_recordings.py` does not write: the next repetitions of each voice."""
    for word, sounds in WORDS.items():
        for voice in range(VOICES):
            for repetition in range(REPETITIONS, 2 * REPETITIONS):
                wave = synthesise(sounds, voice, np.random.default_rng([voice, repetition, *word.encode()]))
                samples = to_mono(wave, rate_hz, RATE_HZ).samples
                name = f"{word}_{voice}_{repetition}"
                yield Clip(peak_normalize(samples), labels.index(word), name, name)


def stripes(mask: Tensor) -> float:
    """Return the share of a mask's variation over time that is faster than 7/8 of the highest rate.

    Args:
        mask: Mask without padding, shape (frequency, time).
    """
    power = torch.fft.rfft(mask - mask.mean(1, keepdim=True)).abs().square().sum(0)
    fast = power[round(_STRIPES_FROM * (len(power) - 1)) :].sum()
    return float(fast / power.sum().clamp(min=1e-12))


def masks_of(
    interpreter: Interpreter[Any], spectrogram: Spectrogram, prediction: Prediction, areas: Sequence[float]
) -> dict[str, Tensor]:
    """Return the method's own mask, and its masks of the given areas, shape each (batch, frequency, time)."""
    decoded = interpreter.decode(spectrogram, prediction)
    masks = {OWN: interpreter.mask(decoded, spectrogram)}
    for area in areas:
        if interpreter.threshold_name == "area":
            masks[str(area)] = interpreter.with_threshold(area).mask(decoded, spectrogram)
            continue
        masks[str(area)] = torch.zeros_like(spectrogram.log_magnitude)
        output = interpreter.output(decoded, spectrogram)
        for clip, count in enumerate(spectrogram.frame_counts):
            masks[str(area)][clip, :, :count] = largest_bins(output[clip, :, :count], area)
    return masks


@torch.no_grad()
def measure(
    classifier: Classifier,
    interpreter: Interpreter[Any],
    clips: Sequence[Clip],
    areas: Sequence[float],
    controls: bool,
) -> dict[str, dict[str, Values]]:
    """Return seen and heard scores and stripes of every clip, by mask and place; of controls too if asked for."""
    results: dict[str, dict[str, Values]] = {}
    for start in range(0, len(clips), _BATCH):
        batch = collate(clips[start : start + _BATCH])
        spectrogram = classifier.frontend(batch.waveform, batch.lengths if batch.padded else None)
        prediction = classifier.predict(spectrogram)
        masks = masks_of(interpreter, spectrogram, prediction, areas)
        for area in map(str, areas) if controls else ():
            matched = control_masks(masks[area], spectrogram, batch.name)
            masks |= {f"{name} {area}": matched[name] for name in CONTROLS}
        for key, mask in masks.items():
            seen = score_prediction(classifier, spectrogram, prediction, mask)
            parts = hear_parts(classifier, spectrogram, mask)
            heard = score_prediction(classifier, spectrogram, prediction, mask, probabilities=parts)
            for place, scores in (("seen", seen), ("heard", heard)):
                values = results.setdefault(key, {}).setdefault(place, {name: [] for name in SCORES})
                for name in SCORES:
                    values[name] += scores[name].tolist()
            cut = [clip[:, :count] for clip, count in zip(mask, spectrogram.frame_counts, strict=True)]
            results[key].setdefault("mask", {"stripes": []})["stripes"] += [stripes(clip) for clip in cut]
    return results


def summary(results: dict[str, dict[str, Values]]) -> dict[str, Any]:
    """Return the means over the clips, and how many times the seen AD the heard AD is."""
    means: dict[str, Any] = {
        key: {
            place: {name: float(np.mean(row)) for name, row in values.items()} for place, values in places.items()
        }
        for key, places in results.items()
    }
    for row in means.values():
        row["heard AD / seen AD"] = row["heard"]["AD"] / max(row["seen"]["AD"], 1e-9)
    return means


@torch.no_grad()
def picture(models: dict[str, tuple[Interpreter[Any], Classifier]], clips: Sequence[Clip], area: float) -> Figure:
    """Draw clips, and for each model its own mask, where it differs from that of the area, and that of the area."""
    figure = Figure(figsize=(2.4 * (1 + 2 * len(models)), 2 * len(clips)), layout="constrained")
    axes = figure.subplots(len(clips), 1 + 2 * len(models), squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for row, clip in zip(axes, clips, strict=True):
        for index, (name, (interpreter, classifier)) in enumerate(models.items()):
            spectrogram = classifier.frontend(clip.waveform[None])
            prediction = classifier.predict(spectrogram)
            masks = masks_of(interpreter, spectrogram, prediction, [area])
            row[0].imshow(spectrogram.log_magnitude[0], origin="lower", aspect="auto")
            row[0].set_title(f"{clip.name}: {classifier.labels[int(prediction.predicted)]}", fontsize=8)
            if torch.equal(masks[OWN], masks[str(area)]):
                del masks[OWN]
            for axis, key in zip(row[1 + 2 * index :], masks, strict=False):
                axis.imshow(masks[key][0], origin="lower", aspect="auto", vmin=0, interpolation="nearest")
                axis.set_title(f"{name}, {key}: stripes {stripes(masks[key][0]):.2f}", fontsize=8)
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the models, and print the results as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path, help="model folders of interpreters of one classifier")
    parser.add_argument("--data_folder", help="folder in the layout of ESC-50")
    parser.add_argument("--folds", nargs="+", type=int, default=[4], help="folds of its clips")
    parser.add_argument("--words", action="store_true", help="measure on synthesised words")
    parser.add_argument("--write_words", type=Path, help="folder to write words to")
    parser.add_argument("--areas", nargs="*", type=float, default=[0.1, 0.2, 0.3])
    parser.add_argument("--controls", action="store_true", help="measure random and loudest bins of equal area too")
    parser.add_argument("--clips", type=int, help="number of clips, spread evenly (default: all)")
    parser.add_argument("--figure", type=Path, help="picture of the masks of four clips")
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch")
    parser.add_argument("--out", type=Path, help="file for the JSON, which is printed too")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.write_words:
        write_words(options.write_words)
        return
    if not options.models or options.words == (options.data_folder is not None):
        parser.error("give model folders, and either --data_folder or --words")
    models = {str(folder): load_interpreter(folder) for folder in options.models}
    for interpreter, classifier in models.values():
        interpreter.eval()
        classifier.freeze()
    labels, rate_hz = classifier.labels, classifier.frontend.sample_rate_hz
    clips = list(
        word_clips(labels, rate_hz) if options.words else esc_clips(options.data_folder, options.folds, rate_hz)
    )
    if options.clips:
        clips = [clips[int(place)] for place in np.linspace(0, len(clips) - 1, options.clips)]
    report: dict[str, Any] = {"clips": len(clips), "torch": torch.__version__, "threads": options.threads}
    for name, (interpreter, classifier) in models.items():
        begin = time.perf_counter()
        report[name] = summary(measure(classifier, interpreter, clips, options.areas, options.controls))
        report[name]["seconds"] = round(time.perf_counter() - begin, 1)
    if options.figure:
        chosen = [clips[int(place)] for place in np.linspace(0, len(clips) - 1, 4)]
        figure = picture({Path(name).parent.name: model for name, model in models.items()}, chosen, 0.2)
        save_picture(figure, options.figure)
    text = json.dumps(report, indent=1)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
