"""Where a sweep is worked on: what its search and the run of what it chose share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from limbeck.building.data import Images
from limbeck.experiment.cohorts import MakeStopRule, MakeWatcher, train_cohorts
from limbeck.experiment.context import RunContext
from limbeck.experiment.plan import Plan, make_plan
from limbeck.experiment.signals import GracefulShutdown
from limbeck.recipes.recipe import Recipe
from limbeck.recipes.sweep import Sweep
from limbeck.storage.atomic import copy_folder, read_json
from limbeck.storage.run_directory import RunDirectory
from limbeck.storage.sweep_directory import SweepDirectory

from . import shared_store
from .shared_cohort import taught_once
from .shared_store import Board
from .trials import Source


@dataclass(frozen=True)
class SweepContext:
    """What all parts of a sweep share."""

    directory: SweepDirectory
    source: Source
    sweep: Sweep
    images: Images
    device: torch.device
    board: Board | None = None
    ray: str | None = None

    def work(
        self, run_context: RunContext, most: int | None, make_watcher: MakeWatcher | None, stop: GracefulShutdown,
        rule: MakeStopRule = lambda cohort: None,
    ) -> tuple[Plan, dict[str, dict[str, Any]]]:  # fmt: skip
        """Go through a recipe's cohorts here, or on the cluster."""
        plan = make_plan(run_context.recipe, most)
        if self.ray is None:
            if self.board is None:
                return plan, train_cohorts(run_context, plan, make_watcher, stop, rule)
            shared = partial(taught_once, self.board, run_context.directory)
            looks = shared_store.SECONDS_BETWEEN_LOOKS
            return plan, train_cohorts(run_context, plan, make_watcher, stop, rule, shared, looks)
        from .ray_cluster import train_cohorts_on_cluster

        return plan, train_cohorts_on_cluster(run_context, plan, make_watcher, stop, rule, most=most, address=self.ray)

    def run_context(self, recipe: Recipe, directory: RunDirectory) -> RunContext:
        """A place to work through one recipe, with the images on the device."""
        train = self.images.train.to(self.device)
        return RunContext(recipe, self.images, train, self.device, directory, self.source.losses, self.source.models)


def take_teachers_over(search: RunDirectory, chosen: RunDirectory, recipe: Recipe, plan: Plan) -> None:
    """Lay what the search trained of a teacher into the other directory, where it is the very same teacher.

    Without `done.json`: the run finds its last checkpoint, has nothing left to teach, and measures it, test included.
    """
    searched = Recipe.model_validate(read_json(search.recipe))
    for cohort in plan.cohorts:
        arms = {learner.arm for learner in cohort.learners}
        same = all(
            arm in searched.teachers
            and searched.teachers[arm] == recipe.teachers.get(arm)
            and (searched.teachers[arm].views or searched.views) == (recipe.teachers[arm].views or recipe.views)
            for arm in arms
        )
        before, here = search.cohort(cohort.key), chosen.cohort(cohort.key)
        if not same or before.finished() is None:
            continue
        with here.claimed() as ours:
            if ours and not here.checkpoints.exists() and here.finished() is None:
                for part in ("metrics", "checkpoints"):  # in this order: the checkpoint says that both are there
                    if not (here.root / part).exists():
                        copy_folder(before.root / part, here.root / part)
