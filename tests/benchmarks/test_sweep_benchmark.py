"""The benchmark of a sweep runs, and ends with its ratios."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from short_run import short_run

pytestmark = pytest.mark.middle


def test_a_short_run_ends_with_its_ratios(tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="the digits come inside scikit-learn")
    result = short_run("sweep.py", tmp_path, repeats=1)
    assert result.returncode == 0, result.stderr
    *_, cohort, bank, floor, over = result.stdout.splitlines()
    assert re.fullmatch(r"one cohort / twelve runs = \d+\.\d\d", cohort)
    assert re.fullmatch(r"from the bank / twelve runs = \d+\.\d\d", bank)
    assert re.fullmatch(r"floor / twelve runs = \d+\.\d\d", floor)
    assert re.fullmatch(r"one cohort / floor = \d+\.\d\d", over)
    assert not list(tmp_path.glob("outputs/*")), "banks of a benchmark do not stay"
