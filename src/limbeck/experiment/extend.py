"""Extend an existing run: cohorts that were trained stay as they are, new learners form new cohorts."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from limbeck.errors import LimbeckError
from limbeck.recipes.differences import Extension, extension
from limbeck.recipes.paths import with_absolute_paths
from limbeck.recipes.recipe import Recipe
from limbeck.storage.atomic import read_json
from limbeck.storage.run_directory import RunDirectory

from .plan import CohortPlan, LearnerPlan, Plan, make_plan

Recorded = list[dict[str, Any]]
"""Cohorts as in `plan.json`: their keys, and the names of their learners."""


def plan_of(directory: RunDirectory, recipe: Recipe) -> Plan:
    """The plan of the directory's recipe, with the cohorts that were recorded when the run was extended."""
    recorded = read_json(directory.plan)["cohorts"] if directory.plan.exists() else []
    return _with_recorded(recipe, recorded)


def earlier_recipes(directory: RunDirectory) -> tuple[Recipe, ...]:
    """The recipes of a run before it was extended."""
    if not directory.plan.exists():
        return ()
    return tuple(map(Recipe.model_validate, read_json(directory.plan)["earlier"]))


def extensions(directory: RunDirectory) -> list[dict[str, Any]]:
    """Every extension so far: `{"when": …, "changes": […]}`."""
    return read_json(directory.plan)["extended"] if directory.plan.exists() else []


def how_to_extend(directory: RunDirectory, recipe: Recipe) -> str:
    """A hint for the refusal of another recipe: to use `--extend`, if that is possible; empty otherwise."""
    try:
        _compared(directory, recipe)
    except LimbeckError:
        return ""
    return "use --extend (from Python: extend=True) to keep what is there and add this; "


def describe_extension(directory: RunDirectory, recipe: Recipe) -> list[str]:
    """What `--extend` would add to a directory, as lines of text; nothing is changed."""
    if not directory.recipe.exists() or not directory.has_trained():
        return [f"{directory.root}: there is nothing to extend yet; the whole plan would be run", ""]
    lines = _added(directory, recipe)[1].lines
    return [
        f"{directory.root}: " + ("would be extended:" if lines else "already has all of this"),
        *map("  {}".format, lines),
        "",
    ]


def extend(directory: RunDirectory, recipe: Recipe) -> tuple[str, ...]:
    """Bind the directory to a recipe that extends its present one; returns the additions, one per line.

    Needs the directory's lock. If the process is killed meanwhile, the next start completes the extension.
    Raises LimbeckError that names what cannot be changed; the directory is then unchanged.
    """
    old, found, started = _added(directory, recipe)
    plan = _with_recorded(recipe, started)
    reopened = [
        cohort.key
        for cohort in plan.cohorts
        if directory.cohort(cohort.key).read_result() is not None
        and {one.arm for one in cohort.learners} & {*found.longer}
    ]
    now = datetime.now(UTC).isoformat(timespec="seconds")
    directory.extend(
        recipe.to_dict(),
        {
            "cohorts": [{"key": c.key, "learners": [one.name for one in c.learners]} for c in plan.cohorts],
            "earlier": [*(one.to_dict() for one in earlier_recipes(directory)), old.to_dict()],
            "extended": [*extensions(directory), {"when": now, "changes": list(found.lines)}],
        },
        reopened,
    )
    return found.lines


def _added(directory: RunDirectory, recipe: Recipe) -> tuple[Recipe, Extension, Recorded]:
    """`_compared`, with the directory and `--extend` in its errors."""
    try:
        return _compared(directory, recipe)
    except LimbeckError as error:
        raise LimbeckError(f"{directory.root}: --extend: {error}") from error


def _compared(directory: RunDirectory, recipe: Recipe) -> tuple[Recipe, Extension, Recorded]:
    """The present recipe, what is added to it, and the cohorts that stay. Raises LimbeckError if that is impossible."""
    old = Recipe.model_validate(read_json(directory.recipe))
    started: Recorded = []
    trained: set[str] = set()
    waiting: set[str] = set()
    for cohort in plan_of(directory, old).cohorts:
        files = directory.cohort(cohort.key)
        if not files.has_started():
            continue
        started.append({"key": cohort.key, "learners": [learner.name for learner in cohort.learners]})
        trained |= {learner.arm for learner in cohort.learners}
        if files.read_result() is None:
            waiting |= {one.arm for one in cohort.learners if _has_ended(directory, cohort, one, old)}
    return old, extension(_with_absolute_paths(old), _with_absolute_paths(recipe), trained, waiting), started


def _with_absolute_paths(recipe: Recipe) -> Recipe:
    return Recipe.model_validate(with_absolute_paths(recipe.to_dict()))


def _has_ended(directory: RunDirectory, cohort: CohortPlan, learner: LearnerPlan, recipe: Recipe) -> bool:
    rows = directory.cohort(cohort.key).metrics(learner.name).rows()
    return len(rows) >= (recipe.arms()[learner.arm].epochs or 0)


def _with_recorded(recipe: Recipe, recorded: Recorded) -> Plan:
    """The plan of a recipe with the recorded cohorts; all other learners form new cohorts.

    Raises LimbeckError if the recipe lacks a recorded learner.
    """
    fresh = make_plan(recipe)
    if not recorded:
        return fresh
    cohort_of = {learner.name: cohort for cohort in fresh.cohorts for learner in cohort.learners}
    plan_of_learner = {learner.name: learner for cohort in fresh.cohorts for learner in cohort.learners}
    if unknown := [name for about in recorded for name in about["learners"] if name not in cohort_of]:
        raise LimbeckError(f"plan.json: lists {unknown[0]!r}, which the recipe does not have; --fresh starts over")
    given = [
        CohortPlan(
            about["key"],
            cohort_of[about["learners"][0]].views,
            cohort_of[about["learners"][0]].view_seed,
            tuple(plan_of_learner[name] for name in about["learners"]),
        )
        for about in recorded
    ]
    taken = {name for about in recorded for name in about["learners"]}
    keys = {cohort.key for cohort in given}
    for cohort in fresh.cohorts:
        rest = tuple(learner for learner in cohort.learners if learner.name not in taken)
        if rest:
            key, number = cohort.key, 0
            while key in keys:
                number += 1
                key = f"{cohort.key}-added{number}"
            keys.add(key)
            given.append(replace(cohort, key=key, learners=rest))
    return Plan(tuple(given), fresh.pretrained)
