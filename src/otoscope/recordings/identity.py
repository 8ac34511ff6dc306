"""What an explanation was made from: its recording, its model and its options."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from otoscope.classifiers.fingerprint import answers_to_noise, digest, traits_of
from otoscope.explain import Explainer
from otoscope.files.json import json_values, read_json
from otoscope.recordings.files import EXPLANATION_NAME, full_path


def recording_identity(path: Path) -> dict[str, Any]:
    """Return what identifies a recording: its path as given and in full, its size and a hash of its content.

    Raises:
        OSError: The file cannot be read.
    """
    # A hash, because the time of a file changes when it is copied, and may stay the same when it is replaced.
    with path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
        size_bytes = os.fstat(file.fileno()).st_size
    return {"path": str(path), "full_path": full_path(path), "size_bytes": size_bytes, "sha256": content}


def model_identity(explainer: Explainer) -> str:
    """Return a fingerprint of everything in a model that explanations depend on, 16 hexadecimal digits."""
    classifier, interpreter = explainer.classifier, explainer.interpreter
    content = {
        "classifier": traits_of(classifier),
        # Models of functions and of files hold no weights that could be read.
        "answers": answers_to_noise(classifier),
        "method": f"{type(interpreter).__module__}.{type(interpreter).__qualname__}",
        "options": interpreter.config,
        "weights": digest(interpreter),
    }
    text = json.dumps(content, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16]


def read_explanation(folder: Path) -> dict[str, Any]:
    """Return the content of ``explanation.json``; nothing if it is absent or damaged."""
    try:
        content = read_json(folder / EXPLANATION_NAME)
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def is_of_recording(content: dict[str, Any], path: Path) -> bool:
    """Return whether an explanation is that of the file at a path, whatever the file held then."""
    source = content.get("source")
    recording = source.get("recording") if isinstance(source, dict) else None
    return isinstance(recording, dict) and recording.get("full_path") == full_path(path)


def is_up_to_date(
    content: dict[str, Any], path: Path, made_with: dict[str, Any], parts: Collection[str] = ()
) -> bool:
    """Return whether an explanation was made of this content of a file, by this model with these options.

    Args:
        content: Content of ``explanation.json``.
        path: Path of the recording.
        made_with: Model and options, as they would be written now.
        parts: Parts that have to be there.
    """
    if not is_of_recording(content, path):
        return False
    former = dict(content["source"])
    recording, former_parts = former.pop("recording"), former.pop("parts", [])
    if not isinstance(former_parts, list) or not set(parts).issubset(former_parts):
        return False
    try:
        now = recording_identity(path)
    except OSError:
        return False
    # JSON makes lists of tuples, for example
    unchanged = former == json.loads(json.dumps(json_values(made_with)))
    return unchanged and all(recording.get(key) == now[key] for key in ("size_bytes", "sha256"))
