"""What the search of a sweep and the final run of the selected trials share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from limbeck.building.data import Images
from limbeck.experiment.cohorts import MakeStopRule, MakeWatcher, train_cohorts
from limbeck.experiment.context import RunContext, open_context
from limbeck.experiment.plan import CohortPlan, Plan, make_plan
from limbeck.experiment.signals import GracefulShutdown
from limbeck.recipes.recipe import Recipe
from limbeck.recipes.sweep import Sweep
from limbeck.storage.atomic import copy_folder, read_json
from limbeck.storage.run_directory import RunDirectory
from limbeck.storage.sweep_directory import SweepDirectory

from . import shared_store
from .shared_store import SharedStore, claim_in_store
from .trials import RecipeSource


@dataclass(frozen=True)
class SweepContext:
    """What all parts of a sweep share."""

    directory: SweepDirectory
    source: RecipeSource
    sweep: Sweep
    images: Images
    device: torch.device
    store: SharedStore | None = None
    ray: str | None = None

    def run_context(self, recipe: Recipe, directory: RunDirectory) -> RunContext:
        """The context for one recipe of the sweep, with the training images on the device."""
        losses, models = self.source.losses, self.source.models
        return open_context(recipe, directory, images=self.images, device=self.device, losses=losses, models=models)

    def train(
        self,
        run_context: RunContext,
        stop: GracefulShutdown,
        make_watcher: MakeWatcher | None,
        *,
        max_learners: int | None = None,
        stop_rule: MakeStopRule = lambda cohort: None,
    ) -> tuple[Plan, dict[str, dict[str, Any]]]:
        """Train the cohorts of a recipe: here, shared with other machines through a database, or on a Ray cluster.

        Returns the plan and the results by cohort.
        """
        plan = make_plan(run_context.recipe, max_learners)
        if self.ray is not None:
            from .ray_cluster import train_cohorts_on_cluster

            return plan, train_cohorts_on_cluster(
                run_context, plan, stop, make_watcher, stop_rule=stop_rule, max_learners=max_learners, address=self.ray
            )
        if self.store is None:
            return plan, train_cohorts(run_context, plan, stop, make_watcher, stop_rule=stop_rule)
        return plan, train_cohorts(
            run_context,
            plan,
            stop,
            make_watcher,
            stop_rule=stop_rule,
            claim=partial(claim_in_store, self.store, run_context.directory),
            poll_seconds=shared_store.POLL_SECONDS,
        )


def reuse_teachers(source: RunDirectory, target: RunDirectory, recipe: Recipe, plan: Plan) -> None:
    """Copy the trained teachers of one run directory that are also in another one's recipe.

    Checkpoints and metrics are copied, but not `done.json`: the run resumes from the last checkpoint, where no epoch is
    left, and evaluates the teacher as its own recipe says.
    """
    searched = Recipe.model_validate(read_json(source.recipe))
    for cohort in plan.cohorts:
        arms = {learner.arm for learner in cohort.learners}
        same = all(
            arm in searched.teachers
            and searched.teachers[arm] == recipe.teachers.get(arm)
            and (searched.teachers[arm].views or searched.views) == (recipe.teachers[arm].views or recipe.views)
            for arm in arms
        )
        trained, copy = source.cohort(cohort.key), target.cohort(cohort.key)
        if not same or trained.read_result() is None:
            continue
        with copy.try_lock() as ours:
            if ours and not copy.checkpoints.exists() and copy.read_result() is None:
                for part in ("metrics", "checkpoints"):  # in this order: a checkpoint implies that its metrics exist
                    if not (copy.root / part).exists():
                        copy_folder(trained.root / part, copy.root / part)
                _copy_snapshots(source, target, recipe, cohort)


def _copy_snapshots(source: RunDirectory, target: RunDirectory, recipe: Recipe, cohort: CohortPlan) -> None:
    """Snapshots are saved in training, which is over: a run that resumes after the last epoch writes none."""
    for learner in cohort.learners:
        for epoch in recipe.arms()[learner.arm].snapshots:
            snapshot = replace(learner.id, epoch=epoch)
            if source.model(snapshot).exists() and not target.model(snapshot).exists():
                copy_folder(source.model(snapshot), target.model(snapshot))
