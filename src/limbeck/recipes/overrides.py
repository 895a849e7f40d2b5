"""Values from the command line, such as `students.distilled.loss.0.temperature=2`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from limbeck.errors import LimbeckError, RecipeError, did_you_mean

from .fields import GROUPS, shortened
from .yaml_file import parse

MAX_DOTS = 100


def split_override(override: str) -> tuple[str, str]:
    """Split `"views.batch_size=64"` into its key and the text of its value. Raises RecipeError."""
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not all(key.split(".")):
        raise RecipeError(f"command line: {shortened(override)}: expected key=value, such as views.batch_size=64")
    if key.count(".") > MAX_DOTS:
        raise RecipeError(f"command line: {shortened(key)}: too deeply nested for a recipe")
    return key, text


def precedes_defaults(override: str) -> bool:
    """Whether it sets a whole group, a whole arm or `defaults`, and so applies before `defaults` are merged."""
    parts = split_override(override)[0].split(".")
    return parts[0] in GROUPS and (len(parts) <= 2 or parts[1] == "defaults")


def apply_override(tree: dict[str, Any], override: str) -> None:
    """Set one value in place. Missing mappings are created; missing list items and arms are not.

    Raises RecipeError if there is no such place, or if the value cannot be parsed.
    """
    key, text = split_override(override)
    where = f"command line: {key if len(key) <= 120 else key[:119] + '…'}"
    try:
        value, _ = parse(text, where)
    except LimbeckError as error:
        raise RecipeError(str(error).replace(f"{where}:1:", f"{where}:")) from error
    holder, last = _find_place(tree, key.split("."), where)
    holder[last] = value


def _find_place(tree: dict[str, Any], parts: Sequence[str], where: str) -> tuple[Any, str | int]:
    """The mapping or list that holds the value, and its key or index there."""
    node: Any = tree
    at = 0
    while True:
        if isinstance(node, list):
            index = _index(node, parts[at], where)
            if at + 1 == len(parts):
                return node, index
            node, at = node[index], at + 1
            continue
        if not isinstance(node, dict):
            raise RecipeError(f"{where}: {'.'.join(parts[:at])} is {shortened(node)}, which has no keys")
        name, length = _longest_key(node, parts[at:])
        if at == 1 and parts[0] in GROUPS and name not in (*node, "defaults"):
            raise RecipeError(f"{where}: no arm named {shortened(name)}{did_you_mean(name, node)}")
        at += length
        if at == len(parts):
            return node, name
        below = node.get(name)
        if below is None:
            if parts[at].isdecimal():
                raise RecipeError(f"{where}: there is no list to set item {parts[at]} of; give the whole list")
            below = node[name] = {}
        elif isinstance(below, str) and name == "model":  # `model: NAME` is short for `model: {name: NAME}`
            below = node[name] = {"name": below}
        node = below


def _longest_key(node: dict[str, Any], parts: Sequence[str]) -> tuple[str, int]:
    """The longest key of `node` with which the parts begin (names may hold dots), and its number of parts."""
    for count in range(len(parts), 1, -1):
        if ".".join(parts[:count]) in node:
            return ".".join(parts[:count]), count
    return parts[0], 1


def _index(node: list[Any], part: str, where: str) -> int:
    if not part.isdecimal() or len(part) > 9 or int(part) >= len(node):
        extent = f"has items 0 to {len(node) - 1}" if node else "is empty"
        raise RecipeError(f"{where}: the list {extent}; got {shortened(part)}")
    return int(part)
