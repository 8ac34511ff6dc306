"""Options of ``otoscope explain`` for long recordings, which are explained window by window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import jsonargparse

    from otoscope.recordings import LongOptions

_EXPLAINED = Literal["events", "changes", "all", "none"]
_TABLE = Literal["raven", "audacity", "csv", "jsonl", "parquet"]
_OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "window_s": (
        "Length of a window in seconds (default: that of the clips that the model was trained on, else 5). If it "
        "is given, every longer recording is explained window by window.",
        {"type": float | None, "default": None},
    ),
    "hop_s": (
        "Distance between the begins of windows (default: half a window).",
        {"type": float | None, "default": None},
    ),
    "start_s": ("Begin of the part that is analysed, in seconds.", {"type": float, "default": 0.0}),
    "end_s": ("End of the part (default: that of the recording).", {"type": float | None, "default": None}),
    "labels": (
        "Labels that may become events (default: --target, or else all). If --target is given, only its labels are "
        "explained.",
        {"type": str, "nargs": "+", "default": None},
    ),
    "min_confidence": ("Probability that a window of every event reaches.", {"type": float, "default": 0.5}),
    "low_confidence": (
        "Probability that all windows of an event reach (default: half of min_confidence).",
        {"type": float | None, "default": None},
    ),
    "min_level_db": (
        "Level that the loudest 50 ms of a window reach, in dB below full scale, such as -60. Softer windows are "
        "no events and not explained (default: any level). windows.csv lists the levels.",
        {"type": float | None, "default": None},
    ),
    "explain": (
        "Windows that are explained: those of events, the first of each event, all (with --target: for each "
        "target), or none.",
        {"type": _EXPLAINED, "default": "events"},
    ),
    "top_k": (
        "Largest number of explained windows of each label, the most confident first (default: no limit).",
        {"type": int | None, "default": None},
    ),
    "borders": (
        "Begin and end of an event: where the probability of its windows passes half of its peak, or those of the "
        "box that holds 90 % of its evidence.",
        {"type": Literal["windows", "evidence"], "default": "windows"},
    ),
    "tables": (
        "Tables of the events; parquet needs the extra `tables`.",
        {"type": _TABLE, "nargs": "+", "default": ["raven", "audacity", "csv", "jsonl"]},
    ),
    "segments": ("Cut the events out of the recordings as clips.", {"action": "store_true"}),
    "pages": (
        "Largest number of events that get a picture, the most confident first.",
        {"type": int, "default": 100},
    ),
}
"""Description and arguments of ``add_argument`` of each option."""
_SHARED = ("threshold", "channel", "normalize", "batch_size", "axis", "picture")
"""Options of the verb that mean the same for a window."""


def add_long_options(parser: jsonargparse.ArgumentParser) -> None:
    """Add the options of long recordings to the parser of a verb."""
    group = parser.add_argument_group(
        "long recordings",
        "A recording longer than twice the clips that the model was trained on (30 s, if it does not state their "
        "length) is explained window by window: a timeline, tables of events, and one continuous evidence sound.",
    )
    for name, (description, settings) in _OPTIONS.items():
        group.add_argument(f"--{name}", help=description, **settings)


def long_options(options: Any) -> LongOptions:
    """Return the options of long recordings.

    Args:
        options: Parsed options of the verb.

    Raises:
        ConfigurationError: A value is out of its range.
    """
    from otoscope.recordings import LongOptions

    values = {name: getattr(options, name) for name in (*_OPTIONS, *_SHARED)}
    labels = [options.labels] if isinstance(options.labels, str) else options.labels
    values |= {"labels": None if labels is None else tuple(labels), "tables": tuple(options.tables)}
    return LongOptions(**values, targets=tuple(options.target or ()), against=options.against)
