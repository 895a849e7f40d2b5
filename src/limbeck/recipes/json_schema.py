"""The JSON Schema of recipes, for editors: keys, what they mean, and the names and options that there are."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import Any

from .recipe import Recipe
from .registry import NO_DEFAULT, Entry, entries

TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", tuple: "array", list: "array"}


def json_schema() -> dict[str, Any]:
    """The schema, with a description for every key.

    Names are proposed and not required, since a recipe from Python may bring its own; options are told by name.
    """
    schema = _on_one_line(Recipe.model_json_schema())
    parts = schema["$defs"]
    for part in parts.values():  # `defaults` may give whatever a part of an arm leaves out
        part.pop("required", None)
    schema = _with_partial_arms(schema)
    parts = schema["$defs"]
    _with_names(parts["LossTerm"], "name", entries("losses").values())
    _with_names(parts["NameWithOptions"], "name", entries("models").values())
    _with_names(parts["Data"], "source", entries("data").values())
    return schema


def _with_partial_arms(schema: dict[str, Any]) -> dict[str, Any]:
    """Arms may be empty, and of what is told apart by its `name` the name may stand in `defaults`."""
    for group in ("teachers", "students"):
        about = schema["properties"][group]
        about["additionalProperties"] = {"anyOf": [about["additionalProperties"], {"type": "null"}]}
    return _any_of(schema)


def _any_of(node: Any) -> Any:
    if isinstance(node, dict):
        return {
            "anyOf" if key == "oneOf" else key: _any_of(value) for key, value in node.items() if key != "discriminator"
        }
    return [_any_of(item) for item in node] if isinstance(node, list) else node


def _with_names(part: dict[str, Any], key: str, known: Iterable[Entry]) -> None:
    """Propose names for a key, and the options of each name in the mapping that holds it."""
    known = list(known)
    plain = [entry.name for entry in known if entry.argument is None]
    about = part["properties"][key]
    about.pop("type", None)
    about["anyOf"] = [{"enum": plain}, {"type": "string"}]
    part["allOf"] = [
        {
            "if": {"properties": {key: _called(entry)}, "required": [key]},
            "then": {"properties": {name: _option(entry, name) for name in entry.options}},
        }
        for entry in known
        if entry.options
    ]


def _called(entry: Entry) -> dict[str, str]:
    return {"const": entry.name} if entry.argument is None else {"pattern": f"^{entry.name}:"}


def _option(entry: Entry, name: str) -> dict[str, Any]:
    default = entry.options[name]
    if default == NO_DEFAULT:
        return {"description": f"Option of {entry.name}; it must be given."}
    about: dict[str, Any] = {"description": f"Option of {entry.name} (default {default})."}
    try:
        value = ast.literal_eval(default)
    except (ValueError, SyntaxError):
        return about
    kind = TYPES.get(type(value))
    return about | ({"type": kind, "default": list(value) if isinstance(value, tuple) else value} if kind else {})


def _on_one_line(node: Any) -> Any:
    """Descriptions are wrapped in the source, and are one line here."""
    if isinstance(node, dict):
        return {
            key: " ".join(value.split()) if key == "description" and isinstance(value, str) else _on_one_line(value)
            for key, value in node.items()
        }
    return [_on_one_line(item) for item in node] if isinstance(node, list) else node
