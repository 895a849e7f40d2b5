"""A run with a budget: planned, judged, judged anew without training, and kept out of a sweep's axes."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

import limbeck
from limbeck.errors import LimbeckError
from limbeck.evaluation.efficiency import megabytes, multiply_adds
from limbeck.experiment.estimate import describe_plan
from limbeck.recipes.load import load_recipe
from limbeck.report.summary import summary_lines
from limbeck.sweeps.search import search_recipe

ARM: dict[str, Any] = {
    "model": "lightweight_cnn",
    "epochs": 1,
    "optimizer": {"name": "adam", "lr": 3e-3},
    "loss": [{"name": "cross_entropy"}],
}
TINY = {**ARM, "model": {"name": "resnet", "depth": 8, "stem": 4, "widths": [4, 8, 16]}}
BUDGET = {"megabytes": 0.3, "milliseconds": 10_000.0, "multiply_adds": 1e5}


def recipe(**more: Any) -> dict[str, Any]:
    tree = {
        "name": "small",
        "threads": 1,
        "precision": "fp32",
        "evaluation": {"latency_batch": 1},
        "data": {"source": "digits", "train_images": 100},
        "views": {"batch_size": 50},
        "teachers": {"t": ARM},
        "students": {"baseline": ARM, "tiny": {**TINY, "teacher": "t", "loss": [{"name": "soft_targets"}]}},
        "budget": BUDGET,
        **more,
    }
    return copy.deepcopy(tree)


def verdicts(result: dict[str, Any]) -> dict[str, dict[str, bool | None]]:
    return {
        arm["arm"]: {limit: about["met"] for limit, about in arm["budget"]["limits"].items()}
        for arm in result["arms"]
        if "budget" in arm
    }


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> limbeck.Run:
    return limbeck.run(recipe(), folder=tmp_path_factory.mktemp("runs"))


def test_a_run_judges_its_students(done: limbeck.Run) -> None:
    assert verdicts(done.result) == {
        "baseline": {"megabytes": False, "milliseconds": True, "multiply_adds": False},
        "tiny": {"megabytes": True, "milliseconds": True, "multiply_adds": True},
    }
    for arm in done.result["arms"]:
        if arm["role"] == "student":
            limits = arm["budget"]["limits"]
            model = limbeck.load(done.folder / "models" / f"{arm['arm']}-seed0").model
            assert limits["megabytes"]["measured"] == megabytes(model)
            assert limits["multiply_adds"]["measured"] == multiply_adds(model, (3, 8, 8))
            assert limits["milliseconds"]["measured"] == arm["efficiency"]["image_ms_median"]
            assert limits["milliseconds"]["disturbed"] == arm["efficiency"]["disturbed"]
    assert "## Budget" in done.report.read_text(encoding="utf-8")
    assert any(line.startswith("budget: tiny: 0.0206 MB, met") for line in summary_lines(done.result))


@pytest.mark.parametrize("budget", [{"megabytes": 1}, None])
def test_another_budget_judges_the_same_models(budget: dict[str, float] | None, done: limbeck.Run) -> None:
    weights = {path: path.read_bytes() for path in done.folder.glob("models/*/model.safetensors")}
    with pytest.raises(LimbeckError, match=r"budget(.|\n)*use --extend"):
        limbeck.run(recipe(budget=budget), folder=done.folder.parent)
    again = limbeck.run(recipe(budget=budget), folder=done.folder.parent, extend=True)
    expected = {"baseline": {"megabytes": True}, "tiny": {"megabytes": True}} if budget else {}
    assert verdicts(again.result) == expected
    assert ("## Budget" in again.report.read_text(encoding="utf-8")) == bool(budget)
    assert {path: path.read_bytes() for path in weights} == weights, "nothing was trained again"


def test_without_latencies_sizes_are_judged(tmp_path: Path) -> None:
    quiet = recipe(evaluation={"latency_batch": 0}, budget={"megabytes": 0.3, "multiply_adds": 1e5}, teachers={})
    quiet["students"] = {"baseline": ARM, "tiny": TINY}
    done = limbeck.run(quiet, folder=tmp_path)
    assert verdicts(done.result) == {
        "baseline": {"megabytes": False, "multiply_adds": False},
        "tiny": {"megabytes": True, "multiply_adds": True},
    }
    assert all("efficiency" not in arm for arm in done.result["arms"])


def test_a_plan_says_who_meets_it_before_anything_trains() -> None:
    lines = describe_plan(load_recipe(recipe()), timed=False)
    start = lines.index(
        "budget: at most 0.3 MB, 10,000 ms and 0.1 M multiply-adds for one image; "
        "milliseconds are measured after training"
    )
    baseline, tiny = lines[start + 1 : start + 3]
    assert baseline.startswith("  baseline: 0.4094 MB, over by 0.1094 MB (36\u00a0%); 0.2577 M multiply-adds, over by")
    assert tiny == "  tiny: 0.0206 MB, met; 0.05418 M multiply-adds, met"
    timed_only = describe_plan(load_recipe(recipe(budget={"milliseconds": 1})), timed=False)
    assert "  tiny: 0.0206 MB; 0.05418 M multiply-adds" in timed_only, "costs are said without a limit too"
    assert not any("budget" in line for line in describe_plan(load_recipe(recipe(budget=None)), timed=False))


def test_a_sweep_judges_its_chosen_students_alone() -> None:
    swept = load_recipe(recipe(sweep={"axes": {"students.tiny.optimizer.lr": [1e-3, 3e-3]}}))
    assert swept.sweep is not None
    assert search_recipe(swept, swept.sweep).budget is None


@pytest.mark.parametrize("budget", [BUDGET, None])
def test_a_budget_is_no_axis(budget: dict[str, float] | None, tmp_path: Path) -> None:
    axes = {"budget.megabytes": [0.1, 0.2]}
    with pytest.raises(LimbeckError, match="takes keys under students, teachers and views; budget is the same for all"):
        limbeck.sweep(recipe(budget=budget, sweep={"axes": axes}), folder=tmp_path)
