"""A benchmark as a process of its own, on a few digits."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "benchmarks"


def short_run(file: str, cache: Path, *, threads: int = 1, repeats: int = 2) -> subprocess.CompletedProcess[str]:
    """Two steps a block; cache: where it may decode to."""
    small = ("--images", "digits", "--steps", "2", "--batch-size", "8")
    return subprocess.run(
        [sys.executable, str(FOLDER / file), *small, "--threads", str(threads), "--repeats", str(repeats)],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "LIMBECK_CACHE": str(cache)},
        check=False,
    )
