"""A dictionary of spectra, together with its front-end."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from otoscope.audio import Frontend, Spectrogram
from otoscope.audio.padding import zero_padding
from otoscope.errors import CheckpointError, ShapeError
from otoscope.nn.nmf import frames_of, infer_activations
from otoscope.store.folder import StoredModel, write_folder, write_model


class NMFDictionary(StoredModel):
    """Dictionary of non-negative spectra, whose weighted sums approximate the frames of sounds.

    Args:
        components: Non-negative spectra in log magnitude, shape (bins, components).
        frontend: Front-end of the spectrograms from which the dictionary was learnt.
        levels: Typical activation of each component where it sounds, shape (components,). Default: 1.

    Raises:
        ShapeError: The components have another number of bins than the front-end, or a negative value.

    Example:
        >>> dictionary = NMFDictionary(torch.eye(513)[:, [100, 10]], Frontend())
        >>> dictionary.centroids_hz
        tensor([1562.5000,  156.2500])
        >>> dictionary.sorted().centroids_hz
        tensor([ 156.2500, 1562.5000])
    """

    role = "dictionary"
    unsaved_arguments = ("levels",)
    saved_types: ClassVar[Mapping[str, Any]] = {"components": int}
    components: Tensor
    levels: Tensor

    def __init__(self, components: Tensor, frontend: Frontend, levels: Tensor | None = None) -> None:
        super().__init__()
        if components.ndim != 2 or components.shape[0] != frontend.bins:
            raise ShapeError(
                f"components of shape {tuple(components.shape)}: expected ({frontend.bins}, components) for a "
                f"front-end of {frontend.describe()}"
            )
        if bool((components < 0).any()):
            raise ShapeError("components must not be negative")
        self.frontend = frontend
        self.details: dict[str, Any] = {}
        self.register_buffer("components", components.detach().clone().float())
        levels = torch.ones(components.shape[1]) if levels is None else levels.detach().clone().float()
        self.register_buffer("levels", levels)

    def __len__(self) -> int:
        return self.components.shape[1]

    @property
    def centroids_hz(self) -> Tensor:
        """Centre of gravity of each component's spectrum in Hz, shape (components,)."""
        frequencies = torch.linspace(0, self.frontend.sample_rate_hz / 2, self.frontend.bins)
        # the floor gives a component of zeros the centroid 0 instead of NaN
        weight = self.components.sum(0).clamp(min=1e-12)
        return (frequencies.to(weight) @ self.components) / weight

    def sorted(self) -> NMFDictionary:
        """Return the dictionary with its components in the order of their centroids, the lowest first."""
        order = self.centroids_hz.argsort()
        return NMFDictionary(self.components[:, order], self.frontend, self.levels[order])

    def activations(self, log_magnitude: Tensor, frames: Tensor | None = None, sparsity: float = 0.8) -> Tensor:
        """Infer the activations of each component by least squares with an l1 penalty.

        Args:
            log_magnitude: Spectrograms, shape (batch, bins, time).
            frames: Valid frames of each clip, shape (batch,). None: all frames are valid.
            sparsity: Weight of the penalty; see `otoscope.nn.infer_activations`.

        Returns:
            Non-negative activations, 0 on padding. Shape (batch, components, time).
        """
        # padding is included, so that the rows can be reshaped to a batch, and zeroed afterwards
        rows = infer_activations(frames_of(log_magnitude), self.components, sparsity=sparsity)
        activations = rows.reshape(len(log_magnitude), -1, len(self)).transpose(1, 2)
        return zero_padding(activations, frames)

    def sound(self, index: int, duration_s: float = 1.0) -> Tensor:
        """Return a component as sound: noise with its spectrum, at its typical level.

        Args:
            index: Index of the component.
            duration_s: Duration of the sound in seconds.

        Returns:
            Waveform with a largest absolute sample of 0.9, shape (samples,).
        """
        samples = round(duration_s * self.frontend.sample_rate_hz)
        noise = torch.randn(1, samples, generator=torch.Generator().manual_seed(0))
        spectrogram = self.frontend(noise.to(self.components.device))
        # The spectrum is in log magnitude, so its shape in amplitude depends on its level; the phases are the
        # noise's.
        level = (self.components[:, index] * self.levels[index])[None, :, None]
        shaped = Spectrogram(level.expand_as(spectrogram.phase), spectrogram.phase, samples)
        waveform = self.frontend.inverse(shaped)[0]
        return 0.9 * waveform / waveform.abs().max().clamp(min=1e-12)

    def save(self, folder: str | os.PathLike[str], **details: Any) -> Path:
        """Save a model folder, which `otoscope.load_dictionary` opens.

        Args:
            folder: Target folder. A former model in it is replaced as a whole.
            **details: JSON values to keep beside the model, such as ``metrics``.

        Raises:
            CheckpointError: The folder cannot be written.
        """
        config = {"init": {"components": len(self)}, "frontend": self.frontend.config, **details}
        return write_folder(folder, lambda temporary: write_model(self, temporary, config))

    @classmethod
    def from_folder(cls, config: Mapping[str, Any], folder: Path, **given: Any) -> Self:
        """Build the dictionary that a model folder describes; see `StoredModel.from_folder`."""
        frontend = Frontend(**config["frontend"])
        return cls(torch.zeros(frontend.bins, int(config["init"]["components"])), frontend, **given)

    def check_weights(self, folder: Path) -> None:
        """Raise a `CheckpointError` if a component is negative."""
        if bool((self.components < 0).any()):
            raise CheckpointError(f"{folder}: its dictionary has negative values; learn it again")
