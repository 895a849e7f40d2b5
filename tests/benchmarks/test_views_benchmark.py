"""The benchmark of views runs and says its ratios."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.parametrize("threads", [1, 2])
def test_a_short_run_ends_with_the_ratios(tmp_path: Path, threads: int) -> None:
    pytest.importorskip("sklearn", reason="the digits come inside scikit-learn")
    small = ("--images", "digits", "--threads", str(threads), "--steps", "2", "--repeats", "2", "--batch-size", "8")
    result = subprocess.run(
        [sys.executable, str(FOLDER / "views.py"), *small],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "LIMBECK_CACHE": str(tmp_path)},
    )
    assert result.returncode == 0, result.stderr
    for line in (r"views / step of system E = \d+\.\d %", r"per-image transforms / limbeck views = \d+\.\d"):
        assert re.search(f"^{line}$", result.stdout, re.MULTILINE), result.stdout
