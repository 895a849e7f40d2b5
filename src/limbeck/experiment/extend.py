"""A run that is there is given more: what was trained stays in its cohorts, what is new forms cohorts of its own."""

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
"""Cohorts as `plan.json` keeps them: key, and names of learners."""


def plan_of(directory: RunDirectory, recipe: Recipe) -> Plan:
    """The plan of the recipe that the directory was claimed for: as it was recorded when the run was extended."""
    recorded = read_json(directory.plan)["cohorts"] if directory.plan.exists() else []
    return _with_recorded(recipe, recorded)


def earlier_recipes(directory: RunDirectory) -> tuple[Recipe, ...]:
    """The recipes of a run before it was extended."""
    if not directory.plan.exists():
        return ()
    return tuple(map(Recipe.model_validate, read_json(directory.plan)["earlier"]))


def extensions(directory: RunDirectory) -> list[dict[str, Any]]:
    """What was added when: `{"when": …, "changes": […]}`."""
    return read_json(directory.plan)["extended"] if directory.plan.exists() else []


def how_to_extend(directory: RunDirectory, recipe: Recipe) -> str:
    """What to add to a refusal of another recipe: that `--extend` would do, where it would."""
    try:
        _compared(directory, recipe)
    except LimbeckError:
        return ""
    return "use --extend (from Python: extend=True) to keep what is there and add this; "


def describe_extension(directory: RunDirectory, recipe: Recipe) -> list[str]:
    """What `--extend` would add to a directory, in lines for a person; nothing is changed."""
    if not directory.recipe.exists() or not directory.has_trained():
        return [f"{directory.root}: nothing is there yet that could be extended; the whole plan would be run", ""]
    lines = _added(directory, recipe)[1].lines
    return [
        f"{directory.root}: " + ("would be extended:" if lines else "has all of this"),
        *map("  {}".format, lines),
        "",
    ]


def extend(directory: RunDirectory, recipe: Recipe) -> tuple[str, ...]:
    """Make the directory that of a recipe with more in it; returns what is added, a line each.

    To be called under the directory's lock. Where it is cut off, the next start finishes it.
    Raises LimbeckError that names what cannot be changed; nothing is touched then.
    """
    old, found, kept = _added(directory, recipe)
    plan = _with_recorded(recipe, kept)
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
    """`_compared` for who has asked for it. Raises LimbeckError that names the directory too."""
    try:
        return _compared(directory, recipe)
    except LimbeckError as error:
        raise LimbeckError(f"{directory.root}: --extend: {error}") from error


def _compared(directory: RunDirectory, recipe: Recipe) -> tuple[Recipe, Extension, Recorded]:
    """The recipe so far, what is added to it, and the cohorts that stay. Raises LimbeckError where it cannot be."""
    old = Recipe.model_validate(read_json(directory.recipe))
    kept: Recorded = []
    trained: set[str] = set()
    waiting: set[str] = set()
    for cohort in plan_of(directory, old).cohorts:
        files = directory.cohort(cohort.key)
        if not files.has_started():
            continue
        kept.append({"key": cohort.key, "learners": [learner.name for learner in cohort.learners]})
        trained |= {learner.arm for learner in cohort.learners}
        if files.read_result() is None:
            waiting |= {one.arm for one in cohort.learners if _has_ended(directory, cohort, one, old)}
    return old, extension(_with_absolute_paths(old), _with_absolute_paths(recipe), trained, waiting), kept


def _with_absolute_paths(recipe: Recipe) -> Recipe:
    return Recipe.model_validate(with_absolute_paths(recipe.to_dict()))


def _has_ended(directory: RunDirectory, cohort: CohortPlan, learner: LearnerPlan, recipe: Recipe) -> bool:
    rows = directory.cohort(cohort.key).metrics(learner.name).rows()
    return len(rows) >= (recipe.arms()[learner.arm].epochs or 0)


def _with_recorded(recipe: Recipe, recorded: Recorded) -> Plan:
    """The plan of a recipe in which some cohorts are given; the other learners form cohorts as they always do.

    Raises LimbeckError where a recorded learner is none of the recipe's.
    """
    fresh = make_plan(recipe)
    if not recorded:
        return fresh
    cohort_of = {learner.name: cohort for cohort in fresh.cohorts for learner in cohort.learners}
    plan_of_learner = {learner.name: learner for cohort in fresh.cohorts for learner in cohort.learners}
    if odd := [name for about in recorded for name in about["learners"] if name not in cohort_of]:
        raise LimbeckError(f"plan.json: names {odd[0]!r}, which the recipe does not have; --fresh starts anew")
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
