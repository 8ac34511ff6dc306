"""A separate cache for each test, and a tiny data set in the layout of ESC-50."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

MakeESC50 = Callable[..., Path]


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Cache folder of the test, never in the home folder."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("OTOSCOPE_CACHE", str(folder))
    return folder


@pytest.fixture
def write_sound() -> Callable[..., Path]:
    """Write a sound file of noise with a peak of 0.5, and create its folder."""

    def write(path: Path, seed: int = 0, samples: int = 1600, sample_rate_hz: int = 16_000) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        wave = np.random.default_rng(seed).uniform(-0.5, 0.5, samples)
        soundfile.write(path, wave, sample_rate_hz)
        return path

    return write


@pytest.fixture
def make_esc50(tmp_path: Path, write_sound: Callable[..., Path]) -> MakeESC50:
    """Create ``meta/esc50.csv`` and ``audio/`` with one clip per fold and class."""

    def make(
        classes: Sequence[tuple[int, str]] = ((0, "dog"), (21, "sneezing"), (40, "helicopter")),
        folds: Sequence[int] = (1, 2, 3, 4, 5),
        suffix: str = ".wav",
        name: str = "ESC-50-master",
        **sound: int,
    ) -> Path:
        root = tmp_path / name
        lines = ["filename,fold,target,category,esc10,src_file,take"]
        for number, (fold, (target, label)) in enumerate((f, c) for f in folds for c in classes):
            stem = f"{fold}-{1000 + number}-A-{target}"
            lines.append(f"{stem}.wav,{fold},{target},{label},True,{1000 + number},A")
            write_sound(root / "audio" / f"{stem}{suffix}", seed=number, **sound)
        (root / "meta").mkdir()
        (root / "meta" / "esc50.csv").write_text("\n".join(lines) + "\n")
        return root

    return make
