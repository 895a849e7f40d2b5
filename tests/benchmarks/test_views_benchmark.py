"""The benchmark of views runs and says its ratios."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from short_run import short_run

pytestmark = pytest.mark.middle


@pytest.mark.parametrize("threads", [1, 2])
def test_a_short_run_ends_with_the_ratios(tmp_path: Path, threads: int) -> None:
    pytest.importorskip("sklearn", reason="the digits come inside scikit-learn")
    result = short_run("views.py", tmp_path, threads=threads)
    assert result.returncode == 0, result.stderr
    for line in (r"views / step of system E = \d+\.\d %", r"per-image transforms / limbeck views = \d+\.\d"):
        assert re.search(f"^{line}$", result.stdout, re.MULTILINE), result.stdout
