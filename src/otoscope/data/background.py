"""Negative examples: the parts of annotated recordings in which no event is marked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from otoscope.audio import audio_info
from otoscope.data.listed import Entry, Listing
from otoscope.errors import DataError


def with_background(listing: Listing, label: str, source: Path) -> Listing:
    """Add segments without any event to a listing of annotated segments.

    The segments have the median length of the annotated ones and overlap neither each other nor an event. There are
    at most as many as segments of the most frequent label, spread over the recordings. If the listing is divided,
    they belong to the part that their recording belongs to, or, if it is in several, to the first.

    Args:
        listing: Annotated segments.
        label: Label of the new segments.
        source: Table or folder, for messages.

    Raises:
        DataError: The listing has no segments, the label is that of some, or no part without events is long enough.
    """
    parts: Mapping[str, Sequence[Entry]] = {"": listing.entries} if listing.split is None else listing.split
    segments = [entry for part in parts.values() for entry in part if entry.end_s is not None]
    if not segments:
        raise DataError(f"{source}: background needs annotated segments with begin and end")
    if any(entry.label == label for entry in segments):
        raise DataError(
            f"{source}: background {label!r} is the label of annotated segments too; choose another one"
        )
    length_s = median(entry.end_s - entry.begin_s for entry in segments if entry.end_s is not None)
    pieces = _pieces(segments, length_s)
    most = max(Counter(entry.label for entry in segments).values())
    chosen = [pieces[index * len(pieces) // most] for index in range(most)] if len(pieces) > most else pieces
    if not chosen:
        raise DataError(
            f"{source}: no part without events is {length_s:.2f} s long, like the annotated segments; leave out "
            "background"
        )
    added: dict[str, list[Entry]] = {name: list(part) for name, part in parts.items()}
    for path, begin_s in chosen:
        name = next(name for name, part in parts.items() if any(entry.path == path for entry in part))
        added[name].append(Entry(path, label, begin_s, begin_s + length_s))
    return Listing(added[""]) if listing.split is None else Listing(split=added)


def gaps(spans: Sequence[tuple[float, float]], duration_s: float) -> list[tuple[float, float]]:
    """Return the parts of a recording between events.

    Args:
        spans: Begin and end of the events, in any order; they may overlap.
        duration_s: Length of the recording.

    Example:
        >>> gaps([(5.0, 6.0), (1.0, 2.0), (5.5, 7.0)], 7.0)
        [(0.0, 1.0), (2.0, 5.0)]
    """
    result, position = [], 0.0
    for begin_s, end_s in [*sorted(spans), (duration_s, duration_s)]:
        if begin_s > position:
            result.append((position, begin_s))
        position = max(position, end_s)
    return result


def _pieces(segments: Sequence[Entry], length_s: float) -> list[tuple[Path, float]]:
    """Return the recordings and begins of all pieces of a length between the events."""
    events: dict[Path, list[tuple[float, float]]] = {}
    for entry in segments:
        events.setdefault(entry.path, []).append((entry.begin_s, entry.end_s or 0.0))
    pieces = []
    for path, spans in events.items():
        info = audio_info(path)
        for begin_s, end_s in gaps(spans, info.frames / info.sample_rate_hz):
            count = int((end_s - begin_s) / length_s + 1e-9)
            pieces += [(path, begin_s + index * length_s) for index in range(count)]
    return pieces
