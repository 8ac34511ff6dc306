"""JSON files."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from otoscope.files.atomic import replace_text


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file holds no valid JSON.
    """
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write_json(path: str | os.PathLike[str], content: Any) -> Path:
    """Write a JSON file atomically, indented and with null for numbers that JSON cannot hold.

    Raises:
        OtoscopeError: The file cannot be written.
    """
    return replace_text(path, json.dumps(json_values(content), indent=2, ensure_ascii=False) + "\n")


def json_values(content: Any) -> Any:
    """Return the same content with null in place of NaN and infinite numbers.

    Example:
        >>> json_values({"scores": (1.0, float("nan"))})
        {'scores': [1.0, None]}
    """
    if isinstance(content, dict):
        return {name: json_values(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [json_values(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
