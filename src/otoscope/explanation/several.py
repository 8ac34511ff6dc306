"""Several explanations as a list that shows itself in notebooks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, ClassVar, SupportsIndex, overload

from typing_extensions import override

from otoscope.explanation.result import Explanation
from otoscope.views import Shown


class Explanations(Shown, list[Explanation]):
    """List of explanations, which notebooks show as a table with players.

    It is a list in every respect; parts and sums of it are `Explanations` too. What was sorted or filtered becomes
    one again by ``Explanations(...)``.

    Example:
        >>> Explanations()
        Explanations(0)
    """

    view: ClassVar[str] = "explanations"

    def __repr__(self) -> str:
        levels = Counter("no verdict" if each.verdict is None else each.verdict.level for each in self)
        counts = "".join(f", {count} {level}" for level, count in levels.most_common())
        names = ", ".join(repr(each.name) for each in self[:3])
        return f"Explanations({len(self)}{counts}{': ' if self else ''}{names}{', ...' if len(self) > 3 else ''})"

    @overload
    def __getitem__(self, index: SupportsIndex) -> Explanation: ...

    @overload
    def __getitem__(self, index: slice) -> Explanations: ...

    @override
    def __getitem__(self, index: SupportsIndex | slice) -> Explanation | Explanations:
        part: Any = super().__getitem__(index)
        return Explanations(part) if isinstance(index, slice) else part

    @override
    def __add__(self, other: Iterable[Any]) -> Explanations:  # type: ignore[override]
        return Explanations([*self, *other])
