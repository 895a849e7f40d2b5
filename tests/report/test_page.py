"""The page tells what was measured, and no more than that."""

from __future__ import annotations

import io
import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sample_results import BASELINE, evaluation, learner, result_of, three_arms, two_teachers

from limbeck.errors import LimbeckError
from limbeck.report.arms import arms_of
from limbeck.report.figures.teacher_graph import teacher_graph
from limbeck.report.page import write_report
from limbeck.report.summary import summary_lines, sweep_summary_lines

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
        "test set was evaluated once",
    ):
        assert fact in text, fact
    assert "it gains 1.20 points" in text


def test_figures_are_pictures(tmp_path: Path, curves: Curves) -> None:
    page(tmp_path, result_of(three_arms()), curves)
    found = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert found == [f"{name}.png" for name in ("accuracy", "arms", "last-epochs", "loss")]
    for name in found:
        content = (tmp_path / "figures" / name).read_bytes()
        Image.open(io.BytesIO(content)).verify()
        assert len(Image.open(io.BytesIO(content)).convert("RGB").getcolors(1 << 24)) > 20  # pyright: ignore
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures", "index.html", "report.md", "tables"]


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
    chart = teacher_graph(recipe).splitlines()
    assert chart[:2] == ["```mermaid", "flowchart LR"]
    assert '    view --> t0["at-64<br>resnet20, 64 px input<br>0.1 cross_entropy"]' in chart
    assert '    s1["taught<br>cnn<br>1 dkd, temperature 4.0, non_target_weight 8.0<br>0.1 cross_entropy"]' in chart
    assert "    t0 --> s1" in chart
    assert "    view --> s0" in chart
    (line,) = [line for line in chart if "t1[" in line]
    assert line.count('"') == 2, "a name cannot end its label"
    assert "<script" not in line
    assert "pretrained, not trained here" in line
    assert teacher_graph({"students": {f"s{n}": recipe["students"]["plain"] for n in range(25)}}) == ""
    assert teacher_graph({}) == ""


def test_how_much_of_a_better_teacher_arrives(tmp_path: Path) -> None:
    usual = learner("at-32", 0, 0.7665, role="teacher")
    better = learner("at-64", 0, 0.8439, role="teacher")
    v2 = learner("v2", 0, 0.7619, teacher="at-32")
    text = page(tmp_path, result_of([usual, better, v2, learner("v4", 0, 0.7793, teacher="at-64", baseline="v2")]))
    assert "Transfer (%)" in text
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
    assert "Accuracy on the validation set" in text
    assert "the held-out test set was not evaluated" in text
    assert "test accuracy" not in text
    assert summary_lines(result)[0].startswith("validation set")


def test_how_the_views_and_the_answers_came_is_said(tmp_path: Path) -> None:
    result = result_of(three_arms())
    told = "rounded to float16", "The views of 30 epochs were reused throughout training"
    assert not any(words in page(tmp_path, result) for words in told)
    result["recipe"] |= {"outputs_bank": {"limit_gb": 10.0}, "views": {"distinct_epochs": 30}}
    assert all(words in page(tmp_path, result) for words in told)


def test_the_reference_of_an_ensemble_is_the_ensemble(tmp_path: Path) -> None:
    text = page(tmp_path, result_of(two_teachers()))
    assert "retains 90.0 % of its 2 teachers' test accuracy: 79.20 % (n = 1), compared with 88.00 % (n = 1)" in text
    assert "81.0 % of the test images" in text
    assert "9,329,940" in text, "together they cost what both cost"
    (row,) = [line for line in text.splitlines() if line.startswith("| kd") and "a, b" in line]
    assert "8.80" in row, "the gap to both together"
    assert "best of them" not in text
    assert any("a + b" in line and "88.00" in line and "81.00" in line for line in text.splitlines())


def test_unequal_weights_are_in_an_ensembles_name(tmp_path: Path) -> None:
    assert "0.75 a + 0.25 b" in page(tmp_path, result_of(two_teachers(weights=[0.75, 0.25])))


def test_results_of_earlier_versions_are_read(tmp_path: Path) -> None:
    arms = two_teachers()
    arms[2]["teacher"] = "a, b"
    del arms[2]["ensemble"]
    for arm in arms[:2]:
        arm["teacher"] = None
    text = page(tmp_path, result_of(arms))
    assert "**kd** (lightweight_cnn) reaches a test accuracy of 79.20" in text
    assert any(line.startswith("| kd") and "a, b" in line for line in text.splitlines())
    old = three_arms()
    for arm in old:
        arm["teacher"] = ", ".join(arm["teacher"]) or None
    assert "retains 96.7 % of its teacher's test accuracy" in page(tmp_path, result_of(old))
    odd = [learner("a, b", 0, 0.9, role="teacher"), learner("kd", 0, 0.8, teacher="a, b")]
    assert arms_of(result_of(odd))[1].teachers == ("a, b",), "a name is a name"


def test_taught_teachers_and_students_of_students_are_drawn_as_taught() -> None:
    def arm(*teachers: str) -> dict[str, Any]:
        return {"model": {"name": "cnn"}, "loss": [], "teacher": [{"name": name, "weight": 1.0} for name in teachers]}

    recipe = {"teachers": {"a": arm(), "b": arm("a")}, "students": {"c": arm("d", "b"), "d": arm("b"), "e": arm()}}
    edges = [line.strip() for line in teacher_graph(recipe).splitlines() if "-->" in line]
    found = {edge.split("[")[0] for edge in edges}
    assert found == {"view --> t0", "t0 --> t1", "s1 --> s0", "t1 --> s0", "t1 --> s1", "view --> s2"}


def test_arms_stand_as_the_recipe_has_them(tmp_path: Path) -> None:
    result = result_of(three_arms())
    result["recipe"] |= {"teachers": {"resnet": {}}, "students": {"distilled": {}, "baseline": {}}}
    assert [arm.name for arm in arms_of(result)] == ["resnet", "distilled", "baseline"]


def against(low: float, high: float) -> dict[str, Any]:
    numbers = {"n": 1000, "only_first": 30, "only_second": 20, "difference": 0.01, "low": low, "high": high}
    return {"validation": numbers | {"low": -0.5}, "test": numbers}


def test_two_seeds_have_no_interval_but_each_pair_has_one_over_images(tmp_path: Path) -> None:
    arms = three_arms(seeds=2)
    for arm in arms:
        if arm["arm"] == "distilled":
            arm["against_baseline"] = against(0.003, 0.021 + 0.01 * arm["seed"])
    text = page(tmp_path, result_of(arms))
    assert (
        "n = 2 does not show whether other random seeds would give the same result; that takes at least 3 seeds" in text
    )
    assert "+0.30 to +2.10 points with seed 0 and +0.30 to +3.10 points with seed 1" in text
    assert "it gains" not in text
    assert "| +1.25 (n = 2) |" in re.sub(" +", " ", text), "no bounds in the table either"
    assert "[" not in "".join(line for line in summary_lines(result_of(arms)))
    trials = result_of(arms)
    trials["recipe"]["evaluation"] = {"test": False}
    assert "over validation images is −50.00 to" in page(tmp_path, trials)


def test_two_models_at_chance_are_no_success(tmp_path: Path) -> None:
    arms = [learner("t", 0, 0.108, role="teacher"), learner("kd", 0, 0.09, teacher=["t"])]
    text = page(tmp_path, result_of(arms))
    assert "**kd** and **t** are not clearly better than chance (10.0 % for 10 classes)" in text
    assert "83" not in re.sub(r"\d\d:\d\d|0\.83", "", text.split("## Size and latency")[0])
    weak = [learner("t", 0, 0.16, role="teacher"), learner("kd", 0, 0.15, teacher=["t"])]
    assert "better than chance" not in page(tmp_path, result_of(weak)), "150 of 1,000 is more than chance gives"
    constant = [learner("t", 0, 0.8, role="teacher"), learner("kd", 0, 0.7, teacher=["t"])]
    constant[1]["test"] = evaluation(0.7, balanced_accuracy=0.1)
    assert "**kd** is not clearly better than chance" in page(tmp_path, result_of(constant))


@pytest.mark.parametrize(
    ("train", "validation", "test", "words"),
    [
        (0.99, 0.985, 0.80, "trained on the whole training split"),
        (0.99, 0.80, 0.98, "Do not rely"),
        (0.99, 0.80, 0.81, "no sign of leakage"),
        (0.81, 0.80, 0.79, "no sign of leakage"),
        (0.99, 0.90, 0.80, "no sign of leakage"),
        (None, 0.99, 0.80, "trained on the whole training split"),
        (None, 0.80, 0.81, "Its training images are unknown"),
    ],
)
def test_a_teacher_from_a_file_is_not_trusted(
    tmp_path: Path, train: float | None, validation: float, test: float, words: str
) -> None:
    mine = learner("mine", 0, test, role="teacher", ended="from a file", validation=evaluation(validation))
    if train is not None:
        mine["train_sample"] = evaluation(train)
    text = page(tmp_path, result_of([mine, learner("kd", 0, 0.7, teacher=["mine"])]))
    (paragraph,) = re.findall(r"\*\*mine\*\* was loaded from a file.*", text)
    assert "they may include images of the held-out test set" in paragraph
    assert words in paragraph
    signs = ("trained on the whole training split", "Do not rely", "no sign of leakage")
    assert sum(sign in paragraph for sign in signs) == (words in signs), paragraph


def test_the_most_confused_pairs(tmp_path: Path) -> None:
    arms = three_arms(seeds=2)
    for arm in arms[-2:]:
        matrix = evaluation(0.8)["confusion"]
        matrix[3][3], matrix[3][5], matrix[3][7] = 60, 30 + 2 * arm["seed"], 10 - 2 * arm["seed"]
        arm["test"]["confusion"] = matrix
    table = page(tmp_path, result_of(arms)).split("## Most frequent confusions")[1].split("##")[0]
    rows = [re.sub(" +", " ", line) for line in table.splitlines() if line.startswith("| class")]
    assert rows == ["| class-3 | class-5 | 31.0 | 31.0 |", "| class-3 | class-7 | 9.0 | 9.0 |"]
    assert "**distilled**" in table
    many = three_arms(seeds=1, classes=201)
    many[-1]["test"]["confusion"] = [[0, 0, 90], [0, 200, 10]]
    assert "class-200" in page(tmp_path, result_of(many, 201)).split("## Most frequent confusions")[1].split("##")[0]


@pytest.mark.parametrize("columns", [40, 60, 80, 100])
def test_tables_are_read_at_any_width(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    arms = [*three_arms(), learner("an-arm-with-a-name-that-is-long", 0, 0.8)]
    lines = summary_lines(result_of(arms))
    assert max(map(len, lines)) <= columns
    text = "\n".join(lines)
    for told in ("83.41 ± 0.11 (n = 3)", "96.7", "106,826", "0.50", "+1.20 [", "retention %", "distilled"):
        assert told in text, (columns, told)


def test_a_sweeps_summary_is_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    axes = ["students.*.loss.0.temperature", "students.*.optimizer.lr"]
    result = {"swept": ["distilled"], "best": {"distilled": 0}, "settings": [dict.fromkeys(axes, 0.5)], "axes": axes}
    lines = sweep_summary_lines(result | {"validation": {"distilled": [[0.8, 0.81]]}})
    assert max(map(len, lines)) <= 60
    assert " ".join(line.strip() for line in lines).endswith("top-1 80.50 ± 0.71 (n = 2) %")
