"""The paths in a recipe: those of a file are relative to its folder, all others to the working directory."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .fields import GROUPS
from .registry import entries, split_name

SQLITE = "sqlite:///"


def relative_to_file(tree: Any, file: Path) -> Any:
    """A recipe as plain data, with the relative paths of its file resolved.

    They stay as they are if the file is in the working directory.
    """
    folder = file.absolute().parent
    return tree if folder == Path.cwd() else _map_paths(tree, lambda path: _resolve(folder, path))


def with_absolute_paths(tree: Any) -> Any:
    """A recipe as plain data, with all paths absolute."""
    return _map_paths(tree, lambda path: _resolve(Path.cwd(), path))


def _resolve(folder: Path, path: str) -> str:
    return path if path.startswith("~") else os.path.normpath(folder / path)


def _map_paths(tree: Any, resolve: Callable[[str], str]) -> Any:
    """A copy with `resolve` applied to every path; anything malformed is left as it is, for the checks to report."""
    tree = copy.deepcopy(tree)
    data = _mapping(tree, "data")
    if isinstance(source := data.get("source"), str):
        data["source"] = _resolve_source(source, resolve)
    _resolve_key(data, "path", resolve)
    for group in GROUPS:
        arms = _mapping(tree, group)
        for name in arms:
            _resolve_key(_mapping(arms, name), "weights", resolve)
    sweep = _mapping(tree, "sweep")
    axes = _mapping(sweep, "axes")
    for key, axis in axes.items():
        if key.endswith(".weights") and isinstance(axis, list):
            axes[key] = [resolve(value) if _is_path(value) else value for value in axis]
    storage = sweep.get("storage")
    if isinstance(storage, str) and storage.startswith(SQLITE) and not storage.startswith(f"{SQLITE}/"):
        sweep["storage"] = SQLITE + resolve(storage.removeprefix(SQLITE))
    return tree


def _mapping(holder: Any, key: str) -> dict[str, Any]:
    """The mapping under a key, or an empty one."""
    value = holder.get(key) if isinstance(holder, dict) else None
    return value if isinstance(value, dict) else {}


def _resolve_source(source: str, resolve: Callable[[str], str]) -> str:
    """`folder:photos` with its path resolved."""
    name, argument = split_name(source)
    entry = entries("data").get(name)
    if not argument or entry is None or entry.argument != "path":
        return source
    return f"{name}:{resolve(argument) if _is_path(argument) else argument}"


def _resolve_key(holder: dict[str, Any], key: str, resolve: Callable[[str], str]) -> None:
    if _is_path(holder.get(key)):
        holder[key] = resolve(holder[key])


def _is_path(value: object) -> bool:
    return isinstance(value, str) and bool(value) and "\0" not in value
