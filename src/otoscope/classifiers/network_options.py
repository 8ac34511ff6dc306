"""Options of networks of `transformers` in model folders: what they may name, their types and sizes.

The configurations of that package can name other repositories, files and code, and its classes follow them. A model
folder describes a network by numbers and words alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from otoscope.errors import CheckpointError

_REFUSED = re.compile(
    r"auto_map|quantization|attn_implementation|experts_implementation|backbone|remote_code|code_revision|"
    r"custom_pipelines|use_kernels|kernel_config|adapter_name|text_config|vision_config|decoder_config|encoder_config"
)
"""Keys that lead to other repositories, to code, or to further networks."""
_DROPPED = ("transformers_version", "architectures", "model_type", "dtype", "torch_dtype", "tokenizer_class")
_MOST = 1_000_000
_MOST_SIDE = 1024  # of a picture; attention takes memory by its fourth power
_MOST_LAYERS = 1000
_LIMITS = {
    "image_size": _MOST_SIDE,
    "num_hidden_layers": _MOST_LAYERS,
    "encoder_layers": _MOST_LAYERS,
    "decoder_layers": _MOST_LAYERS,
    "num_mel_bins": 1024,
    "max_length": 100_000,
    "max_source_positions": 30_000,
}
_LONGEST = 10_000
_TEXT = re.compile(r"[\w .,:+-]{0,100}")


def checked_options(options: Any, config_class: Any, key: str) -> dict[str, Any]:
    """Return the options of a network that a model folder may state, after checking their types and ranges.

    Args:
        options: Value in the folder's configuration.
        config_class: Class of `transformers` that takes the options. Options that it does not know are left out.
        key: Key of the value, for messages.

    Raises:
        CheckpointError: The value is no object, an option leads elsewhere, or has another type than its default.
    """
    if not isinstance(options, Mapping):
        raise CheckpointError(f"{key}: expected an object, got {type(options).__name__}")
    defaults = config_class().to_dict()
    checked = {}
    for name, value in options.items():
        if _REFUSED.search(name) and value is not None:
            raise CheckpointError(
                f"{key}.{name[:60]}: a model folder must not name other networks, code or repositories"
            )
        # Private options, such as the place that a network came from, do not describe it.
        if name.startswith("_") or name in _DROPPED or name not in {*defaults, *_ADDED}:
            continue
        _check(name, value, defaults.get(name), f"{key}.{name}")
        checked[name] = value
    return checked


_ADDED = ("out_features", "out_indices", "num_labels")
"""Options that classes take although their defaults do not show them."""


def _check(name: str, value: Any, default: Any, key: str) -> None:
    """Check the type of an option against that of its default."""
    if name in ("id2label", "label2id"):
        if value is not None and not (isinstance(value, Mapping) and len(value) <= _LONGEST):
            raise CheckpointError(f"{key}: expected an object")
        return
    numeric = isinstance(default, int | float) and not isinstance(default, bool)
    fits = (
        value is None
        or default is None
        or (isinstance(default, bool) and isinstance(value, bool))
        or (numeric and isinstance(value, int | float | list | tuple) and not isinstance(value, bool))
        or (isinstance(default, str) and isinstance(value, str))
        or (isinstance(default, list | tuple) and isinstance(value, list | tuple | int))
    )
    if not fits:
        raise CheckpointError(f"{key}: expected a value such as {default!r}, got {type(value).__name__}")
    if isinstance(value, list | tuple) and len(value) > _LONGEST:
        raise CheckpointError(f"{key}: is a list of {len(value)} values")
    for item in value if isinstance(value, list | tuple) else [value]:
        if isinstance(item, str) and not _TEXT.fullmatch(item):
            raise CheckpointError(f"{key}: is no word")
        if isinstance(item, Mapping):
            raise CheckpointError(f"{key}: expected numbers or words, got an object")
        if isinstance(item, float) and not math.isfinite(item):
            raise CheckpointError(f"{key}: is not finite")
        if isinstance(item, int | float) and abs(item) > _LIMITS.get(name, _MOST):
            raise CheckpointError(f"{key}: is larger than {_LIMITS.get(name, _MOST)}")


EXTRACTOR_LIMITS = {
    "sampling_rate": (1000, 384_000),
    "num_mel_bins": (1, 1024),
    "feature_size": (1, 1024),
    "max_length": (1, 30_000),
    "chunk_length": (1, 120),
    "max_length_s": (1, 120),
    "n_fft": (2, 65_536),
    "fft_window_size": (2, 65_536),
    "hop_length": (16, 65_536),
}
"""Smallest and largest sizes of feature extractors."""


def check_extractor(options: Any, key: str) -> None:
    """Check the options of a feature extractor in a model folder.

    Args:
        options: Value in the folder's configuration.
        key: Key of the value, for messages.

    Raises:
        CheckpointError: A size is no integer or out of range, or a number is not finite.
    """
    if not isinstance(options, Mapping):
        raise CheckpointError(f"{key}: expected an object, got {type(options).__name__}")
    for name, value in options.items():
        if name in EXTRACTOR_LIMITS:
            low, high = EXTRACTOR_LIMITS[name]
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise CheckpointError(f"{key}.{name}: expected an integer from {low} to {high}")
        elif name in _EXTRACTOR_NUMBERS and (
            isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value)
        ):
            raise CheckpointError(f"{key}.{name}: expected a finite number")


_EXTRACTOR_NUMBERS = ("mean", "std", "frequency_min", "frequency_max")
