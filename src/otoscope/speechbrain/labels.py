"""SpeechBrain's label encoder: one line per label, ``'dog' => 0``, then a separator and settings."""

from __future__ import annotations

import ast
from pathlib import Path

from otoscope.errors import CheckpointError

_ARROW = " => "
_SEPARATOR = "================"


def read_labels(path: Path) -> list[str]:
    """Read the labels in the order of the logits.

    Args:
        path: Path of the file, usually ``label_encoder.txt``.

    Raises:
        CheckpointError: The file cannot be read, or its indices are not 0, 1, 2 and so on, each once.
    """
    labels: dict[int, str] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        for line in lines[: lines.index(_SEPARATOR)] if _SEPARATOR in lines else lines:
            literal, arrow, index = line.rpartition(_ARROW)
            if not arrow or int(index) in labels:
                raise ValueError(f"{line!r} is not a line for another label")
            labels[int(index)] = str(ast.literal_eval(literal.strip()))
    except (OSError, ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: is no label encoder ({error}); expected a line such as 'dog' => 0 for each class"
        ) from error
    if sorted(labels) != list(range(len(labels))) or not labels:
        raise CheckpointError(f"{path}: its indices are not 0, 1, 2 and so on, each once")
    return [labels[index] for index in range(len(labels))]
