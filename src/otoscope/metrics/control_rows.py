"""Rows of tables: controls with the area of a method's own mask, equal ones shown once, and marks of the best."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Literal

Mark = Literal["best", "equal", ""]
"""``best`` of a column, ``equal`` (not significantly different from the best), or empty."""

MATCHED_CONTROLS = ("loudest", "random")
"""Controls that stand beside each method with the area of its own mask, as ``random as <method>``."""
_MOST_NAMES = 2
"""Number of methods that the name of a row lists even if they are all."""


def matched_control(row: str) -> str | None:
    """Return the control that a row has with the area of a method's own mask; None if it is another row.

    Example:
        >>> matched_control("random as L2I"), matched_control("random")
        ('random', None)
    """
    return next((name for name in MATCHED_CONTROLS if row.startswith(f"{name} as ")), None)


def shown_rows(rows: Sequence[str], are_equal: Callable[[str, str], bool]) -> dict[str, list[str]]:
    """Return the rows of a table by the name to show: controls of equal values are one row.

    Methods whose masks have the same areas on all clips have the same controls.

    Args:
        rows: Names of the rows.
        are_equal: Function of two rows: whether all their values are equal.

    Returns:
        Names of the rows that each shown row stands for, in the order of the first.

    Example:
        >>> rows = ["A", "random as A", "B", "random as B", "C", "random as C"]
        >>> list(shown_rows(rows, lambda first, second: True))
        ['A', 'random as all methods', 'B', 'C']
        >>> list(shown_rows(rows[:4], lambda first, second: True))
        ['A', 'random as A, B', 'B']
    """
    groups: list[list[str]] = []
    for row in rows:
        control = matched_control(row)
        equal = (
            group
            for group in groups
            if control is not None and matched_control(group[0]) == control and are_equal(group[0], row)
        )
        if (group := next(equal, None)) is not None:
            group.append(row)
        else:
            groups.append([row])
    counts = {control: sum(matched_control(row) == control for row in rows) for control in MATCHED_CONTROLS}
    return {_name(group, counts): group for group in groups}


def mark_of(rows: Collection[str], best: str, not_different: Collection[str]) -> Mark:
    """Return the mark of a cell. Every table of an evaluation takes its marks from this function.

    Args:
        rows: Names of the rows that the shown row stands for; see `shown_rows`.
        best: Name of the row with the best mean of the column; empty if the column has none.
        not_different: Names of the rows that are not significantly different from it.

    Example:
        >>> mark_of(["random as A", "random as B"], "random as B", {"A"}), mark_of(["A"], "B", {"A"})
        ('best', 'equal')
    """
    if best in rows:
        return "best"
    return "equal" if any(row in not_different for row in rows) else ""


def _name(group: Sequence[str], counts: dict[str, int]) -> str:
    control = matched_control(group[0])
    if control is None or len(group) == 1:
        return group[0]
    if len(group) == counts[control] > _MOST_NAMES:
        return f"{control} as all methods"
    return f"{control} as {', '.join(row.removeprefix(f'{control} as ') for row in group)}"
