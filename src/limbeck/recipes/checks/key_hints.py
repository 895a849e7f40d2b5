"""Where in a recipe a key belongs that was written somewhere else."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel

from limbeck.errors import did_you_mean
from limbeck.recipes.fields import NameWithOptions
from limbeck.recipes.recipe import Data, LossTerm, Recipe
from limbeck.recipes.registry import entries
from limbeck.synonyms import meanings, simplified

Path = tuple[str | int, ...]
ARM, ITEM = "*", 0
OPTIONS: dict[type[BaseModel], str] = {LossTerm: "losses", Data: "data", NameWithOptions: "models"}
SAYS_LITTLE = ("name", "weight")  # many things have them


SURELY = 0.86
"""How like a valid key a word must be to be taken for that key mistyped, and not for a key of another place."""


def key_hint(path: Path, valid: Iterable[str]) -> str:
    """Where a key belongs that is not valid here, the nearest that is, or the list of those that are."""
    word = str(path[-1])
    if get_close_matches(word, list(valid), n=1, cutoff=SURELY) or any(
        simplified(other) == simplified(word) for other in valid
    ):
        return did_you_mean(word, valid)
    near = did_you_mean(word, valid)
    if any(f"{other!r}?" in near for other in meanings(word)):
        return near
    there = belongs(path)
    return f"; {there}" if there else near


def belongs(path: Path) -> str | None:
    """`` `lr` belongs to `optimizer`: students.a.optimizer.lr`` for a key that is valid elsewhere, or None."""
    for key in (str(path[-1]), *meanings(str(path[-1]))):
        if key not in SAYS_LITTLE or key != path[-1]:
            other_group = {"teachers": "students", "students": "teachers"}.get(str(next(iter(path))))
            known = [place for place in _places().get(key, ()) if place[:1] != (other_group,)]
            places = [place for place in known if not _leads_to(place, path)]
            if places:
                return _said(max(places, key=lambda place: (_common(place, path), -len(place))), path)
    return None


def _said(place: Path, path: Path) -> str:
    common = _common(place, path)
    at = [*path[:common], *place[common:]]
    key, group, holder = str(place[-1]), place[0], place[-2:-1]
    if holder == (ARM,) and common == len(place) - 1:
        return f"`{key}` belongs to the arm itself: {'.'.join(map(str, at))}"
    if holder == (ARM,):
        return f"`{key}` belongs to an arm: {group}.defaults.{key} for all, {group}.NAME.{key} for one"
    shown = ".".join("defaults" if part == ARM else "N" if part == ITEM else str(part) for part in at)
    within = next((str(part) for part in reversed(place[:-1]) if isinstance(part, str) and part != ARM), None)
    return f"`{key}` belongs to `{within}`: {shown}" if within else f"`{key}` belongs to the recipe itself: {shown}"


def _common(place: Path, path: Path) -> int:
    """How far a place lies on the way to the key that was written."""
    length = 0
    for part, written in zip(place[:-1], path[:-1], strict=False):
        if part not in (written, ARM) and not (part == ITEM and isinstance(written, int)):
            break
        length += 1
    return length


def _leads_to(place: Path, path: Path) -> bool:
    """Whether the place is where the key was written, or holds that."""
    return len(place) <= len(path) and _common((*place, ""), (*path, "")) == len(place)


@functools.cache
def _places() -> dict[str, list[Path]]:
    """Every key of a recipe, options of what can be named included, and its places: of the students' arms first."""
    found: dict[str, list[Path]] = {}
    for path in _below(Recipe, ()):
        found.setdefault(str(path[-1]), []).append(path)
    for places in found.values():
        places.sort(key=lambda path: path[:1] == ("teachers",))
    return found


def _below(kind: Any, path: Path) -> Iterator[Path]:
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        for name, field in kind.model_fields.items():
            yield (*path, name)
            if name != "sweep":
                yield from _below(field.annotation, (*path, name))
        for entry in entries(OPTIONS[kind]).values() if kind in OPTIONS else ():
            yield from ((*path, option) for option in entry.options)
        return
    arguments = [argument for argument in get_args(kind) if argument is not Ellipsis]
    if get_origin(kind) is dict:
        yield from _below(arguments[1], (*path, ARM))
    elif get_origin(kind) is tuple:
        yield from _below(arguments[0], (*path, ITEM))
    else:  # a union; words and numbers have nothing below them
        for argument in arguments:
            yield from _below(argument, path)
