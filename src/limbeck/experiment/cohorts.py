"""Train the cohorts of a plan one after the other, alone or alongside other processes on the same run directory."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from limbeck.building.data import view_planner
from limbeck.building.learners import make_learner
from limbeck.building.saved_model import describe, save_model
from limbeck.errors import LimbeckError
from limbeck.recipes.recipe import Arm
from limbeck.storage.atomic import read_json
from limbeck.storage.run_directory import CohortDirectory, LearnerId
from limbeck.training.distributed import count_unsynchronised_batch_norms
from limbeck.training.learner import Learner
from limbeck.training.teacher import Teacher

from .context import RunContext
from .environment import computed_with
from .outputs_banks import check_room, plan_banks
from .plan import CohortPlan, LearnerPlan, Plan, batches_larger_than_data
from .results import measure_learners, not_started
from .signals import GracefulShutdown
from .train_cohort import CheckpointPolicy, Cohort, StopRule, Watcher, train_cohort

Result = dict[str, Any]
"""The content of a cohort's `done.json`."""
MakeWatcher = Callable[[str, Sequence[str]], Watcher]
"""Makes the watcher of a cohort from its key and the names of its learners."""
MakeStopRule = Callable[[CohortPlan], StopRule | None]
Publish = Callable[[Result], Result]
"""Shares the result of a cohort with other machines; returns the one that counts, possibly of another machine."""
Claim = Callable[[CohortPlan], AbstractContextManager[Publish | None]]
"""Claims a cohort among the machines that share a run; yields None if another machine has it."""
POLL_SECONDS = 0.3
"""How often to check whether another process has finished a cohort."""


def claim_for_one_machine(cohort: CohortPlan) -> AbstractContextManager[Publish]:
    """The claim of a run that no other machine shares."""
    return contextlib.nullcontext(lambda result: result)


def train_cohorts(
    context: RunContext,
    plan: Plan,
    stop: GracefulShutdown,
    make_watcher: MakeWatcher | None = None,
    *,
    stop_rule: MakeStopRule = lambda cohort: None,
    claim: Claim = claim_for_one_machine,
    poll_seconds: float = POLL_SECONDS,
) -> dict[str, Result]:
    """Train and measure every cohort that has no result yet; returns the results by cohort key.

    A cohort waits until its teachers are trained. A cohort that another process trains is left to that process; if the
    process dies, this one takes over from the last checkpoint. stop_rule: ends learners of a cohort that fall behind.
    Raises `Stopped` when a signal asks for it, after saving everything.
    """
    trained_by = {learner.id: cohort.key for cohort in plan.cohorts for learner in cohort.learners}
    unfinished = [cohort for cohort in plan.cohorts if context.directory.cohort(cohort.key).read_result() is None]
    check_room(context.recipe, unfinished, context.images)
    results: dict[str, Result] = {}
    while len(results) < len(plan.cohorts):
        finished_before = len(results)
        for cohort_plan in plan.cohorts:
            if cohort_plan.key in results or not is_ready(cohort_plan, trained_by, results):
                continue
            files = context.directory.cohort(cohort_plan.key)
            with _claimed(context, cohort_plan, files, claim) as publish:
                if publish:
                    names = [learner.name for learner in cohort_plan.learners]
                    watcher = make_watcher(cohort_plan.key, names) if make_watcher else Watcher()
                    result: Result = {"arms": [], "spans": []}
                    if prepared := prepare_cohort(context, cohort_plan, watcher):
                        spans = train_cohort(
                            prepared.cohort,
                            stop=stop,
                            watcher=watcher,
                            checkpoint_policy=prepared.checkpoint_policy(files),
                            stop_rule=stop_rule(cohort_plan),
                            evaluation_batch=context.recipe.evaluation.batch_size,
                        )
                        result = measure_learners(context, prepared.plans, prepared.cohort, spans, watcher, stop)
                    result["arms"] += not_started(context, cohort_plan)
                    if context.processes.is_first:
                        files.write_result(publish(result))
            stop.check()
            if (finished := files.read_result()) is not None:
                results[cohort_plan.key] = finished
        if len(results) == finished_before:
            time.sleep(poll_seconds)
            stop.check()
    return results


def is_ready(cohort: CohortPlan, trained_by: Mapping[LearnerId, str], finished: Mapping[str, object]) -> bool:
    """Whether all teachers of a cohort are trained. trained_by: for each learner, the key of its cohort."""
    return all(trained_by[one.trained] in finished for one in cohort.teachers if one.trained in trained_by)


@contextlib.contextmanager
def _claimed(context: RunContext, cohort: CohortPlan, files: CohortDirectory, claim: Claim) -> Iterator[Publish | None]:
    """Claim a cohort for this process, or for all that train together; yields None if there is nothing to do."""
    processes = context.processes
    if not processes.is_single:  # the main process holds the lock of the run directory and decides for all
        (is_finished,) = processes.broadcast_from_first([processes.is_first and files.read_result() is not None])
        with files.try_lock() if processes.is_first else contextlib.nullcontext():
            yield None if is_finished else lambda result: result
        processes.barrier()
        return
    if files.read_result() is not None:
        yield None
        return
    with files.try_lock() as ours:
        if not ours or files.read_result() is not None:  # another process has it, or has just finished it
            yield None
            return
        with claim(cohort) as publish:
            yield publish


@dataclass(frozen=True)
class PreparedCohort:
    """A cohort that is ready to train. plans: of its learners, in order. identities: see `CheckpointPolicy`."""

    context: RunContext
    plans: Sequence[LearnerPlan]
    cohort: Cohort
    identity: Mapping[str, Any]
    earlier_identities: Sequence[Mapping[str, Any]]

    def checkpoint_policy(self, files: CohortDirectory) -> CheckpointPolicy:
        """How the cohort is saved."""
        context = self.context
        random_numbers = (
            {"random_numbers": "by seed and name"} if any(plan.role == "teacher" for plan in self.plans) else {}
        )
        return CheckpointPolicy(
            files,
            self.identity,
            computed_with(context.device, context.processes.world_size) | random_numbers,
            seconds=context.recipe.save_every_seconds,
            keep=context.recipe.keep_checkpoints,
            earlier_identities=self.earlier_identities,
        )


def prepare_cohort(context: RunContext, cohort: CohortPlan, watcher: Watcher) -> PreparedCohort | None:
    """Load the teachers of a cohort and build its learners.

    Learners whose teacher failed are left out; returns None if that leaves no learner.
    """
    recipe, images = context.recipe, context.images
    teachers = {str(teacher): teacher for teacher in cohort.teachers if context.has_weights(teacher)}
    plans = [plan for plan in cohort.learners if all(name in teachers for name, _ in plan.teacher_weights)]
    if not plans:
        return None

    @functools.cache
    def load_teacher(name: str) -> Teacher:
        return context.load_teacher(teachers[name])

    for plan in plans:
        check_teachers_differ(plan.arm, [load_teacher(name) for name, _ in plan.teacher_weights])
    fingerprints = {name: load_teacher(name).fingerprint for name in teachers}
    learners = [
        make_learner(
            plan.name,
            context.arm(plan.id),
            images,
            arm_name=plan.arm,
            seed=plan.randomness,
            teachers=plan.teacher_weights,
            device=context.device,
            precision=recipe.precision,
            losses=context.losses,
            models=context.models,
            load_teacher=load_teacher,
            processes=context.processes,
        )
        for plan in plans
    ]
    for line in batches_larger_than_data([cohort.views], len(images.train)):
        watcher.say(line)
    if not context.processes.is_single and any(count_unsynchronised_batch_norms(learner.model) for learner in learners):
        watcher.say(
            f"batch statistics: each of {context.processes.world_size} processes takes those of its own part of a "
            "batch; BatchNorm is synchronised on CUDA only"
        )
    ready = Cohort(
        learners,
        images,
        context.train_split,
        view_planner(images, cohort.views, cohort.view_seed),
        tuple(teachers),
        load_teacher,
        load_teacher.cache_clear,
        [plan for plan in plan_banks(recipe, [cohort], images) if plan.teacher in teachers],
        functools.partial(_save_snapshot, context, {plan.name: plan.id for plan in plans}),
    )
    earlier = [
        cohort_identity(dataclasses.replace(context, recipe=before), cohort, fingerprints)
        for before in context.earlier
        if {plan.arm for plan in cohort.learners} <= set(before.arms())
    ]
    return PreparedCohort(context, plans, ready, cohort_identity(context, cohort, fingerprints), earlier)


def _save_snapshot(context: RunContext, ids: Mapping[str, LearnerId], learner: Learner) -> None:
    """Save the weights that a learner is evaluated with, if its recipe has a snapshot of the epoch that is done."""
    trained, epoch = ids[learner.name], learner.epochs_done
    arm = context.arm(trained)
    if epoch in arm.snapshots and learner.failure is None and context.processes.is_first:
        folder = context.directory.model(dataclasses.replace(trained, epoch=epoch))
        save_model(folder, learner.evaluated_model, describe(arm, context.recipe.data, context.images))


def check_teachers_differ(student: str, teachers: Sequence[Teacher]) -> None:
    """Raises LimbeckError if two teachers of a student are the same model with the same input format."""
    for one, other in itertools.combinations(teachers, 2):
        if one.fingerprint == other.fingerprint and one.input_format == other.input_format:
            raise LimbeckError(
                f"{student}: its teachers {one.name!r} and {other.name!r} are the same model, weight for weight; "
                "leave one out, or train one with a `seed:` or settings of its own"
            )


def cohort_identity(context: RunContext, cohort: CohortPlan, teachers: Mapping[str, str]) -> dict[str, Any]:
    """What must match for a checkpoint of this cohort to be resumed. teachers: fingerprints by name."""
    arms = [learner.arm for learner in cohort.learners]
    return {
        "images": context.images.fingerprint,
        "teachers": dict(teachers),
        "learners": [learner.name for learner in cohort.learners],
        "settings": [checkpoint_settings(context.recipe.arms()[arm]) | _weights(context, arm) for arm in arms],
        "views": [cohort.views.model_dump(mode="json"), cohort.view_seed],
        "precision": context.recipe.precision,
        **({"outputs_bank": "float16"} if teachers and context.recipe.outputs_bank is not None else {}),
    }


def checkpoint_settings(arm: Arm) -> dict[str, Any]:
    """An arm as checkpoints store it: without keys that do not affect training, and without an unset `seed`."""
    left_out = {"baseline", "outputs", "allow_near_chance"} | ({"seed"} if arm.seed is None else set())
    return arm.model_dump(mode="json", exclude=left_out)


def _weights(context: RunContext, arm: str) -> dict[str, str]:
    """The path of an arm's initial weights as stored in `recipe.json`, independent of the working directory."""
    path = context.recipe.arms()[arm].weights
    if path is None:
        return {}
    stored = read_json(context.directory.recipe) if context.directory.recipe.exists() else {}
    groups = [stored.get(group) or {} for group in ("teachers", "students")]
    return {"weights": next((group[arm]["weights"] for group in groups if arm in group), path)}
