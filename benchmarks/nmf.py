"""Learn NMF dictionaries of the frames of real clips: the published amortised recipe, our solver, scikit-learn.

The amortised recipe runs for its whole schedule (``--epochs``), then the solver until it has converged; the time at
which it reached the error of the recipe is reported. Both compute spectrograms from waveforms, as in training.
scikit-learn's `MiniBatchNMF`, and our solver once more, get the frames as one matrix in memory.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from benchmarks import command
from benchmarks.command import main, progress
from benchmarks.conditions import conditions
from benchmarks.memory import memory_of, peak_memory
from torch import Tensor

from otoscope.audio import Frontend
from otoscope.data import ESC50, Clip
from otoscope.data.module import EpochShuffle
from otoscope.nn.nmf import AmortizedNMF, SparseNMF, frames_of, infer_activations

SIDES = ("direct",)
NOTES = [
    "error: mean squared error of a bin over all frames of the three folds, with the activations of the method",
    "error_with_best_activations: the same with activations that minimise this error (300 steps, no penalty)",
    "seconds: time of learning, without that of measuring errors between epochs",
    "peak memory of the solver: one epoch in a fresh process, over the clips once (1x) and eight times (8x)",
]


@dataclass
class Options(command.Options):
    """Learn dictionaries of folds 1 to 3 of ESC-50 (or ESC-10) with each method in turn.

    Args:
        components: Number of columns of the dictionary.
        epochs: Number of epochs of the amortised recipe; 300 is its whole schedule.
        learning_rate: Learning rate of the amortised recipe.
        batch: Number of clips in a batch of the amortised recipe.
        sparsity: Weight of the penalty of our solver.
        repeated: Number of times that each clip comes in an epoch, with ``--only``.
    """

    components: int = 100
    epochs: int = 300
    learning_rate: float = 5e-5
    batch: int = 2
    sparsity: float = 0.8
    repeated: int = 1


def run(options: Options) -> dict[str, Any]:
    """Run the benchmark, or with ``--only`` measure the memory of the solver."""
    with tempfile.TemporaryDirectory() as name:
        if options.only is not None:
            clips = read_clips(options, Path(name))
            return peak_memory(lambda: _one_epoch(options, clips), times=1)
        memory = {f"{n}x": memory_of("direct", options, repeated=n) for n in (1, 8)}
        return measure_all(options, memory, read_clips(options, Path(name)))


def measure_all(options: Options, memory: dict[str, Any], clips: Clips) -> dict[str, Any]:
    """Run all methods in this process, one after the other."""
    frames = torch.cat([frames_of(batch) for batch in clips.batches(16)])
    errors = Errors(frames, options.components)
    amortized = learn_amortized(options, clips, frames)
    direct = learn_direct(options, clips, errors, amortized["error"])
    matrix = learn_direct_from_matrix(options, frames, errors)
    sklearn = learn_sklearn(options, frames, errors)
    reached = direct["seconds_to_reach_amortized"]
    return {
        "benchmark": "nmf",
        "conditions": conditions(options, clips_learned_from=len(clips), frames=len(frames)),
        "notes": NOTES,
        "methods": {"amortized": amortized, "direct": direct, "direct_from_matrix": matrix, **sklearn},
        "times_as_fast_as_amortized": None if reached is None else round(amortized["seconds"] / reached, 1),
        "peak_memory_mb": memory,
    }


class Clips:
    """Clips as batches of spectrograms; only one batch at a time is in memory.

    Args:
        sets: Data sets of clips.
        repeated: Number of times that each clip comes in an epoch.
    """

    def __init__(self, sets: Sequence[Any], repeated: int = 1) -> None:
        self.sets = sets
        self.places = [(clips, index) for clips in sets for index in range(len(clips))] * repeated
        self.frontend = Frontend()

    def __len__(self) -> int:
        return len(self.places)

    def batches(self, size: int, epoch: int = 0) -> Iterator[Tensor]:
        """Yield spectrograms (batch, frequency, time) in a random order that depends on the epoch."""
        order = EpochShuffle(self.places, seed=0)
        order.set_epoch(epoch)
        indices = list(order)
        for start in range(0, len(indices), size):
            waveforms = [self._clip(i).waveform for i in indices[start : start + size]]
            yield self.frontend.log_magnitude(torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True))

    def _clip(self, index: int) -> Clip:
        clips, position = self.places[index]
        clip: Clip = clips[position]
        return clip


def read_clips(options: Options, cache_folder: Path) -> Clips:
    """Return the clips of folds 1, 2 and 3."""
    data = ESC50(options.data_folder, (1,), (2,), (3,), download=False, cache_folder=cache_folder)
    data.setup("fit")
    data.decode_all()
    return Clips([data.train_set, data.valid_set, data.test_set], options.repeated)


class Errors:
    """Errors of dictionaries on all frames.

    Args:
        frames: Log magnitude of the frames. Shape (count, frequency).
        components: Number of columns that every dictionary must have.
    """

    def __init__(self, frames: Tensor, components: int) -> None:
        self.frames = frames
        self.components = components

    def describe(self, components: Tensor, infer: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Return errors and sparsity of a dictionary with the activations that its method infers."""
        assert components.shape[1] == self.components
        parts = torch.split(self.frames, 8192)
        inferred = best = zeros = 0.0
        # Columns of length 1, because `infer_activations` expects them; the activations adapt to the scale.
        unit = components / components.norm(dim=0).clamp(min=1e-12)
        for part in parts:
            activations = infer(part)
            inferred += float((part - activations @ components.T).square().sum())
            zeros += float((activations < 1e-3 * activations.max()).sum())
            ideal = infer_activations(part, unit, iterations=300)
            best += float((part - ideal @ unit.T).square().sum())
        norms = components.norm(dim=0)
        return {
            "error": inferred / self.frames.numel(),
            "error_with_best_activations": best / self.frames.numel(),
            "share_of_activations_near_zero": zeros / (len(self.frames) * self.components),
            "share_of_dictionary_near_zero": float((unit < 1e-3).float().mean()),
            "lowest_column_norm": float(norms.min()),
            "highest_column_norm": float(norms.max()),
        }

    def error(self, components: Tensor, infer: Callable[[Tensor], Tensor]) -> float:
        """Return the mean squared error of a bin."""
        squares = (float((x - infer(x) @ components.T).square().sum()) for x in torch.split(self.frames, 8192))
        return sum(squares) / self.frames.numel()


def learn_amortized(options: Options, clips: Clips, frames: Tensor) -> dict[str, Any]:
    """Run the published recipe: Adam on the squared error."""
    torch.manual_seed(0)
    network = AmortizedNMF(frames.shape[1], options.components)
    optimizer = torch.optim.Adam(network.parameters(), lr=options.learning_rate, weight_decay=2e-6)
    seconds, history = 0.0, []
    for epoch in range(options.epochs):
        start, total, count = time.perf_counter(), 0.0, 0
        for batch in clips.batches(options.batch, epoch):
            loss = (network.reconstruct(network(batch)) - batch).square().mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call, unused-ignore]
            optimizer.step()
            total, count = total + loss.item() * len(batch), count + len(batch)
        seconds += time.perf_counter() - start
        if epoch % 10 == 9 or epoch + 1 == options.epochs:
            history.append({"epoch": epoch + 1, "seconds": round(seconds, 1), "training_error": total / count})
            progress(f"amortized, epoch {epoch + 1}: {total / count:.5f} after {seconds:.0f} s")
    with torch.no_grad():
        squares = [
            float((network.reconstruct(network(batch)) - batch).square().sum()) for batch in clips.batches(16)
        ]
        norms = network.components.norm(dim=0)
    return {
        "seconds": round(seconds, 2),
        "epochs": options.epochs,
        "error": sum(squares) / frames.numel(),
        "lowest_column_norm": float(norms.min()),
        "highest_column_norm": float(norms.max()),
        "history": history,
    }


def learn_direct(options: Options, clips: Clips, errors: Errors, goal: float) -> dict[str, Any]:
    """Run our solver on waveforms, epoch by epoch until it has converged."""
    solver = SparseNMF(errors.frames.shape[1], options.components, sparsity=options.sparsity)

    def epochs() -> Iterator[tuple[int, float]]:
        for epoch in range(20):
            start = time.perf_counter()
            for batch in clips.batches(16, epoch):
                solver.partial_fit(frames_of(batch))
            yield epoch, time.perf_counter() - start

    return _until_converged("direct", solver, epochs(), errors, goal)


def learn_direct_from_matrix(options: Options, frames: Tensor, errors: Errors) -> dict[str, Any]:
    """Run our solver on the matrix that scikit-learn gets."""
    solver = SparseNMF(errors.frames.shape[1], options.components, sparsity=options.sparsity)

    def epochs() -> Iterator[tuple[int, float]]:
        for epoch in range(20):
            start = time.perf_counter()
            order = torch.randperm(len(frames), generator=torch.Generator().manual_seed(epoch))
            for indices in torch.split(order, 6896):
                solver.partial_fit(frames[indices])
            yield epoch, time.perf_counter() - start

    return _until_converged("direct from matrix", solver, epochs(), errors, None)


def _until_converged(
    name: str, solver: SparseNMF, epochs: Iterator[tuple[int, float]], errors: Errors, goal: float | None
) -> dict[str, Any]:
    seconds, reached, history = 0.0, None, []
    for epoch, epoch_seconds in epochs:
        seconds += epoch_seconds
        error = errors.error(solver.components, solver.infer)
        history.append({"epoch": epoch + 1, "seconds": round(seconds, 2), "error": error})
        progress(f"{name}, epoch {epoch + 1}: {error:.5f} after {seconds:.1f} s")
        if goal is not None and reached is None and error <= goal:
            reached = round(seconds, 2)
        if len(history) > 1 and history[-2]["error"] - error < 1e-3 * error:
            break
    numbers = {"seconds": round(seconds, 2), **errors.describe(solver.components, solver.infer)}
    return {**numbers, "seconds_to_reach_amortized": reached, "history": history}


def learn_sklearn(options: Options, frames: Tensor, errors: Errors) -> dict[str, Any]:
    """Run scikit-learn's solver with its default options, and for 20 epochs with batches as large as ours."""
    from sklearn.decomposition import MiniBatchNMF

    settings: dict[str, dict[str, Any]] = {
        "sklearn_default": {},
        "sklearn_large_batches": {"batch_size": 6896, "max_iter": 20, "max_no_improvement": None, "tol": 0.0},
    }
    results = {}
    for name, setting in settings.items():
        start = time.perf_counter()
        model = MiniBatchNMF(options.components, random_state=0, **setting).fit(frames.numpy())
        seconds = time.perf_counter() - start
        components = torch.from_numpy(model.components_.T.copy()).float()

        def infer(part: Tensor, model: Any = model) -> Tensor:
            return torch.from_numpy(model.transform(part.numpy())).float()

        results[name] = {"seconds": round(seconds, 2), **errors.describe(components, infer)}
        progress(f"{name}: {results[name]['error']:.5f} after {seconds:.1f} s")
    return results


def _one_epoch(options: Options, clips: Clips) -> None:
    solver = SparseNMF(clips.frontend.bins, options.components, sparsity=options.sparsity)
    for batch in clips.batches(16):
        solver.partial_fit(frames_of(batch))


if __name__ == "__main__":
    sys.exit(main(Options, SIDES, run))
