"""The trackers under `log` in a recipe: TensorBoard, W&B, MLflow."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from limbeck.report.options import options_of
from limbeck.trackers.epoch_log import EpochLog

from .context import RunContext
from .plan import CohortPlan, LearnerPlan


def epoch_log(context: RunContext, plans: Sequence[LearnerPlan], say: Callable[[str], None]) -> EpochLog:
    """Where the epochs of these learners are written besides the metrics log."""
    recipe = context.recipe
    if not recipe.log:
        return EpochLog()
    options = options_of(recipe.to_dict())
    of_learners = {plan.name: {"arm": plan.arm, "seed": plan.seed, **options[plan.arm]} for plan in plans}
    return EpochLog(recipe.log, context.directory.root, recipe.name, of_learners, say)


def complete_logs(context: RunContext, cohorts: Sequence[CohortPlan], say: Callable[[str], None]) -> None:
    """Make the trackers hold all epochs of finished cohorts: `log` may be new to the run, or files may be lost."""
    for cohort in cohorts if context.recipe.log else ():
        metrics = context.directory.cohort(cohort.key).metrics
        with epoch_log(context, cohort.learners, say) as log:
            log.restart({plan.name: rows for plan in cohort.learners if (rows := metrics(plan.name).rows())})
