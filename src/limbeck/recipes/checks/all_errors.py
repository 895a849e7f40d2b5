"""Find all errors of a recipe at once.

Pydantic reports every error of type and range, but names and the relations between sections can only be checked in a
recipe that pydantic accepts. So each wrong value is replaced by a valid placeholder of the same kind in the same place,
the repaired recipe is checked as well, and errors that only a placeholder causes are dropped.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from limbeck.errors import nearest
from limbeck.recipes.fields import GROUPS, KeyPath, Problem, RecipePart
from limbeck.recipes.recipe import CustomFunctions

from .consistency import check_consistency
from .messages import Place, bare, intended, members, message_of, place_of

NUMBERS = (1, 0, 0.5, 0.25)
"""Placeholders for numbers; one of them is in every range."""
MAX_ROUNDS = 50
Root = TypeVar("Root", bound=RecipePart)


def validate(
    tree: Mapping[str, Any], root: type[Root], *, losses: CustomFunctions, models: CustomFunctions
) -> tuple[Root | None, list[Problem]]:
    """The recipe (or another root model) if it is valid; otherwise None, and every problem with its place."""
    try:
        valid = root.model_validate(tree)
    except ValidationError:
        repair = _Repair(root, copy.deepcopy(dict(tree)))
        rest = repair.run()
        further = check_consistency(rest, losses=losses, models=models) if rest else []
        return None, repair.problems + [problem for problem in further if not repair.caused(*problem)]
    problems = check_consistency(valid, losses=losses, models=models)
    return (None, problems) if problems else (valid, [])


@dataclass
class _Repair(Generic[Root]):
    """A recipe on the way to a valid one.

    Attributes:
        root: the model that the tree must fit.
        tree: the recipe as plain data, repaired in place.
        problems: what the user got wrong.
        placeholders: places whose value is not the user's.
        intended: places that unknown keys were probably meant for.
        guessed: mappings whose `name` was replaced by the nearest valid one, with the keys that such mappings take.
        invalid_arm_names: names of arms that are not valid as names.
        without_defaults: groups whose `defaults` could not be merged.
        words: how many placeholder strings there are.
    """

    root: type[Root]
    tree: dict[str, Any]
    problems: list[Problem] = field(default_factory=list)
    placeholders: set[KeyPath] = field(default_factory=set)
    intended: set[KeyPath] = field(default_factory=set)
    guessed: dict[KeyPath, set[str]] = field(default_factory=dict)
    invalid_arm_names: set[str] = field(default_factory=set)
    without_defaults: set[str] = field(default_factory=set)
    words: int = 0

    def run(self) -> Root | None:
        """Collect the problems and return a valid recipe, or None if it cannot be repaired."""
        for group in GROUPS:
            arms = self.tree.get(group)
            if isinstance(arms, Mapping) and "defaults" in arms:  # not a mapping, or it would be merged by now
                self.without_defaults.add(group)
        for _ in range(MAX_ROUNDS):
            try:
                return self.root.model_validate(self.tree, context={"invalid arm names": self.invalid_arm_names})
            except ValidationError as error:
                errors = [(item, place_of(item["loc"], self.root)) for item in error.errors(include_url=False)]
            new = [(item, place) for item, place in errors if self._is_users(item, place)]
            for item, place in new:
                self.problems.append((place.path, message_of(item, place)))
                self.intended.update(intended(item, place))
            if not all(self._mend(item, place) for item, place in errors):
                return None
        return None

    def caused(self, path: KeyPath, message: str) -> bool:
        """Whether a problem found in the repaired recipe is due to a placeholder alone."""
        if self._in_placeholder(path) or (*path, "name") in self.placeholders:
            return True
        lacks_only_typos = path in self.intended or any(other[:-1] == path for other in self.intended)
        if message.startswith("is missing") and (lacks_only_typos or path[0] in self.without_defaults):
            return True
        lost_arms = any((group,) in self.placeholders | self.intended for group in GROUPS)
        return lost_arms and path[2:3] in (("teacher",), ("baseline",))

    def _in_placeholder(self, path: KeyPath) -> bool:
        return any(path[:length] in self.placeholders for length in range(1, len(path) + 1))

    def _is_users(self, item: Any, place: Place) -> bool:
        """Whether one of pydantic's errors is the user's, and not due to a placeholder or a removed key."""
        path, kind = place.path, item["type"]
        if self._in_placeholder(path) or any(other[: len(path)] == path for other in self.placeholders):
            return False
        if kind == "value_error" and any(other[: len(path)] == path != other for other in self.intended):
            return False
        if kind == "missing":
            lacks_defaults = path[0] in self.without_defaults and len(path) == 3
            return not (path in self.intended or path[:-1] in self.guessed or lacks_defaults)
        return not (kind == "extra_forbidden" and str(path[-1]) in self.guessed.get(path[:-1], ()))

    def _mend(self, item: Any, place: Place) -> bool:
        """Put something valid in a wrong place; False if that is impossible."""
        path, kind = place.path, item["type"]
        if item["loc"][-1:] == ("[key]",):
            self.invalid_arm_names.add(str(path[-1]))
            return True
        if kind == "extra_forbidden":
            holder = _at(self.tree, path[:-1])
            if isinstance(holder, dict):
                holder.pop(path[-1], None)
            return True
        value = _at(self.tree, path)
        unknown_name = kind in ("union_tag_invalid", "union_tag_not_found")
        if unknown_name and path not in self.guessed and isinstance(value, dict):
            known = members(place.annotation)
            near = nearest(str(value.get("name")), map(str, known))
            most_alike = max(known, key=lambda name: len(value.keys() & known[name].model_fields))
            value["name"] = near[0] if near else most_alike
            self.guessed[path] = {key for model in known.values() for key in model.model_fields}
            return True
        while path and path in self.placeholders and kind != "missing":  # it does not fit: replace what holds it
            path = path[:-1]
        if not path:
            return False
        self.placeholders.add(path)
        place = place_of(path, self.root) if path != place.path or place.field is None else place
        return self._put(path, self._placeholder(place.field or place.annotation))

    def _put(self, path: KeyPath, value: Any) -> bool:
        holder, last = _at(self.tree, path[:-1]), path[-1]
        if isinstance(holder, dict):
            holder[last] = value
        elif isinstance(holder, list) and isinstance(last, int):
            holder += [value] * (last + 1 - len(holder))
            holder[last] = value
        else:
            return isinstance(holder, str) and last == "name"
        return True

    def _placeholder(self, of: Any) -> Any:
        """A valid value of a field or an annotation. Strings are all different, so that no two arms look alike."""
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
        if union := members(kind):
            return self._placeholder(next(iter(union.values())))
        if get_origin(kind) is Literal:
            return get_args(kind)[0]
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            required = {name: info for name, info in kind.model_fields.items() if info.is_required()}
            return {name: self._placeholder(info) for name, info in required.items()}
        arguments = [argument for argument in get_args(kind) if argument is not Ellipsis]
        if get_origin(kind) is dict:
            return {self._word(): self._placeholder(arguments[1])}
        if get_origin(kind) is tuple:
            return [self._placeholder(argument) for argument in arguments]
        if kind is bool:
            return False
        annotation: Any = Annotated[of, *metadata] if metadata else of
        checker = TypeAdapter(annotation)
        for candidate in (*NUMBERS, self._word()):
            try:
                checker.validate_python(candidate)
            except ValidationError:
                continue
            return candidate
        return None

    def _word(self) -> str:
        self.words += 1
        return f"placeholder-{self.words}"


def _at(tree: Any, path: KeyPath) -> Any:
    for part in path:
        try:
            tree = tree[part]
        except (KeyError, IndexError, TypeError):
            return None
    return tree
