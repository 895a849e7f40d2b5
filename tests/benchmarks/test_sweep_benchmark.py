"""The benchmark of a sweep runs, and ends with its ratios."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


def test_a_short_run_ends_with_its_ratios(tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="the digits come inside scikit-learn")
    small = ("--images", "digits", "--threads", "1", "--steps", "2", "--repeats", "1", "--batch-size", "8")
    result = subprocess.run(
        [sys.executable, str(FOLDER / "sweep.py"), *small],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "LIMBECK_CACHE": str(tmp_path)},
        check=False,
    )
    assert result.returncode == 0, result.stderr
    *_, cohort, bank, floor, over = result.stdout.splitlines()
    assert re.fullmatch(r"one cohort / twelve runs = \d+\.\d\d", cohort)
    assert re.fullmatch(r"from the bank / twelve runs = \d+\.\d\d", bank)
    assert re.fullmatch(r"floor / twelve runs = \d+\.\d\d", floor)
    assert re.fullmatch(r"one cohort / floor = \d+\.\d\d", over)
    assert not list(tmp_path.glob("outputs/*")), "banks of a benchmark do not stay"
