"""Training of NMF dictionaries: the solver, and the published amortised network."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from otoscope.audio import Frontend, masked_mean, save_audio
from otoscope.data import Batch
from otoscope.errors import ConfigurationError
from otoscope.loading import load_dictionary
from otoscope.nn import AmortizedNMF, NMFDictionary, SparseNMF, frames_of
from otoscope.nn.nmf import Convergence, FitStep
from otoscope.plots import components_picture
from otoscope.training.task import TrainingTask

_SILENT = 1e-3
"""Activations and entries below this share of the largest count as zero in what is reported."""


class DictionaryTraining(TrainingTask):
    """Base of the trainings that make an `otoscope.nn.NMFDictionary`.

    The best checkpoint is the one with the lowest objective on the validation clips.

    Args:
        components: Columns of the dictionary.
        frontend: Makes the spectrograms; by default that of the classifiers.
        **training: See `TrainingTask`.
    """

    def __init__(self, components: int = 100, frontend: Frontend | None = None, **training: Any) -> None:
        super().__init__(**training)
        if components < 1:
            raise ConfigurationError(f"components: {components} must be positive")
        self.size = components
        self._frontend = frontend or Frontend()
        self.register_buffer("level_sums", torch.zeros(components))
        self.register_buffer("level_counts", torch.zeros(components))
        self._found: list[dict[str, float]] = []

    level_sums: Tensor
    level_counts: Tensor

    @property
    def frontend(self) -> Frontend:
        """See `TrainingTask.frontend`."""
        return self._frontend

    @property
    @abstractmethod
    def dictionary_components(self) -> Tensor:
        """The dictionary as it is now. Shape (bins, components)."""

    @abstractmethod
    def explain(self, log_magnitude: Tensor, frames: Tensor | None) -> tuple[Tensor, Tensor, FitStep]:
        """Frames (count, bins) of a batch, their activations (count, components), and what they cost."""

    def adapt_to(self, labels: Sequence[str]) -> None:
        """Nothing: a dictionary knows no labels."""
        self.labels = list(labels)

    def spectrograms(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Log magnitude of a batch, and the frames of each clip where clips were padded."""
        frames = self.frontend.frames(batch.lengths) if batch.padded else None
        return self.frontend.log_magnitude(batch.waveform), frames

    def on_validation_epoch_start(self) -> None:
        """Forgets the levels of an earlier dictionary."""
        self.level_sums.zero_()
        self.level_counts.zero_()

    @torch.no_grad()
    def validation_step(self, batch: Batch, index: int) -> None:
        """Objective and error; and how strong each component is where it sounds."""
        frames, activations, cost = self.explain(*self.spectrograms(batch))
        sounding = activations > _SILENT * activations.max()
        self.level_sums += (activations * sounding).sum(0)
        self.level_counts += sounding.sum(0)
        values = {"valid_loss": cost.objective, "valid_error": cost.error}
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=len(frames), sync_dist=True)

    def on_test_epoch_start(self) -> None:
        """Forgets an earlier test run."""
        self._found = []

    @torch.no_grad()
    def test_step(self, batch: Batch, index: int) -> None:
        """Error, and how many components a frame needs."""
        frames, activations, cost = self.explain(*self.spectrograms(batch))
        silent = (activations <= _SILENT * activations.max()).float().mean()
        power = frames.square().mean()
        found = {"error": cost.error, "objective": cost.objective, "silent": float(silent), "power": float(power)}
        self._found.append({**found, "frames": len(frames)})

    @property
    def dictionary(self) -> NMFDictionary:
        """What is saved: the components, the lowest centroid first."""
        levels = self.level_sums / self.level_counts.clamp(min=1)
        levels = torch.where(levels > 0, levels, 1)
        components = self.dictionary_components.detach().cpu()
        return NMFDictionary(components, Frontend(**self.frontend.config), levels.cpu()).sorted()

    def report(self, folder: Path) -> dict[str, Any]:
        """Numbers, ``components.png``, and each component as a sound in ``components/``."""
        dictionary = self.dictionary
        centroids = dictionary.centroids_hz
        rate_hz, picture = self.frontend.sample_rate_hz, folder / "components.png"
        components_picture(dictionary.components.numpy(), centroids.numpy(), rate_hz, picture)
        for former in (folder / "components").glob("*Hz.wav"):
            former.unlink()
        for k, centroid in enumerate(centroids.tolist()):
            path = folder / "components" / f"{k:03d}-{centroid:05.0f}Hz.wav"
            save_audio(path, dictionary.sound(k), rate_hz)
        return {"nmf": self._numbers(dictionary)}

    def _numbers(self, dictionary: NMFDictionary) -> dict[str, float]:
        frames = sum(found["frames"] for found in self._found)

        def mean(name: str) -> float:
            return sum(found[name] * found["frames"] for found in self._found) / frames

        columns = dictionary.components
        norms = columns.norm(dim=0)
        return {
            "error": mean("error"),
            "unexplained_power": mean("error") / max(mean("power"), 1e-12),
            "objective": mean("objective"),
            "silent_activations": mean("silent"),
            "silent_bins": float((columns <= _SILENT * columns.amax(0)).float().mean()),
            "lowest_column_norm": float(norms.min()),
            "highest_column_norm": float(norms.max()),
        }

    def export(self, folder: Path, **extra: Any) -> Path:
        """See `TrainingTask.export`."""
        return self.dictionary.save(folder, **extra)


class NMFTraining(DictionaryTraining):
    """Learns a sparse dictionary with unit-norm columns by mini-batches; see `otoscope.nn.SparseNMF`.

    Args:
        components: Columns of the dictionary.
        sparsity: Weight of the l1 norm of the activations; 0 reconstructs best.
        iterations: Steps that find the activations of a mini-batch.
        tolerance: Training ends when two epochs running have not lowered the objective by this share.
        start: A dictionary's model folder to begin with (warm start).
        frontend: Makes the spectrograms; by default that of the classifiers.
        seed: Of everything random.
    """

    def __init__(
        self,
        components: int = 100,
        sparsity: float = 0.8,
        iterations: int = 30,
        tolerance: float = 1e-3,
        start: str | os.PathLike[str] | None = None,
        frontend: Frontend | None = None,
        seed: int = 1234,
    ) -> None:
        super().__init__(components, frontend, seed=seed)
        self.automatic_optimization = False
        self.solver = SparseNMF(self.frontend.bins, components, sparsity, iterations, seed)
        if start is not None:
            self._start_from(load_dictionary(start), str(start))
        self.convergence = Convergence(tolerance)
        self._costs: list[tuple[FitStep, int]] = []

    @property
    def dictionary_components(self) -> Tensor:
        """See `DictionaryTraining.dictionary_components`."""
        return self.solver.components

    def explain(self, log_magnitude: Tensor, frames: Tensor | None) -> tuple[Tensor, Tensor, FitStep]:
        """See `DictionaryTraining.explain`."""
        rows = frames_of(log_magnitude, frames)
        activations = self.solver.infer(rows)
        return rows, activations, self.solver.cost(rows, activations)

    def configure_optimizers(self) -> Any:
        """One that lets the solver move."""
        return _Solver(self.solver.components)

    def on_train_epoch_start(self) -> None:
        """A new epoch, a new sum."""
        super().on_train_epoch_start()
        self._costs = []

    def training_step(self, batch: Batch, index: int) -> None:
        """Learns from the frames of a batch."""
        rows = frames_of(*self.spectrograms(batch))
        optimizer: Any = self.optimizers()
        optimizer.step(closure=lambda: self._costs.append((self.solver.partial_fit(rows), len(rows))))
        cost, count = self._costs[-1]
        self.total({"objective": torch.tensor(cost.objective)}, "train", count)
        self.log("train_error", cost.error, on_step=False, on_epoch=True, batch_size=count)

    def on_fit_start(self) -> None:
        """Has nothing to do for a dictionary that had converged before."""
        self.trainer.should_stop = self.convergence.reached

    def on_validation_epoch_start(self) -> None:
        """The checkpoint, which is written after validation, must know how the epoch went."""
        super().on_validation_epoch_start()
        self._close_epoch()

    def on_train_epoch_end(self) -> None:
        """The same for epochs without validation; ends the training when it has converged."""
        self._close_epoch()
        if self.convergence.reached:
            self.trainer.should_stop = True

    def _close_epoch(self) -> None:
        if not self._costs:
            return
        count = sum(size for _, size in self._costs)
        objective = sum(cost.objective * size for cost, size in self._costs) / count
        self.convergence.update(objective)
        self._costs = []

    def _start_from(self, dictionary: NMFDictionary, name: str) -> None:
        if not dictionary.frontend.same_as(self.frontend) or len(dictionary) != self.size:
            raise ConfigurationError(
                f"start: the dictionary in {name} has {len(dictionary)} components of a front-end of "
                f"{dictionary.frontend.describe()}; {self.size} of {self.frontend.describe()} are asked for"
            )
        self.solver.start_from(dictionary.components)


class AmortizedNMFTraining(DictionaryTraining):
    """Trains the published NMF, whose encoder guesses the activations; see `otoscope.nn.AmortizedNMF`.

    Slower and less exact than `NMFTraining`, and neither sparse nor of unit norm; for comparison.

    Args:
        components: Columns of the dictionary.
        frontend: Makes the spectrograms; by default that of the classifiers.
        learning_rate: Of the optimiser.
        **training: See `TrainingTask`.
    """

    def __init__(
        self,
        components: int = 100,
        frontend: Frontend | None = None,
        learning_rate: float = 5e-5,
        **training: Any,
    ) -> None:
        super().__init__(components, frontend, learning_rate=learning_rate, **training)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.network = AmortizedNMF(self.frontend.bins, components)

    @property
    def dictionary_components(self) -> Tensor:
        """See `DictionaryTraining.dictionary_components`."""
        return self.network.components

    def explain(self, log_magnitude: Tensor, frames: Tensor | None) -> tuple[Tensor, Tensor, FitStep]:
        """See `DictionaryTraining.explain`."""
        activations = self.network(log_magnitude, frames)
        error = float(masked_mean((self.network.reconstruct(activations) - log_magnitude).square(), frames))
        return frames_of(log_magnitude, frames), frames_of(activations, frames), FitStep(error, error)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """The squared error."""
        log_magnitude, frames = self.spectrograms(batch)
        model = self.network.reconstruct(self.network(log_magnitude, frames))
        error = masked_mean((model - log_magnitude).square(), frames)
        return self.total({"error": error}, "train", len(batch))


class _Solver(torch.optim.Optimizer):
    """What Lightning takes for an optimiser, and counts the steps of; the solver does them."""

    def __init__(self, components: Tensor) -> None:
        super().__init__([components], {})

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        return None if closure is None else closure()
