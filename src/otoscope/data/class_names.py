"""Classes that an option names, where YAML reads some words as other values."""

from __future__ import annotations

from collections.abc import Sequence

import yaml

from otoscope.errors import ConfigurationError, choices

ClassName = str | bool | int | float | None
"""Name of a class, or what YAML makes of one without quotes: true of ``yes``, 0 of ``0``, None of ``null``."""


def choose_classes(requested: Sequence[ClassName], labels: Sequence[str], source: object) -> list[str]:
    """Return the labels that an option names.

    Args:
        requested: Names of the option. A value that YAML made of a name without quotes stands for the label that
            YAML reads as this value.
        labels: All labels of the data.
        source: Name of the data, for messages.

    Returns:
        The labels, in the order of the data.

    Raises:
        ConfigurationError: A name fits no label or several; the message names close ones.

    Example:
        >>> choose_classes(["owl", True, 1.0], ["1.0", "no", "owl", "yes"], "birds")
        ['1.0', 'owl', 'yes']
    """
    if isinstance(requested, str):
        requested = [requested]
    chosen = {label for name in requested for label in (_label_of(name, labels, source),)}
    return [label for label in labels if label in chosen]


def _label_of(name: ClassName, labels: Sequence[str], source: object) -> str:
    matches = [label for label in labels if (label == name if isinstance(name, str) else _is_read_as(label, name))]
    if len(matches) == 1:
        return matches[0]
    spelling = name if isinstance(name, str) else yaml.safe_dump(name).split("\n")[0]
    if matches:
        raise ConfigurationError(f"classes: {spelling} may be {' or '.join(matches)}; put the name in quotes")
    raise ConfigurationError(f"classes: {spelling} not in {source}; {choices(spelling, labels)}")


def _is_read_as(label: str, value: ClassName) -> bool:
    """Return whether YAML reads a label without quotes as a value."""
    try:
        read = yaml.safe_load(label)
    except yaml.YAMLError:
        return False
    # In Python, True equals 1 and 1 equals 1.0.
    return type(read) is type(value) and read == value
