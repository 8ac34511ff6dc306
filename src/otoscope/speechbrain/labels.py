"""SpeechBrain's label encoder: one line per label, ``'dog' => 0``, then a separator and settings."""

from __future__ import annotations

import ast
from pathlib import Path

from otoscope.errors import CheckpointError
from otoscope.store.schema import check_labels

_ARROW = " => "
_SEPARATOR = "================"
_MOST_BYTES = 1 << 22

# fmt: off
ESC50_LABELS = [
    "dog", "chirping_birds", "vacuum_cleaner", "thunderstorm", "door_wood_knock", "can_opening", "crow",
    "clapping", "fireworks", "chainsaw", "airplane", "mouse_click", "pouring_water", "train", "sheep",
    "water_drops", "church_bells", "clock_alarm", "keyboard_typing", "wind", "footsteps", "frog", "cow",
    "brushing_teeth", "car_horn", "crackling_fire", "helicopter", "drinking_sipping", "rain", "insects",
    "laughing", "hen", "engine", "breathing", "crying_baby", "hand_saw", "coughing", "glass_breaking", "snoring",
    "toilet_flush", "pig", "washing_machine", "clock_tick", "sneezing", "rooster", "sea_waves", "siren", "cat",
    "door_wood_creaks", "crickets",
]
# fmt: on
"""Classes of ESC-50 as SpeechBrain's recipes number them: in the order of their first clips in ``esc50.csv``.

The recipes number labels as the training folds, 1 to 3, first show them, not by ESC-50's targets.
"""


def assumed_labels(classes: int) -> list[str]:
    """Return the labels of a classifier without a label encoder: those of ESC-50 for 50 classes, else numbers.

    Args:
        classes: Number of classes.

    Example:
        >>> assumed_labels(2), assumed_labels(50)[:2]
        (['class 0', 'class 1'], ['dog', 'chirping_birds'])
    """
    return list(ESC50_LABELS) if classes == len(ESC50_LABELS) else [f"class {index}" for index in range(classes)]


def read_labels(path: Path) -> list[str]:
    """Read the labels in the order of the logits.

    Args:
        path: Path of the file, usually ``label_encoder.txt``.

    Raises:
        CheckpointError: The file cannot be read, or its indices are not 0, 1, 2 and so on, each once.
    """
    labels: dict[int, str] = {}
    try:
        if (size := path.stat().st_size) > _MOST_BYTES:
            raise ValueError(f"it has {size} bytes")
        lines = path.read_text(encoding="utf-8").splitlines()
        for line in lines[: lines.index(_SEPARATOR)] if _SEPARATOR in lines else lines:
            literal, arrow, index = line.rpartition(_ARROW)
            if not arrow or int(index) in labels:
                raise ValueError(f"{line!r} is not a line for another label")
            labels[int(index)] = str(ast.literal_eval(literal.strip()))
    except (OSError, ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: is no label encoder ({str(error)[:200]}); expected a line such as 'dog' => 0 for each class"
        ) from error
    if sorted(labels) != list(range(len(labels))) or not labels:
        raise CheckpointError(f"{path}: its indices are not 0, 1, 2 and so on, each once")
    ordered = [labels[index] for index in range(len(labels))]
    check_labels(ordered, path)
    return ordered
