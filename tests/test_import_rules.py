"""The floors of the house hold, and a violation is caught."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
lint = shutil.which("lint-imports", path=str(Path(sys.executable).parent))
pytestmark = pytest.mark.skipif(lint is None, reason="import-linter comes with `make check`")


def verdict(source: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(lint), "--config", str(ROOT / ".importlinter"), "--no-cache"],
        cwd=source.parent,
        env={"PYTHONPATH": str(source), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    return tmp_path / "src"


def test_the_house_as_it_stands(copy: Path) -> None:
    done = verdict(copy)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("losses/soft_targets.py", "from limbeck.training import loop"),  # from below to above
        ("views/apply.py", "from limbeck import models"),  # to a room on the same floor
        ("recipes/recipe.py", "import torch"),  # torch where there is to be none
        ("experiment/run.py", "import timm"),  # past the one door
        ("sweeps/selection.py", "import optuna"),
        ("experiment/cohorts.py", "import ray"),
    ],
)
def test_a_violation_is_caught(copy: Path, file: str, line: str) -> None:
    path = copy / "limbeck" / file
    path.write_text(path.read_text(encoding="utf-8") + f"\n{line}\n", encoding="utf-8")
    done = verdict(copy)
    assert done.returncode != 0, f"nobody noticed {line!r} in {file}"
    assert "BROKEN" in done.stdout


def test_a_new_room_must_be_given_a_floor(copy: Path) -> None:
    (copy / "limbeck" / "attic").mkdir()
    (copy / "limbeck" / "attic" / "__init__.py").write_text("", encoding="utf-8")
    assert verdict(copy).returncode != 0
