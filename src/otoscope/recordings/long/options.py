"""Options of the explanation of a long recording, and the defaults that depend on the model."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from otoscope.classifiers import Classifier
from otoscope.errors import ConfigurationError
from otoscope.plots import FrequencyAxis
from otoscope.recordings.tables import DEFAULT_TABLES, TABLES

Borders = Literal["windows", "evidence"]
"""What an event begins and ends with: its windows, or its evidence."""
Explained = Literal["events", "changes", "all", "none"]
"""Windows that are explained: those of events, the first of each event, all, or none."""

WINDOW_S = 5.0
"""Length of a window if the model does not state the length of the clips that it was trained on."""
LONG_S = 30.0
"""Length above which a recording is cut into windows if the model does not state that length."""
_LOW_SHARE = 0.5
"""Of 1, 0.85, 0.7 and 0.5, the share that found the borders of joined clips best (fold 3 of ESC-10, F1)."""


@dataclass(frozen=True)
class LongOptions:
    """Options of `explain_long`.

    Attributes:
        window_s: Length of a window (default: that of the clips that the model was trained on, else 5 s). It is
            rounded to a multiple of the STFT's hop, like ``hop_s``.
        hop_s: Distance between the begins of windows (default: half a window).
        start_s: Begin of the part of the recording that is analysed.
        end_s: End of the part (default: that of the recording).
        targets: Labels that are explained. If there are several, each has sounds of its own beside those of all.
        against: Label that each target is compared with: why the target rather than this label? Events are still
            those that the classifier hears among all labels; their windows are explained by the contrast.
        labels: Labels that may become events (default: ``targets``, or else all).
        min_confidence: Probability that a window of every event reaches.
        low_confidence: Probability that all windows of an event reach (default: half of ``min_confidence``).
        min_level_db: Level in dB below full scale (0 or less) that windows of events reach (default: any). Softer
            ones are classified, but are no events and not explained; see `window_level_db`.
        explain: Windows that are explained: those of ``events``, the first of each event (``changes``), ``all``
            (each for its most probable label, or for every target), or ``none``.
        borders: Whether begin and end of an event are those of its ``windows``, or those of the box that holds 90 %
            of its ``evidence``. Events without evidence have those of their windows.
        top_k: Largest number of explained windows of each label, the most confident first (default: no limit).
        threshold: Threshold of the interpreter; see `Explainer.explain`.
        channel: Channel, counted from 0 (default: the average of all).
        normalize: Whether to scale each window to a peak of 1 for the networks (default: as they were trained).
        batch_size: Number of windows that are explained at once; four times as many are classified at once.
        tables: Kinds of tables of events: ``raven``, ``audacity``, ``csv``, ``jsonl``, ``parquet``.
        segments: Whether to cut the events out of the recording as clips.
        pages: Largest number of events that get a picture of their explanation, the most confident first.
        axis: Scale of the pictures' frequency axes: ``linear``, ``mel`` or ``log``.
        picture: Format of the pictures: ``png`` or ``svg``.

    Raises:
        ConfigurationError: A value is out of its range.
    """

    window_s: float | None = None
    hop_s: float | None = None
    start_s: float = 0.0
    end_s: float | None = None
    targets: tuple[str, ...] = ()
    against: str | None = None
    labels: tuple[str, ...] | None = None
    min_confidence: float = 0.5
    low_confidence: float | None = None
    min_level_db: float | None = None
    explain: Explained = "events"
    borders: Borders = "windows"
    top_k: int | None = None
    threshold: float | None = None
    channel: int | None = None
    normalize: bool | None = None
    batch_size: int = 4
    tables: tuple[str, ...] = DEFAULT_TABLES
    segments: bool = False
    pages: int = 100
    axis: FrequencyAxis = "linear"
    picture: str = "png"

    def __post_init__(self) -> None:
        low = self.lowest
        if not 0 <= low <= self.min_confidence <= 1:
            raise ConfigurationError(
                f"min_confidence {self.min_confidence:g}, low_confidence {low:g}: 0 <= low_confidence <= "
                "min_confidence <= 1 must hold"
            )
        for name, number, smallest in (("top_k", self.top_k, 1), ("batch_size", self.batch_size, 1)):
            if number is not None and number < smallest:
                raise ConfigurationError(f"{name}: {number} must be {smallest} or more")
        if self.min_level_db is not None and not self.min_level_db <= 0:
            raise ConfigurationError(f"min_level_db: {self.min_level_db:g} must be 0 (full scale) or less")
        if not 0 <= self.start_s < (math.inf if self.end_s is None else self.end_s):
            end = "" if self.end_s is None else f", end_s {self.end_s:g}"
            raise ConfigurationError(f"start_s {self.start_s:g}{end}: 0 <= start_s < end_s must hold")
        if self.pages < 0:
            raise ConfigurationError(f"pages: {self.pages} must not be negative")
        for name, value, allowed in (("explain", self.explain, Explained), ("borders", self.borders, Borders)):
            if value not in get_args(allowed):
                raise ConfigurationError(f"{name}: {value!r} is none of {', '.join(get_args(allowed))}")
        if self.against is not None and not self.targets:
            raise ConfigurationError(f"against: {self.against!r} is compared with a target; name the target too")
        if stray := [label for label in self.targets if label not in (self.labels or self.targets)]:
            raise ConfigurationError(f"targets: {stray[0]!r} is not among the labels; add it there")
        for kind in self.tables:
            if kind not in TABLES:
                raise ConfigurationError(f"tables: {kind!r} is none of {', '.join(TABLES)}")

    @property
    def lowest(self) -> float:
        """Probability that all windows of an event reach."""
        return _LOW_SHARE * self.min_confidence if self.low_confidence is None else self.low_confidence

    def resolved(self, classifier: Classifier) -> LongOptions:
        """Return the options with every default that depends on the model.

        Args:
            classifier: Classifier whose windows are explained.

        Raises:
            ConfigurationError: The classifier does not know a label.
        """
        for option, labels in (("labels", self.labels or ()), ("target", self.targets)):
            for label in labels:
                classifier.index_of(label, option)
        window_s = (classifier.clip_s or WINDOW_S) if self.window_s is None else self.window_s
        return replace(
            self,
            targets=tuple(dict.fromkeys(self.targets)),
            labels=self.labels or tuple(dict.fromkeys(self.targets)) or None,
            window_s=window_s,
            hop_s=window_s / 2 if self.hop_s is None else self.hop_s,
            normalize=classifier.resolve_normalize(self.normalize),
            low_confidence=self.lowest,
        )

    def results_key(self) -> dict[str, Any]:
        """Return the options that predictions and masks depend on (JSON values); with others a run starts anew."""
        later = ("tables", "segments", "borders")
        return {name: value for name, value in vars(self).items() if name not in later}


def is_long(duration_s: float, classifier: Classifier, options: LongOptions) -> bool:
    """Return whether a recording is explained window by window.

    It is if a part of it is asked for, if it is longer than a window that is asked for, or longer than twice the
    clips that the model was trained on; for a model that does not state their length, longer than 30 s.

    Args:
        duration_s: Length of the recording.
        classifier: Classifier.
        options: Options, not resolved.
    """
    return duration_s > longest_whole_s(classifier, options)


def longest_whole_s(classifier: Classifier, options: LongOptions) -> float:
    """Return the length up to which a recording is explained as a whole; see `is_long`."""
    if options.start_s > 0 or options.end_s is not None:
        return 0.0
    if options.window_s is not None:
        return options.window_s
    return LONG_S if classifier.clip_s is None else 2 * classifier.clip_s
