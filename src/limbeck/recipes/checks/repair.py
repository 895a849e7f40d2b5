"""A recipe with mistakes, made whole by stand-ins, so that what is right in it can still be checked.

Each wrong value gives way to a valid one of the same kind in the same place: no part is cut out with it, and every
path still leads where it did. What follows from a stand-in alone is not told.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from limbeck.errors import nearest
from limbeck.recipes.recipe import Recipe

from .messages import Place, bare, choices, complaint_of, meant, place_of
from .names import Complaint

Path = tuple[str | int, ...]
NUMBERS = (1, 0, 0.5, 0.25)
MOST_ROUNDS = 50


@dataclass
class Repaired:
    """A recipe's tree on the way to a valid one.

    stand_ins: places whose value is not the person's. meant: places that unknown keys were probably meant for.
    guessed: mappings whose `name` is the nearest valid one. odd: names of arms that are wrong as names.
    groups_without_defaults: their arms lack what `defaults` was to say.
    """

    tree: dict[str, Any]
    complaints: list[Complaint] = field(default_factory=list)
    stand_ins: set[Path] = field(default_factory=set)
    meant: set[Path] = field(default_factory=set)
    guessed: dict[Path, set[str]] = field(default_factory=dict)
    odd: set[str] = field(default_factory=set)
    groups_without_defaults: set[str] = field(default_factory=set)
    count: int = 0

    def follows(self, path: Path, message: str) -> bool:
        """Whether a complaint about names follows from what a stand-in stands for, and from nothing else."""
        if self._in_stand_in(path) or (*path, "name") in self.stand_ins:
            return True
        if message.startswith("is missing") and (path in self.meant or path[0] in self.groups_without_defaults):
            return True
        lost_arms = any((group,) in self.stand_ins | self.meant for group in ("teachers", "students"))
        return lost_arms and path[2:3] in (("teacher",), ("baseline",))

    def _in_stand_in(self, path: Path) -> bool:
        return any(path[:length] in self.stand_ins for length in range(1, len(path) + 1))

    def told(self, item: Any, place: Place) -> bool:
        """Whether an error of pydantic's is the person's own mistake."""
        path, kind = place.path, item["type"]
        if self._in_stand_in(path) or any(other[: len(path)] == path for other in self.stand_ins):
            return False
        if kind == "value_error" and any(other[: len(path)] == path != other for other in self.meant):
            return False
        if kind == "missing":
            without_defaults = path[0] in self.groups_without_defaults and len(path) == 3
            return not (path in self.meant or path[:-1] in self.guessed or without_defaults)
        return not (kind == "extra_forbidden" and str(path[-1]) in self.guessed.get(path[:-1], ()))


def repaired(tree: Mapping[str, Any]) -> tuple[Recipe | None, Repaired]:
    """A valid recipe in which stand-ins have taken the place of what is wrong, and what was wrong.

    None where there is nothing left to stand in.
    """
    work = Repaired(copy.deepcopy(dict(tree)))
    for group in ("teachers", "students"):
        arms = work.tree.get(group)
        if isinstance(arms, Mapping) and "defaults" in arms:  # it was no mapping, or it would be merged by now
            work.groups_without_defaults.add(group)
    for _ in range(MOST_ROUNDS):
        try:
            return Recipe.model_validate(work.tree, context={"odd names": work.odd}), work
        except ValidationError as error:
            items = error.errors(include_url=False)
        places = [place_of(item["loc"]) for item in items]
        new = [(item, place) for item, place in zip(items, places, strict=True) if work.told(item, place)]
        work.complaints += [complaint_of(item, place) for item, place in new]
        for item, place in new:
            work.meant.update(meant(item, place))
        for item, place in zip(items, places, strict=True):
            if not _mend(work, item, place):
                return None, work
    return None, work


def _mend(work: Repaired, item: Any, place: Place) -> bool:
    """Put something valid in a wrong place; False where that cannot be done."""
    path, kind = place.path, item["type"]
    if item["loc"][-1:] == ("[key]",):
        work.odd.add(str(path[-1]))
        return True
    if kind == "extra_forbidden":
        holder = _at(work.tree, path[:-1])
        if isinstance(holder, dict):
            holder.pop(path[-1], None)
        return True
    value = _at(work.tree, path)
    if kind in ("union_tag_invalid", "union_tag_not_found") and path not in work.guessed and isinstance(value, dict):
        known = choices(place.annotation)
        near = nearest(str(value.get("name")), map(str, known))
        value["name"] = near[0] if near else max(known, key=lambda name: len(value.keys() & known[name].model_fields))
        work.guessed[path] = {key for model in known.values() for key in model.model_fields}
        return True
    while path and path in work.stand_ins and kind != "missing":  # the stand-in itself does not fit: its holder goes
        path = path[:-1]
    if not path:
        return False
    work.stand_ins.add(path)
    place = place_of(path) if path != place.path or place.field is None else place
    return _put(work, path, _stand_in(place.field or place.annotation, work))


def _at(tree: Any, path: Path) -> Any:
    for part in path:
        try:
            tree = tree[part]
        except (KeyError, IndexError, TypeError):
            return None
    return tree


def _put(work: Repaired, path: Path, value: Any) -> bool:
    holder = _at(work.tree, path[:-1])
    last = path[-1]
    if isinstance(holder, dict):
        holder[last] = value
    elif isinstance(holder, list) and isinstance(last, int):
        holder += [value] * (last + 1 - len(holder))
        holder[last] = value
    else:
        return isinstance(holder, str) and last == "name"
    return True


def _stand_in(of: Any, work: Repaired) -> Any:
    """A valid value of a field, or of an annotation. Words differ from each other, so that no two seem alike."""
    metadata: Sequence[Any] = ()
    if isinstance(of, FieldInfo):
        default = of.get_default(call_default_factory=True, validated_data={})
        if default or isinstance(default, bool | int | float):
            if isinstance(default, BaseModel):
                return default.model_dump()
            if not isinstance(default, FieldInfo) and not of.is_required():
                return list(default) if isinstance(default, tuple) else default
        of, metadata = of.annotation, of.metadata
    kind = bare(of)
    if (named := choices(kind)) or get_origin(kind) is Literal:
        return _stand_in(next(iter(named.values())), work) if named else get_args(kind)[0]
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        needed = {name: known for name, known in kind.model_fields.items() if known.is_required()}
        return {name: _stand_in(known, work) for name, known in needed.items()}
    arguments = [argument for argument in get_args(kind) if argument is not Ellipsis]
    if get_origin(kind) is dict:
        return {_word(work): _stand_in(arguments[1], work)}
    if get_origin(kind) is tuple:
        return [_stand_in(argument, work) for argument in arguments]
    if kind is bool:
        return False
    whole: Any = Annotated[of, *metadata] if metadata else of
    checker = TypeAdapter(whole)
    for candidate in (*NUMBERS, _word(work)):
        try:
            checker.validate_python(candidate)
        except ValidationError:
            continue
        return candidate
    return None


def _word(work: Repaired) -> str:
    work.count += 1
    return f"stand-in-{work.count}"
