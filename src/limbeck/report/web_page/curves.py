"""The curves of all arms as numbers for the charts and for the tables behind them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from limbeck.report.arms import Arm
from limbeck.report.figures.style import COLOURS

CHARTS = {
    "validation_accuracy": ("Validation accuracy", "%", 100.0),
    "train_accuracy": ("Training accuracy, augmented images", "%", 100.0),
    "validation_loss": ("Validation cross-entropy", "nats", 1.0),
    "train_loss": ("Training loss, each arm by its own objective", "", 1.0),
}
MAX_POINTS = 40_000
"""Values of one chart; of longer curves, every second, third, … epoch is kept, and the last one."""
DASHES = ((), (8, 4), (2, 3), (9, 3, 2, 3))

Curves = Mapping[tuple[str, Any], Sequence[Mapping[str, Any]]]


def chart_data(arms: Sequence[tuple[str, str]], curves: Curves) -> dict[str, Any]:
    """The data of all charts. arms: name and role of each arm, in the order of the page.

    epochs: of all charts. arms: name, colour, dash and number of seeds. charts: for each, its title, unit and, by arm,
    the mean over seeds with the lowest and highest seed, None where there is no value.
    """
    by_arm: dict[str, list[Sequence[Mapping[str, Any]]]] = {name: [] for name, _ in arms}
    for (name, _), rows in curves.items():
        if name in by_arm and rows:
            by_arm[name].append(rows)
    shown = [(name, role) for name, role in arms if by_arm[name]]
    last = max((int(row["epoch"]) for name, _ in shown for rows in by_arm[name] for row in rows), default=0)
    stride = max(1, math.ceil(last * len(shown) * 3 / MAX_POINTS))
    epochs = [epoch for epoch in range(1, last + 1) if epoch % stride == 0 or epoch in (1, last)]
    charts = []
    for key, (title, unit, scale) in CHARTS.items():
        lines = [_line(by_arm[name], key, scale, epochs) for name, _ in shown]
        if any(value is not None for line in lines for value in line["mean"]):
            charts.append({"id": key, "title": title, "unit": unit, "log": _is_log(lines, unit), "lines": lines})
    return {
        "epochs": epochs,
        "stride": stride,
        "arms": [
            {
                "name": name,
                "role": role,
                "seeds": len(by_arm[name]),
                "colour": COLOURS[place % len(COLOURS)],
                "dash": list(DASHES[1 if role == "teacher" else (place // len(COLOURS) * 2) % len(DASHES)]),
            }
            for place, (name, role) in enumerate(shown)
        ],
        "charts": charts,
    }


def roles_of(arms: Sequence[Arm], curves: Curves, recipe: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and role of every arm that was measured, is in the recipe or has a curve; teachers first."""
    roles = {arm.name: arm.role for arm in arms}
    for group, role in (("teachers", "teacher"), ("students", "student")):
        of_group = recipe.get(group)
        for name in of_group if isinstance(of_group, Mapping) else ():
            roles.setdefault(str(name), role)
    for name, _ in curves:
        roles.setdefault(name, "student")
    return sorted(roles.items(), key=lambda item: item[1] != "teacher")


def _line(seeds: Sequence[Sequence[Mapping[str, Any]]], key: str, scale: float, epochs: Sequence[int]) -> Any:
    by_epoch: dict[int, list[float]] = {}
    for rows in seeds:
        for row in rows:
            value = row.get(key)
            if value is not None and math.isfinite(float(value)):
                by_epoch.setdefault(int(row["epoch"]), []).append(scale * float(value))
    columns = [by_epoch.get(epoch) for epoch in epochs]
    means = [None if column is None else _short(math.fsum(column) / len(column)) for column in columns]
    if len(seeds) < 2:
        return {"mean": means}
    low = [None if column is None else _short(min(column)) for column in columns]
    return {"mean": means, "low": low, "high": [None if column is None else _short(max(column)) for column in columns]}


def _is_log(lines: Sequence[Mapping[str, Any]], unit: str) -> bool:
    """Whether an early spike of a loss would flatten the rest."""
    values = [value for line in lines for one in line.values() for value in one if value is not None]
    return unit != "%" and min(values) > 0 and max(values) > 12 * min(values)


def _short(value: float) -> float:
    """Five significant digits."""
    return float(f"{value:.5g}")
