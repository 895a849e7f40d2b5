"""Go through the cohorts of a plan, alone or beside other processes on the same run directory."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from limbeck.storage.run_directory import CohortDirectory

from .cohort import run_cohort
from .context import RunContext
from .outputs_banks import check_room
from .plan import CohortPlan, Plan
from .signals import GracefulShutdown
from .train_cohort import StopRule, Watcher

MakeWatcher = Callable[[str, Sequence[str]], Watcher]
MakeStopRule = Callable[[CohortPlan], StopRule | None]
Result = dict[str, Any]
Claim = Callable[[CohortPlan, Callable[[], Result]], Result | None]
"""Train a cohort unless somebody else has, and give its result; None while somebody else is at it."""
SECONDS_BETWEEN_LOOKS = 0.3


def train_here(cohort: CohortPlan, train: Callable[[], Result]) -> Result:
    """The claim of a run that no other machine shares."""
    return train()


def train_cohorts(
    context: RunContext,
    plan: Plan,
    make_watcher: MakeWatcher | None,
    stop: GracefulShutdown,
    make_stop_rule: MakeStopRule = lambda cohort: None,
    claim: Claim = train_here,
    seconds_between_looks: float = SECONDS_BETWEEN_LOOKS,
) -> dict[str, Result]:
    """Teach every cohort that nobody has taught yet; returns what `done.json` keeps of each, by its key.

    A cohort waits for those that train its teachers. One that another process works on is left to it; what a process
    that died has left is taken over at once, and gone on with where it stopped. make_stop_rule: what ends learners of a
    cohort that fall behind. claim: how a cohort is shared with other machines. Raises `Stopped` when asked to stop, all
    saved.
    """
    trained_in = {learner.name: cohort.key for cohort in plan.cohorts for learner in cohort.learners}
    done: dict[str, dict[str, Any]] = {}
    unfinished = [cohort for cohort in plan.cohorts if context.directory.cohort(cohort.key).finished() is None]
    check_room(context.recipe, unfinished, context.images)
    while True:
        worked = False
        for cohort in plan.cohorts:
            if cohort.key in done or not is_ready(cohort, trained_in, done):
                continue
            found = _work_on(context, cohort, make_watcher, stop, make_stop_rule, claim)
            stop.check()
            if found is not None:
                done[cohort.key] = found
                worked = True
        if len(done) == len(plan.cohorts):
            return done
        if not worked:
            time.sleep(seconds_between_looks)
            stop.check()


def is_ready(cohort: CohortPlan, trained_in: Mapping[str, str], done: Mapping[str, object]) -> bool:
    """Whether all teachers of a cohort have been trained. trained_in: learner to the key of its cohort."""
    return all(trained_in[name] in done for name in cohort.teachers if name in trained_in)


def _work_on(
    context: RunContext,
    cohort: CohortPlan,
    make_watcher: MakeWatcher | None,
    stop: GracefulShutdown,
    make_stop_rule: MakeStopRule,
    claim: Claim,
) -> dict[str, Any] | None:
    """The cohort's results, taught now or before; None while another process is at it."""
    files = context.directory.cohort(cohort.key)
    if not context.processes.is_single:
        return _work_on_together(context, cohort, files, make_watcher, stop)
    if (before := files.finished()) is not None:
        return before
    with files.claimed() as ours:
        if not ours:
            return None
        if (before := files.finished()) is not None:  # the other one ended while we looked
            return before

        def teach() -> dict[str, Any]:
            return run_cohort(context, cohort, files, _watcher(cohort, make_watcher), stop, make_stop_rule(cohort))

        found = claim(cohort, teach)
        if found is not None:
            files.finish(found)
        return found


def _work_on_together(
    context: RunContext,
    cohort: CohortPlan,
    files: CohortDirectory,
    make_watcher: MakeWatcher | None,
    stop: GracefulShutdown,
) -> dict[str, Any]:
    """`_work_on` for processes that teach together: the first one writes, and its word counts for all."""
    processes = context.processes
    (finished,) = processes.broadcast_from_first([processes.is_first and files.finished() is not None])
    if not finished:
        with files.claimed() if processes.is_first else contextlib.nullcontext():
            found = run_cohort(context, cohort, files, _watcher(cohort, make_watcher), stop)
            if processes.is_first:
                files.finish(found)
        processes.barrier()
    return files.finished() or {}


def _watcher(cohort: CohortPlan, make_watcher: MakeWatcher | None) -> Watcher:
    return make_watcher(cohort.key, [learner.name for learner in cohort.learners]) if make_watcher else Watcher()
