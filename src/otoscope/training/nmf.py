"""Training of NMF dictionaries: the solver, and the published amortised network."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from otoscope.audio import Frontend, Spectrogram, save_audio
from otoscope.audio.padding import masked_mean
from otoscope.data import Batch
from otoscope.errors import ConfigurationError
from otoscope.loading import load_dictionary
from otoscope.nn import AmortizedNMF, NMFDictionary, SparseNMF, frames_of
from otoscope.nn.nmf import Convergence, FitStep
from otoscope.nn.ranks import add_up, gather_clips, gather_objects, is_distributed
from otoscope.plots import components_picture, save_picture
from otoscope.training.task import TrainingTask

_PLACEHOLDER = "placeholder"
_SILENT = 1e-3
"""Activations and entries below this share of the largest count as zero in the report."""


class DictionaryTraining(TrainingTask):
    """Base class of the trainings that make an `otoscope.nn.NMFDictionary`.

    The best checkpoint is the one with the lowest objective on the validation clips.

    Args:
        components: Number of columns of the dictionary.
        frontend: Front-end that computes the spectrograms (default: that of the classifiers).
        **training: See `TrainingTask`.
    """

    def __init__(self, components: int = 100, frontend: Frontend | None = None, **training: Any) -> None:
        super().__init__(**training)
        if components < 1:
            raise ConfigurationError(f"components: {components} must be positive")
        self.size = components
        self._frontend = frontend or Frontend()
        # Buffers, so that a checkpoint holds the levels that belong to its dictionary.
        self.register_buffer("level_sums", torch.zeros(components))
        self.register_buffer("level_counts", torch.zeros(components))
        self._batch_numbers: list[dict[str, float]] = []

    level_sums: Tensor
    level_counts: Tensor

    @property
    @override
    def frontend(self) -> Frontend:
        return self._frontend

    @property
    @abstractmethod
    def dictionary_components(self) -> Tensor:
        """Present components, shape (bins, components)."""

    @abstractmethod
    def explain(self, spectrogram: Spectrogram) -> tuple[Tensor, Tensor, FitStep]:
        """Model the valid frames of a batch by the present dictionary.

        Args:
            spectrogram: Spectrogram of the clips.

        Returns:
            Frames (count, bins), their activations (count, components), and their objective and error.
        """

    def adapt_to(self, labels: Sequence[str]) -> None:
        """Keep the labels for the record; a dictionary does not depend on them."""
        self.labels = list(labels)

    def spectrogram(self, batch: Batch) -> Spectrogram:
        """Return the spectrogram of a batch, without phase."""
        spectrogram: Spectrogram = self.frontend(
            batch.waveform, batch.lengths if batch.padded else None, with_phase=False
        )
        return spectrogram

    def on_validation_epoch_start(self) -> None:
        """Reset the levels of the components, which belong to an earlier dictionary."""
        self.level_sums.zero_()
        self.level_counts.zero_()

    @torch.no_grad()
    def validation_step(self, batch: Batch, index: int) -> None:
        """Log objective and error, and collect the level of each component in the frames where it is active."""
        frames, activations, cost = self.explain(self.spectrogram(batch))
        # The level of a component is its mean activation in the frames where it is active, leaving out silence.
        active = activations > _SILENT * activations.max()
        self.level_sums += (activations * active).sum(0)
        self.level_counts += active.sum(0)
        values = {"valid_loss": cost.objective, "valid_error": cost.error}
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=len(frames), sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        """Add up the levels of all processes."""
        self.level_sums.copy_(add_up(self.level_sums))
        self.level_counts.copy_(add_up(self.level_counts))

    def on_test_epoch_start(self) -> None:
        """Discard the numbers of an earlier test."""
        self._batch_numbers = []

    def on_test_epoch_end(self) -> None:
        """Gather the numbers of all processes."""
        self._batch_numbers = [number for numbers in gather_objects(self._batch_numbers) for number in numbers]

    @torch.no_grad()
    def test_step(self, batch: Batch, index: int) -> None:
        """Collect the error, and the share of activations that are silent."""
        frames, activations, cost = self.explain(self.spectrogram(batch))
        silent = (activations <= _SILENT * activations.max()).float().mean()
        power = frames.square().mean()
        numbers = {"error": cost.error, "objective": cost.objective, "silent": float(silent), "power": float(power)}
        self._batch_numbers.append({**numbers, "frames": len(frames)})

    @property
    def dictionary(self) -> NMFDictionary:
        """Dictionary to save: the components with their levels, the lowest centroid first."""
        levels = self.level_sums / self.level_counts.clamp(min=1)
        # A component that was never active has no level of its own.
        levels = torch.where(levels > 0, levels, 1)
        components = self.dictionary_components.detach().cpu()
        return NMFDictionary(components, Frontend(**self.frontend.config), levels.cpu()).sorted()

    def report(self, folder: Path) -> dict[str, Any]:
        """Return the numbers, and write ``components.png`` and each component as a sound to ``components/``."""
        dictionary = self.dictionary
        centroids = dictionary.centroids_hz
        rate_hz = self.frontend.sample_rate_hz
        figure = components_picture(dictionary.components.numpy(), centroids.numpy(), rate_hz)
        save_picture(figure, folder / "components.png")
        for former in (folder / "components").glob("*Hz.wav"):
            former.unlink(missing_ok=True)
        for k, centroid in enumerate(centroids.tolist()):
            path = folder / "components" / f"{k:03d}-{centroid:05.0f}Hz.wav"
            save_audio(path, dictionary.sound(k), rate_hz)
        return {"nmf": self._numbers(dictionary)}

    def _numbers(self, dictionary: NMFDictionary) -> dict[str, float]:
        frames = sum(batch["frames"] for batch in self._batch_numbers)

        def mean(name: str) -> float:
            # batches differ in the number of their valid frames
            return sum(batch[name] * batch["frames"] for batch in self._batch_numbers) / frames

        # The solver keeps columns at unit norm, the published network does not: the range of the norms shows it.
        columns = dictionary.components
        norms = columns.norm(dim=0)
        return {
            "error": mean("error"),
            # The error as a share of the power: 1 for a dictionary that explains nothing.
            "unexplained_power": mean("error") / max(mean("power"), 1e-12),
            "objective": mean("objective"),
            "silent_activations": mean("silent"),
            "silent_bins": float((columns <= _SILENT * columns.amax(0)).float().mean()),
            "lowest_column_norm": float(norms.min()),
            "highest_column_norm": float(norms.max()),
        }

    @override
    def export(self, folder: Path, **extra: Any) -> Path:
        return self.dictionary.save(folder, **extra)


class NMFTraining(DictionaryTraining):
    """Training of a sparse dictionary with unit-norm columns, in mini-batches; see `otoscope.nn.SparseNMF`.

    Args:
        components: Number of columns of the dictionary.
        sparsity: Weight of the l1 norm of the activations; 0 reconstructs best.
        iterations: Number of steps that compute the activations of a mini-batch.
        tolerance: Training ends when two epochs in succession have not lowered the objective by this share.
        start: Model folder of a dictionary to start from (warm start).
        frontend: Front-end that computes the spectrograms (default: that of the classifiers).
        seed: Seed of everything random.
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
        # The solver updates the dictionary without gradients; Lightning only counts its steps.
        self.automatic_optimization = False
        self.solver = SparseNMF(self.frontend.bins, components, sparsity, iterations, seed)
        if start is not None:
            self._start_from(load_dictionary(start), str(start))
        self.convergence = Convergence(tolerance)
        self._costs: list[tuple[FitStep, int]] = []

    @property
    @override
    def dictionary_components(self) -> Tensor:
        return self.solver.components

    @override
    def explain(self, spectrogram: Spectrogram) -> tuple[Tensor, Tensor, FitStep]:
        rows = frames_of(spectrogram.log_magnitude, spectrogram.frames)
        activations = self.solver.infer(rows)
        return rows, activations, self.solver.cost(rows, activations)

    def setup(self, stage: str) -> None:
        """Add a parameter for a distributed training, which PyTorch refuses for a model without any."""
        if is_distributed() and not hasattr(self, _PLACEHOLDER):
            self.register_parameter(_PLACEHOLDER, torch.nn.Parameter(torch.zeros(())))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out the placeholder, so that any number of processes can load the checkpoint."""
        checkpoint["state_dict"].pop(_PLACEHOLDER, None)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the placeholder where this process has it."""
        if hasattr(self, _PLACEHOLDER):
            checkpoint["state_dict"][_PLACEHOLDER] = getattr(self, _PLACEHOLDER).detach()

    def configure_optimizers(self) -> Any:
        """Return an optimiser that lets the solver change the dictionary."""
        return _Solver(self.solver.components)

    def on_train_epoch_start(self) -> None:
        """Reset the objective of the epoch."""
        super().on_train_epoch_start()
        self._costs = []

    def training_step(self, batch: Batch, index: int) -> None:
        """Update the dictionary with the frames of a batch."""
        clips = self.spectrogram(batch).split(1)
        # Each process learns from the frames of all of them, so that all have the same dictionary.
        rows = torch.cat(gather_clips([frames_of(clip.log_magnitude, clip.frames) for clip in clips]))
        optimizer: Any = self.optimizers()
        optimizer.step(closure=lambda: self._costs.append((self.solver.partial_fit(rows), len(rows))))
        cost, count = self._costs[-1]
        self.total({"objective": torch.tensor(cost.objective)}, "train", count)
        self.log("train_error", cost.error, on_step=False, on_epoch=True, batch_size=count)

    def on_fit_start(self) -> None:
        """Stop at once if the dictionary of the checkpoint has converged already."""
        self.trainer.should_stop = self.convergence.reached

    def on_validation_epoch_start(self) -> None:
        """Record the objective of the epoch before validation: the checkpoint that follows it must contain it."""
        super().on_validation_epoch_start()
        self._close_epoch()

    def on_train_epoch_end(self) -> None:
        """Record the objective of an epoch without validation, and stop a training that has converged."""
        self._close_epoch()
        if self.convergence.reached:
            self.trainer.should_stop = True

    def _close_epoch(self) -> None:
        # Both hooks of an epoch with validation call this; the second call has nothing left to record.
        if not self._costs:
            return
        count = sum(size for _, size in self._costs)
        objective = sum(cost.objective * size for cost, size in self._costs) / count
        self.convergence.update(objective)
        self._costs = []

    def _start_from(self, dictionary: NMFDictionary, name: str) -> None:
        if not dictionary.frontend.same_as(self.frontend) or len(dictionary) != self.size:
            raise ConfigurationError(
                f"start: the dictionary in {name} has {len(dictionary)} components for a front-end with "
                f"{dictionary.frontend.describe()}; needed are {self.size} for {self.frontend.describe()}"
            )
        self.solver.start_from(dictionary.components)


class AmortizedNMFTraining(DictionaryTraining):
    """Training of the published NMF, whose encoder predicts the activations; see `otoscope.nn.AmortizedNMF`.

    Slower and less exact than `NMFTraining`, and neither sparse nor of unit norm; for comparison.

    Args:
        components: Number of columns of the dictionary.
        frontend: Front-end that computes the spectrograms (default: that of the classifiers).
        learning_rate: Learning rate of the optimiser.
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
        # The weights at the start depend on the seed only, not on random numbers that were drawn before.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.network = AmortizedNMF(self.frontend.bins, components)

    @property
    @override
    def dictionary_components(self) -> Tensor:
        return self.network.components

    @override
    def explain(self, spectrogram: Spectrogram) -> tuple[Tensor, Tensor, FitStep]:
        log_magnitude, frames = spectrogram.log_magnitude, spectrogram.frames
        activations = self.network(log_magnitude, frames)
        error = float(masked_mean((self.network.reconstruct(activations) - log_magnitude).square(), frames))
        return frames_of(log_magnitude, frames), frames_of(activations, frames), FitStep(error, error)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Return the squared error."""
        spectrogram = self.spectrogram(batch)
        log_magnitude, frames = spectrogram.log_magnitude, spectrogram.frames
        model = self.network.reconstruct(self.network(log_magnitude, frames))
        error = masked_mean((model - log_magnitude).square(), frames)
        return self.total({"error": error}, "train", len(batch))


class _Solver(torch.optim.Optimizer):
    """Optimiser for Lightning, which counts its steps; the solver makes them."""

    def __init__(self, components: Tensor) -> None:
        super().__init__([components], {})

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        return None if closure is None else closure()
