"""The trials of a sweep: best, as written and worst of each arm, and all of them."""

from __future__ import annotations

from collections.abc import Sequence

from limbeck.report.arms import Arm
from limbeck.report.figures.heat_map import axis_name
from limbeck.report.run_data import SweepRecord

from .hyper_parameters import option_text
from .table import Column, Table, Value, spread_of


def selection_table(sweep: SweepRecord, arms: Sequence[Arm]) -> Table:
    """The best, the standard and the worst trial of each swept arm, with their accuracy on the final split."""
    by_name = {arm.name: arm for arm in arms}
    rows: list[tuple[Value, ...]] = []
    for arm in sweep.swept:
        ranked = [number for number in sweep.ranked(arm) if sweep.accuracies(arm, number)]
        if not ranked:
            continue
        best = sweep.best.get(arm, ranked[0])
        which = {"best": best, "as written": sweep.standard, "worst": ranked[-1]}
        final = {"best": by_name.get(arm), "as written": by_name.get(f"{arm}.as-written")}
        if best == sweep.standard:
            final["as written"] = final["best"]
        rows += [
            (arm, name, number + 1, *_settings(sweep, number), *_reached(sweep, arm, number, final.get(name)))
            for name, number in which.items()
            if number is not None
        ]
    columns = (
        Column("arm", "Arm"),
        Column("which", "Trial"),
        Column("trial", "Number", "number", 0),
        *_axes(sweep),
        Column("validation_top1", "Validation top-1 (%)", "spread"),
        Column("test_top1", "Final top-1 (%)", "spread"),
    )
    note = "Trials are ranked on the validation set; final runs have all seeds."
    return Table("sweep-selection", "Best, standard and worst trial", columns, tuple(rows), note)


def trials_table(sweep: SweepRecord) -> Table:
    """Every trial of each swept arm, best first."""
    rows: list[tuple[Value, ...]] = []
    for arm in sweep.swept:
        ended = sweep.ended.get(arm) or ()
        for rank, number in enumerate(sweep.ranked(arm), 1):
            values = spread_of([100 * value for value in sweep.accuracies(arm, number)])
            how = ended[number] if number < len(ended) and ended[number] else "waiting"
            rows.append((arm, rank, number + 1, *_settings(sweep, number), values, how))
    columns = (
        Column("arm", "Arm"),
        Column("rank", "Rank", "number", 0),
        Column("trial", "Number", "number", 0),
        *_axes(sweep),
        Column("validation_top1", "Validation top-1 (%)", "spread"),
        Column("ended", "Ended"),
    )
    return Table("sweep-trials", "All trials", columns, tuple(rows), "Ranked on the validation set.")


def _axes(sweep: SweepRecord) -> tuple[Column, ...]:
    return tuple(Column(axis, axis_name(axis)) for axis in sweep.axes)


def _settings(sweep: SweepRecord, number: int) -> list[Value]:
    trial = sweep.settings[number]
    return [
        value if isinstance(value, int) and not isinstance(value, bool) else option_text(value)
        for value in (trial.get(axis) for axis in sweep.axes)
    ]


def _reached(sweep: SweepRecord, arm: str, number: int, final: Arm | None) -> tuple[Value, Value]:
    tested = spread_of(final.values("test", "top1", 100)) if final else None
    return spread_of([100 * value for value in sweep.accuracies(arm, number)]), tested
