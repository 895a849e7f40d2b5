"""The trials of a sweep, merged into one recipe that has an arm for each.

Arms that no axis changes appear once. Arms with the same views share cohorts as in any recipe, so a sweep is trained
like a run.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from limbeck.errors import RecipeError
from limbeck.experiment.plan import own_seed
from limbeck.recipes.load import NO_FUNCTIONS, ParsedRecipe, load_recipe, read_recipe
from limbeck.recipes.recipe import Arm, CustomFunctions, Recipe
from limbeck.recipes.sweep import Range, Sweep, Value
from limbeck.seeding import key as number_of

EVERY_STUDENT = "students.*."
TRIAL_SECTIONS = ("students", "teachers", "views")
"""The sections of a recipe in which trials may differ."""

Trial = dict[str, Value]
"""The value of each axis, by the name of the axis."""


@dataclass(frozen=True)
class RecipeSource:
    """A recipe that is validated with the values of each trial. Its file is read once, at the first `read`."""

    recipe: str | Path | Mapping[str, Any]
    overrides: tuple[str, ...] = ()
    losses: CustomFunctions = field(default_factory=lambda: NO_FUNCTIONS)
    models: CustomFunctions = field(default_factory=lambda: NO_FUNCTIONS)

    @functools.cached_property
    def _written(self) -> ParsedRecipe:
        return read_recipe(self.recipe)

    def read(self, more: Sequence[str] = ()) -> Recipe:
        """The recipe with additional overrides. Raises RecipeError."""
        return load_recipe(self._written, [*self.overrides, *more], losses=self.losses, models=self.models)


@dataclass(frozen=True)
class MergedTrials:
    """One recipe for all trials. variants: for each trial, the name of each student arm in the merged recipe."""

    recipe: Recipe
    variants: tuple[dict[str, str], ...]

    def swept(self) -> list[str]:
        """The student arms that differ between trials."""
        first = self.variants[0]
        return [arm for arm in first if any(of[arm] != first[arm] for of in self.variants)]


def random_trials(sweep: Sweep, count: int) -> list[Trial]:
    """Distinct trials of a random search, at most `count`: a pure function of the sweep's seed and their numbers."""
    trials: dict[str, Trial] = {}
    for attempt in range(100 * count):
        trial: Trial = {}
        for name, axis in sweep.axes.items():
            share = number_of("sweep", sweep.seed, attempt, name) / 2**63
            trial[name] = axis.at(share) if isinstance(axis, Range) else axis[int(share * len(axis))]
        trials.setdefault(json.dumps(trial), trial)
        if len(trials) == count:
            break
    return list(trials.values())


def trial_as_written(source: RecipeSource, sweep: Sweep) -> Trial | None:
    """The trial with the recipe's own values; None if the recipe does not give each axis a value."""
    recipe = source.read(["sweep=null"])
    tree = recipe.to_dict()
    trial: Trial = {}
    for name in sweep.axes:
        (first, *_) = _keys(name, recipe)
        node: Any = tree
        for part in first.split("."):
            try:
                node = node[int(part)] if isinstance(node, list) else node[part]
            except (KeyError, IndexError, ValueError, TypeError):
                return None
        trial[name] = node
    return trial


def merge_trials(source: RecipeSource, sweep: Sweep, trials: Sequence[Trial]) -> MergedTrials:
    """All trials as arms of one recipe. Raises RecipeError with the axis if the recipe of a trial is not valid."""
    base = source.read(["sweep=null"])
    recipes: list[Recipe] = []
    errors: dict[str, None] = {}
    for trial in trials:
        try:
            recipes.append(_read(source, sweep, trial, base))
        except RecipeError as error:
            errors |= dict.fromkeys(str(error).split("\n"))
    if errors:
        raise RecipeError("\n".join(errors))
    for trial, recipe in zip(trials, recipes, strict=True):
        _check_sections(base, recipe, trial)
    names = {group: _names(recipes, group) for group in ("teachers", "students")}
    tree = base.to_dict() | {"teachers": {}, "students": {}, "sweep": None}
    variants = []
    for recipe in recipes:
        new_names = {arm: names[group][_identity(recipe, arm)] for group in names for arm in getattr(recipe, group)}
        for group in names:
            for arm in getattr(recipe, group):
                tree[group].setdefault(new_names[arm], _renamed(recipe, arm, new_names, base))
        variants.append({arm: new_names[arm] for arm in recipe.students})
    merged = load_recipe(tree, losses=source.losses, models=source.models)
    return MergedTrials(merged, tuple(variants))


def subset_recipe(recipe: Recipe, students: Sequence[str], source: RecipeSource) -> Recipe:
    """The recipe with only these students and, directly or indirectly, their teachers."""
    arms = recipe.arms()
    selected: set[str] = set()
    waiting = list(students)
    while waiting:
        name = waiting.pop()
        if name not in selected:
            selected.add(name)
            waiting += [teacher.name for teacher in arms[name].teacher]
    tree = recipe.to_dict()
    for group in ("teachers", "students"):
        tree[group] = {name: arm for name, arm in tree[group].items() if name in selected}
    for arm in tree["students"].values():
        arm["baseline"] = arm["baseline"] if arm["baseline"] in selected else None
    return load_recipe(tree, losses=source.losses, models=source.models)


def _keys(name: str, recipe: Recipe) -> list[str]:
    """The recipe keys that an axis sets."""
    if not name.startswith(EVERY_STUDENT):
        return [name]
    distilled = [name for name, arm in recipe.students.items() if arm.teacher]
    if not distilled:
        raise RecipeError(f"sweep.axes: {name}: no student has a teacher")
    return [f"students.{arm}.{name.removeprefix(EVERY_STUDENT)}" for arm in distilled]


def _read(source: RecipeSource, sweep: Sweep, trial: Trial, base: Recipe) -> Recipe:
    try:
        values = sweep.whole(trial)
        return source.read(
            ["sweep=null", *(f"{key}={json.dumps(v)}" for name, v in values.items() for key in _keys(name, base))]
        )
    except (RecipeError, ValueError) as error:
        lines = str(error).replace("command line: ", "sweep.axes: ").split("\n")
        raise RecipeError("\n".join(lines)) from error


def _check_sections(base: Recipe, recipe: Recipe, trial: Trial) -> None:
    """Raise RecipeError if a trial differs outside of students, teachers and views."""
    before, after = base.to_dict(), recipe.to_dict()
    for key in {**before, **after}:  # a section may be absent on one side
        if key not in TRIAL_SECTIONS and before.get(key) != after.get(key):
            axis = next((name for name in trial if name.split(".")[0] == key), key)
            accepted = "takes keys under students, teachers and views"
            raise RecipeError(f"sweep.axes: {axis}: {accepted}; {key} is the same for all trials")


def _names(recipes: Sequence[Recipe], group: str) -> dict[str, str]:
    """The name of each distinct arm by its identity: with a number if trials differ in it."""
    distinct: dict[str, dict[str, None]] = {}
    for recipe in recipes:
        for arm in getattr(recipe, group):
            distinct.setdefault(arm, {})[_identity(recipe, arm)] = None
    return {
        identity: arm if len(identities) == 1 else f"{arm}.{number:03d}"
        for arm, identities in distinct.items()
        for number, identity in enumerate(identities)
    }


def _identity(recipe: Recipe, name: str) -> str:
    """Everything that determines the training of an arm and its teachers; arms with equal identities are one."""
    arm = recipe.arms()[name]
    views = (arm.views or recipe.views).model_dump(mode="json")
    options = arm.model_dump(mode="json", exclude={"teacher", "baseline", "views"})
    teachers = [(_identity(recipe, teacher.name), teacher.weight, teacher.epoch) for teacher in arm.teacher]
    return json.dumps([name, options, views, teachers], sort_keys=True)


def _renamed(recipe: Recipe, name: str, new_names: Mapping[str, str], base: Recipe) -> dict[str, Any]:
    """An arm of a trial as a tree for the merged recipe."""
    arm: Arm = recipe.arms()[name]
    tree = arm.model_dump(mode="json")
    if arm.trained and new_names[name] != name:
        tree["seed"] = own_seed(recipe, name)  # the seed depends on the name unless it is given
    tree["teacher"] = [{**teacher, "name": new_names[teacher["name"]]} for teacher in tree["teacher"]]
    if name in recipe.students:
        baseline = arm.baseline or ("baseline" if "baseline" in recipe.students and name != "baseline" else None)
        tree["baseline"] = new_names[baseline] if baseline else None
    views = (arm.views or recipe.views).model_dump(mode="json")
    tree["views"] = None if views == base.views.model_dump(mode="json") else views
    return tree
