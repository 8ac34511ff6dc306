"""Explanations of the windows that matter, kept batch by batch on disk, so that a killed run resumes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from otoscope.audio import MonoWaveform, RecordingStream, WindowPlan, cut_windows
from otoscope.errors import OtoscopeError
from otoscope.explain import Explainer
from otoscope.explanation import Explanation
from otoscope.files.atomic import replace_file
from otoscope.files.json import json_text
from otoscope.plots import save_picture
from otoscope.recordings.event import clock
from otoscope.recordings.long.events import Job
from otoscope.recordings.long.options import LongOptions

PAGES_NAME = "pages"
_LEVELS = 65_535
"""Steps of a stored mask between 0 and 1: the sound of the evidence changes by less than -90 dB."""


@dataclass(frozen=True)
class WindowMask:
    """Mask of one window, and what is known about it.

    Attributes:
        job: Window and label.
        mask: Mask in [0, 1], float32. Shape (frequency, time).
        gain: Peak of the window if the networks were given it at a peak of 1, else 1.
        details: ``scores``, ``verdict`` and ``notes`` if the window was scored; ``error`` if it has no mask.
    """

    job: Job
    mask: np.ndarray
    gain: float
    details: dict[str, Any] = field(default_factory=dict)


class WindowExplainer:
    """Explains windows in batches that are always the same, each kept in a file as soon as it is done.

    Args:
        explainers: Classifier and interpreter that explain each label.
        stream: Recording.
        plan: Its windows.
        jobs: Windows to explain, in their order.
        folder: Folder of the intermediate results.
        options: Resolved options.
        labels: Names of the classes.
        pictured: Events whose explanation is drawn.
        name: Name of the recording.
    """

    def __init__(
        self,
        explainers: Callable[[int], Explainer],
        stream: RecordingStream,
        plan: WindowPlan,
        jobs: Sequence[Job],
        folder: Path,
        options: LongOptions,
        labels: Sequence[str],
        pictured: frozenset[int],
        name: str,
    ) -> None:
        self.explainers, self.stream, self.plan = explainers, stream, plan
        self.jobs, self.folder, self.options = jobs, folder, options
        self.labels, self.pictured, self.name = labels, pictured, name
        self._starts = range(0, len(jobs), options.batch_size)

    def run(self, on_batch: Callable[[int], object]) -> None:
        """Explain the windows that no earlier run has explained.

        Args:
            on_batch: Callback, called with the number of windows of each finished batch.
        """
        batches = [self._batch(start) for start in self._starts if not self._path(start).is_file()]
        missing = [start for start in self._starts if not self._path(start).is_file()]
        on_batch(len(self.jobs) - sum(map(len, batches)))
        spans = (self.plan.span(window) for batch in batches for window in _windows(batch))
        windows = cut_windows(self.stream, spans) if missing else iter(())
        for start, batch in zip(missing, batches, strict=True):
            clips = {window: next(windows) for window in _windows(batch)}
            self._save(start, self._explain(batch, clips))
            on_batch(len(batch))

    def masks(self) -> Iterator[WindowMask]:
        """Yield the masks of all jobs, in their order, from the files."""
        for start in self._starts:
            with np.load(self._path(start)) as stored:
                details = json.loads(str(stored["details"]))
                for index, job in enumerate(self._batch(start)):
                    mask = _unpacked(stored[f"mask{index}"], tuple(stored[f"shape{index}"]))
                    yield WindowMask(job, mask, float(stored[f"gain{index}"]), details[index])

    def page(self, run: int) -> Path | None:
        """Return the picture of the explanation of an event; None if there is none."""
        path = self.folder / PAGES_NAME / f"{run}.{self.options.picture}"
        return path if path.is_file() else None

    def _batch(self, start: int) -> Sequence[Job]:
        return self.jobs[start : start + self.options.batch_size]

    def _path(self, start: int) -> Path:
        return self.folder / f"masks-{start:08d}.npz"

    def _explain(self, batch: Sequence[Job], clips: dict[int, np.ndarray]) -> list[WindowMask]:
        """Explain a batch: windows of one label, with or without scores, run together."""
        results: dict[Job, WindowMask] = {}
        for label, scored in sorted({(job.label, job.run is not None) for job in batch}):
            group = [job for job in batch if (job.label, job.run is not None) == (label, scored)]
            # the last window of a recording has another length; padding would change the numbers in the last digit
            for length in sorted({len(clips[job.window]) for job in group}):
                same = [job for job in group if len(clips[job.window]) == length]
                results |= {mask.job: mask for mask in self._explain_group(same, clips)}
        return [results[job] for job in batch]

    def _explain_group(self, group: list[Job], clips: dict[int, np.ndarray]) -> list[WindowMask]:
        sounds = [MonoWaveform(torch.from_numpy(clips[job.window])) for job in group]
        rate_hz = self.stream.sample_rate_hz
        begins_s = [self.options.start_s + self.plan.start(job.window) / rate_hz for job in group]
        names = [f"{self.name} {clock(begin_s)}" for begin_s in begins_s]
        label = group[0].label
        try:
            explanations = self.explainers(label).explain_batch(
                sounds,
                self.labels[label],
                group[0].run is not None,
                names,
                self.options.threshold,
                normalize=self.options.normalize,
            )
        except OtoscopeError as error:
            if len(group) > 1:  # one window must not cost the others their explanation
                return [mask for job in group for mask in self._explain_group([job], clips)]
            return [self._failed(group[0], clips[group[0].window], str(error))]
        return [self._result(*pair) for pair in zip(group, explanations, strict=True)]

    def _result(self, job: Job, explanation: Explanation) -> WindowMask:
        gain = float(explanation.original.abs().max()) if self.options.normalize else 1.0
        if job.run in self.pictured:
            path = self.folder / PAGES_NAME / f"{job.run}.{self.options.picture}"
            save_picture(explanation.plot(self.options.axis), path)
        return WindowMask(job, explanation.mask.numpy(), gain, _details(explanation))

    def _failed(self, job: Job, clip: np.ndarray, error: str) -> WindowMask:
        frontend = self.explainers(job.label).classifier.frontend
        mask = np.zeros((frontend.bins, int(frontend.frames(len(clip)))), np.float32)
        return WindowMask(job, mask, 1.0, {"error": error})

    def _save(self, start: int, masks: list[WindowMask]) -> None:
        arrays: dict[str, Any] = {"details": json_text([mask.details for mask in masks])}
        for index, mask in enumerate(masks):
            arrays |= {f"mask{index}": _packed(mask.mask), f"shape{index}": mask.mask.shape}
            arrays[f"gain{index}"] = mask.gain
        replace_file(self._path(start), lambda path: np.savez_compressed(path, **arrays))


def _windows(batch: Sequence[Job]) -> list[int]:
    """Return the windows of a batch, each once and in order; a window may be explained for several labels."""
    return sorted({job.window for job in batch})


def _details(explanation: Explanation) -> dict[str, Any]:
    verdict = explanation.verdict
    if verdict is None:
        return {}
    return {
        "scores": dict(explanation.scores),
        "verdict": verdict.level,
        "summary": str(verdict),
        "sufficient": explanation.sufficient,
        "decisive": explanation.decisive,
        "notes": explanation.notes,
    }


def _packed(mask: np.ndarray) -> np.ndarray:
    """Return a mask in a bit per bin if it holds nothing but 0 and 1, else in two bytes."""
    if bool(((mask == 0) | (mask == 1)).all()):
        return np.packbits(mask.astype(bool))
    return np.round(mask.clip(0, 1) * _LEVELS).astype(np.uint16)


def _unpacked(packed: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if packed.dtype == np.uint8:
        return np.unpackbits(packed, count=int(np.prod(shape))).reshape(shape).astype(np.float32)
    return (packed.reshape(shape) / np.float32(_LEVELS)).astype(np.float32)
