"""Tables of a report: one set of rows in Markdown, CSV, LaTeX and dicts."""

from __future__ import annotations

import csv
import io
import math
import re
import shutil
import statistics
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_results import BASELINE, DISTILLED, TEACHER, learner, result_of, three_arms, two_teachers

from limbeck.experiment.run import Run
from limbeck.report.arms import arms_of
from limbeck.report.options import options_of
from limbeck.report.run_data import SweepRecord, read_run
from limbeck.report.statistics import Interval
from limbeck.report.table_files.hyper_parameters import hyper_parameters_tables, option_text
from limbeck.report.table_files.latex import MAX_FLOAT_ROWS, escape, latex
from limbeck.report.table_files.results import accuracy_table, arm_dicts, efficiency_table, results_table
from limbeck.report.table_files.table import Column, Spread, Table
from limbeck.report.table_files.transfer import transfer_table
from limbeck.report.table_files.trials import selection_table, trials_table
from limbeck.report.table_files.write import tables_of, write_tables

PDFLATEX = shutil.which("pdflatex")
STRANGE = "β_2 & 50% of $x$ {a} \\b ^~ #1 \"q\" [x] *y* <z> a|b – é ø 中 🐈 'a' --"


def results() -> Table:
    return results_table(arms_of(result_of(three_arms())), "test")


def test_results_are_means_and_deviations_over_seeds() -> None:
    rows = {row["arm"]: row for row in results().dicts()}
    for arm, values in (("resnet", TEACHER), ("baseline", BASELINE), ("distilled", DISTILLED)):
        percent = [100 * value for value in values]
        assert rows[arm]["top1"] == pytest.approx(statistics.mean(percent), abs=1e-12)
        assert rows[arm]["top1_sd"] == pytest.approx(statistics.stdev(percent), rel=1e-12)
        assert rows[arm]["top1_n"] == rows[arm]["n"] == 3
    gains = [100 * (one - other) for one, other in zip(DISTILLED, BASELINE, strict=True)]
    reach = 4.302652729749462 * statistics.stdev(gains) / math.sqrt(3)  # t of two degrees of freedom
    assert rows["distilled"]["gain"] == pytest.approx(statistics.mean(gains))
    assert rows["distilled"]["gain_low"] == pytest.approx(statistics.mean(gains) - reach)
    assert rows["distilled"]["gain_high"] == pytest.approx(statistics.mean(gains) + reach)
    gaps = [100 * (one - other) for one, other in zip(TEACHER, DISTILLED, strict=True)]
    assert rows["distilled"]["gap"] == pytest.approx(statistics.mean(gaps))
    assert rows["resnet"]["gap"] is None and rows["resnet"]["gain_low"] is None


def test_the_efficiency_score_is_accuracy_over_size_and_time() -> None:
    row = next(row for row in efficiency_table(arms_of(result_of(three_arms()))).dicts() if row["arm"] == "distilled")
    megabytes = 106_826 * 4 / 2**20
    scores = [100 * value / (megabytes * 25.0) for value in DISTILLED]
    assert row["efficiency_score"] == pytest.approx(statistics.mean(scores))
    assert row["compression"] == pytest.approx(4_664_970 / 106_826)
    assert row["megabytes"] == pytest.approx(megabytes)
    assert row["multiply_adds_millions"] == pytest.approx(106_826 * 40 / 1e6)


def test_markdown_csv_and_latex_tell_the_same() -> None:
    table = results()
    lines = list(csv.DictReader(io.StringIO(table.csv())))
    assert [dict(line) for line in lines] == [
        {key: "" if value is None else str(value) for key, value in row.items()} for row in table.dicts()
    ]
    distilled = next(line for line in table.markdown().splitlines() if line.startswith("| distilled"))
    cells = [cell.strip() for cell in distilled.strip("|").split("|")]
    row = next(row for row in table.dicts() if row["arm"] == "distilled")
    assert f"{row['top1']:.2f} ± {row['top1_sd']:.2f}" in cells
    assert f"+{row['gain']:.2f} \\[+{row['gain_low']:.2f}, +{row['gain_high']:.2f}\\]" in cells
    plain = latex(table)
    assert f"{row['top1']:.2f} $\\pm$ {row['top1_sd']:.2f}" in plain
    assert f"+{row['gain']:.2f} {{[}}+{row['gain_low']:.2f}, +{row['gain_high']:.2f}{{]}}" in plain
    for words in (r"\toprule", r"\midrule", r"\bottomrule", r"\label{tab:results}"):
        assert words in plain


def test_a_spread_over_fewer_seeds_than_its_row_says_so() -> None:
    columns = (
        Column("arm", "Arm"),
        Column("n", "n", "number", 0),
        Column("x", "x", "spread"),
        Column("g", "g", "interval"),
    )
    rows = (
        ("all", 3, Spread(1.0, 0.5, 3), Interval(1.0, -1.0, 3.0, 3)),
        ("some", 3, Spread(1.0, 0.5, 2), Interval(1.0, None, None, 1)),
        ("one", 1, Spread(1.0, None, 1), None),
    )
    _, lines = Table("t", "T", columns, rows).texts()
    assert lines == [
        ["all", "3", "1.00 ± 0.50", "+1.00 [−1.00, +3.00]"],
        ["some", "3", "1.00 ± 0.50 (n = 2)", "+1.00 (n = 1)"],
        ["one", "1", "1.00", "–"],
    ]
    _, without = Table("t", "T", (columns[0], columns[2]), (("all", rows[0][2]),)).texts()
    assert without == [["all", "1.00 ± 0.50 (n = 3)"]], "n is said where the row does not say it"


def test_what_nobody_has_is_in_the_csv_alone() -> None:
    table = results_table(arms_of(result_of([learner("alone", 0, 0.5)])), "test")
    assert "gain" not in table.markdown().lower() and "gain_low" in table.csv().splitlines()[0]
    assert table.dicts()[0]["top1_sd"] is None
    assert arm_dicts(result_of([])) == []


def test_dicts_of_arms_hold_results_and_costs_also_of_ensembles() -> None:
    rows = {row["arm"]: row for row in arm_dicts(result_of(two_teachers()))}
    assert [row["role"] for row in rows.values()] == ["teacher", "teacher", "ensemble", "student"]
    assert rows["a + b"]["parameters"] == rows["a"]["parameters"] + rows["b"]["parameters"]
    assert len({tuple(row) for row in rows.values()}) == 1, "all have the same keys"
    unmeasured = [learner("x", 0, 0.5) | {"efficiency": None, "test": None}]
    assert arm_dicts(result_of(unmeasured))[0]["parameters"] is None


def test_hyper_parameters_that_differ_are_marked_and_come_first() -> None:
    arm: dict[str, Any] = {"model": {"name": "vgg"}, "epochs": 3, "loss": [{"name": "dkd", "beta": 2.0}]}
    other = {**arm, "loss": [{"name": "dkd", "beta": 8.0}]}
    recipe = {"teachers": {"t": arm}, "students": {"a": arm, "b": other}, "views": {"mixup": True}}
    students, teachers = hyper_parameters_tables(options_of(recipe), recipe)
    assert students.rows[0] == ("loss.dkd.beta", "yes", "2", "8")
    assert {row[0]: row[1:] for row in students.rows[1:]} == {
        "model.name": (None, "vgg", "vgg"),
        "epochs": (None, "3", "3"),
        "loss": (None, "dkd", "dkd"),
        "views.mixup": (None, "true", "true"),
    }
    assert [column.key for column in teachers.columns] == ["option", "differs", "t"]
    assert hyper_parameters_tables(options_of({}), {}) == []
    assert option_text([1, None, {"a": 0.1}]) == "1, null, a: 0.1"


def test_transfer_is_student_gain_over_teacher_gain() -> None:
    """The figures of a published study: (77.93 − 76.19) / (84.39 − 76.65) = 22.5 %."""
    arms = arms_of(
        result_of(
            [
                learner("t32", 0, 0.7665, role="teacher"),
                learner("t64", 0, 0.8439, role="teacher"),
                learner("v2", 0, 0.7619, teacher=["t32"]),
                learner("v3", 0, 0.6685, teacher=["t32"]),
                learner("v4", 0, 0.7793, teacher=["t64"]),
            ]
        )
    )
    options = {name: {"model.name": "cnn", "loss": ["kd"]} for name in ("v2", "v4")}
    options["v3"] = {"model.name": "cnn", "loss": ["dkd"]}
    (row,) = transfer_table(arms, options).dicts()
    assert (row["arm"], row["reference"], row["also_differs"]) == ("v4", "v2", ""), "the arm that is most like it"
    assert row["student_gain"] == pytest.approx(1.74)
    assert row["teacher_gain"] == pytest.approx(7.74)
    assert row["transfer"] == pytest.approx(100 * 1.74 / 7.74)
    named = {**options, "v2": {**options["v2"], "epochs": 5}, "v3": {**options["v3"], "epochs": 6}}
    assert transfer_table(arms, named).dicts()[0]["also_differs"] == "epochs"
    other = {**options, "v2": {"model.name": "vgg"}, "v3": {"model.name": "vgg"}}
    assert transfer_table(arms, other).rows == (), "students of different models are not compared"
    alike = {**options, "t32": {"epochs": 1}, "t64": {"epochs": 1}}
    assert transfer_table(arms, alike).rows == (), "teachers that were trained alike are one teacher"


def swept(**more: Any) -> SweepRecord:
    fields: dict[str, Any] = {
        "axes": ("students.*.loss.0.temperature", "students.*.optimizer.lr"),
        "settings": tuple({"students.*.loss.0.temperature": t, "students.*.optimizer.lr": 1e-3} for t in (1, 4, 20)),
        "validation": {"kd": [[0.5], [0.6, 0.62], [0.7]], "baseline": [[0.4]]},
        "ended": {"kd": ["finished", "finished", "patience"]},
        "swept": ("kd",),
        "best": {"kd": 2},
        "standard": 1,
    }
    return SweepRecord(**{**fields, **more})


def test_trials_best_as_written_and_worst() -> None:
    arms = arms_of(result_of([learner("kd", 0, 0.66), learner("kd.as-written", 0, 0.61)]))
    rows = selection_table(swept(), arms).dicts()
    assert [(row["which"], row["trial"], row["students.*.loss.0.temperature"]) for row in rows] == [
        ("best", 3, 20), ("as written", 2, 4), ("worst", 1, 1),
    ]  # fmt: skip
    assert [row["test_top1"] for row in rows] == [pytest.approx(66.0), pytest.approx(61.0), None]
    assert rows[1]["validation_top1"] == pytest.approx(61.0) and rows[1]["validation_top1_n"] == 2
    assert [row["trial"] for row in trials_table(swept()).dicts()] == [3, 2, 1]
    so_far = swept(validation={"kd": [[0.5], [], []]}, ended={}, best={}, standard=None)
    assert [(row["which"], row["trial"]) for row in selection_table(so_far, ()).dicts()] == [("best", 1), ("worst", 1)]
    assert [row["ended"] for row in trials_table(so_far).dicts()] == ["waiting"] * 3
    assert selection_table(swept(validation={}, best={}), ()).rows == ()


def every_table() -> list[Table]:
    arms = arms_of(result_of(three_arms()))
    recipe = {"students": {f"arm_{n} {STRANGE}": {"lr": 0.1 * n, "list": [1, n]} for n in range(12)}}
    many = [learner(f"a_{n} & {STRANGE}", 0, 0.5, model="cnn_μ #1") for n in range(MAX_FLOAT_ROWS + 5)]
    names = [f"[x{n}" for n in range(3)]
    strange = [learner(name, 0, 0.5) for name in names] + [learner("* star", 0, 0.4)]
    return [
        results_table(arms, "test"),
        accuracy_table(arms, "test"),
        efficiency_table(arms),
        *hyper_parameters_tables(options_of(recipe), recipe),
        selection_table(swept(), arms),
        trials_table(swept()),
        results_table(arms_of(result_of(many)), "validation"),
        results_table(arms_of(result_of(strange)), "test"),
    ]


@pytest.mark.skipif(PDFLATEX is None, reason="needs pdflatex with booktabs")
def test_latex_compiles(tmp_path: Path) -> None:
    packages = r"\usepackage{booktabs}\usepackage{longtable}"
    body = "\n".join(map(latex, every_table()))
    text = f"\\documentclass{{article}}{packages}\\begin{{document}}\n{body}\n{escape(STRANGE)}\n\\end{{document}}\n"
    (tmp_path / "all.tex").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [str(PDFLATEX), "-interaction=nonstopmode", "-halt-on-error", "all.tex"],
        cwd=tmp_path, capture_output=True, check=False, timeout=120,
    )  # fmt: skip
    log = done.stdout.decode(errors="replace")
    assert done.returncode == 0, log[-2000:]
    assert (tmp_path / "all.pdf").is_file()
    assert "Missing character" not in log
    own = latex(results())
    (tmp_path / "one.tex").write_text(f"\\documentclass{{article}}{packages}\\begin{{document}}{own}\\end{{document}}")
    done = subprocess.run(
        [str(PDFLATEX), "-interaction=nonstopmode", "-halt-on-error", "one.tex"],
        cwd=tmp_path, capture_output=True, check=False, timeout=120,
    )  # fmt: skip
    assert b"Overfull" not in done.stdout, "a table of results fits the page"


@given(st.text(max_size=60))
def test_any_text_becomes_plain_latex(text: str) -> None:
    out = escape(text)
    assert out.isascii() and "\n" not in out
    bare = re.sub(r"\\[&%$#_{}]", "", out)
    assert not set(bare) & set("&%#_"), "nothing is left that LaTeX would read as a command"
    assert bare.count("{") == bare.count("}") and bare.count("$") % 2 == 0


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_name_survives_csv_on_one_line(name: str) -> None:
    table = Table("t", "T", (Column("a", "A"), Column("b", "B", "number")), ((name, 1.5),))
    header, row = csv.reader(io.StringIO(table.csv(), newline=""))
    assert (header, row) == (["a", "b"], [re.sub("[\r\n]", " ", name), "1.5"])


def test_tables_of_a_real_run_are_written(finished: Run, tmp_path: Path) -> None:
    record = read_run(finished.folder)
    tables = tables_of(record)
    assert [table.name for table in tables] == [
        "results", "accuracy", "efficiency", "knowledge-transfer",
        "hyper-parameters-students", "hyper-parameters-teachers",
    ]  # fmt: skip
    written = write_tables(tmp_path, tables)
    assert sorted(path.name for path in (tmp_path / "tables").iterdir()) == sorted(path.name for path in written)
    assert {path.suffix for path in written} == {".md", ".csv", ".tex"}
    again = [path.read_bytes() for path in written]
    assert [path.read_bytes() for path in write_tables(tmp_path, tables_of(read_run(finished.folder)))] == again
