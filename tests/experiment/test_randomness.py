"""Whose random numbers are whose: members of an ensemble differ, students that are compared start equal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from limbeck.api.distill import distill
from limbeck.building.data import Images, load_images
from limbeck.building.learners import make_learner
from limbeck.errors import LimbeckError, RecipeError
from limbeck.experiment.cohorts import checkpoint_settings
from limbeck.experiment.plan import LearnerPlan, make_plan
from limbeck.experiment.run import run
from limbeck.models.lightweight_cnn import build
from limbeck.recipes.load import load_recipe
from limbeck.recipes.recipe import Data, Recipe
from limbeck.sweeps.trials import RecipeSource, merge_trials
from limbeck.training.teacher import fingerprint

CNN = {"name": "lightweight_cnn", "dropout": 0.1}
TRAINED: dict[str, Any] = {
    "model": CNN,
    "epochs": 1,
    "optimizer": {"name": "sgd", "lr": 0.1},
    "loss": [{"name": "cross_entropy"}],
}
TAUGHT = TRAINED | {"teacher": ["a", "b"], "loss": [{"name": "soft_targets"}]}


@pytest.fixture(scope="module")
def images() -> Images:
    return load_images(Data(source="digits"))


def recipe_of(students: dict[str, Any], teachers: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"name": "x", "data": {"source": "digits"}, "teachers": teachers or {}, "students": students, **more}


def plans_of(recipe: Recipe) -> dict[str, LearnerPlan]:
    return {learner.name: learner for cohort in make_plan(recipe).cohorts for learner in cohort.learners}


def weights_of(tree: dict[str, Any], images: Images) -> dict[str, str]:
    """Learner to a fingerprint of the weights with which it begins."""
    recipe = load_recipe(tree)
    return {
        name: fingerprint(
            make_learner(
                plan.name,
                recipe.arms()[plan.arm],
                images,
                arm_name=plan.arm,
                seed=plan.randomness,
                teachers=plan.teacher_weights,
                device=torch.device("cpu"),
                precision="fp32",
                losses={},
                models={},
            ).model
        )
        for name, plan in plans_of(recipe).items()
    }


def test_teachers_and_students_of_one_seed_and_model_begin_apart(images: Images) -> None:
    found = weights_of(recipe_of({"kd": TAUGHT, "baseline": TRAINED}, {"a": TRAINED, "b": TRAINED}), images)
    assert found["a-seed0"] != found["b-seed0"]
    assert found["baseline-seed0"] not in (found["a-seed0"], found["b-seed0"])
    assert found["kd-seed0"] == found["baseline-seed0"], "those that are compared start equal"


def test_dropout_differs_where_weights_do(images: Images) -> None:
    plans = plans_of(load_recipe(recipe_of({"kd": TAUGHT, "baseline": TRAINED}, {"a": TRAINED, "b": TRAINED})))
    assert len({plan.randomness for plan in plans.values()}) == 3
    assert plans["kd-seed0"].randomness == plans["baseline-seed0"].randomness == 0, "as before"


def test_an_arms_own_seed_takes_the_runs_place_and_still_differs_between_seeds() -> None:
    own = TRAINED | {"seed": 7}
    tree = recipe_of({"plain": TRAINED, "one": own, "two": own}, {"a": own | {"seed": 8}, "b": TRAINED}, seeds=[0, 7])
    tree["students"]["kd"] = TAUGHT
    plans = plans_of(load_recipe(tree))
    for seed in (0, 7):
        assert plans[f"one-seed{seed}"].randomness == plans[f"two-seed{seed}"].randomness
        assert plans[f"one-seed{seed}"].randomness != plans[f"plain-seed{seed}"].randomness
    for arm in ("one", "a", "b", "plain"):
        assert plans[f"{arm}-seed0"].randomness != plans[f"{arm}-seed7"].randomness, arm
    assert {plan.seed for plan in plans.values()} == {0, 7}, "names and views stay the run's"


def test_a_checkpoint_knows_an_arms_seed_and_one_from_before_is_continued() -> None:
    plain, own = (load_recipe(recipe_of({"s": arm})).students["s"] for arm in (TRAINED, TRAINED | {"seed": 1}))
    assert "seed" not in checkpoint_settings(plain), "as it was before there was a `seed`"
    assert checkpoint_settings(own) == checkpoint_settings(plain) | {"seed": 1}


def test_a_sweeps_variant_of_a_teacher_begins_as_the_teacher_itself(images: Images) -> None:
    tree = recipe_of({"kd": TRAINED | {"teacher": "a", "loss": [{"name": "soft_targets"}]}}, {"a": TRAINED})
    tree["sweep"] = {"axes": {"teachers.a.optimizer.lr": [0.1, 0.2]}}
    source = RecipeSource(tree)
    sweep = source.read().sweep
    assert sweep is not None
    combined = merge_trials(source, sweep, [{"teachers.a.optimizer.lr": lr} for lr in (0.1, 0.2)]).recipe
    assert set(combined.teachers) == {"a.000", "a.001"}
    alone = plans_of(source.read(["sweep=null"]))["a-seed0"].randomness
    of_variants = {plan.randomness for plan in plans_of(combined).values() if plan.role == "teacher"}
    assert of_variants == {alone}, "what a setting gives does not depend on how many others are tried"


@pytest.mark.parametrize(
    ("students", "teachers"),
    [
        ({"s": TRAINED, "t": TRAINED, "kd": TAUGHT | {"teacher": ["s", "t"]}}, {}),
        ({"kd": TAUGHT}, {"a": TRAINED | {"seed": 3}, "b": TRAINED | {"seed": 3}}),
        ({"kd": TAUGHT}, {name: {"model": CNN, "weights": "the-same.safetensors"} for name in "ab"}),
    ],
    ids=["students of one seed", "teachers of one own seed", "a file twice"],
)
def test_a_recipe_that_names_a_model_twice_is_refused(students: dict[str, Any], teachers: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"students.kd.teacher.*are the same model.*seed:") as told:
        load_recipe(recipe_of(students, teachers))
    assert "\n" not in str(told.value)


def test_what_differs_is_an_ensemble() -> None:
    two = {"s": TRAINED, "t": TRAINED | {"seed": 1}, "kd": TAUGHT | {"teacher": ["s", "t"]}}
    assert load_recipe(recipe_of(two)).students["t"].seed == 1
    sizes = {
        name: {"model": CNN, "weights": "f.safetensors", "resolution": side} for name, side in (("a", 32), ("b", 64))
    }
    assert load_recipe(recipe_of({"kd": TAUGHT}, sizes)).teachers["b"].resolution == 64


def test_files_of_one_content_are_refused_when_they_are_read(tmp_path: Path) -> None:
    weights = save(build(10, dropout=0.1).state_dict())
    teachers = {}
    for name in "ab":
        (tmp_path / f"{name}.safetensors").write_bytes(weights)
        weights_file = str(tmp_path / f"{name}.safetensors")
        teachers[name] = {"model": CNN, "weights": weights_file, "allow_near_chance": True}
    with pytest.raises(LimbeckError, match=r"kd.*'a' and 'b' are the same model.*seed:") as told:
        run(recipe_of({"kd": TAUGHT}, teachers), folder=tmp_path, name="second")
    assert "\n" not in str(told.value)


def test_distill_refuses_a_teacher_given_twice() -> None:
    teacher, student = build(10), build(10)
    with pytest.raises(LimbeckError, match="'teacher-0' and 'teacher-1' are the same model"):
        distill(student, [teacher, teacher], data="digits", epochs=1)
