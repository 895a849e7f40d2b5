"""One cohort of a run, from its plan to its results."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from limbeck.building.assemble import make_learner, view_planner
from limbeck.recipes.recipe import Arm
from limbeck.storage.atomic import read_json
from limbeck.storage.run_directory import CohortDirectory
from limbeck.training.distributed import count_unsynchronised_batch_norms
from limbeck.training.loop import TeacherLike
from limbeck.training.teacher import Teacher
from limbeck.views.plan import ViewPlanner

from .batch_size import batches_larger_than_data
from .context import RunContext
from .environment import computed_with
from .outputs_banks import Say, banked, model_of, plan_banks
from .plan import CohortPlan, LearnerPlan
from .reference_outputs import ReferenceOutputs
from .results import measure_learner, not_started
from .signals import GracefulShutdown
from .teachers import arm_of, is_usable, load_teacher, must_differ
from .timing import summed
from .train_cohort import CheckpointPolicy, StopRule, Watcher, train_cohort


def run_cohort(
    context: RunContext,
    cohort: CohortPlan,
    files: CohortDirectory,
    watcher: Watcher,
    stop: GracefulShutdown,
    prune: StopRule | None = None,
) -> dict[str, Any]:
    """Teach a cohort, or go on with it, then measure its learners; gives what `done.json` keeps.

    A learner whose teacher failed is not started. Raises `Stopped` when asked to stop, all saved.
    """
    recipe, images = context.recipe, context.images
    arms = recipe.arms()
    missing = [name for name in cohort.teachers if not is_usable(context, name)]
    plans = [plan for plan in cohort.learners if not set(missing) & {name for name, _ in plan.voices}]
    lost = [not_started(context, plan, missing) for plan in cohort.learners if plan not in plans]
    if not plans:
        return {"arms": lost, "spans": []}
    heard = [name for name in cohort.teachers if name not in missing]
    load = functools.cache(functools.partial(load_teacher, context))
    for plan in plans:
        must_differ(plan.arm, [load(name) for name, _ in plan.voices])
    frozen = {name: load(name) for name in heard}
    identity = _identity(context, cohort, frozen)
    also = [
        _identity(dataclasses.replace(context, recipe=earlier), cohort, frozen)
        for earlier in context.earlier
        if {plan.arm for plan in cohort.learners} <= set(earlier.arms())
    ]
    del frozen
    learners = [
        make_learner(
            plan.name, arms[plan.arm], images, arm_name=plan.arm, seed=plan.randomness, teachers=plan.voices,
            device=context.device, precision=recipe.precision, losses=context.losses, models=context.models,
            load_teacher=load, processes=context.processes,
        )
        for plan in plans
    ]  # fmt: skip
    planner = view_planner(images, cohort.views, cohort.view_seed)
    for line in batches_larger_than_data([cohort.views], len(images.train)):
        watcher.say(line)
    if not context.processes.is_single and any(count_unsynchronised_batch_norms(learner.model) for learner in learners):
        watcher.say(
            f"batch statistics: each of {context.processes.world_size} processes takes those of its own part of a "
            "batch; BatchNorm is synchronised on CUDA alone"
        )
    checkpoint_policy = CheckpointPolicy(
        files, identity, _computed_with(context, plans),
        seconds=recipe.save_every_seconds, keep=recipe.keep_checkpoints,
        also=also,
    )  # fmt: skip
    with _answering(context, cohort, load, heard, planner, watcher.say) as (answering, all_stored):
        if all_stored:
            load.cache_clear()  # nobody will ask them before they are measured with
        spans = train_cohort(
            learners,
            answering,
            images,
            planner,
            train_split=context.train,
            evaluation_batch=recipe.evaluation.batch_size,
            watcher=watcher,
            checkpoint_policy=checkpoint_policy,
            stop=stop,
            prune=prune,
        )
    clock, began = time.time(), time.monotonic()
    load.cache_clear()  # training is over: what is measured answers in float32, as the saved models do
    teachers = {name: load_teacher(context, name, "fp32") for name in heard}
    references = ReferenceOutputs(context, teachers, [plan.voices for plan in plans])
    took = {"cohort_seconds": round(summed(spans), 3), "cohort_learners": len(plans)}
    measured = []
    for plan, learner in zip(plans, learners, strict=True):
        stop.check()
        if context.processes.is_first:
            measured.append(measure_learner(context, plan, learner, references, watcher) | took)
    measuring = [clock, clock + time.monotonic() - began]
    return {"arms": [*measured, *lost], "spans": [*spans, measuring]}


def _identity(context: RunContext, cohort: CohortPlan, teachers: Mapping[str, Teacher]) -> dict[str, Any]:
    """What a checkpoint of this cohort may not be continued without."""
    arms = context.recipe.arms()
    cohort_arms = [learner.arm for learner in cohort.learners]
    return {
        "images": context.images.fingerprint,
        "teachers": {name: teacher.fingerprint for name, teacher in teachers.items()},
        "learners": [learner.name for learner in cohort.learners],
        "settings": [checkpoint_settings(arms[arm]) | _weights(context, arm) for arm in cohort_arms],
        "views": [cohort.views.model_dump(mode="json"), cohort.view_seed],
        "precision": context.recipe.precision,
        **({"outputs_bank": "float16"} if teachers and context.recipe.outputs_bank is not None else {}),
    }


def checkpoint_settings(arm: Arm) -> dict[str, Any]:
    """An arm as checkpoints know it; those of a time before `seed` have none. What is said of files is not theirs."""
    left_out = {"baseline", "outputs", "allow_near_chance"} | ({"seed"} if arm.seed is None else set())
    return arm.model_dump(mode="json", exclude=left_out)


def _weights(context: RunContext, arm: str) -> dict[str, str]:
    """The path of an arm's first weights as the run directory keeps it: from wherever the run is called, it is one."""
    written = context.recipe.arms()[arm].weights
    if written is None:
        return {}
    claimed = read_json(context.directory.recipe) if context.directory.recipe.exists() else {}
    groups = [claimed.get(group) or {} for group in ("teachers", "students")]
    return {"weights": next((group[arm]["weights"] for group in groups if arm in group), written)}


def _computed_with(context: RunContext, plans: Sequence[LearnerPlan]) -> dict[str, Any]:
    own = {"random_numbers": "by seed and name"} if any(plan.role == "teacher" for plan in plans) else {}
    return computed_with(context.device, context.processes.world_size) | own


@contextlib.contextmanager
def _answering(
    context: RunContext,
    cohort: CohortPlan,
    load: Callable[[str], Teacher],
    names: Sequence[str],
    planner: ViewPlanner,
    say: Say,
) -> Iterator[tuple[Mapping[str, TeacherLike], bool]]:
    """A cohort's teachers as the loop asks them, and whether banks will answer in all of them's place."""
    if context.recipe.outputs_bank is None or not names:
        yield {name: load(name) for name in names}, False
        return
    plans = [plan for plan in plan_banks(context.recipe, [cohort], context.images) if plan.teacher in names]

    def built_from(name: str) -> Mapping[str, Any]:
        return model_of(arm_of(context.recipe, name).model)

    with banked(plans, load, built_from, planner, context.train, say) as found:
        yield found.teachers, found.is_complete
