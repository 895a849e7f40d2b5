"""The options of every arm, with those that differ marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from limbeck.report.options import ABSENT, Options, differing, option_names

from .table import Column, Table, Value


def hyper_parameters_tables(options: Mapping[str, Options], recipe: Mapping[str, Any]) -> list[Table]:
    """A table of the students and one of the teachers, each with a column for each arm.

    options: those of each arm, flat. Options that differ between the arms of a table say so; they come first.
    """
    teachers = recipe.get("teachers")
    names = set(map(str, teachers)) if isinstance(teachers, Mapping) else set[str]()
    groups = {
        "students": {name: found for name, found in options.items() if name not in names},
        "teachers": {name: found for name, found in options.items() if name in names},
    }
    return [_table(group, found) for group, found in groups.items() if found]


def _table(group: str, options: Mapping[str, Options]) -> Table:
    columns = (
        Column("option", "Option"),
        Column("differs", "Differs"),
        *(Column(arm, arm) for arm in options),
    )
    differ = differing(options)
    names = [*differ, *(name for name in option_names(options.values()) if name not in differ)]
    rows: list[tuple[Value, ...]] = [
        (name, "yes" if name in differ else None, *(option_text(found.get(name, ABSENT)) for found in options.values()))
        for name in names
    ]
    title = f"Hyper-parameters of the {group}"
    return Table(
        f"hyper-parameters-{group}", title, columns, tuple(rows), "Options that differ between arms come first."
    )


def option_text(value: Any) -> str | None:
    """A value of an option as in YAML; None if it is not set."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(option_text(one) or "null" for one in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {option_text(one) or 'null'}" for key, one in value.items())
    return str(value)
