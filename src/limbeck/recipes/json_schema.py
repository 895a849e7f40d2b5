"""The JSON Schema of recipes, for editors: every key with its meaning, default and range, and all names and options."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import Any

from .fields import GROUPS
from .recipe import Recipe
from .registry import NO_DEFAULT, Entry, entries

TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", tuple: "array", list: "array"}


def json_schema() -> dict[str, Any]:
    """The schema, with a description of every key.

    Names of losses, models and data sources are suggested but not required, since a caller from Python may provide
    others.
    """
    schema = _editable(Recipe.model_json_schema())
    parts = schema["$defs"]
    for part in parts.values():  # `defaults` may hold what an arm leaves out
        part.pop("required", None)
    for group in GROUPS:  # an arm may be empty
        about = schema["properties"][group]
        about["additionalProperties"] = {"anyOf": [about["additionalProperties"], {"type": "null"}]}
    _suggest_names(parts["LossTerm"], "name", entries("losses").values())
    _suggest_names(parts["NameWithOptions"], "name", entries("models").values())
    _suggest_names(parts["Data"], "source", entries("data").values())
    return schema


def _editable(node: Any) -> Any:
    """A schema with each description on one line, and without discriminators: `defaults` may hold the name."""
    if isinstance(node, list):
        return [_editable(item) for item in node]
    if not isinstance(node, dict):
        return node
    result = {
        "anyOf" if key == "oneOf" else key: _editable(value) for key, value in node.items() if key != "discriminator"
    }
    if isinstance(about := result.get("description"), str):
        result["description"] = " ".join(about.split())
    return result


def _suggest_names(part: dict[str, Any], key: str, known: Iterable[Entry]) -> None:
    """Suggest names for a key, and the options of each name in the mapping that holds it."""
    known = list(known)
    about = part["properties"][key]
    about.pop("type", None)
    about["anyOf"] = [{"enum": [entry.name for entry in known if entry.argument is None]}, {"type": "string"}]
    part["allOf"] = [
        {
            "if": {"properties": {key: _is_named(entry)}, "required": [key]},
            "then": {"properties": {name: _option(entry, name) for name in entry.options}},
        }
        for entry in known
        if entry.options
    ]


def _is_named(entry: Entry) -> dict[str, str]:
    return {"const": entry.name} if entry.argument is None else {"pattern": f"^{entry.name}:"}


def _option(entry: Entry, name: str) -> dict[str, Any]:
    default = entry.options[name]
    if default == NO_DEFAULT:
        return {"description": f"Option of {entry.name} (required)."}
    about: dict[str, Any] = {"description": f"Option of {entry.name} (default {default})."}
    try:
        value = ast.literal_eval(default)
    except (ValueError, SyntaxError):
        return about
    kind = TYPES.get(type(value))
    if isinstance(value, str) and " | tuple[" in entry.annotations.get(name, ""):
        return about | {"type": ["string", "array"], "default": value}
    return about | ({"type": kind, "default": list(value) if isinstance(value, tuple) else value} if kind else {})
