"""SpeechBrain's label encoder: one line a label, ``'dog' => 0``, a rule, then settings."""

from __future__ import annotations

import ast
from pathlib import Path

from otoscope.errors import CheckpointError

_ARROW = " => "
_RULE = "================"


def read_labels(path: Path) -> list[str]:
    """Reads the labels in the order of the logits.

    Args:
        path: Of the file, ``label_encoder.txt`` as a rule.

    Raises:
        CheckpointError: It cannot be read, or its indices are not 0, 1, 2 and so on, each once.
    """
    found: dict[int, str] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        for line in lines[: lines.index(_RULE)] if _RULE in lines else lines:
            literal, arrow, index = line.rpartition(_ARROW)
            if not arrow or int(index) in found:
                raise ValueError(f"{line!r} is no new label")
            found[int(index)] = str(ast.literal_eval(literal.strip()))
    except (OSError, ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: is no label encoder ({error}); expected a line such as 'dog' => 0 for each class"
        ) from error
    if sorted(found) != list(range(len(found))) or not found:
        raise CheckpointError(f"{path}: its indices are not 0, 1, 2 and so on, each once")
    return [found[index] for index in range(len(found))]
