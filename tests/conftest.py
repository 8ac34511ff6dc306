"""Fixtures of all tests: clips of different lengths, networks as if trained, and data in the layout of ESC-50."""

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from filelock import FileLock
from torch import Tensor, nn

PadSounds = Callable[[Sequence[int]], tuple[list[Tensor], Tensor, Tensor]]
MakeOnce = Callable[[str, Callable[[Path], None]], Path]


@pytest.fixture
def pad_sounds() -> PadSounds:
    """Function that makes noise clips of given lengths, the batch of them with zero-padding, and their lengths."""

    def pad(lengths: Sequence[int]) -> tuple[list[Tensor], Tensor, Tensor]:
        # each clip has its own level, so that a statistic of the wrong clip is noticed
        clips = [torch.randn(length) * (0.1 + 0.2 * position) for position, length in enumerate(lengths)]
        return clips, nn.utils.rnn.pad_sequence(clips, batch_first=True), torch.tensor(lengths)

    return pad


@pytest.fixture
def experienced() -> Callable[[nn.Module], nn.Module]:
    """Function that gives batch norms random statistics, scales and biases, as if they had been trained."""

    # Without them a network maps silence to silence, and errors in the handling of padding would stay hidden.
    def randomise(module: nn.Module) -> nn.Module:
        for part in module.modules():
            if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
                nn.init.normal_(part.running_mean, std=0.3)
                nn.init.uniform_(part.running_var, 0.5, 1.5)
                nn.init.uniform_(part.weight.data, 0.5, 1.5)
                nn.init.normal_(part.bias.data, std=0.3)
        return module

    return randomise


@pytest.fixture(scope="session")
def make_once(tmp_path_factory: pytest.TempPathFactory) -> MakeOnce:
    """Function that fills a folder once for all processes of the suite; tests must not change what is in it."""
    # The way that pytest-xdist documents: all its processes have folders below the same one.
    base = tmp_path_factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def make(name: str, fill: Callable[[Path], None]) -> Path:
        folder, made = root / name, root / f"{name}.made"
        with FileLock(root / f"{name}.lock"):
            if not made.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                fill(folder)
                made.touch()
        return folder

    return make


@pytest.fixture(scope="session")
def esc50(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data in the layout of ESC-50: five folds, three classes of different pitch, clips of half a second."""
    root = tmp_path_factory.mktemp("data") / "ESC-50-master"
    (root / "audio").mkdir(parents=True)
    (root / "meta").mkdir()
    rows = ["filename,fold,target,category,esc10,src_file,take"]
    rng = np.random.default_rng(0)
    time = np.arange(8000) / 16_000
    for fold in range(1, 6):
        for target, label in enumerate(("dog", "rain", "helicopter")):
            for take in "AB":
                name = f"{fold}-{fold}{target}-{take}-{target}.wav"
                pitch = (300, 1500, 5000)[target] * rng.uniform(0.9, 1.1)
                wave = 0.5 * np.sin(2 * np.pi * pitch * time) + 0.05 * rng.standard_normal(8000)
                soundfile.write(root / "audio" / name, wave, 16_000)
                rows.append(f"{name},{fold},{target},{label},True,1,{take}")
    (root / "meta" / "esc50.csv").write_text("\n".join(rows) + "\n")
    return root
