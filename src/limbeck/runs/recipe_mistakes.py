"""All mistakes of a recipe at once: of kind first, then of names in whatever part is of the right kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from .recipe import Functions, Recipe
from .recipe_checks import Complaint, check_names
from .recipe_complaints import complaints_of, meant

Path = tuple[str | int, ...]


def mistakes(tree: Mapping[str, Any], *, losses: Functions, models: Functions) -> tuple[Recipe | None, list[Complaint]]:
    """The recipe where there is no mistake; else None, and every mistake with its place."""
    try:
        recipe = Recipe.model_validate(tree)
    except ValidationError as error:
        first = complaints_of(error)
        return None, first + _further(tree, error, [path for path, _ in first], losses, models)
    found = check_names(recipe, losses=losses, models=models)
    return (None, found) if found else (recipe, [])


def _further(
    tree: Mapping[str, Any], error: ValidationError, wrong: Sequence[Path], losses: Functions, models: Functions
) -> list[Complaint]:
    """Mistakes of names in the recipe without its wrong parts, less those that only follow from the cut."""
    for level in range(5):  # where a part is nothing without what was cut, the part goes too
        cut = [path[: max(1, len(path) - level)] for path in wrong]
        try:
            rest = Recipe.model_validate(_without(tree, cut))
        except ValidationError:
            continue
        told = [*cut, *meant(error)]
        arms_cut = any(len(path) <= 2 and path[:1] in (("students",), ("teachers",)) for path in cut)
        return [
            (path, message)
            for path, message in check_names(rest, losses=losses, models=models)
            if not any(path[: len(other)] == other or other[: len(path)] == path for other in told)
            and not (arms_cut and path[2:3] in (("teacher",), ("baseline",)))
        ]
    return []


GONE = object()


def _without(node: Any, cut: Sequence[Path]) -> Any:
    """A copy less the places in `cut`. A list that loses an item goes as a whole: the others keep their places."""
    if () in cut:
        return GONE
    if isinstance(node, Mapping):
        below = {key: _without(value, [p[1:] for p in cut if p[0] == key]) for key, value in node.items()}
        return {key: value for key, value in below.items() if value is not GONE}
    if isinstance(node, list | tuple):
        items = [_without(item, [p[1:] for p in cut if p[0] == index]) for index, item in enumerate(node)]
        return GONE if any(item is GONE for item in items) else items
    return GONE if cut else node
