"""What a run does with each recording: options of hearing, explaining and saving."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from otoscope.explain import Explainer
from otoscope.explanation.parts import DEFAULT_PARTS
from otoscope.plots import FrequencyAxis
from otoscope.recordings.files import Recording
from otoscope.recordings.identity import model_identity
from otoscope.recordings.results import Result


class HearingOptions(NamedTuple):
    """How recordings are heard; see `Explainer.explain`.

    Attributes:
        channel: Channel to explain, counted from 0 (default: the average of all).
        normalize: Whether to scale recordings to a peak of 1 for the networks (default: as they were trained).
    """

    channel: int | None = None
    normalize: bool | None = None


class PictureOptions(NamedTuple):
    """How the pictures of explanations are drawn; see `Explanation.save`.

    Attributes:
        axis: Scale of the frequency axes: ``linear``, ``mel`` or ``log``.
        picture: Format: ``png`` or ``svg``.
    """

    axis: FrequencyAxis = "linear"
    picture: str = "png"


DEFAULT_PICTURES = PictureOptions()
DEFAULT_HEARING = HearingOptions()


@dataclass(frozen=True)
class Plan:
    """What a run does with each recording. It holds no networks, so that it can be sent to other processes.

    Attributes:
        folder: Folder for the results.
        target: Label to explain (default: the predicted one).
        threshold: Threshold of the interpreter.
        batch_size: Number of recordings in a batch.
        pictures: How the pictures are drawn.
        hearing: How the recordings are heard.
        parts: Parts of an explanation that are kept.
        in_shards: Whether results are rows of shards instead of folders.
        longest_remote_s: Longest recording at a URI; a longer one fails (default: any length).
        made_with: Model and options that results depend on (JSON values); see `planned`.
    """

    folder: Path
    target: str | None = None
    threshold: float | None = None
    batch_size: int = 4
    pictures: PictureOptions = DEFAULT_PICTURES
    hearing: HearingOptions = DEFAULT_HEARING
    parts: tuple[str, ...] = DEFAULT_PARTS
    in_shards: bool = False
    longest_remote_s: float | None = None
    made_with: dict[str, Any] = field(default_factory=dict)


Backend = Callable[[Explainer, Sequence[Recording], Plan], Iterator[Result]]
"""Function that explains and saves recordings and yields exactly one result for each, in their order.

A recording that fails is a result too (`failed_result`). Recordings are explained in batches of ``plan.batch_size``
consecutive ones (`chunks`), so that every backend gives the same results. With ``plan.in_shards`` a result holds
the row, and the caller writes it; otherwise the backend saves the folder.
"""


def planned(
    explainer: Explainer,
    folder: Path,
    target: str | None,
    threshold: float | None,
    batch_size: int,
    pictures: PictureOptions,
    hearing: HearingOptions,
    parts: tuple[str, ...] = DEFAULT_PARTS,
    in_shards: bool = False,
) -> Plan:
    """Return the plan of a run with the fingerprint of its model; see `Plan`."""
    options = {"target": target, "threshold": threshold, **pictures._asdict(), **hearing._asdict()}
    made_with = {"model": model_identity(explainer), "options": options}
    return Plan(folder, target, threshold, batch_size, pictures, hearing, parts, in_shards, made_with=made_with)
