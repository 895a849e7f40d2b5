"""Costs, options and resolutions as drawn are those of the run; options that differ are found, none is made up."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from drawn import Curves, drawings, drawn, figure_of, found, has_line, record_of, words
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from matplotlib.patches import Rectangle
from sample_results import curve, efficiency, learner, result_of, three_arms
from test_figures import sweep_record, with_sweep
from test_run_data import JUNK, scalars

from limbeck.errors import LimbeckError
from limbeck.report.figures.catalogue import FIGURES, draw_figures
from limbeck.report.figures.costs import front
from limbeck.report.figures.drawing import Missing
from limbeck.report.figures.intervals import Point, accuracy_point
from limbeck.report.figures.option_effect import comparable, option_text
from limbeck.report.figures.several_runs import as_one_run
from limbeck.report.figures.style import STYLE
from limbeck.report.options import one_option_apart
from limbeck.report.run_data import RunRecord, read_run
from limbeck.storage.predictions import Predictions, SampleImages


def test_bars_of_size_begin_at_zero_and_end_at_the_size() -> None:
    figure = drawn("size", record_of(result_of(three_arms())))
    values = {"parameters": 1e6, "megabytes": 1, "multiply_adds": 1e6}
    for panel, (metric, divisor) in zip(figure.axes, values.items(), strict=True):
        bars = [bar for bar in panel.patches if isinstance(bar, Rectangle)]
        expected = [efficiency(n, 1.0)[metric] / divisor for n in (4_664_970, 106_826, 106_826)]
        assert [bar.get_x() for bar in bars] == [0, 0, 0] and panel.get_xlim()[0] == 0
        assert [bar.get_width() for bar in bars] == pytest.approx(expected)
    assert any("÷ 43.7" in text for text in words(figure)), "the compression of the table"


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=12))
def test_the_front_has_just_the_models_that_none_dominates(models: list[tuple[int, int]]) -> None:
    costs = {str(place): float(cost) for place, (cost, _) in enumerate(models)}
    points = {str(p): Point(float(value), 0, 0, (), "") for p, (_, value) in enumerate(models)}
    undominated = {
        pair for pair in models if not any(c <= pair[0] and v >= pair[1] and (c, v) != pair for c, v in models)
    }
    chosen = front(costs, points)
    assert [models[int(name)] for name in chosen] == sorted(undominated)


def test_the_trade_off_has_each_model_where_it_was_measured() -> None:
    record = record_of(result_of(three_arms()))
    figure = drawn("trade-off", record)
    panels = figure.axes
    for panel, (metric, divisor) in zip(
        panels, (("parameters", 1e6), ("multiply_adds", 1e6), ("image_ms_median", 1)), strict=True
    ):
        for arm in record.arms:
            p, cost = accuracy_point(arm), arm.average("efficiency", metric)
            assert p and cost and has_line(panel, [cost / divisor], [p.mean]), (arm.name, metric)
        assert panel.get_xscale() == "log"
    alt = drawings("trade-off", record)[0].alt
    assert "distilled, resnet" in alt and "baseline" not in alt, "less accurate at the same cost"


def test_latencies_of_the_same_model_are_one() -> None:
    rows = [learner(name, 0, top1) for name, top1 in (("a", 0.8), ("b", 0.9))]
    rows[0]["efficiency"] = efficiency(106_826, 0.4)
    rows[1]["efficiency"] = efficiency(106_826, 0.6)
    alt = drawings("trade-off", record_of(result_of(rows)))[0].alt
    assert "latency of one image: b." in alt, "noise of the clock makes no model cheaper"


def arm_recipe(beta: float | None = None, teacher: str = "resnet", **more: Any) -> dict[str, Any]:
    terms: list[dict[str, Any]] = [{"name": "cross_entropy", "weight": 1.0}]
    if beta is not None:
        terms.insert(0, {"name": "dkd", "weight": 1.0, "non_target_weight": beta, "temperature": 4.0})
    return {"model": {"name": "lightweight_cnn"}, "loss": terms, "epochs": 15} | (
        {"teacher": [{"name": teacher, "weight": 1.0}]} if beta is not None else {}
    ) | more  # fmt: skip


def betas() -> tuple[dict[str, Any], Curves]:
    top1 = {"two": 0.80, "four": 0.82, "eight": 0.75}
    rows = [learner("resnet", 0, 0.9, role="teacher")]
    rows += [learner(name, seed, v + 0.01 * seed, teacher=["resnet"]) for name, v in top1.items() for seed in range(3)]
    result = result_of(rows)
    result["recipe"]["teachers"] = {"resnet": arm_recipe()}
    students = {"eight": arm_recipe(8.0), "two": arm_recipe(2.0), "four": arm_recipe(4.0)}
    result["recipe"]["students"] = students
    return result, {(n, s): curve(v + 0.01 * s) for n, v in top1.items() for s in range(3)}


def test_the_effect_of_an_option_is_found_and_drawn_over_its_values() -> None:
    record = record_of(*betas())
    (drawing,) = drawings("effect", record)
    assert drawing.name == "effect-loss-dkd-non-target-weight"
    assert "2: 81.00 %, 4: 83.00 %, 8: 76.00 %" in drawing.alt
    figure = figure_of(drawing)
    panel, losses, accuracies = figure.axes
    assert has_line(panel, [0, 1, 2], [81.0, 83.0, 76.0])
    assert [label.get_text() for label in panel.get_xticklabels()] == ["2", "4", "8"]
    rows = [record.curves["eight", seed] for seed in range(3)]
    mean = [sum(of[e]["validation_loss"] for of in rows) / 3 for e in range(15)]
    assert has_line(losses, list(range(1, 16)), mean) and len(accuracies.get_lines()) >= 3


def test_arms_that_differ_in_two_options_are_no_effect() -> None:
    result, curves = betas()
    for place, student in enumerate(result["recipe"]["students"].values()):
        student["epochs"] = 10 + place
    assert isinstance(found("effect", record_of(result, curves)), Missing)


def test_series_that_differ_elsewhere_are_lines_of_their_own() -> None:
    result, curves = betas()
    names = {"two": "two-long", "eight": "eight-long"}
    for name, long in names.items():
        result["recipe"]["students"][long] = result["recipe"]["students"][name] | {"epochs": 30}
        result["arms"] += [learner(long, s, 0.84, teacher=["resnet"]) for s in range(3)]
    effects = {one.name: one for one in drawings("effect", record_of(result, curves))}
    assert set(effects) == {"effect-loss-dkd-non-target-weight", "effect-epochs"}
    of_beta = effects["effect-loss-dkd-non-target-weight"]
    assert "epochs 15" in of_beta.alt and "epochs 30" in of_beta.alt


def test_a_section_is_one_option_on_or_off_and_a_single_teachers_weight_is_none() -> None:
    options = {
        "with": {"views.mixing.mixup": 0.8, "views.mixing.cutmix": 1.0, "teacher": ["a"], "teacher.a.weight": 1.0},
        "without": {"teacher": ["a"], "teacher.a.weight": 1.0},
        "other": {"teacher": ["b"], "teacher.b.weight": 1.0},
    }
    assert one_option_apart(options) == []
    effects = {one.name: one for one in one_option_apart(comparable(options))}
    assert set(effects) == {"views.mixing", "teacher"}
    assert {option_text(value) for value in effects["views.mixing"].values} == {"off", "on"}
    assert set(effects["teacher"].arms) == {"without", "other"}
    two = {"a": {"views.mixing.mixup": 0.8}, "b": {"views.mixing.mixup": 0.2}, "c": {}}
    assert comparable(two) == two, "sections that differ stay as they are"


def test_off_stands_before_on() -> None:
    result, curves = betas()
    del result["recipe"]["students"]["four"], result["recipe"]["students"]["eight"]
    mixed = {"views": {"batch_size": 128, "mixing": {"mixup": 0.8, "cutmix": 1.0}}}
    result["recipe"]["students"] = {
        "four": arm_recipe(2.0) | mixed,
        "two": arm_recipe(2.0) | {"views": {"batch_size": 128}},
    }
    (drawing,) = drawings("effect", record_of(result, curves))
    assert "by views.mixing. off: 81.00 %, on: 83.00 %" in drawing.alt


def test_the_axes_of_a_sweep_are_effects() -> None:
    effects = {one.name: one for one in drawings("effect", with_sweep(sweep_record()))}
    assert set(effects) == {"effect-temperature", "effect-lr"}
    panel = figure_of(effects["effect-lr"]).axes[0]
    assert has_line(panel, [-0.08, 0.92], [61.0, 50.0]) or has_line(panel, [0.92, -0.08], [50.0, 61.0])


def resolutions() -> tuple[dict[str, Any], Curves]:
    rows = [learner("at-32", 0, 0.76, role="teacher"), learner("at-64", 0, 0.84, role="teacher")]
    rows += [learner("kd", 0, 0.76, teacher=["at-32"]), learner("cross", 0, 0.78, teacher=["at-64"], baseline="kd")]
    result = result_of(rows)
    result["recipe"]["teachers"] = {"at-32": arm_recipe(), "at-64": arm_recipe(resolution=64)}
    result["recipe"]["students"] = {"kd": arm_recipe(4.0, "at-32"), "cross": arm_recipe(4.0, "at-64")}
    return result, {(row["arm"], 0): curve(row["test"]["top1"]) for row in rows}


def test_teachers_stand_at_their_resolution_and_students_at_that_of_their_teacher() -> None:
    record = record_of(*resolutions())
    figure = drawn("resolution", record)
    teachers, students = figure.axes
    for panel, values in ((teachers, (76.0, 84.0)), (students, (76.0, 78.0))):
        assert [label.get_text() for label in panel.get_xticklabels()] == ["32", "64"]
        for place, value in enumerate(values):
            assert has_line(panel, [place], [value])
    assert "+2.00 points" in words(figure)
    assert "25.0 % of the teachers' difference" in drawings("resolution", record)[0].alt, "2 of 8 points"


def test_students_of_teachers_of_two_resolutions_are_compared_by_epoch() -> None:
    record = record_of(*resolutions())
    for panel, key in zip(drawn("cross-resolution", record).axes, ("train_loss", "validation_loss"), strict=False):
        for arm in ("kd", "cross"):
            assert has_line(panel, list(range(1, 16)), [row[key] for row in record.curves[arm, 0]])


def test_the_diagram_has_the_numbers_of_the_recipe() -> None:
    (drawing,) = drawings("mechanism", record_of(*resolutions()))
    said = " ".join(words(figure_of(drawing)))
    for fact in ("64 px", "32 px", "teacher at-64", "student cross", "1 dkd (temperature 4)", "1 cross_entropy"):
        assert fact in said, fact
    assert drawing.name == "mechanism-cross" and "resized to 64 px" in drawing.alt


@pytest.mark.parametrize("name", ["resolution", "cross-resolution", "mechanism"])
def test_one_resolution_has_no_such_figure(name: str, curves: Curves) -> None:
    result, _ = betas()
    assert isinstance(found(name, record_of(result, curves)), Missing)


@pytest.mark.middle
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_changed_value_is_fatal_to_a_figure(tmp_path: Path, data: st.DataObject) -> None:
    result = copy.deepcopy(resolutions()[0])
    places = list(scalars(result))
    for place in data.draw(st.lists(st.sampled_from(places), min_size=1, max_size=4)):
        node: Any = result
        try:
            for key in place[:-1]:
                node = node[key]
            node[place[-1]] = data.draw(JUNK)
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change has removed the place
    (tmp_path / "result.json").write_text(json.dumps(result))
    (tmp_path / "recipe.json").write_text(json.dumps(result.get("recipe")))
    try:
        record = read_run(tmp_path)
    except LimbeckError:
        return
    record = dataclasses.replace(record, curves=resolutions()[1])
    for one in (record, as_one_run([record, record])):
        for kind in FIGURES:
            drawn_ = kind.draw(one)
            for drawing in () if isinstance(drawn_, Missing) else drawn_:
                with mpl.rc_context(STYLE):
                    drawing.make()


def large_run() -> RunRecord:
    rows = [learner("teacher", seed, 0.9, 100, role="teacher") for seed in range(3)]
    students = [f"arm-{t}-{w}" for t, w in itertools.product(range(7), range(7))]
    rows += [
        learner(name, seed, 0.7 + 0.001 * place + 0.002 * seed, 100, teacher=["teacher"], baseline="arm-0-0")
        for place, name in enumerate(students)
        for seed in range(3)
    ]
    result = result_of(rows, 100)
    result["recipe"]["teachers"] = {"teacher": arm_recipe()}
    result["recipe"]["students"] = {
        name: arm_recipe(float(name.split("-")[1]), "teacher", epochs=int(name.split("-")[2])) for name in students
    }
    confusion = [[90 * (i == j) + (i == (j + 1) % 100) * 10 for j in range(100)] for i in range(100)]
    draw, predictions = np.random.default_rng(0), {}
    for row in rows:
        row["test"]["confusion"] = confusion
        classes = draw.integers(0, 100, (10_000, 3)).astype(np.uint16)
        labels, certain = (np.arange(10_000) % 100).astype(np.uint16), draw.random((10_000, 3)).astype(np.float16)
        predictions[row["arm"], row["seed"]] = {"test": Predictions(labels, classes, certain)}
    curves = {(row["arm"], row["seed"]): curve(row["test"]["top1"], epochs=200) for row in rows}
    for of_learner in curves.values():
        for epoch in of_learner:
            epoch["train_cross_entropy"] = 0.8 * epoch["validation_loss"]
    images = SampleImages(
        "test", np.arange(48, dtype=np.uint32), draw.integers(0, 256, (48, 96, 96, 3)).astype(np.uint8)
    )
    return dataclasses.replace(record_of(result, curves), predictions=predictions, sample_images=images)


@pytest.mark.middle
def test_fifty_arms_are_drawn_and_can_be_told_apart() -> None:
    record = large_run()
    both = draw_figures(record, formats=("png",))
    assert {"arms", "accuracy", "loss", "last-epochs", "trade-off", "size", "effect-epochs"} <= set(both.alts)
    figure = drawn("accuracy", record)
    named = [text for text in words(figure) if text.startswith("arm-")]
    assert 0 < len(named) <= 14 and any("36 more arms" in text for text in words(figure)), "the others are grey"

    best = {"arm-6-6", "arm-6-5", "arm-5-6", "teacher"}
    assert best <= {panel.get_title(loc="left") for panel in drawn("generalisation", record).axes}, "not the first ones"
    (panel,) = drawn("effect", record).axes
    lines = [line for line in panel.get_lines() if not str(line.get_label()).startswith("_")]
    assert len(lines) == 7 and len({line.get_color() for line in lines}) == 7, "one colour for each line"
