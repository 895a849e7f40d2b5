"""The page tells what was measured, and no more than that."""

from __future__ import annotations

import io
import itertools
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image
from sample_results import BASELINE, curve, evaluation, learner, result_of, three_arms

from limbeck.report.arms import arms_of
from limbeck.report.bars import draw_bars
from limbeck.report.curves import draw
from limbeck.report.diagram import wiring
from limbeck.report.page import write_report
from limbeck.report.summary import summary_lines
from limbeck.runs.errors import LimbeckError

Curves = dict[tuple[str, int], list[dict[str, Any]]]


def page(folder: Path, result: dict[str, Any], curves: Curves | None = None) -> str:
    text = write_report(folder, result, curves or {}).read_text(encoding="utf-8")
    assert not re.search(r"\b(nan|None|inf)\b", text), "no number that is none"
    return text


def test_the_facts_are_there(tmp_path: Path, curves: Curves) -> None:
    text = page(tmp_path, result_of(three_arms()), curves)
    for fact in (
        "limbeck run cifar10-lightweight-cnn seeds=[0,1,2]",
        "86.22 ± 0.21 (n = 3)",
        "82.21 ± 0.11 (n = 3)",
        "83.41 ± 0.11 (n = 3)",
        "106,826",
        "4,664,970",
        "43.7",
        "87.12",
        "2.13.0",
        "test split was read once",
    ):
        assert fact in text, fact
    assert "it gains 1.20 points" in text


def test_figures_are_pictures(tmp_path: Path, curves: Curves) -> None:
    page(tmp_path, result_of(three_arms()), curves)
    found = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert found == [
        f"{name}.{kind}" for name in ("accuracy", "arms", "last-epochs", "loss") for kind in ("png", "svg")
    ]
    for name in found:
        content = (tmp_path / "figures" / name).read_bytes()
        if name.endswith(".png"):
            Image.open(io.BytesIO(content)).verify()
            assert len(Image.open(io.BytesIO(content)).convert("RGB").getcolors(1 << 24)) > 20  # pyright: ignore
        else:
            assert ElementTree.fromstring(content).tag.endswith("svg")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures", "report.md"], "and nothing else is left"


def words_of(picture: bytes) -> str:
    """The text of an SVG; matplotlib draws letters as shapes and leaves the words in comments."""
    return " ".join(re.findall(r"<!-- (.*?) -->", picture.decode()))


def test_bars_show_every_arm_and_what_it_keeps() -> None:
    words = words_of(draw_bars(arms_of(result_of(three_arms())), "a title")["arms.svg"])
    for said in ("resnet", "baseline", "distilled", "a title", "86.22", "82.21", "83.41", "96.74"):
        assert said in words, said


def test_the_last_epochs_begin_in_the_shortest_arms_last_quarter() -> None:
    arms = arms_of(result_of([learner("short", 0, 0.8), learner("long", 0, 0.8)]))
    curves = {("short", 0): curve(0.8, epochs=20), ("long", 0): curve(0.8, epochs=30)}
    words = words_of(draw(arms, curves, "a title")["last-epochs.svg"])
    assert "16" in words
    assert "14" not in words
    assert "last-epochs.svg" not in draw(arms, {key: rows[:7] for key, rows in curves.items()}, "a title")


def test_who_teaches_whom() -> None:
    hostile = 'b"]; click t0 "http://x" <script>'
    told = {"name": "dkd", "weight": 1.0, "temperature": 4.0, "non_target_weight": 8.0, "standardise": False}
    labels = {"name": "cross_entropy", "weight": 0.1, "warmup_epochs": 0.0}
    recipe = {
        "teachers": {
            "at-64": {"model": {"name": "resnet20"}, "resolution": 64, "loss": [labels]},
            hostile: {"model": {"name": "resnet20"}, "loss": []},
        },
        "students": {
            "plain": {"model": {"name": "cnn"}, "loss": [labels], "teacher": []},
            "taught": {"model": {"name": "cnn"}, "loss": [told, labels], "teacher": [{"name": "at-64", "weight": 1.0}]},
        },
    }
    chart = wiring(recipe).splitlines()
    assert chart[:2] == ["```mermaid", "flowchart LR"]
    assert '    view --> t0["at-64<br>resnet20, sees 64 px<br>0.1 cross_entropy"]' in chart
    assert '    s1["taught<br>cnn<br>1 dkd, temperature 4.0, non_target_weight 8.0<br>0.1 cross_entropy"]' in chart
    assert "    t0 --> s1" in chart
    assert "    view --> s0" in chart
    (line,) = [line for line in chart if "t1[" in line]
    assert line.count('"') == 2, "a name cannot end its label"
    assert "<script" not in line
    assert "given, not trained" in line
    assert wiring({"students": {f"s{n}": recipe["students"]["plain"] for n in range(25)}}) == ""
    assert wiring({}) == ""


def test_how_much_of_a_better_teacher_arrives(tmp_path: Path) -> None:
    usual = learner("at-32", 0, 0.7665, role="teacher")
    better = learner("at-64", 0, 0.8439, role="teacher")
    v2 = learner("v2", 0, 0.7619, teacher="at-32")
    text = page(tmp_path, result_of([usual, better, v2, learner("v4", 0, 0.7793, teacher="at-64", baseline="v2")]))
    assert "Transfer %" in text
    assert re.search(r"\| v4 .*\| +22\.5 \|", text), "(77.93 - 76.19) / (84.39 - 76.65)"
    same = page(tmp_path, result_of([usual, v2, learner("v3", 0, 0.7, teacher="at-32", baseline="v2")]))
    assert "Transfer" not in same, "one teacher gains nothing over itself"


def test_one_seed_is_never_a_finding(tmp_path: Path, curves: Curves) -> None:
    text = page(tmp_path, result_of(three_arms(seeds=1)), curves)
    assert "n = 1 does not show" in text
    assert "it gains" not in text


def test_an_interval_with_zero_shows_nothing(tmp_path: Path) -> None:
    arms = three_arms()
    for arm in arms:
        if arm["arm"] == "distilled":
            arm["test"] = evaluation(BASELINE[arm["seed"]] + (0.01 if arm["seed"] else -0.01))
    text = page(tmp_path, result_of(arms))
    assert "includes zero" in text
    assert "do not show whether distillation helped" in text


def test_what_hurt_is_said(tmp_path: Path) -> None:
    arms = three_arms()
    for arm in arms:
        if arm["arm"] == "distilled":
            arm["test"] = evaluation(BASELINE[arm["seed"]] - 0.02)
    assert "distillation hurt" in page(tmp_path, result_of(arms))


def test_a_failure_is_shown(tmp_path: Path, curves: Curves) -> None:
    arms = three_arms()
    failed = arms[-1]
    failed["failure"] = {"epoch": 4, "step": 17, "term": "soft_targets", "value": "nan"}
    for part in ("validation", "test", "efficiency"):
        del failed[part]
    text = write_report(tmp_path, result_of(arms), curves).read_text(encoding="utf-8")
    for fact in ("epoch 4", "step 17", "soft_targets", "(n = 2)"):
        assert fact in text, fact


@pytest.mark.parametrize("classes", [2, 100])
def test_few_classes_and_many(tmp_path: Path, classes: int) -> None:
    assert "| class-" in page(tmp_path, result_of(three_arms(classes=classes), classes))


def test_one_arm_alone(tmp_path: Path) -> None:
    text = page(tmp_path, result_of([learner("only", 0, 0.8)]))
    assert "80.00 (n = 1)" in text
    assert "Nothing was" in text


def test_names_with_pipes_do_not_break_tables(tmp_path: Path) -> None:
    result = result_of([learner("only", 0, 0.8)])
    result["class_names"][3] = "a|b\nc"
    text = page(tmp_path, result)
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert any("a\\|b" in line for line in tables)
    for line, below in itertools.pairwise(tables):
        if set(below) <= set("|:- "):
            assert line.replace("\\|", "").count("|") == below.count("|")


def test_the_summary_fits_a_terminal() -> None:
    lines = summary_lines(result_of(three_arms()))
    assert all(len(line) <= 100 for line in lines)
    assert any("83.41" in line and "distilled" in line for line in lines)


def test_where_it_cannot_write_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(LimbeckError, match="taken"):
        write_report(tmp_path / "taken", result_of(three_arms()), {})
    assert (tmp_path / "taken").read_text() == "a file"


def test_trials_leave_the_test_split_unread(tmp_path: Path) -> None:
    result = result_of(three_arms())
    result["recipe"]["evaluation"] = {"test": False}
    for arm in result["arms"]:
        del arm["test"]
    text = page(tmp_path, result)
    assert "83.71 ± 0.11 (n = 3)" in text, "validation stands in its place"
    assert "Accuracy on the validation split" in text
    assert "the test split was left unread" in text
    assert "test accuracy" not in text
    assert summary_lines(result)[0].startswith("validation split")


def test_how_the_views_and_the_answers_came_is_said(tmp_path: Path) -> None:
    result = result_of(three_arms())
    told = "rounded to float16", "The views of 30 epochs were seen again and again"
    assert not any(words in page(tmp_path, result) for words in told)
    result["recipe"] |= {"outputs_bank": {"limit_gb": 10.0}, "views": {"distinct_epochs": 30}}
    assert all(words in page(tmp_path, result) for words in told)
