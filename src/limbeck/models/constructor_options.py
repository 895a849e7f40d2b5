"""Check the constructor options of models from other libraries by name and type before a model is built."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn

from limbeck.errors import LimbeckError, did_you_mean, one_line

KINDS: dict[type, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "true or false"),
    int: ((int,), "an integer"),
    float: ((int, float), "a number"),
    str: ((str,), "a string"),
    tuple: ((list, tuple), "a list"),
    dict: ((dict,), "a mapping"),
}
SET_BY_LIMBECK = ("num_classes",)
"""Parameters that Limbeck sets from the data."""


def constructor_options(
    where: str, make: Callable[..., nn.Module], options: Mapping[str, Any], own: Iterable[str]
) -> dict[str, Any]:
    """Check the options of a recipe for the constructor of a model, and convert lists to tuples.

    where: name of the model, for error messages. make: builds the model as published; called on the meta device to find
    its class. own: other valid options in the same mapping, for suggestions.
    Raises LimbeckError with a line for each unknown option and each value of the wrong type.
    """
    if not options:
        return {}
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        parameters = _parameters(type(make()))
    wrong: list[str] = []
    for name, value in options.items():
        if name not in parameters:
            near = did_you_mean(name, [*parameters, *own])
            wrong.append(f"{where} has no option {name!r}{near}")
        elif (kinds := _kinds(parameters[name])) and not any(_is(value, kind) for kind in kinds):
            expected = " or ".join(KINDS[kind][1] for kind in kinds)
            wrong.append(f"{where}: {name}: expected {expected}; got {value!r}")
    if wrong:
        raise LimbeckError("\n".join(wrong))
    return {name: _with_tuples(value) for name, value in options.items()}


def invalid_options(where: str, options: Mapping[str, Any], error: Exception) -> LimbeckError:
    """The error for options with which a model cannot be built."""
    said = one_line(error)
    fixed = [name for name in options if f"multiple values for keyword argument '{name}'" in said]
    if fixed:
        return LimbeckError(f"{where}: {fixed[0]} is determined by the name of the model and cannot be set")
    given = ", ".join(f"{name}={value!r}" for name, value in options.items())
    return LimbeckError(f"{where}: cannot be built with {given}: {said}" if given else f"{where}: {said}")


def _parameters(kind: type[nn.Module]) -> dict[str, inspect.Parameter]:
    """The constructor parameters that a recipe can set, including those of base classes that receive `**kwargs`."""
    found: dict[str, inspect.Parameter] = {}
    for base in kind.__mro__:
        if base is nn.Module:
            break
        if "__init__" not in vars(base):
            continue
        parameters = [*inspect.signature(base.__init__).parameters.values()][1:]
        named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        found = {p.name: p for p in named if p.name not in SET_BY_LIMBECK and _is_settable(p)} | found
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return found


def _members(annotation: Any) -> list[Any]:
    """The members of a union, without None."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [inner for part in typing.get_args(annotation) for inner in _members(part)]
    return [] if annotation in (None, type(None)) else [annotation]


def _is_settable(parameter: inspect.Parameter) -> bool:
    """Whether a recipe can set a parameter: strings, numbers and lists, but no classes or functions."""
    members = _members(parameter.annotation)
    return not members or not all(_is_code(member) for member in members)


def _is_code(kind: Any) -> bool:
    origin = typing.get_origin(kind)
    code = kind in (typing.Callable, Callable) or origin in (Callable, type)
    return code or (
        isinstance(kind, type) and kind not in KINDS and kind not in (list, object, inspect.Parameter.empty)
    )


def _kinds(parameter: inspect.Parameter) -> list[type]:
    """The types that a parameter takes; empty if they are unknown."""
    found: list[type] = []
    for member in _members(parameter.annotation):
        origin = typing.get_origin(member)
        if member is inspect.Parameter.empty:
            usual = type(parameter.default)
            return [usual] if usual in (bool, str, float) else []
        if origin is typing.Literal:
            found.append(str)
        elif member in KINDS or origin in (list, tuple, dict):
            found.append(tuple if origin in (list, tuple) else origin or member)
        elif not _is_code(member):
            return []
    return list(dict.fromkeys(found))


def _is(value: object, kind: type) -> bool:
    return value is None or (isinstance(value, bool) == (kind is bool) and isinstance(value, KINDS[kind][0]))


def _with_tuples(value: Any) -> Any:
    return tuple(_with_tuples(item) for item in value) if isinstance(value, list | tuple) else value
