"""What becomes of a learner in the end: kept, measured, the test split read once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from limbeck.building.assemble import describe, input_format, load_ready_teacher
from limbeck.building.checks.pretrained import sample_of
from limbeck.building.saved_model import save_model
from limbeck.evaluation import metrics
from limbeck.evaluation.correctness import packed
from limbeck.evaluation.efficiency import measure
from limbeck.evaluation.evaluate import evaluate_logits, logits_of
from limbeck.training.learner import Learner
from limbeck.training.model_errors import explain_model_errors, explain_out_of_memory
from limbeck.training.predictor import predictor

from .context import RunContext
from .plan import LearnerPlan, baseline_of
from .reference_outputs import ReferenceOutputs, Voices
from .train_cohort import Watcher

MEASURED_PRECISION = "float32"
"""Of everything measured for the result, whatever precision trained it: a saved model answers in it."""


def measure_learner(
    context: RunContext, plan: LearnerPlan, learner: Learner, references: ReferenceOutputs, watcher: Watcher
) -> dict[str, Any]:
    """Choose, keep, and read the test split: once, for the model that was chosen.

    A student that hears nobody is compared with what all others of its cohort hear, if that is the same.
    """
    arm = context.recipe.arms()[plan.arm]
    row = _about(context, plan, learner)
    if learner.failure:
        watcher.say(
            f"{learner.name} ended at epoch {learner.failure.epoch}, step {learner.failure.step}: "
            f"{learner.failure.term} was {learner.failure.value}"
        )
        return row
    watcher.say(f"measuring {learner.name}")
    model, row["chosen_epoch"] = learner.chosen()
    save_model(context.directory.model(learner.name), model, describe(arm, context.recipe.data, context.images))
    if len(plan.voices) > 1:
        row["ensemble"] = references.about_ensemble(plan.voices)
    usual = references.common if plan.role == "student" else ()
    return row | _measured(context, plan.arm, model, references, plan.voices or usual)


def _measured(
    context: RunContext, arm_name: str, model: nn.Module, references: ReferenceOutputs, voices: Voices
) -> dict[str, Any]:
    recipe, images = context.recipe, context.images
    arm = recipe.arms()[arm_name]
    form = input_format(arm, images)
    predict = predictor(model, form, device=context.device, name=arm_name)
    found: dict[str, Any] = {"measured_precision": MEASURED_PRECISION, "correct": {}}
    for name, split in references.splits.items():
        logits = logits_of(predict, split, recipe.evaluation.batch_size)
        told = references.logits(voices, name)
        classes = len(images.class_names)
        found[name] = evaluate_logits(logits, split, num_classes=classes, reference=told).to_dict()
        found["correct"][name] = packed(metrics.correct(logits, split.labels.cpu().long()))
    if recipe.evaluation.latency_batch:
        channels, height, width = images.shape
        shape = (channels, form.resolution or height, form.resolution or width)
        batch = recipe.evaluation.latency_batch
        with explain_out_of_memory(arm_name, batch), explain_model_errors(arm_name, (batch, *shape), "timing"):
            found["efficiency"] = measure(model, shape, batch_size=batch).to_dict()
    return found


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


def not_started(context: RunContext, plan: LearnerPlan, missing: Sequence[str]) -> dict[str, Any]:
    """The result of a learner whose teacher failed."""
    lost = ", ".join(name for name, _ in plan.voices if name in missing)
    failure = {"epoch": 0, "step": 0, "term": "teacher", "value": f"{lost} failed"}
    return _about(context, plan, None) | {"failure": failure}


def measure_pretrained(context: RunContext, name: str) -> dict[str, Any]:
    """An arm from a file, measured like any other; once a run."""
    files = context.directory.cohort(name)
    done = files.finished()
    if done is None:
        arm = context.recipe.arms()[name]
        model = load_ready_teacher(name, arm, context.images, context.models).to(context.device)
        role = "teacher" if name in context.recipe.teachers else "student"
        about = _about(context, LearnerPlan(name, name, role, 0, ()), None)
        about |= {"ended": "from a file", "train_sample": _train_sample(context, name, model)}
        done = about | _measured(context, name, model, ReferenceOutputs(context, {}, ()), ())
        files.finish(done)
    return done


def _train_sample(context: RunContext, name: str, model: nn.Module) -> dict[str, Any]:
    """How an arm from a file does on up to 500 training images: much better than on others if it has seen them."""
    predict = predictor(
        model, input_format(context.recipe.arms()[name], context.images), device=context.device, name=name
    )
    sample = sample_of(context.images.train)
    logits = logits_of(predict, sample, context.recipe.evaluation.batch_size)
    return evaluate_logits(logits, sample, num_classes=len(context.images.class_names)).to_dict()
