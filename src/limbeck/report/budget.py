"""Whether students meet the budget of their recipe: a table for the report, lines for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .arms import Arm
from .formatting import DASH, cell, markdown_table

Limit = Mapping[str, Any]
"""What `result.json` says of one limit: `measured`, `allowed` and `met`; of milliseconds also `disturbed`."""
UNITS = {"megabytes": ("MB", 1.0), "milliseconds": ("ms", 1.0), "multiply_adds": ("M multiply-adds", 1e6)}
"""By limit: the unit in which it is shown, and how many of its numbers are one unit."""
COLUMNS = {"megabytes": "Size (MB)", "milliseconds": "Image latency (ms)", "multiply_adds": "Multiply-adds (M)"}
"""By limit: what it is called in the table."""


def budget_table(arms: Sequence[Arm]) -> str:
    """One row for each limit of each student: measured, allowed, verdict. Empty if the recipe has no budget."""
    rows = [
        [cell(arm.name), COLUMNS[name], _measured(name, seeds), amount(name, seeds[0]["allowed"]), verdict(name, seeds)]
        for arm in arms
        for name, seeds in limits_of(arm).items()
    ]
    return markdown_table(["Student", "Limit", "Measured", "Allowed", "Verdict"], rows)


def budget_lines(arms: Sequence[Arm]) -> list[str]:
    """A line for each student, such as `budget: distilled: 0.41 MB, met; 1.3 ms, over by 0.3 ms (30 %)`."""
    return [f"budget: {' '.join(arm.name.split())}: {in_words(limits)}" for arm in arms if (limits := limits_of(arm))]


def limits_of(arm: Arm) -> dict[str, list[Limit]]:
    """The judged limits of an arm, by name, one for each seed; empty for teachers and without a budget."""
    found: dict[str, list[Limit]] = {}
    for learner in arm.learners:
        for name, limit in ((learner.get("budget") or {}).get("limits") or {}).items():
            found.setdefault(name, []).append(limit)
    return found


def in_words(limits: Mapping[str, Sequence[Limit]]) -> str:
    """The measured value and the verdict of each limit in one line; without a verdict where nothing is `allowed`."""
    parts = []
    for name, seeds in limits.items():
        value, unit = _measured(name, seeds), UNITS[name][0]
        if value == DASH:
            parts.append(f"{unit}: not measured")
        elif seeds[0]["allowed"] is None:
            parts.append(f"{value} {unit}")
        else:
            parts.append(f"{value} {unit}, {verdict(name, seeds)}")
    return "; ".join(parts)


def allowed_in_words(limits: Mapping[str, float]) -> str:
    """`at most 0.5 MB, 1 ms and 10 M multiply-adds`."""
    *rest, last = [f"{amount(name, allowed)} {UNITS[name][0]}" for name, allowed in limits.items()]
    return f"at most {', '.join(rest)} and {last}" if rest else f"at most {last}"


def verdict(name: str, seeds: Sequence[Limit]) -> str:
    """`met` if it is with all seeds; else by how much it is exceeded at most, and whether the machine was busy."""
    measured = [seed for seed in seeds if seed["measured"] is not None]
    if not measured:
        return "not measured"
    busy = any(seed.get("disturbed") for seed in measured)
    over = [seed for seed in measured if not seed["met"]]
    if not over:
        return "met, although the machine was busy" if busy else "met"
    worst = max(seed["measured"] - seed["allowed"] for seed in over)
    share = _digits(100 * worst / over[0]["allowed"], 2)
    text = f"over by {amount(name, worst)} {UNITS[name][0].split()[0]} ({share}\u00a0%)"
    text += f" with {len(over)} of {len(measured)} seeds" if len(over) < len(measured) else ""
    return f"{text}; the machine was busy, measure again" if busy else text


def amount(name: str, value: float) -> str:
    """A cost in the unit of its limit, without the unit."""
    return _digits(value / UNITS[name][1], 4)


def _measured(name: str, seeds: Sequence[Limit]) -> str:
    values = [seed["measured"] for seed in seeds if seed["measured"] is not None]
    shown = list(dict.fromkeys(amount(name, value) for value in (min(values), max(values)))) if values else []
    return " to ".join(shown) or DASH


def _digits(value: float, digits: int) -> str:
    """So many significant digits, and all digits before the point."""
    return f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:,.{digits}g}"
