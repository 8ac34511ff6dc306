"""Result of an audit as lines of text."""

from __future__ import annotations

from otoscope.audit.result import AuditResult
from otoscope.errors import listed

_LISTED = 20


def summary(result: AuditResult) -> str:
    """Return the verdict, the suspects, and a line for each class.

    Args:
        result: Result of an audit.
    """
    conditions = result.conditions
    count = len(result.shortcuts)
    head = (
        f"{count} shortcut{'s' * (count != 1)} among {conditions['tests']} tested suspects; {conditions['clips']} "
        f"clips of {conditions['recordings']} recordings, accuracy {100 * conditions['accuracy']:.0f} %"
    )
    lines = [head, ""]
    shown = [suspect for suspect in result.suspects if suspect.verdict != "clean"]
    for suspect in shown[:_LISTED]:
        q_value = "" if suspect.q_value is None else f" [q = {suspect.q_value:.2g}]"
        lines.append(f"- {suspect.sentence}{q_value}")
    if len(shown) > _LISTED:
        lines.append(f"... and {len(shown) - _LISTED} more in audit.json")
    unfounded: dict[str, list[str]] = {}
    for suspect in result.suspects:
        if suspect.from_user and suspect.verdict == "clean":
            unfounded.setdefault(suspect.name, []).append(suspect.label)
    lines += [f"- {name}: no effect on the classes {listed(labels)}" for name, labels in unfounded.items()]
    lines += [""] if shown or unfounded else []
    width = max(len(figures.label) for figures in result.classes)
    lines.append(f"{'class':<{width}}  clips  accuracy  verdict")
    lines += [
        f"{figures.label:<{width}}  {figures.clips:>5}  {100 * figures.accuracy:>6.0f} %  {figures.verdict}"
        for figures in result.classes
    ]
    return "\n".join(lines)
