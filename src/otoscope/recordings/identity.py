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
from otoscope.recordings.files import EXPLANATION_NAME
from otoscope.recordings.uris import Location, Uri, full_path, has_content, version_of


def recording_identity(path: Path, location: Location | None = None) -> dict[str, Any]:
    """Return what identifies a recording: its path as given and in full, its size and a hash of its content.

    Args:
        path: File.
        location: Where the recording is (default: the file). A URI has a version too, if its server states one.

    Raises:
        OSError: The file cannot be read.
        AudioError: The URI cannot be read.
    """
    location = path if location is None else location
    # A hash, because the time of a file changes when it is copied, and may stay the same when it is replaced.
    with path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
        size_bytes = os.fstat(file.fileno()).st_size
    version = {"version": version_of(location)} if isinstance(location, Uri) else {}
    return {
        "path": str(location),
        "full_path": full_path(location),
        "size_bytes": size_bytes,
        "sha256": content,
        **version,
    }


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


def is_of_recording(content: dict[str, Any], path: Location) -> bool:
    """Return whether an explanation is that of the file at a path, whatever the file held then."""
    source = content.get("source")
    recording = source.get("recording") if isinstance(source, dict) else None
    return isinstance(recording, dict) and recording.get("full_path") == full_path(path)


def is_up_to_date(
    content: dict[str, Any], path: Location, made_with: dict[str, Any], parts: Collection[str] = ()
) -> bool:
    """Return whether an explanation was made of this content of a file, by this model with these options.

    Args:
        content: Content of ``explanation.json``.
        path: Path of the recording, or its URI. What is at a URI is read only if its server states no version.
        made_with: Model and options, as they would be written now.
        parts: Parts that have to be there.
    """
    if not is_of_recording(content, path):
        return False
    former = dict(content["source"])
    recording, former_parts = former.pop("recording"), former.pop("parts", [])
    if not isinstance(former_parts, list) or not set(parts).issubset(former_parts):
        return False
    # JSON makes lists of tuples, for example
    if former != json.loads(json.dumps(json_values(made_with))):
        return False
    if isinstance(path, Uri):
        return has_content(path, recording.get("version"), recording.get("sha256"))
    try:
        now = recording_identity(path)
    except OSError:
        return False
    return all(recording.get(key) == now[key] for key in ("size_bytes", "sha256"))
