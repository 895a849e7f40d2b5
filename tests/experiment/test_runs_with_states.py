"""Students whose losses train modules of their own, from the recipe to the result."""

from __future__ import annotations

import copy
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from run_with_states import RECIPE
from torch import Tensor, nn

import limbeck
from feature_losses import LOSSES, mapped_logits
from final_weights import weights
from limbeck.building.models import build_model
from limbeck.errors import LimbeckError
from limbeck.evaluation.efficiency import count_parameters
from limbeck.experiment.estimate import describe_plan
from limbeck.recipes.load import NO_FUNCTIONS, load_recipe
from limbeck.recipes.recipe import NameWithOptions
from limbeck.storage import checkpoint
from limbeck.storage.atomic import read_json
from limbeck.training.snapshot import unpack

HERE = Path(__file__).parent
TESTS = HERE.parent
ARMS = ("hinted", "overhauled", "fitted")
STUDENT = NameWithOptions.model_validate(RECIPE["students"]["defaults"]["model"])


def start(folder: Path) -> subprocess.Popen[str]:
    words = [sys.executable, str(HERE / "run_with_states.py"), str(folder)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    process = start(folder)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return folder / "states"


def states(run: Path) -> dict[str, Tensor]:
    """The states in the last checkpoints of a run."""
    found: dict[str, Tensor] = {}
    for folder in sorted(run.glob("cohorts/*/checkpoints")):
        last = checkpoint.newest(folder)
        assert last is not None
        for file in last.files:
            if file.endswith(".json"):
                learner = file.removesuffix(".json")
                objective = unpack(learner, last.path)["objective"]
                found |= {f"{learner} {name}": value for name, value in objective.items()}
    return found


@pytest.mark.middle
def test_a_killed_run_ends_with_the_same_students_and_states(undisturbed: Path, tmp_path: Path) -> None:
    chance = random.Random(3)
    for kills in range(3):
        process = start(tmp_path)
        deadline = time.monotonic() + 120
        known = set(tmp_path.glob("states/cohorts/students*/checkpoints/step-*"))
        while not set(tmp_path.glob("states/cohorts/students*/checkpoints/step-*")) - known:
            assert time.monotonic() < deadline and process.poll() is None, kills
            time.sleep(0.01)
        time.sleep(chance.uniform(0.0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    process = start(tmp_path)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert weights(tmp_path / "states") == weights(undisturbed)
    ended, expected = states(tmp_path / "states"), states(undisturbed)
    assert ended.keys() == expected.keys()
    assert all(value.equal(expected[name]) for name, value in ended.items())


def test_states_are_trained_and_two_seeds_differ(undisturbed: Path) -> None:
    found = states(undisturbed)
    assert {name.split()[0] for name in found} == {f"{a}-seed{s}" for a in ARMS for s in (0, 1)}
    one, other = (found[f"hinted-seed{seed} states.hint.weight"] for seed in (0, 1))
    assert one.shape == (32, 8, 1, 1) and not one.equal(other)
    assert found["overhauled-seed0 states.overhaul.0.1.num_batches_tracked"] > 10


def test_the_saved_student_is_the_model_alone(undisturbed: Path) -> None:
    model = build_model(STUDENT, 10, NO_FUNCTIONS)
    for name in ("baseline-seed0", "hinted-seed0", "overhauled-seed1", "fitted-seed0"):
        saved = limbeck.load(undisturbed / "models" / name).model.state_dict()
        assert set(saved) == set(model.state_dict())
    students = [arm for arm in read_json(undisturbed / "result.json")["arms"] if arm["role"] == "student"]
    assert len(students) == 8
    assert {arm["efficiency"]["parameters"] for arm in students} == {count_parameters(model)}


def test_arms_without_states_are_as_they_are_alone(undisturbed: Path, tmp_path: Path) -> None:
    alone = copy.deepcopy(RECIPE)
    for arm in ARMS:
        del alone["students"][arm]
    limbeck.run(alone, folder=tmp_path)
    whole = weights(undisturbed)
    found = weights(tmp_path / "states")
    assert any(name.startswith("baseline-seed1/") for name in found)
    assert found == {name: value for name, value in whole.items() if name in found}


def test_an_arm_with_states_is_as_it_is_alone_with_its_states(undisturbed: Path, tmp_path: Path) -> None:
    alone = copy.deepcopy(RECIPE)
    for arm in ("baseline", "hinted", "overhauled"):
        del alone["students"][arm]
    limbeck.run(alone, folder=tmp_path)
    whole, found = weights(undisturbed), weights(tmp_path / "states")
    assert any(name.startswith("fitted-seed1/") for name in found)
    assert found == {name: value for name, value in whole.items() if name in found}
    expected, ended = states(undisturbed), states(tmp_path / "states")
    adapters = {name.split(".")[1] for name in ended}
    assert adapters == {
        "fitnet", "pooled_features", "correlation_congruence", "variational", "masked", "review", "softmax_regression",
    }  # fmt: skip
    assert all(value.equal(expected[name]) for name, value in ended.items())


def recipe(**changed: Any) -> dict[str, Any]:
    """One student that learns a map of its logits, from a teacher of one epoch."""
    tree = copy.deepcopy(RECIPE) | {"seeds": [0], "data": {"source": "digits", "train_images": 64}}
    mapped = {"epochs": 1, "teacher": "wide", "loss": [{"name": "mapped_logits"}], **changed}
    return tree | {"students": {"mapped": tree["students"]["defaults"] | mapped}}


def test_a_state_of_logits_works_with_an_outputs_bank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "cache"))
    done = limbeck.run(recipe() | {"outputs_bank": {"limit_gb": 1.0}}, folder=tmp_path, losses=LOSSES)
    assert done.result["arms"]
    assert {name.split()[1] for name in states(tmp_path / "states")} == {
        "states.mapped_logits.weight",
        "states.mapped_logits.bias",
    }


def test_a_state_that_cannot_be_built_is_said_before_anything_is_trained(tmp_path: Path) -> None:
    def loss(student: Any, teacher: Any, targets: Any, *, state: nn.Module) -> Tensor:
        return mapped_logits(student, teacher, targets, state=state)

    loss.NEEDS_FEATURES = True  # type: ignore[attr-defined]
    loss.state = lambda student, teacher: nn.Linear(student.features[9][1], 1)  # type: ignore[attr-defined]
    with pytest.raises(LimbeckError, match=r"^mapped: loss 'mine': its state raised IndexError.*features \[2, 8") as e:
        limbeck.run(recipe(loss=[{"name": "mine"}]), folder=tmp_path, losses={"mine": loss})
    assert "\n" not in str(e.value)
    assert not list(tmp_path.glob("*/models/*"))


def test_a_plan_counts_states() -> None:
    written = load_recipe(copy.deepcopy(RECIPE), losses=LOSSES)
    lines = describe_plan(written, losses=LOSSES, timed=False)
    assert "hinted also trains parameters of its losses, not part of the model: hint 288" in lines  # 8 · 32 + 32
    connectors = 8 * 16 + 8 * 32 + 16 * 64 + 2 * (16 + 32 + 64)
    assert f"overhauled also trains parameters of its losses, not part of the model: overhaul {connectors:,}" in lines


def test_an_edited_state_is_another_loss(tmp_path: Path) -> None:
    def losses(bias: bool) -> dict[str, Any]:
        def mine(student: Any, teacher: Any, targets: Any, *, state: nn.Module) -> Tensor:
            return (state(student.logits) - teacher.logits).square().mean(1)

        mine.state = lambda s, t: nn.Linear(s.logits[1], t.logits[1], bias=bias)  # type: ignore[attr-defined]
        return {"mine": mine}

    tree = recipe(loss=[{"name": "mine"}])
    limbeck.run(copy.deepcopy(tree), folder=tmp_path, losses=losses(True))
    assert limbeck.run(copy.deepcopy(tree), folder=tmp_path, losses=losses(True)).was_finished
    with pytest.raises(LimbeckError, match="the loss 'mine' has changed"):
        limbeck.run(copy.deepcopy(tree), folder=tmp_path, losses=losses(False))
