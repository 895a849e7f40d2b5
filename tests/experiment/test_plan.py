"""Who is taught with whom, and in which order."""

from __future__ import annotations

from typing import Any

from limbeck.experiment.plan import baseline_of, make_plan
from limbeck.recipes.load import load_recipe
from limbeck.storage.run_directory import LearnerId

TRAINED: dict[str, Any] = {
    "model": "lightweight_cnn",
    "epochs": 1,
    "optimizer": {"name": "sgd", "lr": 0.1},
    "loss": [{"name": "cross_entropy"}],
}


def plan_of(students: dict[str, Any], teachers: dict[str, Any] | None = None, **more: Any):
    tree = {"name": "x", "data": {"source": "digits"}, "teachers": teachers or {}, "students": students, **more}
    return make_plan(load_recipe(tree))


def taught(teacher: Any) -> dict[str, Any]:
    return {**TRAINED, "teacher": teacher, "loss": [{"name": "soft_targets"}]}


def test_arms_of_a_seed_share_a_cohort_and_teachers_come_first() -> None:
    plan = plan_of({"baseline": TRAINED, "kd": taught("t")}, {"t": TRAINED}, seeds=[0, 1])
    names = [[learner.name for learner in cohort.learners] for cohort in plan.cohorts]
    assert names == [["t-seed0"], ["t-seed1"], ["baseline-seed0", "kd-seed0"], ["baseline-seed1", "kd-seed1"]]
    assert [cohort.view_seed for cohort in plan.cohorts] == [0, 1, 0, 1]
    assert plan.cohorts[3].teachers == (LearnerId("t", 1),)


def test_one_teacher_for_all_seeds() -> None:
    plan = plan_of({"kd": taught("t")}, {"t": TRAINED}, seeds=[0, 1], teacher_seed=5)
    assert [cohort.key for cohort in plan.cohorts if "t-" in cohort.key] == ["t-seed5"]
    assert {cohort.teachers for cohort in plan.cohorts[1:]} == {(LearnerId("t", 5),)}


def test_fixed_views_put_all_seeds_into_one_cohort() -> None:
    plan = plan_of({"kd": taught("t")}, {"t": TRAINED}, seeds=[0, 1, 2], teacher_seed=0, views={"seed": 9})
    assert [len(cohort.learners) for cohort in plan.cohorts] == [1, 3]
    assert {cohort.view_seed for cohort in plan.cohorts} == {9}


def test_a_student_may_be_the_next_ones_teacher() -> None:
    plan = plan_of({"kd": taught("assistant"), "assistant": taught("t")}, {"t": TRAINED})
    assert [[x.arm for x in cohort.learners] for cohort in plan.cohorts] == [["t"], ["assistant"], ["kd"]]


def test_other_views_are_another_cohort() -> None:
    other = {**taught("t"), "views": {"batch_size": 32}}
    plan = plan_of({"a": taught("t"), "b": other, "c": taught("t")}, {"t": TRAINED}, views={"flip": True})
    assert [[x.arm for x in cohort.learners] for cohort in plan.cohorts] == [["t"], ["a", "c"], ["b"]]
    assert len({cohort.key for cohort in plan.cohorts}) == 3
    assert plan.cohorts[2].views.batch_size == 32
    assert plan.cohorts[2].views.flip, "what an arm leaves open is the run's"


def test_several_teachers_keep_their_weights() -> None:
    voices = [{"name": "a", "weight": 3}, {"name": "b"}]
    plan = plan_of({"kd": taught(voices)}, {"a": TRAINED, "b": TRAINED})
    assert plan.cohorts[-1].learners[0].teachers == ((LearnerId("a", 0), 3.0), (LearnerId("b", 0), 1.0))


def test_the_baseline_is_found() -> None:
    tree = {"name": "x", "data": {"source": "digits"}, "students": {"baseline": TRAINED, "a": TRAINED}}
    tree["students"] = {**tree["students"], "b": {**TRAINED, "baseline": "a"}}  # pyright: ignore
    recipe = load_recipe(tree)
    assert [baseline_of(recipe, name) for name in recipe.students] == [None, "baseline", "a"]
