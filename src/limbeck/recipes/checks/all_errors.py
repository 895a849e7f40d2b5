"""All mistakes of a recipe at once: of kind, and of names in all that is of the right kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from limbeck.recipes.recipe import CustomFunctions, Recipe

from .names import Complaint, check_names
from .repair import repaired


def mistakes(
    tree: Mapping[str, Any], *, losses: CustomFunctions, models: CustomFunctions
) -> tuple[Recipe | None, list[Complaint]]:
    """The recipe where there is no mistake; else None, and every mistake with its place."""
    try:
        recipe = Recipe.model_validate(tree)
    except ValidationError:
        rest, work = repaired(tree)
        further = check_names(rest, losses=losses, models=models) if rest else []
        return None, work.complaints + [(path, said) for path, said in further if not work.follows(path, said)]
    found = check_names(recipe, losses=losses, models=models)
    return (None, found) if found else (recipe, [])
