"""The promises of `docs/nothing-lost.md` and the rows that prove them are the same list."""

from __future__ import annotations

import importlib
import re
import runpy
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROWS = runpy.run_path(str(HERE / "__main__.py"))["ROWS"]
PAGE = (HERE.parents[1] / "docs" / "nothing-lost.md").read_text(encoding="utf-8")


def promised() -> dict[str, tuple[int, int]]:
    """The rows that the page's table names, in its order, with their counts in CI and chaos."""
    section = PAGE[PAGE.index("<!-- promises -->") : PAGE.index("<!-- end of promises -->")]
    found = re.findall(r"\| `([a-z-]+)` \| ([\d,]+) \| ([\d,]+) \|", section)
    return {row: (int(ci.replace(",", "")), int(chaos.replace(",", ""))) for row, ci, chaos in found}


def test_every_promise_has_its_row_and_every_row_its_promise() -> None:
    assert list(promised()) == list(ROWS)
    assert {path.stem.removeprefix("row_").replace("_", "-") for path in HERE.glob("row_*.py")} == set(ROWS)


def test_every_row_is_sabotaged() -> None:
    sys.path.insert(0, str(HERE))
    try:
        sabotaged = {row for row, _, _ in importlib.import_module("row_sabotage").SABOTAGES}
    finally:
        sys.path.remove(str(HERE))
    assert set(ROWS) - sabotaged == {"sabotage", "omissions"}, "omissions are sabotage themselves"


@pytest.mark.parametrize("row", ROWS)
def test_a_row_says_what_must_hold(row: str) -> None:
    sys.path.insert(0, str(HERE))
    try:
        module = importlib.import_module(f"row_{row.replace('-', '_')}")
    finally:
        sys.path.remove(str(HERE))
    assert row == module.NAME
    assert module.HOLDS and callable(module.prepare)
    assert promised()[row] == (module.CI, module.CHAOS)
