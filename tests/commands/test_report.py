"""`limbeck report`: from run directories alone, without torch; what cannot be read is named and skipped."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from limbeck.commands.report import report
from limbeck.errors import LimbeckError
from limbeck.experiment.run import Run, run

ARM: dict[str, Any] = {
    "model": {"name": "lightweight_cnn"},
    "epochs": 1,
    "optimizer": {"name": "adam", "lr": 3e-3},
    "loss": [{"name": "cross_entropy"}],
}
RECIPE: dict[str, Any] = {
    "name": "small",
    "seeds": [0],
    "threads": 1,
    "data": {"source": "digits", "train_images": 300},
    "views": {"batch_size": 64},
    "evaluation": {"latency_batch": 0},
    "teachers": {"t": ARM},
    "students": {
        "kd": ARM | {"teacher": "t", "loss": [{"name": "soft_targets"}], "baseline": "plain"},
        "plain": ARM,
    },
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(RECIPE, folder=tmp_path_factory.mktemp("runs"), command="limbeck run small.yaml")


@pytest.fixture
def copied(small: Run, tmp_path: Path) -> Path:
    ignored = shutil.ignore_patterns("models", "checkpoints", "report.md", "index.html", "tables", "figures")
    shutil.copytree(small.folder, tmp_path / "copied", ignore=ignored)
    return tmp_path / "copied"


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_run_writes_its_tables_when_it_ends(small: Run) -> None:
    assert {f"tables/results.{kind}" for kind in ("md", "csv", "tex")} <= files_of(small.folder)
    assert "tables/results.md" in small.report.read_text(encoding="utf-8")
    row = next(row for row in small.table() if row["arm"] == "kd")
    top1 = next(arm for arm in small.result["arms"] if arm["arm"] == "kd")["test"]["top1"]
    assert row["top1"] == pytest.approx(100 * top1) and row["baseline"] == "plain" and row["gain_low"] is None


@pytest.mark.middle
def test_the_command_needs_no_torch_and_writes_all(copied: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from limbeck.cli import app; "
        f"app(['report', {str(copied)!r}, '--out', {str(tmp_path / 'out')!r}], standalone_mode=False); "
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert done.stdout == f"report: {tmp_path / 'out' / 'report.md'}\n"
    written = files_of(tmp_path / "out")
    assert {"report.md", "index.html", "tables/results.tex", "tables/accuracy.csv"} <= written
    assert {f"figures/accuracy.{kind}" for kind in ("png", "svg", "pdf")} <= written
    assert "tables/results.tex" not in files_of(copied), "nothing is written into the run"


@pytest.fixture
def without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("page", "pages.comparison_page", "pages.sweep_page"):
        drawn = f"limbeck.report.{module}.draw_figures"
        monkeypatch.setattr(drawn, lambda *a, **k: Nothing())


class Nothing:
    drawings = ()
    files: dict[str, bytes] = {}  # noqa: RUF012
    alts: dict[str, str] = {}  # noqa: RUF012


@pytest.mark.usefixtures("without_figures")
def test_several_runs_make_one_comparison(copied: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(copied, other)
    result = json.loads((other / "result.json").read_text())
    for arm in result["arms"]:
        arm["test"]["top1"] = 0.5
    result["environment"]["limbeck"] = "9.9"
    result["recipe"]["students"]["kd"]["epochs"] = 7
    (other / "result.json").write_text(json.dumps(result))
    empty = tmp_path / "empty"
    empty.mkdir()
    done = report([copied, other, empty, tmp_path / "nowhere"], tmp_path / "out")
    assert len(done.skipped) == 2 and all("\n" not in line for line in done.skipped)
    assert "empty" in done.skipped[0] and "nowhere" in done.skipped[1]
    page = done.page.read_text(encoding="utf-8")
    assert "copied, other compared" in page and "9.9" in page
    with (tmp_path / "out/tables/same-arms.csv").open(newline="") as file:
        rows = {row["arm"]: row for row in csv.DictReader(file)}
    assert float(rows["kd"]["top1: other"]) == 50.0
    assert float(rows["kd"]["change"]) == pytest.approx(50 - float(rows["kd"]["top1: copied"]))
    assert (rows["kd"]["options"], rows["plain"]["options"]) == ("epochs", "none")
    assert "index.html" in files_of(tmp_path / "out")


@pytest.mark.usefixtures("without_figures")
def test_a_run_that_is_not_finished_is_reported_and_says_so(copied: Path) -> None:
    (copied / "result.json").unlink()
    next(copied.glob("cohorts/*/metrics/*.jsonl")).write_text("{}\n")
    done = report([copied])
    assert done.page == copied / "report.md"
    text = done.page.read_text(encoding="utf-8")
    assert "This run is not finished" in text and len(done.problems) == 1 and "jsonl:1" in done.problems[0]


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize("name", ["result.json", "recipe.json"])
@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"arms": 1}', '{"students": {"kd": {"teacher": 3}}}', "\x00"])
def test_damage_is_never_fatal_beside_a_whole_run(copied: Path, tmp_path: Path, name: str, content: str) -> None:
    whole = tmp_path / "whole"
    shutil.copytree(copied, whole)
    (copied / name).write_text(content)
    done = report([copied, whole], tmp_path / "out")
    assert done.page.is_file()
    assert "tables/results.csv" in files_of(tmp_path / "out")


@pytest.mark.usefixtures("without_figures")
def test_what_cannot_be_done_is_one_line(copied: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(copied, other)
    for folders, out, words in (
        ([copied, other], None, "--out DIR"),
        ([copied, other], other, "is the directory of a run"),
        ([copied], other, "is the directory of a run"),
        ([copied], copied / "recipe.json", "is a file"),
        ([tmp_path / "nowhere"], None, "does not exist"),
    ):
        with pytest.raises(LimbeckError) as raised:
            report(folders, out)
        assert words in str(raised.value) and "\n" not in str(raised.value)
    assert report([copied], copied).page == copied / "report.md"
