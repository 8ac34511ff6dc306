"""Writing figures to files."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otoscope.errors import ConfigurationError
from otoscope.files.atomic import replace_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# zlib's fastest levels are three times as fast as its default, for a file that is a few per cent larger.
_SAVING: dict[str, dict[str, Any]] = {
    ".png": {"format": "png", "pil_kwargs": {"compress_level": 3}},
    # Without the date, the same figure gives the same file.
    ".svg": {"format": "svg", "metadata": {"Date": None}},
    ".pdf": {"format": "pdf", "metadata": {"CreationDate": None}},
}
_VECTORS: dict[Any, Any] = {
    # Identifiers in an SVG are hashes of their content and this salt, which is random otherwise.
    "svg.hashsalt": "otoscope",
    # Text remains text: it can be searched, read aloud, and edited in a slide.
    "svg.fonttype": "none",
    # Fonts as TrueType, which journals accept and editors can change, and not as outlines (Type 3).
    "pdf.fonttype": 42,
}
_settings_lock = threading.Lock()


def save_picture(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Save a figure as PNG, SVG or PDF, atomically. The same figure gives the same bytes.

    In SVG and PDF, spectrograms are embedded pixel images, and text remains text; in an SVG in the viewer's fonts.

    Args:
        figure: Figure to save.
        path: File name that ends in ``.png``, ``.svg`` or ``.pdf``.

    Raises:
        ConfigurationError: The file name ends differently.
        OtoscopeError: The file cannot be written.
    """
    from matplotlib import rc_context

    suffix = Path(path).suffix.lower()
    if suffix not in _SAVING:
        raise ConfigurationError(f"{path}: pictures are saved as .png, .svg or .pdf; choose one of these endings")
    # Matplotlib reads these settings when it draws, and they belong to the whole process.
    with _settings_lock, rc_context(None if suffix == ".png" else _VECTORS):
        return replace_file(path, lambda temporary: figure.savefig(temporary, **_SAVING[suffix]))


def picture_bytes(figure: Figure, kind: str) -> bytes:
    """Return a figure as the content of a PNG or SVG file. The same figure gives the same bytes.

    Args:
        figure: Figure.
        kind: ``png`` or ``svg``.
    """
    from matplotlib import rc_context

    buffer = io.BytesIO()
    with _settings_lock, rc_context(None if kind == "png" else _VECTORS):
        figure.savefig(buffer, **_SAVING[f".{kind}"])
    return buffer.getvalue()
