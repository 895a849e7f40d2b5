"""pydantic's errors in words for a person: what is wrong, what it got, what it takes, the nearest word."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from .errors import did_you_mean
from .recipe import Recipe
from .recipe_checks import Complaint


def complaints_of(error: ValidationError, tree: Mapping[str, Any]) -> list[Complaint]:
    """One complaint for each mistake, in the order of the recipe's keys."""
    found = []
    for item in error.errors(include_url=False):
        path, model = _follow(item["loc"])
        found.append((path, _words(item, path, model)))
    return found


def _follow(loc: tuple[str | int, ...]) -> tuple[tuple[str | int, ...], type[BaseModel] | None]:
    """A location without the tags that pydantic adds for unions, and the model that holds its last key."""
    path: list[str | int] = []
    here: Any = Recipe
    holder: type[BaseModel] | None = Recipe
    for part in loc:
        choices = _choices(here)
        if part in choices:  # the tag of a union, not a key of the recipe
            here = choices[part]
            continue
        path.append(part)
        here = _bare(here)
        if isinstance(here, type) and issubclass(here, BaseModel):
            holder = here
            field = here.model_fields.get(str(part))
            here = field.annotation if field else None
        else:
            holder = None
            arguments = [a for a in get_args(here) if a is not Ellipsis]
            here = arguments[-1] if arguments else None
    return tuple(path), holder


def _bare(annotation: Any) -> Any:
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = [a for a in get_args(annotation) if a is not type(None)]
        if len(kinds) == 1:
            return _bare(kinds[0])
    return annotation


def _choices(annotation: Any) -> dict[str | int, type[BaseModel]]:
    """The models of a union by the `name` that tells them apart."""
    kinds = get_args(_bare(annotation))
    named: dict[str | int, type[BaseModel]] = {}
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, BaseModel) and "name" in kind.model_fields:
            for name in get_args(kind.model_fields["name"].annotation):
                named[name] = kind
    return named


def _words(item: Any, path: tuple[str | int, ...], holder: type[BaseModel] | None) -> str:
    kind, got, context = item["type"], item.get("input"), item.get("ctx") or {}
    if kind == "extra_forbidden":
        valid = holder.model_fields if holder else ()
        return f"unknown key{did_you_mean(str(path[-1]), valid)} (got {_short(got)})"
    if kind == "missing":
        return "is missing"
    if kind == "union_tag_invalid":
        words = [word.strip().strip("'") for word in context["expected_tags"].split(",")]
        return f"nothing here is called {context['tag']!r}{did_you_mean(context['tag'], words)}"
    if kind == "union_tag_not_found":
        return f"takes a mapping with a `name`, as in {{name: …}}; got {_short(got)}"
    if kind == "literal_error":
        words = [word.strip().strip("'") for word in context["expected"].replace(" or ", ", ").split(",")]
        return f"takes {context['expected']}; got {_short(got)}{did_you_mean(str(got), words)}"
    if kind == "value_error":
        return f"{context['error']}" if context.get("error") else item["msg"]
    message = item["msg"].replace("Input should be", "takes").replace("a valid ", "a ")
    message = (
        message.replace("a integer", "a whole number")
        .replace("dictionary or instance of", "mapping for")
        .replace("dictionary", "mapping")
    )
    return f"{message[0].lower()}{message[1:]}; got {_short(got)}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
