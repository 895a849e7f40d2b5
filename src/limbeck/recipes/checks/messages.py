"""pydantic's errors in words for a person: what is wrong, what it got, what it takes, the nearest word."""

from __future__ import annotations

import types
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, Tag
from pydantic.fields import FieldInfo

from limbeck.errors import did_you_mean, nearest
from limbeck.recipes.fields import NameWithOptions, shortened
from limbeck.recipes.recipe import Recipe
from limbeck.recipes.registry import entries

from .misplaced_keys import key_hint
from .names import Complaint


class Place(NamedTuple):
    """Where in a recipe an error lies.

    path: its keys and indices. holder: the model that holds the last key, if one does. annotation: what belongs there.
    """

    path: tuple[str | int, ...]
    holder: type[BaseModel] | None
    annotation: Any

    @property
    def field(self) -> FieldInfo | None:
        """The field of the holder, if it has one of this name."""
        return self.holder.model_fields.get(str(self.path[-1])) if self.holder and self.path else None


def complaint_of(item: Any, place: Place) -> Complaint:
    """What is wrong, from one of pydantic's errors."""
    return place.path, _words(item, place.path, place.holder)


def meant(item: Any, place: Place) -> list[tuple[str | int, ...]]:
    """The place that an unknown key was probably meant for."""
    if item["type"] != "extra_forbidden" or place.holder is None:
        return []
    return [(*place.path[:-1], word) for word in nearest(str(place.path[-1]), place.holder.model_fields)]


def place_of(loc: tuple[str | int, ...]) -> Place:
    """A location without the tags that pydantic adds for unions."""
    path: list[str | int] = []
    here: Any = Recipe
    holder: type[BaseModel] | None = Recipe
    for part in loc:
        if part == "[key]":  # the complaint is about the key itself
            continue
        named = choices(here)
        if part in named:  # the tag of a union, not a key of the recipe
            here = named[part]
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
    return Place(tuple(path), holder, here)


def bare(annotation: Any) -> Any:
    """An annotation without its metadata, and without None as a choice."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = [a for a in get_args(annotation) if a is not type(None)]
        if len(kinds) == 1:
            return bare(kinds[0])
    return annotation


def choices(annotation: Any) -> dict[str | int, Any]:
    """The kinds of a union by the `name`, or the tag, that tells them apart."""
    named: dict[str | int, Any] = {}
    for kind in get_args(bare(annotation)):
        inner = bare(kind)
        if isinstance(inner, type) and issubclass(inner, BaseModel) and "name" in inner.model_fields:
            for name in get_args(inner.model_fields["name"].annotation):
                named[name] = inner
        named |= {extra.tag: inner for extra in getattr(kind, "__metadata__", ()) if isinstance(extra, Tag)}
    return named


def _words(item: Any, path: tuple[str | int, ...], holder: type[BaseModel] | None) -> str:
    kind, got, context = item["type"], item.get("input"), item.get("ctx") or {}
    if kind == "extra_forbidden":
        return f"unknown key{key_hint(path, holder.model_fields if holder else ())} (got {shortened(got)})"
    if kind == "missing":
        return f"is missing; takes {_takes(path, holder)}"
    if kind == "value_error":
        return str(context["error"])
    if kind == "union_tag_invalid":
        words = [word.strip().strip("'") for word in context["expected_tags"].split(",")]
        return f"nothing here is called {shortened(context['tag'])}{did_you_mean(context['tag'], words)}"
    if kind == "literal_error":
        words = [word.strip().strip("'") for word in context["expected"].replace(" or ", ", ").split(",")]
        near = did_you_mean(got, words) if isinstance(got, str) else ""
        near = near if "did you mean" in near else ""
        return f"takes {', '.join(words[:-1])} or {words[-1]}; got {shortened(got)}{near}"
    if kind in SHAPES and (place := _place(path)) in PLACES:
        return f"takes {_with_word(place, got)}; got {shortened(got)}"
    if kind == "string_type" and isinstance(got, bool | int | float):
        return f"takes a word; got {shortened(got)}; in quotes it is one"
    template = TAKES.get(kind)
    context = {k: int(v) if isinstance(v, float) and v.is_integer() else v for k, v in context.items()}
    takes = template.format(**context) if template else item["msg"][:1].lower() + item["msg"][1:]
    return f"takes {takes}; got {shortened(got)}"


NAMED = "a mapping with a `name`, as in {{name: …}}"
TAKES = {
    "string_type": "a word",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_parsing_size": "a smaller whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number from {ge} on",
    "less_than": "a number below {lt}",
    "less_than_equal": "a number up to {le}",
    "tuple_type": "a list, as in […]",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
    "dict_type": "a mapping, as in {{…}}",
    "model_type": "a mapping, as in {{…}}",
    "union_tag_not_found": NAMED,
    "model_attributes_type": NAMED,
}
SHAPES = ("tuple_type", "dict_type", "model_type", "model_attributes_type")
PLACES = {
    ("data",): "a mapping, as in {source: digits}",
    ("outputs_bank",): "a mapping, as in {limit_gb: 10.0}",
    ("model",): "a name, or a mapping with a `name` and options",
    ("teacher",): "the name of an arm, or a list of names",
    ("teacher", 0): "the name of an arm",
    ("loss",): "a list, as in [{name: cross_entropy}]",
    ("loss", 0): "a mapping, as in {name: cross_entropy}",
}
KINDS = {str: "a word", int: "a whole number", float: "a number", bool: "true or false"}


def _with_word(place: tuple[str | int, ...], got: object) -> str:
    """What a place takes, with the word that was given in its right place where it is one."""
    takes = PLACES[place]
    room, usual = {"data": ("data", "digits"), "loss": ("losses", "cross_entropy")}.get(
        ".".join(map(str, place)), ("", "")
    )
    if not room or not isinstance(got, str):
        return takes
    head, colon, rest = got.partition(":")
    near = nearest(head, entries(room))
    return takes.replace(usual, f"{near[0]}{colon}{rest}"[:60]) if near else takes


def _place(path: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """A path that all arms share, as all items of a list do."""
    within = path[2:] if path[0] in ("students", "teachers") else path
    return tuple(0 if isinstance(part, int) else part for part in within)


def _takes(path: tuple[str | int, ...], holder: type[BaseModel] | None) -> str:
    """What belongs in a place that is empty."""
    if path and isinstance(path[-1], int):  # lists of a fixed length hold numbers
        return "a number"
    field = holder.model_fields.get(str(path[-1])) if holder and path else None
    kind = bare(field.annotation) if field else None
    if kind in KINDS:
        return KINDS[kind]
    if get_origin(kind) is Literal:
        return " or ".join(get_args(kind))
    if get_origin(kind) is tuple:
        return "a list"
    if isinstance(kind, type) and issubclass(kind, NameWithOptions):
        return "a name, or a mapping with a `name` and options"
    return "a mapping" if field else "a value"
