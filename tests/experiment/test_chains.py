"""Chains of teachers: planned in order, resumed bit for bit, each student equal to what it is alone."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

import yaml_recipe
from final_weights import weights
from limbeck.experiment.plan import make_plan
from limbeck.recipes.load import load_recipe
from limbeck.report.arms import arms_of
from limbeck.report.chains import chain_table
from limbeck.storage.atomic import read_json

TRAINED: dict[str, Any] = {
    "model": "lightweight_cnn",
    "epochs": 2,
    "optimizer": {"name": "sgd", "lr": 0.05},
    "loss": [{"name": "cross_entropy"}],
}


def taught(*teachers: str, **more: Any) -> dict[str, Any]:
    return TRAINED | {"teacher": list(teachers), "loss": [{"name": "soft_targets"}, {"name": "cross_entropy"}]} | more


RECIPE: dict[str, Any] = {
    "name": "chains",
    "threads": 1,
    "precision": "fp32",
    "save_every_seconds": 0.05,
    "evaluation": {"latency_batch": 0},
    "data": {"source": "digits", "train_images": 640},
    "views": {"batch_size": 64, "crop": {"padding": 1}},
    "teachers": {"large": TRAINED},
    "students": {
        "small": taught("assistant-2"),  # the order in the recipe does not matter
        "assistant-2": taught("assistant-1"),
        "assistant-1": taught("large"),
        "dense": taught("large", "assistant-1", "assistant-2"),
        "direct": taught("large"),
        "born-again": taught("direct", seed=1),
    },
}


def without(*arms: str) -> dict[str, Any]:
    return RECIPE | {"students": {name: arm for name, arm in RECIPE["students"].items() if name not in arms}}


def test_teachers_of_a_chain_are_planned_before_their_students() -> None:
    plan = make_plan(load_recipe(RECIPE))
    order = [{learner.arm for learner in cohort.learners} for cohort in plan.cohorts]
    assert order == [
        {"large"},
        {"assistant-1", "direct"},
        {"assistant-2"},
        {"small", "dense", "born-again"},
    ]


def test_a_long_chain_is_one_cohort_a_link() -> None:
    links = {f"s{number}": taught(f"s{number - 1}" if number else "large") for number in range(12)}
    plan = make_plan(load_recipe(RECIPE | {"students": links}))
    assert [[learner.arm for learner in cohort.learners] for cohort in plan.cohorts] == [
        ["large"],
        *([a] for a in links),
    ]


@pytest.fixture(scope="module")
def whole(limbeck, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    (folder / "chains.yaml").write_text(yaml_recipe.text(RECIPE))
    done = limbeck("run", "chains.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "runs" / "chains"


@pytest.mark.middle
def test_a_chain_killed_in_every_link_ends_bit_for_bit(whole: Path, start, tmp_path: Path) -> None:
    (tmp_path / "chains.yaml").write_text(yaml_recipe.text(RECIPE))
    chance = random.Random(1)
    cohorts = sorted(path.name for path in (whole / "cohorts").iterdir())
    assert len(cohorts) == 4
    for cohort in cohorts:
        process = start("run", "chains.yaml", cwd=tmp_path)
        deadline = time.monotonic() + 120
        while not list((tmp_path / "runs" / "chains" / "cohorts" / cohort).glob("checkpoints/step-*")):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.005)
        time.sleep(chance.uniform(0.0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    process = start("run", "chains.yaml", cwd=tmp_path)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert weights(tmp_path / "runs" / "chains") == weights(whole)


@pytest.mark.middle
def test_a_chain_ends_as_it_does_alone(whole: Path, limbeck, tmp_path: Path) -> None:
    (tmp_path / "alone.yaml").write_text(yaml_recipe.text(without("dense", "direct", "born-again")))
    done = limbeck("run", "alone.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    alone, together = weights(tmp_path / "runs" / "chains"), weights(whole)
    assert {name.split("-seed")[0] for name in alone} == {"large", "assistant-1", "assistant-2", "small"}
    assert alone == {name: together[name] for name in alone}


def test_the_report_follows_the_chains(whole: Path) -> None:
    page = (whole / "report.md").read_text(encoding="utf-8")
    section = page.split("## Chains of teachers")[1].split("##")[0]
    assert "| large → assistant-1 → assistant-2 → small " in section
    assert "| large → assistant-1 → assistant-2 → dense " in section
    assert "| large → direct → born-again " in section
    result = read_json(whole / "result.json")
    assert chain_table(arms_of(result)) in page
    (dense,) = [arm for arm in result["arms"] if arm["arm"] == "dense"]
    assert dense["ensemble"]["teachers"] == ["large-seed0", "assistant-1-seed0", "assistant-2-seed0"]


def test_a_failed_assistant_leaves_out_all_below_it(limbeck, tmp_path: Path) -> None:
    broken = without("dense", "direct", "born-again")
    broken["students"]["assistant-1"] = taught("large", optimizer={"name": "sgd", "lr": 1e30}, epochs=1)
    (tmp_path / "broken.yaml").write_text(yaml_recipe.text(broken))
    done = limbeck("run", "broken.yaml", cwd=tmp_path)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    arms = {arm["arm"]: arm for arm in read_json(tmp_path / "runs" / "chains" / "result.json")["arms"]}
    assert arms["assistant-2"]["failure"]["value"] == "assistant-1-seed0 failed"
    assert arms["small"]["failure"]["value"] == "assistant-2-seed0 failed"
