"""From the axes of a sweep to one recipe in which every setting is an arm.

Arms that no axis touches appear once, whatever the number of settings; arms that see the same views then fall into the
same cohorts by themselves, and a sweep is run by what runs a recipe.
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
BESIDE = ("students", "teachers", "views")
"""What settings of one sweep may differ in."""

Setting = dict[str, Value]


@dataclass(frozen=True)
class Source:
    """A recipe that is checked again with each setting's values in it. Its file is read once, at the first `read`."""

    recipe: str | Path | Mapping[str, Any]
    overrides: tuple[str, ...] = ()
    losses: CustomFunctions = field(default_factory=lambda: NO_FUNCTIONS)
    models: CustomFunctions = field(default_factory=lambda: NO_FUNCTIONS)

    @functools.cached_property
    def _written(self) -> ParsedRecipe:
        return read_recipe(self.recipe)

    def read(self, more: Sequence[str] = ()) -> Recipe:
        """The recipe with further overrides. Raises RecipeError."""
        return load_recipe(self._written, [*self.overrides, *more], losses=self.losses, models=self.models)


@dataclass(frozen=True)
class Settings:
    """One recipe for all settings. variants: for each setting, what each student arm is called in it."""

    recipe: Recipe
    variants: tuple[dict[str, str], ...]

    def recipe_students(self) -> list[str]:
        """The student arms of the recipe as it was written."""
        return list(self.variants[0])

    def swept(self) -> list[str]:
        """The student arms that differ between settings."""
        first = self.variants[0]
        return [arm for arm in first if any(of[arm] != first[arm] for of in self.variants)]


def drawn(sweep: Sweep, count: int) -> list[Setting]:
    """Settings of a random search: a pure function of the sweep's seed and each setting's number."""
    found: dict[str, Setting] = {}
    for attempt in range(100 * count):
        setting: Setting = {}
        for name, axis in sweep.axes.items():
            share = number_of("sweep", sweep.seed, attempt, name) / 2**63
            setting[name] = axis.at(share) if isinstance(axis, Range) else axis[int(share * len(axis))]
        found.setdefault(json.dumps(setting), setting)
        if len(found) == count:
            break
    return list(found.values())


def as_written(source: Source, sweep: Sweep) -> Setting | None:
    """The setting that the recipe itself stands for, where it gives every axis a value: what others compare with."""
    recipe = source.read(["sweep=null"]).to_dict()
    setting: Setting = {}
    for name in sweep.axes:
        (first, *_) = _keys(name, source.read(["sweep=null"]))
        node: Any = recipe
        for part in first.split("."):
            try:
                node = node[int(part)] if isinstance(node, list) else node[part]
            except (KeyError, IndexError, ValueError, TypeError):
                return None
        setting[name] = node
    return setting


def combine(source: Source, sweep: Sweep, settings: Sequence[Setting]) -> Settings:
    """All settings as arms of one recipe. Raises RecipeError that names the axis, for a setting that is no recipe."""
    base = source.read(["sweep=null"])
    recipes: list[Recipe] = []
    wrong: dict[str, None] = {}
    for setting in settings:
        try:
            recipes.append(_read(source, sweep, setting, base))
        except RecipeError as error:
            wrong |= dict.fromkeys(str(error).split("\n"))
    if wrong:
        raise RecipeError("\n".join(wrong))
    for setting, recipe in zip(settings, recipes, strict=True):
        _same_beside(base, recipe, setting)
    names = {group: _names(recipes, group) for group in ("teachers", "students")}
    tree = base.to_dict() | {"teachers": {}, "students": {}, "sweep": None}
    variants = []
    for recipe in recipes:
        called = {arm: names[group][_identity(recipe, arm)] for group in names for arm in getattr(recipe, group)}
        for group in names:
            for arm in getattr(recipe, group):
                tree[group].setdefault(called[arm], _renamed(recipe, arm, called, base))
        variants.append({arm: called[arm] for arm in recipe.students})
    combined = load_recipe(tree, losses=source.losses, models=source.models)
    return Settings(combined, tuple(variants))


def only(recipe: Recipe, students: Sequence[str], source: Source) -> Recipe:
    """A recipe with some of its students, and of the teachers and other students those that they listen to."""
    arms = recipe.arms()
    kept: set[str] = set()
    waiting = list(students)
    while waiting:
        name = waiting.pop()
        if name not in kept:
            kept.add(name)
            waiting += [voice.name for voice in arms[name].teacher]
    tree = recipe.to_dict()
    for group in ("teachers", "students"):
        tree[group] = {name: about for name, about in tree[group].items() if name in kept}
    for about in tree["students"].values():
        about["baseline"] = about["baseline"] if about["baseline"] in kept else None
    return load_recipe(tree, losses=source.losses, models=source.models)


def _keys(name: str, recipe: Recipe) -> list[str]:
    """The recipe's keys that an axis stands for."""
    if not name.startswith(EVERY_STUDENT):
        return [name]
    taught = [arm for arm, about in recipe.students.items() if about.teacher]
    if not taught:
        raise RecipeError(f"sweep.axes: {name}: no student has a teacher")
    return [f"students.{arm}.{name.removeprefix(EVERY_STUDENT)}" for arm in taught]


def _read(source: Source, sweep: Sweep, setting: Setting, base: Recipe) -> Recipe:
    try:
        values = sweep.whole(setting)
        return source.read(
            ["sweep=null", *(f"{key}={json.dumps(v)}" for name, v in values.items() for key in _keys(name, base))]
        )
    except (RecipeError, ValueError) as error:
        lines = str(error).replace("command line: ", "sweep.axes: ").split("\n")
        raise RecipeError("\n".join(lines)) from error


def _same_beside(base: Recipe, recipe: Recipe, setting: Setting) -> None:
    """Settings may differ in students, teachers and views; the rest is one for the whole sweep."""
    for key, value in base.to_dict().items():
        if key not in BESIDE and recipe.to_dict()[key] != value:
            axis = next((name for name in setting if name.split(".")[0] == key), key)
            takes = "takes keys under students, teachers and views"
            raise RecipeError(f"sweep.axes: {axis}: {takes}; {key} is one for all settings")


def _names(recipes: Sequence[Recipe], group: str) -> dict[str, str]:
    """What each different arm is called: its own name where there is one of it, else with a number."""
    different: dict[str, dict[str, None]] = {}
    for recipe in recipes:
        for arm in getattr(recipe, group):
            different.setdefault(arm, {})[_identity(recipe, arm)] = None
    return {
        identity: arm if len(identities) == 1 else f"{arm}.{number:03d}"
        for arm, identities in different.items()
        for number, identity in enumerate(identities)
    }


def _identity(recipe: Recipe, name: str) -> str:
    """Everything that decides what becomes of an arm, its teachers included; arms of one identity are one arm."""
    arm = recipe.arms()[name]
    views = (arm.views or recipe.views).model_dump(mode="json")
    about = arm.model_dump(mode="json", exclude={"teacher", "baseline", "views"})
    voices = [(_identity(recipe, voice.name), voice.weight) for voice in arm.teacher]
    return json.dumps([name, about, views, voices], sort_keys=True)


def _renamed(recipe: Recipe, name: str, called: Mapping[str, str], base: Recipe) -> dict[str, Any]:
    arm: Arm = recipe.arms()[name]
    about = arm.model_dump(mode="json")
    if arm.trained and called[name] != name:
        about["seed"] = own_seed(recipe, name)  # its new name is not to change what it begins with
    about["teacher"] = [{"name": called[voice.name], "weight": voice.weight} for voice in arm.teacher]
    if name in recipe.students:
        baseline = arm.baseline or ("baseline" if "baseline" in recipe.students and name != "baseline" else None)
        about["baseline"] = called[baseline] if baseline else None
    views = (arm.views or recipe.views).model_dump(mode="json")
    about["views"] = None if views == base.views.model_dump(mode="json") else views
    return about
