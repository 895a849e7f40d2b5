"""Several runs beside each other: how each was made, and the same arm over all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from limbeck.report.arms import Arm
from limbeck.report.comparisons import change
from limbeck.report.formatting import duration, few_of
from limbeck.report.options import differing
from limbeck.report.run_data import RunRecord, labels
from limbeck.report.summary import best_student

from .table import Column, Table, Value, spread_of

MAX_NAMED = 5


def versions_table(records: Sequence[RunRecord]) -> Table:
    """How each run was made, and its student that is best on the validation set."""
    columns = (
        Column("run", "Run"),
        Column("recipe", "Recipe", aside=True),
        Column("state", "State"),
        Column("limbeck", "Limbeck"),
        Column("torch", "PyTorch"),
        Column("processor", "Processor", aside=True),
        Column("started", "Started", aside=True),
        Column("wall_time", "Wall time"),
        Column("data", "Data", aside=True),
        Column("learners", "Learners", "number", 0),
        Column("best_student", "Best student on validation"),
        Column("top1", "Its top-1 (%)", "spread"),
    )
    rows = tuple(_version(record, label) for record, label in zip(records, labels(records), strict=True))
    return Table("runs", "Runs", columns, rows)


def _version(record: RunRecord, label: str) -> tuple[Value, ...]:
    result, here = record.result, record.environment
    best = best_student(result)
    arm = record.arm(best["arm"]) if best else None
    wall = result.get("wall_seconds")
    return (
        label,
        record.name,
        record.state,
        _text(here.get("limbeck")),
        _text(here.get("torch")),
        _text(here.get("cpu")),
        _text(result.get("started")),
        duration(wall) if isinstance(wall, int | float) else None,
        (_text(result.get("data_fingerprint")) or "")[:12],
        sum(len(one.learners) for one in record.arms),
        arm.name if arm else None,
        spread_of(arm.values("test", "top1", 100)) if arm else None,
    )


def same_arms_table(records: Sequence[RunRecord]) -> Table:
    """The top-1 accuracy of every arm that several runs have, run by run, and its change from first to last.

    The change is paired by seed; with its 95 % confidence interval from three common seeds on. The options in which the
    arm differs between the two runs are named: without any, the change is due to versions, hardware or data.
    """
    names = labels(records)
    found: dict[str, list[tuple[int, Arm]]] = {}
    for place, record in enumerate(records):
        for arm in record.arms:
            if arm.values("test", "top1"):
                found.setdefault(arm.name, []).append((place, arm))
    rows = [
        (name, *_over_runs(len(names), places), *_change(name, places, records))
        for name, places in found.items()
        if len(places) > 1
    ]
    columns = (
        Column("arm", "Arm"),
        *(Column(f"top1: {name}", name, "spread") for name in names),
        Column("change", "Change (points, 95 % CI)", "interval"),
        Column("options", "Options that differ"),
    )
    note = "Top-1 accuracy in percent: mean and sample standard deviation over seeds. The change is last − first."
    return Table("same-arms", "The same arm over runs", columns, tuple(rows), note)


def _over_runs(runs: int, places: Sequence[tuple[int, Arm]]) -> list[Value]:
    by_run: Mapping[int, Arm] = dict(places)
    return [spread_of(by_run[n].values("test", "top1", 100)) if n in by_run else None for n in range(runs)]


def _change(name: str, places: Sequence[tuple[int, Arm]], records: Sequence[RunRecord]) -> tuple[Value, Value]:
    (first, before), (last, after) = places[0], places[-1]
    differ = differing({"first": records[first].options.get(name, {}), "last": records[last].options.get(name, {})})
    return change(after, before), few_of(differ, MAX_NAMED) or "none"


def _text(value: object) -> str | None:
    return None if value is None else str(value)
