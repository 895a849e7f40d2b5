"""The search of a sweep: all its trials, compared on the validation set."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from limbeck.building.checks.before_training import check_before_training
from limbeck.experiment.cohorts import MakeWatcher
from limbeck.experiment.plan import CohortPlan, LearnerPlan, make_plan
from limbeck.experiment.results import curves
from limbeck.experiment.signals import GracefulShutdown
from limbeck.experiment.timing import Span, spans_of
from limbeck.recipes.recipe import Recipe
from limbeck.recipes.sweep import Sweep
from limbeck.storage.atomic import make_folder, read_json, write_json
from limbeck.storage.run_directory import LearnerId, RunDirectory

from .context import SweepContext, reuse_teachers
from .memory_budget import max_concurrent_learners
from .optuna_study import Study
from .pruning import MedianRule
from .selection import Outcome, outcomes
from .trials import MergedTrials, RecipeSource, Trial, merge_trials, random_trials, subset_recipe, trial_as_written


@dataclass
class SearchState:
    """The trials so far, with their results in the same order.

    outcomes: of each trial, by arm. accuracies: of each trial, by epoch. swept: the arms that differ between trials.
    """

    trials: list[Trial] = field(default_factory=list)
    outcomes: list[dict[str, Outcome]] = field(default_factory=list)
    accuracies: list[list[float]] = field(default_factory=list)
    swept: list[str] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)


def search(context: SweepContext, make_watcher: MakeWatcher | None, stop: GracefulShutdown) -> SearchState:
    """Run all trials, in batches if later ones are suggested from the results of earlier ones."""
    state = SearchState()
    number = 0
    while batch := _decide_batch(context, state, number):
        _run_batch(context, state, number, *batch, make_watcher, stop)
        number += 1
    return state


def _run_batch(
    context: SweepContext, state: SearchState, number: int, trials: list[Trial], max_learners: int,
    make_watcher: MakeWatcher | None, stop: GracefulShutdown,
) -> None:  # fmt: skip
    """Run one batch of trials and add the results to the state."""
    directory = context.directory.batch(number)
    merged, recipe = _batch_recipe(context, state, number, trials)
    with context.directory.decision_lock():
        directory.bind(recipe.to_dict())
    if number:
        reuse_teachers(context.directory.batch(0), directory, recipe, make_plan(recipe, max_learners))
    prunable = {str(LearnerId(of[arm], seed)) for of in merged.variants for arm in state.swept for seed in recipe.seeds}
    earlier = state.accuracies

    def make_stop_rule(cohort: CohortPlan) -> MedianRule | None:
        return MedianRule(prunable, earlier) if context.sweep.pruning else None

    run_context = context.run_context(recipe, directory)
    plan, results = context.train(run_context, stop, make_watcher, max_learners=max_learners, stop_rule=make_stop_rule)
    by_variant = outcomes(arm for cohort in results.values() for arm in cohort["arms"])
    rows = curves(run_context, plan)
    state.trials += trials
    state.outcomes += [
        {arm: by_variant[name] for arm, name in of.items() if name in by_variant} for of in merged.variants
    ]
    state.accuracies += [
        [row.get("validation_accuracy", 0.0) for row in rows[of[state.swept[0]], recipe.seeds[0]]]
        for of in merged.variants
    ]
    state.spans += [span for cohort in results.values() for span in spans_of(cohort)]


def _batch_recipe(
    context: SweepContext, state: SearchState, number: int, trials: Sequence[Trial]
) -> tuple[MergedTrials, Recipe]:
    """The recipe of a batch; arms that no axis changes are only in that of the first batch."""
    merged = merge_trials(context.source, context.sweep, trials)
    state.swept = state.swept or merged.swept() or list(merged.recipe.students)
    recipe = merged.recipe
    if number:
        recipe = subset_recipe(recipe, [of[arm] for of in merged.variants for arm in state.swept], context.source)
    return merged, search_recipe(recipe, context.sweep)


def first_trials(source: RecipeSource, sweep: Sweep) -> list[Trial]:
    """All trials of a grid or random search, or the first batch of `tpe`; with the recipe's own values as one trial."""
    if sweep.strategy == "grid":
        trials = sweep.grid()
    else:
        count = sweep.trials or 0
        trials = random_trials(sweep, count if sweep.strategy == "random" else min(count, sweep.batch))
    as_written = trial_as_written(source, sweep)
    return trials if as_written is None or as_written in trials else [*trials, as_written]


def _decide_batch(context: SweepContext, state: SearchState, number: int) -> tuple[list[Trial], int] | None:
    """The trials of a batch and the maximum number of learners in a cohort; None after the last batch.

    The first process decides for all.
    """
    directory = context.directory.batch(number)
    path = directory.root / "settings.json"
    with context.directory.decision_lock():
        if not path.exists():
            key = f"{directory.root.name}/settings"
            decision = context.store.get(key) if context.store else None
            if decision is None:
                trials = _next_trials(context, state, number)
                if not trials:
                    return None
                merged, recipe = _batch_recipe(context, state, number, trials)
                if number:  # the first batch was checked at the start of the sweep
                    check_before_training(recipe, context.images, context.source.models, losses=context.source.losses)
                decision = {
                    "settings": trials,
                    "learners_at_once": _max_learners(context, recipe, directory),
                    "variants": list(merged.variants),  # for reports of a sweep that goes on
                }
                decision = context.store.setdefault(key, decision) if context.store else decision
            make_folder(directory.root)
            write_json(path, decision)
        decided = read_json(path)
    return decided["settings"], decided["learners_at_once"]


def _next_trials(context: SweepContext, state: SearchState, number: int) -> list[Trial]:
    if number == 0:
        return first_trials(context.source, context.sweep)
    if context.sweep.strategy != "tpe":
        return []
    root = context.directory.root
    study = Study(root.name, context.sweep, root / "search")
    for place, trial in enumerate(state.trials):
        if study.contains(trial):
            means = [state.outcomes[place][arm].mean for arm in state.swept]
            value = math.fsum(means) / len(means)
            trial_id = f"{root.name if context.store else root.absolute()}#{place}"
            study.tell(trial_id, trial, state.accuracies[place], value if math.isfinite(value) else None)
    left = (context.sweep.trials or 0) - max(len(study.finished()), len(state.trials))
    return study.suggest(min(context.sweep.batch, left), number, state.trials) if left > 0 else []


def _max_learners(context: SweepContext, recipe: Recipe, directory: RunDirectory) -> int:
    """How many learners a cohort may have: limited by memory and by `sweep.cohort`."""
    cohorts = [cohort for cohort in make_plan(recipe).cohorts if len(cohort.learners) > 1]
    fitting = [
        max_concurrent_learners(context.run_context(recipe, directory), learner, cohort.views)
        for cohort in cohorts
        for learner in _one_per_model(recipe, cohort.learners)
    ]
    return min([*fitting, context.sweep.cohort or math.inf, sys.maxsize])  # type: ignore[return-value]


def _one_per_model(recipe: Recipe, learners: Sequence[LearnerPlan]) -> list[LearnerPlan]:
    return list({repr(recipe.arms()[learner.arm].model): learner for learner in learners}.values())


def search_recipe(recipe: Recipe, sweep: Sweep) -> Recipe:
    """The recipe with the seeds of the search, without the test set, latency, budget and test-time augmentation."""
    tree = recipe.to_dict()
    tree["seeds"] = list(sweep.seeds or recipe.seeds[:1])
    tree["evaluation"] = tree["evaluation"] | {"test": False, "latency_batch": 0, "test_time": None}
    tree.pop("budget", None)
    return Recipe.model_validate(tree)
