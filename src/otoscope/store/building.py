"""Building of a model from its folder: the configuration is checked first, and the memory is limited."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from otoscope.errors import CheckpointError, DownloadError, MissingExtraError, first_line
from otoscope.store.budget import AllocationLimit
from otoscope.store.classes import find_class
from otoscope.store.model import WITH_ARTICLE, StoredModel
from otoscope.store.places import CONFIG_NAME
from otoscope.store.schema import check_config
from otoscope.store.weights import load_weights, weights_size

# Keys that describe the model itself; all others are its `details`.
_CONFIG_KEYS = ("format", "kind", "class", "init", "labels", "frontend")


def build_model(config: Mapping[str, Any], folder: Path, given: Mapping[str, Any]) -> StoredModel:
    """Build the model that a folder describes, with its weights; frozen, in evaluation mode.

    Args:
        config: Content of ``config.json``.
        folder: The folder.
        given: Arguments that replace those of the configuration.

    Raises:
        CheckpointError: The configuration does not describe a model, or its weights do not fit.
        MissingExtraError: An optional package is not installed.
    """
    kind, path = find_class(config, folder), folder / CONFIG_NAME
    check_config(kind, config, given, path)
    size = weights_size(folder)
    try:
        with AllocationLimit(size.total_bytes, size.count, path):
            model = kind.from_folder(config, folder, **given)
    except (MissingExtraError, DownloadError):
        raise
    # A folder may come from anywhere: whatever goes wrong while it is built is its fault, not a bug.
    except (Exception, MemoryError) as error:
        if isinstance(error, CheckpointError) and str(folder) in str(error):
            raise
        raise CheckpointError(f"{path}: does not describe {WITH_ARTICLE[kind.role]} ({_cause(error)})") from error
    load_weights(model, folder)
    # After loading, because values can be impossible although all names and shapes fit.
    model.check_weights(folder)
    model.details = {name: value for name, value in config.items() if name not in _CONFIG_KEYS}
    return model.eval().requires_grad_(False)


def _cause(error: BaseException) -> str:
    text = " ".join(str(error).split()) or first_line(error)
    text = text if isinstance(error, CheckpointError | ValueError) else f"{text}"
    return f"missing key {text}" if isinstance(error, KeyError) else text[:500]
