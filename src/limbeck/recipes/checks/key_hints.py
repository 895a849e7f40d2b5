"""Hints for an unknown key: the nearest valid key, or the section in which a recipe has it."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel

from limbeck.errors import did_you_mean
from limbeck.recipes.fields import GROUPS, KeyPath, NameWithOptions, RecipePart
from limbeck.recipes.recipe import Data, LossTerm, Recipe
from limbeck.recipes.registry import entries
from limbeck.synonyms import meanings, simplified

ARM, ITEM = "*", 0
"""Placeholders in a path for any arm and any item of a list."""
OPTIONS: dict[type[BaseModel], str] = {LossTerm: "losses", Data: "data", NameWithOptions: "models"}
AMBIGUOUS = ("name", "weight")
"""Keys of so many sections that their place says little."""
TYPO = 0.86
"""Similarity from which an unknown key is taken for a typo, and not for a key of another section."""


def key_hint(path: KeyPath, valid: Iterable[str], root: type[RecipePart]) -> str:
    """What to add about an unknown key: its section below `root`, the nearest valid key, or all valid keys."""
    word, valid = str(path[-1]), list(valid)
    near = did_you_mean(word, valid)
    is_typo = get_close_matches(word, valid, n=1, cutoff=TYPO) or simplified(word) in map(simplified, valid)
    if is_typo or any(f"{other!r}?" in near for other in meanings(word)):
        return near
    section = _section_hint(path, root)
    return f"; {section}" if section else near


def _section_hint(path: KeyPath, root: type[RecipePart]) -> str | None:
    """`` `lr` belongs to `optimizer`: students.a.optimizer.lr`` for a key that is valid elsewhere, or None."""
    other_group = next((group for group in GROUPS if path[0] in GROUPS and group != path[0]), None)
    for key in (str(path[-1]), *meanings(str(path[-1]))):
        if key not in AMBIGUOUS or key != path[-1]:
            places = [
                place
                for place in key_places(root).get(key, ())
                if place[0] != other_group and not _is_at_or_above(place, path)
            ]
            if places:
                return _describe(max(places, key=lambda place: (_shared_length(place, path), -len(place))), path, root)
    return None


def _describe(place: KeyPath, path: KeyPath, root: type[RecipePart]) -> str:
    shared = _shared_length(place, path)
    target = [*path[:shared], *place[shared:]]
    key, group = str(place[-1]), place[0]
    if place[-2:-1] == (ARM,):
        if shared == len(place) - 1:
            return f"`{key}` belongs to the arm itself: {'.'.join(map(str, target))}"
        return f"`{key}` belongs to an arm: {group}.defaults.{key} for all, {group}.NAME.{key} for one"
    written = ".".join("defaults" if part == ARM else "N" if part == ITEM else str(part) for part in target)
    section = next((part for part in reversed(place[:-1]) if isinstance(part, str) and part != ARM), None)
    whole = "the recipe" if root is Recipe else "the call"
    return f"`{key}` belongs to {f'`{section}`' if section else f'{whole} itself'}: {written}"


def _shared_length(place: KeyPath, path: KeyPath) -> int:
    """How many parts of a place lie on the way to the key that was written."""
    length = 0
    for part, written in zip(place[:-1], path[:-1], strict=False):
        if part not in (written, ARM) and not (part == ITEM and isinstance(written, int)):
            break
        length += 1
    return length


def _is_at_or_above(place: KeyPath, path: KeyPath) -> bool:
    """Whether the place is where the key was written, or holds that."""
    return len(place) <= len(path) and _shared_length((*place, ""), (*path, "")) == len(place)


@functools.cache
def key_places(root: type[RecipePart] = Recipe) -> dict[str, list[KeyPath]]:
    """Every key below a root, options of losses, models and data included, with its places; those of students first."""
    places: dict[str, list[KeyPath]] = {}
    for path in sorted(_paths_below(root, ()), key=lambda path: path[0] == "teachers"):
        places.setdefault(str(path[-1]), []).append(path)
    return places


def _paths_below(annotation: Any, path: KeyPath) -> Iterator[KeyPath]:
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            yield (*path, name)
            if name != "sweep":
                yield from _paths_below(field.annotation, (*path, name))
        for entry in entries(OPTIONS[annotation]).values() if annotation in OPTIONS else ():
            yield from ((*path, option) for option in entry.options)
        return
    arguments = [argument for argument in get_args(annotation) if argument is not Ellipsis]
    if get_origin(annotation) is dict:
        yield from _paths_below(arguments[1], (*path, ARM))
    elif get_origin(annotation) is tuple:
        yield from _paths_below(arguments[0], (*path, ITEM))
    else:  # a union; strings and numbers have nothing below them
        for argument in arguments:
            yield from _paths_below(argument, path)
