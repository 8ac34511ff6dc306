"""Paths of the model and of the sample recordings that come with the package.

Nothing is opened here, so that the command line starts quickly.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

_FOLDER = Path(__file__).parent
SAMPLES_NAME = "samples.json"


@dataclass(frozen=True)
class Sample:
    """A sample recording.

    Attributes:
        path: Sound file.
        labels: Classes that it contains, the loudest first; a mixture has several.
        clips: Names of the ESC-10 clips that it was made of.
    """

    path: Path
    labels: tuple[str, ...]
    clips: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the recording: the file name without its ending."""
        return self.path.stem


def bundled_model() -> Path:
    """Return the folder of the bundled model, an interpreter and its classifier of ten everyday sounds.

    `otoscope.load` opens it when no other model is given. Its ``README.md`` states how it was trained.

    Example:
        >>> (bundled_model() / "config.json").is_file()
        True
    """
    return _FOLDER / "esc10"


def sample_recordings() -> list[Sample]:
    """Return the sample recordings that come with the package.

    Example:
        >>> all(sample.path.is_file() for sample in sample_recordings())
        True
    """
    folder = _FOLDER / "samples"
    rows = json.loads((folder / SAMPLES_NAME).read_text(encoding="utf-8"))["samples"]
    return [Sample(folder / row["file"], tuple(row["labels"]), tuple(row["clips"])) for row in rows]
