"""A dictionary of spectra with the front-end that it was learnt with, and the folder it is kept in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from otoscope.audio import Frontend, Spectrogram
from otoscope.errors import CheckpointError, ShapeError
from otoscope.hub import fetch_model
from otoscope.model_folder import CONFIG_NAME, class_path, load_weights, read_config, write_folder, write_model
from otoscope.nn.nmf import frames_of, infer_activations


class NMFDictionary(nn.Module):
    """Non-negative spectra that frames of sound are sums of.

    Args:
        components: In log magnitude, not negative. Shape (bins, components).
        frontend: Made the spectrograms that it was learnt from.
        levels: Typical activation of each component where it sounds; by default 1. Shape (components,).

    Raises:
        ShapeError: The components have another number of bins than the front-end, or a negative value.

    Example:
        >>> dictionary = NMFDictionary(torch.eye(513)[:, [100, 10]], Frontend())
        >>> dictionary.centroids_hz
        tensor([1562.5000,  156.2500])
        >>> dictionary.sorted().centroids_hz
        tensor([ 156.2500, 1562.5000])
    """

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
        self.register_buffer("components", components.detach().clone().float())
        levels = torch.ones(components.shape[1]) if levels is None else levels.detach().clone().float()
        self.register_buffer("levels", levels)

    def __len__(self) -> int:
        return self.components.shape[1]

    @property
    def centroids_hz(self) -> Tensor:
        """Centre of gravity of each component's spectrum. Shape (components,)."""
        frequencies = torch.linspace(0, self.frontend.sample_rate_hz / 2, self.frontend.bins)
        weight = self.components.sum(0).clamp(min=1e-12)
        return (frequencies.to(weight) @ self.components) / weight

    def sorted(self) -> NMFDictionary:
        """The same with the lowest centroid first."""
        order = self.centroids_hz.argsort()
        return NMFDictionary(self.components[:, order], self.frontend, self.levels[order])

    def activations(self, log_magnitude: Tensor, frames: Tensor | None = None, sparsity: float = 0.8) -> Tensor:
        """What each component contributes to each frame, found by least squares with an l1 penalty.

        Args:
            log_magnitude: Shape (batch, bins, time).
            frames: Frames that belong to each clip, where clips were padded. Shape (batch,).
            sparsity: See `otoscope.nn.infer_activations`.

        Returns:
            Not negative, 0 on padding. Shape (batch, components, time).
        """
        found = infer_activations(frames_of(log_magnitude), self.components, sparsity=sparsity)
        activations = found.reshape(len(log_magnitude), -1, len(self)).transpose(1, 2)
        if frames is None:
            return activations
        time = torch.arange(activations.shape[-1], device=activations.device)
        return activations * (time < frames.to(time.device)[:, None])[:, None]

    def sound(self, index: int, duration_s: float = 1.0) -> Tensor:
        """What a component sounds like: noise with its spectrum, at its typical level.

        Args:
            index: Which.
            duration_s: Of the sound.

        Returns:
            Largest absolute sample 0.9. Shape (samples,).
        """
        samples = round(duration_s * self.frontend.sample_rate_hz)
        noise = torch.randn(1, samples, generator=torch.Generator().manual_seed(0))
        spectrogram = self.frontend(noise.to(self.components.device))
        level = (self.components[:, index] * self.levels[index])[None, :, None]
        shaped = Spectrogram(level.expand_as(spectrogram.phase), spectrogram.phase, samples)
        waveform = self.frontend.inverse(shaped)[0]
        return 0.9 * waveform / waveform.abs().max().clamp(min=1e-12)

    def save(self, folder: str | os.PathLike[str], **extra: Any) -> Path:
        """Saves a model folder; see `load_dictionary`.

        Args:
            folder: Replaced as a whole if it exists.
            **extra: JSON values to keep beside it, such as ``metrics``.
        """
        config = {
            "kind": "dictionary",
            "class": class_path(self),
            "init": {"components": len(self)},
            "frontend": self.frontend.config,
            **extra,
        }
        return write_folder(folder, lambda temporary: write_model(temporary, config, self))


def load_dictionary(folder: str | os.PathLike[str], revision: str | None = None) -> NMFDictionary:
    """Opens a dictionary that the training of an NMF wrote.

    Args:
        folder: The folder ``model`` in its output folder, or ``owner/name`` on the hub.
        revision: Branch, tag or commit on the hub.

    Raises:
        CheckpointError: The folder is missing, incomplete, newer than this version, or holds something else.
    """
    folder = fetch_model(folder, revision)
    config = read_config(folder)
    if config.get("kind") != "dictionary":
        raise CheckpointError(
            f"{folder}: holds no NMF dictionary; train one, for instance `otoscope train "
            "recipes/ESC50/interpret/hparams/nmf.yaml`"
        )
    try:
        frontend = Frontend(**config["frontend"])
        empty = torch.zeros(frontend.bins, int(config["init"]["components"]))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / CONFIG_NAME}: does not describe a dictionary ({error})") from error
    dictionary = NMFDictionary(empty, frontend)
    load_weights(dictionary, folder)
    if bool((dictionary.components < 0).any()):
        raise CheckpointError(f"{folder}: its dictionary has negative values; learn it again")
    return dictionary
