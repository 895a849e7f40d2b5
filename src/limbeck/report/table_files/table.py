"""A table as data, from which Markdown, CSV, LaTeX and lists of dicts are written."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from limbeck.report import statistics
from limbeck.report.formatting import (
    DASH,
    cell,
    format_interval,
    format_number,
    markdown_table,
    spread_text,
)
from limbeck.report.statistics import Interval

Plain = str | int | float | bool | None
"""What a cell of a CSV file or a value of a dict may be."""


class Spread(NamedTuple):
    """Mean and sample standard deviation over n seeds; sd is None for one."""

    mean: float
    sd: float | None
    n: int


Value = Plain | Spread | Interval
Kind = Literal["text", "number", "spread", "interval"]
PARTS = {
    "text": ("",),
    "number": ("",),
    "spread": ("", "_sd", "_n"),
    "interval": ("", "_low", "_high", "_n"),
}
"""By kind of column: the endings of its keys in CSV files and dicts."""


@dataclass(frozen=True)
class Column:
    """A column. key: its name in CSV files and dicts. heading: its name for readers, with the unit in brackets.

    digits: after the point, for readers; files for computers have all. aside: left out in LaTeX: a page is narrow.
    """

    key: str
    heading: str
    kind: Kind = "text"
    digits: int = 2
    aside: bool = False

    @property
    def keys(self) -> tuple[str, ...]:
        """Its names in CSV files and dicts: a spread has three, an interval four."""
        return tuple(f"{self.key}{part}" for part in PARTS[self.kind])


@dataclass(frozen=True)
class Table:
    """A table. name: of its files. title: a caption. rows: a value for each column. note: a sentence for the caption.

    A column with the key `n` says over how many seeds the spreads and intervals of its row are; those over other
    numbers say so themselves.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]
    note: str = ""

    def dicts(self) -> list[dict[str, Plain]]:
        """One dict of plain values for each row, with the keys of every column; a missing value is None."""
        keys = [key for column in self.columns for key in column.keys]
        return [dict(zip(keys, values, strict=True)) for values in self._plain_rows()]

    def csv(self) -> str:
        """Comma-separated values with a line of keys. Numbers have all digits; a missing value is empty.

        Each row is one line: a line break in a name becomes a space.
        """
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        lines = [[key for column in self.columns for key in column.keys], *self._plain_rows()]
        writer.writerows(map(_on_one_line, lines))
        return out.getvalue()

    def texts(self, *, narrow: bool = False) -> tuple[list[Column], list[list[str]]]:
        """The columns that hold something, and the text of their cells. narrow: without those that are aside."""
        places = [column.key for column in self.columns]
        n_at = places.index("n") if "n" in places else None
        lines = [
            [
                shown(column, value, None if n_at is None else row[n_at])
                for column, value in zip(self.columns, row, strict=True)
            ]
            for row in self.rows
        ]
        kept = [
            i
            for i, column in enumerate(self.columns)
            if i == 0 or (any(line[i] != DASH for line in lines) and not (narrow and column.aside))
        ]
        return [self.columns[i] for i in kept], [[line[i] for i in kept] for line in lines]

    def markdown(self) -> str:
        """A Markdown table without the title; empty if there are no rows."""
        columns, lines = self.texts()
        return markdown_table([cell(one.heading) for one in columns], [[cell(text) for text in line] for line in lines])

    def _plain_rows(self) -> list[list[Plain]]:
        return [
            [part for column, value in zip(self.columns, row, strict=True) for part in _parts(column, value)]
            for row in self.rows
        ]


def spread_of(values: Sequence[float]) -> Spread | None:
    """Mean and standard deviation of the finite values; None for none."""
    finite = [value for value in values if math.isfinite(value)]
    return Spread(statistics.mean(finite), statistics.standard_deviation(finite), len(finite)) if finite else None


def shown(column: Column, value: Value, n: Value = None) -> str:
    """A value as a reader sees it: `84.61 ± 0.12 (n = 3)`, without the n where it is that of the row."""
    if value is None or value == "":
        return DASH
    if isinstance(value, Spread):
        return spread_text(*value, column.digits).removesuffix(f" (n = {n})")
    if isinstance(value, Interval):
        return format_interval(value, column.digits).removesuffix(f" (n = {n})")
    if column.kind == "number" and isinstance(value, int | float) and not isinstance(value, bool):
        return format_number(value, column.digits)
    return str(value)


def _parts(column: Column, value: Value) -> Sequence[Plain]:
    if isinstance(value, Spread | Interval):
        return tuple(value)
    if value is None or not (isinstance(value, float) and not math.isfinite(value)):
        return (value, *[None] * (len(column.keys) - 1))
    return [None] * len(column.keys)


def _on_one_line(row: Sequence[Plain]) -> list[Plain]:
    return [value.replace("\r", " ").replace("\n", " ") if isinstance(value, str) else value for value in row]
