"""Terminals that show less than UTF-8: real processes, to their end, with what can be shown."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LATIN = {"PYTHONIOENCODING": "latin-1"}
PLAIN = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
STRICT = {"PYTHONIOENCODING": "ascii:strict"}
QUICK = [
    "seeds=[0]", "teachers.resnet.epochs=1", "students.defaults.epochs=1", "evaluation.latency_batch=0",
    "data.train_images=100", "students.defaults.model=lightweight_cnn", "teachers.resnet.model=lightweight_cnn",
]  # fmt: skip


def limbeck(folder: Path, environment: dict[str, str], *words: object) -> subprocess.CompletedProcess[bytes]:
    kept = {key: value for key, value in os.environ.items() if key not in ("LC_ALL", "PYTHONIOENCODING", "PYTHONUTF8")}
    return subprocess.run(
        [sys.executable, "-m", "limbeck", *map(str, words)],
        cwd=folder,
        env={**kept, "LIMBECK_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        timeout=300,
        check=False,
    )


@pytest.mark.middle
@pytest.mark.parametrize("environment", [LATIN, PLAIN], ids=["latin-1", "C"])
def test_a_run_and_its_measures_reach_their_end(tmp_path: Path, environment: dict[str, str]) -> None:
    done = limbeck(tmp_path, environment, "run", "quickstart", *QUICK)
    assert done.returncode == 0, done.stderr
    assert "–".encode() not in done.stdout
    models = "runs/quickstart/models"
    against = ["--against", f"{models}/baseline-seed0"]
    compared = limbeck(tmp_path, environment, "evaluate", f"{models}/distilled-seed0", *against)
    assert compared.returncode == 0, compared.stderr
    assert b"difference" in compared.stdout
    assert (tmp_path / "runs/quickstart/report.md").read_text(encoding="utf-8").count("±"), "files stay UTF-8"


@pytest.mark.parametrize("environment", [LATIN, PLAIN, STRICT], ids=["latin-1", "C", "ascii"])
@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["list", "losses"]])
def test_help_lists_and_plans(tmp_path: Path, environment: dict[str, str], words: list[str]) -> None:
    done = limbeck(tmp_path, environment, *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_an_error_says_what_it_can_of_a_name(tmp_path: Path) -> None:
    done = limbeck(tmp_path, PLAIN, "predict", "modèle–1", "photo.png")
    assert done.returncode == 2, done.stderr
    assert b"no model here" in done.stderr
    assert done.stderr.isascii()
    utf8 = limbeck(tmp_path, {"PYTHONIOENCODING": "utf-8"}, "predict", "modèle–1", "photo.png")
    assert "modèle–1" in utf8.stderr.decode()


def test_dashes_become_dashes_and_letters_are_written_out(tmp_path: Path) -> None:
    code = (
        "import sys; from limbeck.console.terminal import replace_unencodable as show\n"
        "show((sys.stdout, sys.stderr, None)); print('−3.1 ± 2 … café 8×8 \\udcff')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **STRICT}, capture_output=True, check=True, timeout=60
    )
    assert done.stdout.decode("ascii") == "-3.1 +/- 2 ... caf\\xe9 8x8 \\udcff\n"
