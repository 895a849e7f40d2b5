"""The results of a run: measure every learner, read the test split once, and compose `result.json`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from limbeck.building.checks.pretrained import sample_of
from limbeck.building.models import make_input_format
from limbeck.building.saved_model import describe, save_model
from limbeck.building.teachers import load_teacher_from_file
from limbeck.evaluation import metrics
from limbeck.evaluation.correctness import packed, paired_difference_of
from limbeck.evaluation.efficiency import measure
from limbeck.evaluation.evaluate import evaluate_logits, logits_of
from limbeck.recipes.recipe import Recipe
from limbeck.storage.run_directory import LearnerId
from limbeck.training.learner import Learner
from limbeck.training.model_errors import explain_model_errors, explain_out_of_memory
from limbeck.training.predictor import predictor

from .context import RunContext
from .environment import environment
from .plan import CohortPlan, LearnerPlan, Plan, WeightedTeachers, baseline_of
from .reference_outputs import ReferenceOutputs
from .signals import GracefulShutdown
from .timing import Span, summed, times
from .train_cohort import Cohort, Watcher

MEASURED_PRECISION = "float32"
"""All results are measured in float32, as a saved model computes, whatever the precision of training."""


def run_result(context: RunContext, plan: Plan, cohorts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The content of `result.json`: the recipe, the environment and the measurements of every arm.

    cohorts: the result of each trained cohort, by its key.
    """
    in_order = [cohorts[cohort.key] for cohort in plan.cohorts]
    # The baseline of an arm may have been added after the arm was measured.
    arms = [
        arm | {"baseline": baseline_of(context.recipe, arm["arm"])} for cohort in in_order for arm in cohort["arms"]
    ]
    pretrained = [measure_pretrained(context, name) for name in plan.pretrained]
    return {
        "recipe": context.recipe.to_dict(),
        "environment": environment(context.device, context.processes.world_size),
        **times(in_order, processes=context.processes.world_size),
        "class_names": list(context.images.class_names),
        "images": {split: len(getattr(context.images, split)) for split in ("train", "validation", "test")},
        "data_notes": list(context.images.notes),
        "arms": with_baselines(in_recipe_order(context.recipe, [*pretrained, *arms])),
    }


def measure_learners(
    context: RunContext,
    plans: Sequence[LearnerPlan],
    cohort: Cohort,
    spans: Sequence[Span],
    watcher: Watcher,
    stop: GracefulShutdown,
) -> dict[str, Any]:
    """Measure the learners of a trained cohort; returns the content of `done.json`. spans: when it was trained."""
    clock, began = time.time(), time.monotonic()
    cohort.release_teachers()  # they are loaded again, in float32
    ids = {str(teacher): teacher for plan in plans for teacher, _ in plan.teachers}
    teachers = {name: context.load_teacher(ids[name], "fp32") for name in cohort.teachers}
    references = ReferenceOutputs(context, teachers, [plan.teachers for plan in plans])
    of_cohort = {"cohort_seconds": round(summed(spans), 3), "cohort_learners": len(plans)}
    arms = []
    for plan, learner in zip(plans, cohort.learners, strict=True):
        stop.check()
        if context.processes.is_first:
            arms.append(measure_learner(context, plan, learner, references, watcher) | of_cohort)
    return {"arms": arms, "spans": [*spans, [clock, clock + time.monotonic() - began]]}


def measure_learner(
    context: RunContext, plan: LearnerPlan, learner: Learner, references: ReferenceOutputs, watcher: Watcher
) -> dict[str, Any]:
    """Choose a learner's weights, save them, and measure the chosen model. Only this reads the test split, and once.

    A student without a teacher is compared with the teachers of its cohort if all other students have the same ones.
    """
    arm = context.arm(plan.id)
    row = _about(context, plan, learner)
    if learner.failure:
        watcher.say(
            f"{learner.name} ended at epoch {learner.failure.epoch}, step {learner.failure.step}: "
            f"{learner.failure.term} was {learner.failure.value}"
        )
        return row
    watcher.say(f"measuring {learner.name}")
    model, row["chosen_epoch"] = learner.chosen()
    save_model(context.directory.model(plan.id), model, describe(arm, context.recipe.data, context.images))
    if len(plan.teachers) > 1:
        row["ensemble"] = references.about_ensemble(plan.teachers)
    common = references.common if plan.role == "student" else ()
    return row | _measured(context, plan.arm, model, references, plan.teachers or common)


def _measured(
    context: RunContext, arm_name: str, model: nn.Module, references: ReferenceOutputs, teachers: WeightedTeachers
) -> dict[str, Any]:
    recipe, images = context.recipe, context.images
    arm = recipe.arms()[arm_name]
    input_format = make_input_format(arm, images)
    predict = predictor(model, input_format, device=context.device, name=arm_name)
    measured: dict[str, Any] = {"measured_precision": MEASURED_PRECISION, "correct": {}}
    for name, split in references.splits.items():
        logits = logits_of(predict, split, recipe.evaluation.batch_size)
        reference = references.logits(teachers, name)
        classes = len(images.class_names)
        measured[name] = evaluate_logits(logits, split, num_classes=classes, reference=reference).to_dict()
        measured["correct"][name] = packed(metrics.correct(logits, split.labels.cpu().long()))
    if recipe.evaluation.latency_batch:
        channels, height, width = images.shape
        shape = (channels, input_format.resolution or height, input_format.resolution or width)
        batch = recipe.evaluation.latency_batch
        with explain_out_of_memory(arm_name, batch), explain_model_errors(arm_name, (batch, *shape), "timing"):
            measured["efficiency"] = measure(model, shape, batch_size=batch).to_dict()
    return measured


def _about(context: RunContext, plan: LearnerPlan, learner: Learner | None) -> dict[str, Any]:
    arm = context.recipe.arms()[plan.arm]
    return {
        "arm": plan.arm,
        "role": plan.role,
        "seed": plan.seed,
        "model": arm.model.name,
        "teacher": [voice.name for voice in arm.teacher],
        "baseline": baseline_of(context.recipe, plan.arm),
        "epochs": arm.epochs,
        "epochs_run": learner.epochs_done if learner else 0,
        "ended": learner.ended if learner else "not started",
        "failure": vars(learner.failure) if learner and learner.failure else None,
    }


def not_started(context: RunContext, cohort: CohortPlan) -> list[dict[str, Any]]:
    """The results of the learners of a cohort that were not trained because a teacher had failed."""
    results = []
    for plan in cohort.learners:
        missing = [str(teacher) for teacher, _ in plan.teachers if not context.has_weights(teacher)]
        if missing:
            failure = {"epoch": 0, "step": 0, "term": "teacher", "value": f"{', '.join(missing)} failed"}
            results.append(_about(context, plan, None) | {"failure": failure})
    return results


def measure_pretrained(context: RunContext, name: str) -> dict[str, Any]:
    """Measure an arm from a file like any other arm, once per run."""
    files = context.directory.cohort(name)
    done = files.read_result()
    if done is None:
        arm = context.recipe.arms()[name]
        model = load_teacher_from_file(name, arm, context.images, context.models).to(context.device)
        role = "teacher" if name in context.recipe.teachers else "student"
        about = _about(context, LearnerPlan(LearnerId(name), role), None)
        about |= {"ended": "from a file", "train_sample": _train_sample(context, name, model)}
        done = about | _measured(context, name, model, ReferenceOutputs(context, {}, ()), ())
        files.write_result(done)
    return done


def _train_sample(context: RunContext, name: str, model: nn.Module) -> dict[str, Any]:
    """Measure an arm from a file on up to 500 training images. A model trained on them does much better on these."""
    predict = predictor(
        model, make_input_format(context.recipe.arms()[name], context.images), device=context.device, name=name
    )
    sample = sample_of(context.images.train)
    logits = logits_of(predict, sample, context.recipe.evaluation.batch_size)
    return evaluate_logits(logits, sample, num_classes=len(context.images.class_names)).to_dict()


def with_baselines(arms: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The results of learners, each with `against_baseline` if its baseline of the same seed was measured.

    `against_baseline`: for each split, the difference in accuracy on the same images with its confidence interval over
    images, from `paired_difference_of`.
    """
    measured = {(arm["arm"], arm["seed"]): arm for arm in arms}
    compared: list[dict[str, Any]] = []
    for arm in arms:
        baseline = measured.get((arm.get("baseline"), arm["seed"]), {})
        differences = {
            split: paired_difference_of(arm["correct"][split], correct, arm[split]["n"])
            for split, correct in baseline.get("correct", {}).items()
            if split in arm.get("correct", {}) and arm[split]["n"] == baseline[split]["n"]
        }
        compared.append({**arm, **({"against_baseline": differences} if differences else {})})
    return compared


def in_recipe_order(recipe: Recipe, arms: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The results of learners in the recipe's order of arms and seeds, whatever the order of training."""
    arm_positions = {name: position for position, name in enumerate(recipe.arms())}
    seed_positions = {seed: position for position, seed in enumerate(recipe.seeds)}
    return sorted(arms, key=lambda arm: (arm_positions[arm["arm"]], seed_positions.get(arm["seed"], 0)))


def curves(context: RunContext, plan: Plan) -> dict[tuple[str, int], list[dict[str, Any]]]:
    """The rows of metrics, one per epoch, by (arm, seed)."""
    return {
        (learner.arm, learner.seed): context.directory.cohort(cohort.key).metrics(learner.name).rows()
        for cohort in plan.cohorts
        for learner in cohort.learners
    }


def failures(result: Mapping[str, Any]) -> dict[str, str]:
    """The reason of each failure in a result, by the name of the learner."""
    return {
        str(LearnerId(arm["arm"], arm["seed"])): "{term} was {value} at epoch {epoch}, step {step}".format(**failure)
        if failure["epoch"]
        else str(failure["value"])
        for arm in result["arms"]
        if (failure := arm.get("failure"))
    }
