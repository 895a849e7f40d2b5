"""The times of a run. A span of work is [begin, end] in seconds since 1970."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

Span = Sequence[float]


def covered(spans: Iterable[Span]) -> float:
    """Seconds in which any work was done: parallel work counts once, pauses do not count."""
    seconds, until = 0.0, float("-inf")
    for begin, end in sorted(map(tuple, spans)):
        seconds += max(0.0, end - max(begin, until))
        until = max(until, end)
    return seconds


def summed(spans: Iterable[Span]) -> float:
    """Seconds of work: parallel work counts each time."""
    return sum(end - begin for begin, end in spans)


def spans_of(cohort: Mapping[str, Any]) -> list[Span]:
    """The spans of a cohort from its `done.json`; earlier versions recorded only the begin and the seconds."""
    if "spans" in cohort:
        return list(cohort["spans"])
    begin = datetime.fromisoformat(cohort["started"]).timestamp()
    return [[begin, begin + cohort["wall_seconds"]]]


def moment(seconds: float) -> str:
    """A time as in `result.json`: `2026-01-31T12:00:00+00:00`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def times(cohorts: Iterable[Mapping[str, Any]], *, processes: int = 1) -> dict[str, Any]:
    """The times in a result: started, ended, wall_seconds without pauses, compute_seconds of all processes.

    processes: how many train each cohort together.
    """
    spans = [span for cohort in cohorts for span in spans_of(cohort)]
    now = datetime.now(UTC).timestamp()
    return {
        "started": moment(min((begin for begin, _ in spans), default=now)),
        "ended": moment(max((end for _, end in spans), default=now)),
        "wall_seconds": covered(spans),
        "compute_seconds": processes * summed(spans),
    }
