"""One cohort of a run, from its plan to its results."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from limbeck.runs.directory import CohortDirectory
from limbeck.teaching.teacher import Teacher

from .arm_result import measure_learner, not_started
from .assemble import input_format, load_ready_teacher, make_learner, make_teacher, view_planner, view_recipe
from .bench import Bench
from .environment import computed_with
from .follow import Keeping, Watcher, follow
from .plan import CohortPlan
from .prune import MedianRule
from .saved_model import load_trained
from .stop import PoliteStop


def run_cohort(
    bench: Bench,
    cohort: CohortPlan,
    files: CohortDirectory,
    watcher: Watcher,
    stop: PoliteStop,
    prune: MedianRule | None = None,
) -> dict[str, Any]:
    """Teach a cohort, or go on with it, then measure its learners; gives what `done.json` keeps.

    A learner whose teacher failed is not started. Raises `Stopped` when asked to stop, all saved.
    """
    recipe, images = bench.recipe, bench.images
    arms = recipe.arms()
    started = datetime.now(UTC).isoformat(timespec="seconds")
    missing = [name for name in cohort.teachers if not _usable(bench, name)]
    plans = [plan for plan in cohort.learners if not set(missing) & {name for name, _ in plan.voices}]
    lost = [not_started(bench, plan, missing) for plan in cohort.learners if plan not in plans]
    if not plans:
        return {"arms": lost, "started": started, "wall_seconds": 0.0}
    teachers = {name: _teacher(bench, name) for name in cohort.teachers if name not in missing}
    learners = [
        make_learner(
            arms[plan.arm], plan, images, device=bench.device, precision=recipe.precision,
            losses=bench.losses, models=bench.models,
        )
        for plan in plans
    ]  # fmt: skip
    planner = view_planner(images, view_recipe(cohort.views), cohort.view_seed)
    keeping = Keeping(
        files, _identity(bench, cohort, teachers), computed_with(bench.device),
        seconds=recipe.save_every_seconds, keep=recipe.keep_checkpoints,
    )  # fmt: skip
    seconds = follow(
        learners, teachers, images, planner,
        train=bench.train, evaluation_batch=recipe.evaluation.batch_size, watcher=watcher, keeping=keeping, stop=stop,
        prune=prune,
    )  # fmt: skip
    began = time.monotonic()
    measured = []
    for plan, learner in zip(plans, learners, strict=True):
        stop.obey()
        measured.append(measure_learner(bench, plan, learner, teachers, watcher))
    return {"arms": [*measured, *lost], "started": started, "wall_seconds": seconds + time.monotonic() - began}


def _identity(bench: Bench, cohort: CohortPlan, teachers: Mapping[str, Teacher]) -> dict[str, Any]:
    """What a checkpoint of this cohort may not be continued without. Recipes are compared elsewhere."""
    return {
        "images": bench.images.fingerprint,
        "teachers": {name: teacher.fingerprint for name, teacher in teachers.items()},
        "learners": [learner.name for learner in cohort.learners],
    }


def _usable(bench: Bench, name: str) -> bool:
    return name in bench.recipe.teachers or (bench.directory.model(name) / "model.json").exists()


def _teacher(bench: Bench, name: str) -> Teacher:
    """A teacher by its name: from the user's file, or as this run trained it."""
    arms = bench.recipe.arms()
    if name in arms:
        arm = arms[name]
        model = load_ready_teacher(name, arm, bench.images, bench.models)
    else:
        arm = arms[name.rpartition("-seed")[0]]
        model = load_trained(bench.directory.model(name), bench.models)
    precision = arm.precision or bench.recipe.precision
    return make_teacher(name, model, input_format(arm, bench.images), device=bench.device, precision=precision)
