"""What becomes of a learner in the end: kept, measured, the test split read once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from limbeck.evaluation.efficiency import measure
from limbeck.evaluation.evaluate import evaluate, logits_of
from limbeck.teaching.learner import Learner
from limbeck.teaching.objective import ensemble
from limbeck.teaching.predictor import predictor
from limbeck.teaching.teacher import Teacher
from limbeck.types import Outputs

from .assemble import describe, input_format, load_ready_teacher
from .bench import Bench
from .follow import Watcher
from .plan import LearnerPlan, baseline_of
from .saved_model import save_model

MEASURED_PRECISION = "float32"
"""Of everything measured for the result, whatever precision trained it: a saved model answers in it."""
Ask = Callable[[Teacher, str], Tensor]
"""A teacher's logits `[N, K]` for a split, by the split's name."""


def ask_teacher(bench: Bench, teacher: Teacher, split: str) -> Tensor:
    """A teacher's logits for a split, `[N, K]` on the CPU."""
    predict = predictor(teacher.frozen, teacher.form, device=bench.device, dtype=teacher.dtype, name=teacher.name)
    return logits_of(predict, getattr(bench.images, split), bench.recipe.evaluation.batch_size)


def measure_learner(
    bench: Bench, plan: LearnerPlan, learner: Learner, teachers: Mapping[str, Teacher], watcher: Watcher, ask: Ask
) -> dict[str, Any]:
    """Choose, keep, and read the test split: once, for the model that was chosen.

    ask: `ask_teacher`, remembered for the cohort, so that a teacher answers once however many are compared with it.
    """
    arm = bench.recipe.arms()[plan.arm]
    row = _about(bench, plan, learner)
    if learner.failure:
        watcher.say(
            f"{learner.name} ended at epoch {learner.failure.epoch}, step {learner.failure.step}: "
            f"{learner.failure.term} was {learner.failure.value}"
        )
        return row
    watcher.say(f"measuring {learner.name}")
    model, row["chosen_epoch"] = learner.chosen()
    save_model(bench.directory.model(learner.name), model, describe(arm, bench.recipe.data, bench.images))
    heard = [teachers[name] for name, _ in plan.voices]
    weights = [weight for _, weight in plan.voices]
    if not heard and plan.role == "student" and len(teachers) == 1:
        heard, weights = list(teachers.values()), [1.0]  # how near does one come who never heard it?
    return row | _measured(bench, plan.arm, model, heard, weights, ask)


def _measured(
    bench: Bench, arm_name: str, model: nn.Module, heard: Sequence[Teacher], weights: Sequence[float], ask: Ask
) -> dict[str, Any]:
    recipe, images = bench.recipe, bench.images
    arm = recipe.arms()[arm_name]
    form = input_format(arm, images)
    predict = predictor(model, form, device=bench.device, name=arm_name)
    found: dict[str, Any] = {"measured_precision": MEASURED_PRECISION}
    splits = {"validation": images.validation} | ({"test": images.test} if recipe.evaluation.test else {})
    for split_name, split in splits.items():
        told = None
        if heard:
            logits = [ask(t, split_name) for t in heard]
            scale = sum(weights)
            mixed = ensemble([Outputs(x) for x in logits], [w / scale for w in weights], 1.0)
            told = mixed.logits if mixed else None
        evaluation = evaluate(
            predict,
            split,
            num_classes=len(images.class_names),
            batch_size=recipe.evaluation.batch_size,
            reference=told,
        )
        found[split_name] = evaluation.to_dict()
    if recipe.evaluation.latency_batch:
        channels, height, width = images.shape
        shape = (channels, form.resolution or height, form.resolution or width)
        found["efficiency"] = measure(model, shape, batch_size=recipe.evaluation.latency_batch).to_dict()
    return found


def _about(bench: Bench, plan: LearnerPlan, learner: Learner | None) -> dict[str, Any]:
    arm = bench.recipe.arms()[plan.arm]
    return {
        "arm": plan.arm,
        "role": plan.role,
        "seed": plan.seed,
        "model": arm.model.name,
        "teacher": ", ".join(voice.name for voice in arm.teacher) or None,
        "baseline": baseline_of(bench.recipe, plan.arm),
        "epochs": arm.epochs,
        "epochs_run": learner.epochs_done if learner else 0,
        "ended": learner.ended if learner else "not started",
        "failure": vars(learner.failure) if learner and learner.failure else None,
    }


def not_started(bench: Bench, plan: LearnerPlan, missing: Sequence[str]) -> dict[str, Any]:
    """The result of a learner whose teacher failed."""
    lost = ", ".join(name for name, _ in plan.voices if name in missing)
    failure = {"epoch": 0, "step": 0, "term": "teacher", "value": f"{lost} failed"}
    return _about(bench, plan, None) | {"failure": failure}


def measure_ready(bench: Bench, name: str) -> dict[str, Any]:
    """An arm from a file, measured like any other; once a run."""
    files = bench.directory.cohort(name)
    done = files.finished()
    if done is None:
        arm = bench.recipe.arms()[name]
        model = load_ready_teacher(name, arm, bench.images, bench.models).to(bench.device)
        role = "teacher" if name in bench.recipe.teachers else "student"
        about = _about(bench, LearnerPlan(name, name, role, 0, ()), None)
        done = (
            about
            | {"ended": "from a file"}
            | _measured(bench, name, model, [], [], functools.partial(ask_teacher, bench))
        )
        files.finish(done)
    return done
