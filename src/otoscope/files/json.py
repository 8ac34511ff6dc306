"""JSON files."""

from __future__ import annotations

import json
import math
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

from otoscope.files.atomic import replace_text


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file holds no valid JSON, is nested too deeply, or an object in it has a key twice.
    """
    text = Path(path).read_text(encoding="utf-8")
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object after checking that each key occurs once: which of two values counts differs by program."""
    content = dict(pairs)
    if len(content) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise ValueError(f"the key {counts.most_common(1)[0][0][:60]!r} occurs twice")
    return content


def write_json(path: str | os.PathLike[str], content: Any) -> Path:
    """Write a JSON file atomically, indented and with null for numbers that JSON cannot hold.

    Raises:
        OtoscopeError: The file cannot be written.
    """
    return replace_text(path, json_text(content, indent=2) + "\n")


def json_text(content: Any, indent: int | None = None) -> str:
    r"""Return content as JSON that can be encoded as UTF-8, with null for numbers that JSON cannot hold.

    Bytes of a file name that are no text, which Python holds as lone surrogates, become escapes, and are the same
    again when they are read.

    Example:
        >>> json_text({"file": "é\udcff.wav"})
        '{"file": "é\\udcff.wav"}'
    """
    text = json.dumps(json_values(content), indent=indent, ensure_ascii=False)
    return re.sub("[\ud800-\udfff]", lambda match: f"\\u{ord(match[0]):04x}", text)


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
