"""Pydantic's errors in a recipe's words: what is wrong, what is expected, what was given, the nearest valid word."""

from __future__ import annotations

import types
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, Tag
from pydantic.fields import FieldInfo

from limbeck.errors import did_you_mean, nearest
from limbeck.recipes.fields import GROUPS, KeyPath, NameWithOptions, RecipePart, shortened
from limbeck.recipes.registry import entries

from .key_hints import key_hint


class Place(NamedTuple):
    """Where an error lies: the model of the whole tree, the keys and indices that lead there, the model that holds the
    last key (if any), and that key's type.
    """

    root: type[RecipePart]
    path: KeyPath
    holder: type[BaseModel] | None
    annotation: Any

    @property
    def field(self) -> FieldInfo | None:
        """The field of the holder, if it has one of this name."""
        return self.holder.model_fields.get(str(self.path[-1])) if self.holder and self.path else None


def place_of(loc: KeyPath, root: type[RecipePart]) -> Place:
    """The place of one of pydantic's locations, without the tags that it adds for unions."""
    path: list[str | int] = []
    here: Any = root
    holder: type[BaseModel] | None = root
    for part in loc:
        if part == "[key]":  # the error is about the key itself
            continue
        union = members(here)
        if part in union:  # the tag of a union, not a key of the recipe
            here = union[part]
            continue
        path.append(part)
        here = bare(here)
        if isinstance(here, type) and issubclass(here, BaseModel):
            holder = here
            field = here.model_fields.get(str(part))
            here = field.annotation if field else None
        else:
            holder = None
            arguments = [a for a in get_args(here) if a is not Ellipsis]
            here = arguments[-1] if arguments else None
    return Place(root, tuple(path), holder, here)


def bare(annotation: Any) -> Any:
    """An annotation without its metadata, and without None as an alternative."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        alternatives = [a for a in get_args(annotation) if a is not type(None)]
        if len(alternatives) == 1:
            return bare(alternatives[0])
    return annotation


def members(annotation: Any) -> dict[str | int, Any]:
    """The members of a union by the `name`, or the tag, that tells them apart."""
    named: dict[str | int, Any] = {}
    for member in get_args(bare(annotation)):
        inner = bare(member)
        if isinstance(inner, type) and issubclass(inner, BaseModel) and "name" in inner.model_fields:
            named |= dict.fromkeys(get_args(inner.model_fields["name"].annotation), inner)
        named |= {extra.tag: inner for extra in getattr(member, "__metadata__", ()) if isinstance(extra, Tag)}
    return named


def intended(error: Any, place: Place) -> list[KeyPath]:
    """The place that an unknown key was probably meant for."""
    if error["type"] != "extra_forbidden" or place.holder is None:
        return []
    return [(*place.path[:-1], word) for word in nearest(str(place.path[-1]), place.holder.model_fields)]


def message_of(error: Any, place: Place) -> str:
    """The message for one of pydantic's errors."""
    kind, got, context = error["type"], error.get("input"), error.get("ctx") or {}
    path, holder = place.path, place.holder
    if kind == "extra_forbidden":
        return f"unknown key{key_hint(path, holder.model_fields if holder else (), place.root)} (got {shortened(got)})"
    if kind == "missing":
        return f"is missing; expected {_expected_at(place)}"
    if kind == "value_error":
        return str(context["error"])
    if kind == "union_tag_invalid":
        words = [word.strip().strip("'") for word in context["expected_tags"].split(",")]
        return f"unknown name {shortened(context['tag'])}{did_you_mean(context['tag'], words)}"
    if kind == "literal_error":
        words = [word.strip().strip("'") for word in context["expected"].replace(" or ", ", ").split(",")]
        hint = "".join(f"; did you mean {near!r}?" for near in nearest(got, words)) if isinstance(got, str) else ""
        return f"expected {', '.join(words[:-1])} or {words[-1]}; got {shortened(got)}{hint}"
    if kind in STRUCTURES and (generic := _without_names(path)) in EXPECTED_AT:
        return f"expected {_with_given_name(generic, got)}; got {shortened(got)}"
    if kind == "string_type" and isinstance(got, bool | int | float):
        return f"expected a string; got {shortened(got)}; put it in quotes"
    context = {k: int(v) if isinstance(v, float) and v.is_integer() else v for k, v in context.items()}
    expected = EXPECTED[kind].format(**context) if kind in EXPECTED else error["msg"][:1].lower() + error["msg"][1:]
    return f"expected {expected}; got {shortened(got)}"


NAMED = "a mapping with a `name`, such as {{name: …}}"
EXPECTED = {
    "string_type": "a string",
    "string_too_short": "a string that is not empty",
    "bool_type": "true or false",
    "int_type": "an integer",
    "int_parsing_size": "a smaller integer",
    "float_type": "a number",
    "finite_number": "a finite number",
    "greater_than": "a number greater than {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number less than {lt}",
    "less_than_equal": "a number of at most {le}",
    "tuple_type": "a list, such as […]",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
    "dict_type": "a mapping, such as {{…}}",
    "model_type": "a mapping, such as {{…}}",
    "union_tag_not_found": NAMED,
    "model_attributes_type": NAMED,
}
"""What is expected, by pydantic's type of error."""
STRUCTURES = ("tuple_type", "dict_type", "model_type", "model_attributes_type")
NAME_OR_MAPPING = "a name, or a mapping with a `name` and options"
EXPECTED_AT: dict[KeyPath, str] = {
    ("data",): "a mapping, such as {source: digits}",
    ("budget",): "a mapping, such as {megabytes: 0.5, multiply_adds: 10e6}",
    ("seeds",): "a list, such as [0, 1, 2]",
    ("outputs_bank",): "a mapping, such as {limit_gb: 10.0}",
    ("evaluation", "test_time"): "a mapping, such as {flip: true, shifts: 2}",
    ("evaluation", "test_time", "scales"): "a list, such as [0.9, 1.1]",
    ("model",): NAME_OR_MAPPING,
    ("teacher",): "the name of an arm, or a list of names",
    ("teacher", 0): "the name of an arm",
    ("loss",): "a list, such as [{name: cross_entropy}]",
    ("loss", 0): "a mapping, such as {name: cross_entropy}",
}
"""What is expected in place of a value of the wrong structure, by its path within the recipe or an arm."""
TYPE_NAMES = {str: "a string", int: "an integer", float: "a number", bool: "true or false"}


def _with_given_name(path: KeyPath, got: object) -> str:
    """What is expected at a path, with the given name as the example if it is one."""
    expected = EXPECTED_AT[path]
    category, example = {"data": ("data", "digits"), "loss": ("losses", "cross_entropy")}.get(str(path[0]), ("", ""))
    if not category or len(path) > 1 or not isinstance(got, str):
        return expected
    name, colon, argument = got.partition(":")
    near = nearest(name, entries(category))
    return expected.replace(example, f"{near[0]}{colon}{argument}"[:60]) if near else expected


def _without_names(path: KeyPath) -> KeyPath:
    """A path as it is in every arm, and for every item of a list."""
    within = path[2:] if path[0] in GROUPS else path
    return tuple(0 if isinstance(part, int) else part for part in within)


def _expected_at(place: Place) -> str:
    """What is expected where a value is missing."""
    if place.path and isinstance(place.path[-1], int):  # lists of fixed length hold numbers
        return "a number"
    annotation = bare(place.field.annotation) if place.field else None
    if annotation in TYPE_NAMES:
        return TYPE_NAMES[annotation]
    if get_origin(annotation) is Literal:
        return " or ".join(get_args(annotation))
    if get_origin(annotation) is tuple:
        return "a list"
    if isinstance(annotation, type) and issubclass(annotation, NameWithOptions):
        return NAME_OR_MAPPING
    return "a mapping" if place.field else "a value"
