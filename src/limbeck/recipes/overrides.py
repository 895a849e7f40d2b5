"""Values from the command line: `students.distilled.loss.0.temperature=2`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from limbeck.errors import LimbeckError, RecipeError, did_you_mean

from .fields import shortened
from .yaml_file import parse

GROUPS = ("students", "teachers")
MOST_DOTS = 100


def split_override(override: str) -> tuple[str, str]:
    """`"views.batch_size=64"` to its key and its value's text. Raises RecipeError."""
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not all(key.split(".")):
        raise RecipeError(f"command line: {shortened(override)}: an override is key=value, as in views.batch_size=64")
    if key.count(".") > MOST_DOTS:
        raise RecipeError(f"command line: {shortened(key)}: too deep a nest for a recipe")
    return key, text


def shared_by_arms(override: str) -> bool:
    """Whether it says something of a group as a whole, to be applied before arms take their defaults."""
    parts = split_override(override)[0].split(".")
    return parts[0] in GROUPS and (len(parts) <= 2 or parts[1] == "defaults")


def apply_override(tree: dict[str, Any], override: str) -> None:
    """Set one value in place. Mappings that are not there are made, items of lists and arms are not.

    Raises RecipeError where there is no such place or the value cannot be read.
    """
    key, text = split_override(override)
    where = f"command line: {key if len(key) <= 120 else key[:119] + '…'}"
    try:
        value, _ = parse(text, where)
    except LimbeckError as error:
        raise RecipeError(str(error).replace(f"{where}:1:", f"{where}:")) from error
    holder, last = _place(tree, key.split("."), where)
    holder[last] = value


def _place(tree: dict[str, Any], parts: Sequence[str], where: str) -> tuple[Any, str | int]:
    """The mapping or list that holds the value, and its key or index there."""
    node: Any = tree
    at = 0
    while True:
        done = ".".join(parts[:at]) or "the recipe"
        if isinstance(node, list):
            name = _index(node, parts[at], where)
            if at + 1 == len(parts):
                return node, name
            node, at = node[name], at + 1
            continue
        if not isinstance(node, dict):
            raise RecipeError(f"{where}: {done} is {shortened(node)}, which has no parts")
        name, taken = _key(node, parts[at:])
        if at == 1 and parts[0] in GROUPS and name not in (*node, "defaults"):
            raise RecipeError(f"{where}: no arm called {shortened(name)}{did_you_mean(name, node)}")
        at += taken
        if at == len(parts):
            return node, name
        below = node.get(name)
        if below is None:
            if parts[at].isdecimal():
                raise RecipeError(f"{where}: no list is there to have an item {parts[at]}; give the whole list")
            below = node[name] = {}
        elif isinstance(below, str) and name == "model":  # a word is short for its name
            below = node[name] = {"name": below}
        node = below


def _key(node: dict[str, Any], parts: Sequence[str]) -> tuple[str, int]:
    """The longest key of `node` that the parts begin with (names may hold dots), and how many parts it is."""
    for count in range(len(parts), 1, -1):
        if ".".join(parts[:count]) in node:
            return ".".join(parts[:count]), count
    return parts[0], 1


def _index(node: list[Any], part: str, where: str) -> int:
    if not part.isdecimal() or len(part) > 9 or int(part) >= len(node):
        has = f"has items 0 to {len(node) - 1}" if node else "is empty"
        raise RecipeError(f"{where}: the list {has}; got {shortened(part)}")
    return int(part)
