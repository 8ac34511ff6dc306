"""How often a mask that knows nothing of the classifier gets each verdict, and a method that asks it, as JSON.

Masks of three kinds of random maps (independent bins, smooth blobs, rectangles) and of the loudest bins are judged
like explanations: cut at fixed areas, at the share that decides, and at the smallest that suffices. A rule that
calls more than 5 % of random masks "supported" is worth nothing.

Usage: ``python benchmarks/verdicts.py --model runs/conv2d/model --data_folder ESC-50-master [--fold 4]``
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from otoscope import load_classifier
from otoscope.audio import Spectrogram, load_audio
from otoscope.classifiers import Classifier
from otoscope.data import ESC50
from otoscope.explain import Explainer
from otoscope.interpreters import make_untrained
from otoscope.interpreters.attribution import AttributionInterpreter
from otoscope.interpreters.refined import smoothed
from otoscope.interpreters.sufficiency import Share
from otoscope.seeding import generator_for

KINDS = ("bins", "blobs", "rectangles", "loudest")
AREAS: tuple[Any, ...] = ("decisive", "sufficient", 0.05, 0.2, 0.4)


class BlindInterpreter(AttributionInterpreter):
    """Ranks the bins without asking the classifier.

    Args:
        classifier: Classifier that the masks are judged with.
        kind: One of `KINDS`.
        seed: Seed of the maps; every clip of a run gets its own map.
        **options: Options of `AttributionInterpreter`.
    """

    def __init__(self, classifier: Classifier, kind: str, seed: int, **options: Any) -> None:
        super().__init__(classifier, **options)
        self.kind, self.seed = kind, seed

    def attribute(self, spectrogram: Spectrogram, target: Tensor) -> Tensor:
        """Return the map of each clip, not negative. Shape (batch, frequency, time)."""
        return torch.stack([self._map(clip) for clip in spectrogram.log_magnitude])

    def _map(self, log_magnitude: Tensor) -> Tensor:
        if self.kind == "loudest":
            return log_magnitude
        generator = generator_for(self.seed, self.kind, f"{float(log_magnitude.sum()):.3f}")
        noise = torch.rand(log_magnitude.shape, generator=generator)
        if self.kind == "bins":
            return noise
        if self.kind == "blobs":
            field = smoothed(noise[None], (24.0, 16.0))[0]
            return field - field.min()
        return _rectangles(noise, generator)


def _rectangles(noise: Tensor, generator: torch.Generator) -> Tensor:
    """Return rectangles in random places, the first on top, with noise inside them so that all bins differ."""
    field = 1e-3 * noise
    frequency, time = noise.shape
    for rank in range(1, 25):
        height, width = (
            int(side * (0.05 + 0.3 * torch.rand(1, generator=generator))) for side in (frequency, time)
        )
        top = int(torch.randint(frequency - height, (1,), generator=generator))
        start = int(torch.randint(time - width, (1,), generator=generator))
        field[top : top + height, start : start + width] += rank
    return field


def judge_model(
    folder: str, data_folder: str, fold: int, clips: int, areas: Sequence[Any], methods: Sequence[str]
) -> dict[str, Any]:
    """Return how often each mask gets each verdict.

    Args:
        folder: Model folder of the classifier.
        data_folder: ESC-50 or ESC-10.
        fold: Fold that the clips are taken from, spread evenly over it.
        clips: Number of clips.
        areas: Areas of the blind masks.
        methods: Untrained methods to judge beside the blind masks.
    """
    classifier = load_classifier(folder)
    others = [other for other in range(1, 6) if other != fold]
    data = ESC50(data_folder, tuple(others[:1]), tuple(others[1:2]), (fold,), download=False)
    data.setup("test")
    files = data.test_set.files  # type: ignore[attr-defined]
    chosen = [files[index * len(files) // clips] for index in range(clips)]
    waveforms = [load_audio(file.path, classifier.frontend.sample_rate_hz) for file in chosen]
    table: dict[str, Any] = {}
    blind = [
        (f"{kind}, area {area}", BlindInterpreter(classifier, kind, seed=1, area=area))
        for kind, area in itertools.product(KINDS, areas)
    ]
    asked = [(name, make_untrained(name, classifier)) for name in methods]
    for name, interpreter in [*blind, *asked]:
        explainer = Explainer(classifier, interpreter)
        explanations = [explainer.explain(waveform, name=str(i)) for i, waveform in enumerate(waveforms)]
        levels = Counter(explanation.verdict.level for explanation in explanations if explanation.verdict)
        areas = [float(explanation.mask.mean()) for explanation in explanations]
        table[name] = {
            **levels,
            "clips": len(explanations),
            "median_area": round(sorted(areas)[len(areas) // 2], 4),
        }
        print(f"{name:<32}{table[name]}", file=sys.stderr, flush=True)
    return table


def _area(text: str) -> Any:
    return text if text in get_args(Share) else float(text)


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="Model folder of a classifier.")
    parser.add_argument("--data_folder", required=True, help="ESC-50, or ESC-10 in its layout.")
    parser.add_argument("--fold", type=int, default=4, help="Fold of the clips.")
    parser.add_argument("--clips", type=int, default=20, help="Number of clips.")
    parser.add_argument("--areas", nargs="*", type=_area, default=AREAS, help="Areas of the blind masks.")
    parser.add_argument(
        "--methods", nargs="*", default=["heard_agreement", "integrated_gradients"], help="Untrained methods."
    )
    parser.add_argument("--out", help="JSON file to write.")
    options = parser.parse_args()
    table = judge_model(
        options.model, options.data_folder, options.fold, options.clips, options.areas, options.methods
    )
    content = {"verdicts": table, "torch": torch.__version__, **vars(options)}
    text = json.dumps(content, indent=2)
    print(text)
    if options.out:
        Path(options.out).write_text(text + "\n")


if __name__ == "__main__":
    main()
