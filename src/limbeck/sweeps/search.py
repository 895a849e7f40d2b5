"""The search of a sweep: all its settings, tried on validation."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from limbeck.building.checks.before_training import check_before_training
from limbeck.experiment.cohorts import MakeWatcher
from limbeck.experiment.plan import CohortPlan, make_plan
from limbeck.experiment.run import curves
from limbeck.experiment.signals import GracefulShutdown
from limbeck.experiment.timing import Span, spans_of
from limbeck.recipes.recipe import Recipe
from limbeck.recipes.sweep import Sweep
from limbeck.storage.atomic import make_folder, read_json, saying_where, write_json
from limbeck.storage.run_directory import RunDirectory

from .context import SweepContext, take_teachers_over
from .memory_budget import learners_at_once
from .optuna_study import Study
from .pruning import MedianRule
from .selection import Outcome, outcomes
from .trials import Setting, Settings, Source, as_written, combine, drawn, only


@dataclass
class Found:
    """What the search knows. outcomes: for each setting, of each arm; swept: those that differ between settings."""

    settings: list[Setting] = field(default_factory=list)
    outcomes: list[dict[str, Outcome]] = field(default_factory=list)
    accuracies: list[list[float]] = field(default_factory=list)
    swept: list[str] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)


def search(context: SweepContext, make_watcher: MakeWatcher | None, stop: GracefulShutdown) -> Found:
    """Try all settings on validation, batch by batch where later ones are proposed from what earlier ones gave."""
    found = Found()
    number = 0
    while settings := _decided(context, found, number):
        _try(context, found, number, *settings, make_watcher, stop)
        number += 1
    return found


def _try(
    context: SweepContext,
    found: Found,
    number: int,
    settings: list[Setting],
    most: int,
    make_watcher: MakeWatcher | None,
    stop: GracefulShutdown,
) -> None:
    """Run one batch of settings and add what came of it."""
    batch = context.directory.batch(number)
    combined, recipe = _recipe_of(context, found, number, settings)
    with context.directory.deciding():
        batch.claim(recipe.to_dict())
    if number:
        take_teachers_over(context.directory.batch(0), batch, recipe, make_plan(recipe, most))
    subject = {f"{of[arm]}-seed{seed}" for of in combined.variants for arm in found.swept for seed in recipe.seeds}
    earlier = found.accuracies

    def rule(cohort: CohortPlan) -> MedianRule | None:
        return MedianRule(subject, earlier) if context.sweep.pruning else None

    run_context = context.run_context(recipe, batch)
    plan, done = context.work(run_context, most, make_watcher, stop, rule)
    of_arm = outcomes(arm for cohort in done.values() for arm in cohort["arms"])
    rows = curves(run_context, plan)
    found.settings += settings
    found.outcomes += [{arm: of_arm[name] for arm, name in of.items() if name in of_arm} for of in combined.variants]
    found.accuracies += [
        [row.get("validation_accuracy", 0.0) for row in rows[of[found.swept[0]], recipe.seeds[0]]]
        for of in combined.variants
    ]
    found.spans += [span for cohort in done.values() for span in spans_of(cohort)]


def _recipe_of(
    context: SweepContext, found: Found, number: int, settings: Sequence[Setting]
) -> tuple[Settings, Recipe]:
    """The recipe of a batch; what no axis touches is in the first alone."""
    combined = combine(context.source, context.sweep, settings)
    found.swept = found.swept or combined.swept() or list(combined.recipe.students)
    recipe = combined.recipe
    if number:
        recipe = only(recipe, [of[arm] for of in combined.variants for arm in found.swept], context.source)
    return combined, untested(recipe, context.sweep)


def first_settings(source: Source, sweep: Sweep) -> list[Setting]:
    """All settings of a grid or a random search, those with which `tpe` begins, and the one that is as written."""
    if sweep.strategy == "grid":
        settings = sweep.grid()
    else:
        count = sweep.trials or 0
        settings = drawn(sweep, count if sweep.strategy == "random" else min(count, sweep.batch))
    written = as_written(source, sweep)
    return settings if written is None or written in settings else [*settings, written]


def _decided(context: SweepContext, found: Found, number: int) -> tuple[list[Setting], int] | None:
    """The settings of a batch and how many learners are taught at once: decided by the first process to come.

    None where there are no more.
    """
    batch = context.directory.batch(number)
    path = batch.root / "settings.json"
    with context.directory.deciding():
        if not path.exists():
            key = f"{batch.root.name}/settings"
            decided = context.board.find(key) if context.board else None
            if decided is None:
                settings = _next_settings(context, found, number)
                if not settings:
                    return None
                _, recipe = _recipe_of(context, found, number, settings)
                if number:  # what is tried first was looked at when the sweep began
                    check_before_training(recipe, context.images, context.source.models, losses=context.source.losses)
                decided = {"settings": settings, "learners_at_once": _most(context, recipe, batch)}
                decided = context.board.agree(key, decided) if context.board else decided
            with saying_where(batch.root):
                make_folder(batch.root)
            write_json(path, decided)
        known = read_json(path)
    return known["settings"], known["learners_at_once"]


def _next_settings(context: SweepContext, found: Found, number: int) -> list[Setting]:
    if number == 0:
        return first_settings(context.source, context.sweep)
    if context.sweep.strategy != "tpe":
        return []
    study = Study(context.directory.root.name, context.sweep, context.directory.root / "search")
    for place, setting in enumerate(found.settings):
        if study.holds(setting):
            of = found.outcomes[place]
            means = [of[arm].mean for arm in found.swept]
            value = math.fsum(means) / len(means)
            own_name = f"{context.directory.root.name if context.board else context.directory.root.absolute()}#{place}"
            study.tell(own_name, setting, found.accuracies[place], value if math.isfinite(value) else None)
    left = (context.sweep.trials or 0) - max(len(study.known()), len(found.settings))
    return study.propose(min(context.sweep.batch, left), number, found.settings) if left > 0 else []


def _most(context: SweepContext, recipe: Recipe, batch: RunDirectory) -> int:
    students = [cohort for cohort in make_plan(recipe).cohorts if len(cohort.learners) > 1]
    fits = [
        learners_at_once(context.run_context(recipe, batch), learner, cohort.views)
        for cohort in students
        for learner in _one_of_each_model(recipe, cohort.learners)
    ]
    return min([*fits, context.sweep.cohort or math.inf, sys.maxsize])  # type: ignore[return-value]


def _one_of_each_model(recipe: Recipe, learners: Sequence[Any]) -> list[Any]:
    return list({repr(recipe.arms()[learner.arm].model): learner for learner in learners}.values())


def untested(recipe: Recipe, sweep: Sweep) -> Recipe:
    """The search's recipe: its own seeds, no look at the test split, no time spent on timing."""
    tree = recipe.to_dict()
    tree["seeds"] = list(sweep.seeds or recipe.seeds[:1])
    tree["evaluation"] = tree["evaluation"] | {"test": False, "latency_batch": 0}
    return Recipe.model_validate(tree)
