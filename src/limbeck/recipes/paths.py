"""The paths that a recipe's tree names: those of a file follow its folder, all others the working directory."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .registry import entries, split_name

SQLITE = "sqlite:///"


def follow_file(tree: Any, file: Path) -> Any:
    """A recipe's tree with its relative paths seen from the folder of its file.

    They stay as they are written where that folder is the working directory.
    """
    folder = file.absolute().parent
    return tree if folder == Path.cwd() else _with_paths(tree, lambda path: _from(folder, path))


def with_whole_paths(tree: Any) -> Any:
    """A recipe's tree with every relative path made whole, seen from the working directory."""
    return _with_paths(tree, lambda path: _from(Path.cwd(), path))


def _from(folder: Path, path: str) -> str:
    return path if path.startswith("~") else os.path.normpath(folder / path)


def _with_paths(tree: Any, seen: Callable[[str], str]) -> Any:
    """A copy in which `seen` has been applied to every path; what is no recipe is left as it is."""
    tree = copy.deepcopy(tree)
    if not isinstance(tree, dict):
        return tree
    data = tree.get("data")
    if isinstance(data, dict):
        if isinstance(source := data.get("source"), str):
            data["source"] = _source(source, seen)
        _change(data, "path", seen)
    for group in ("teachers", "students"):
        arms = tree.get(group)
        for arm in arms.values() if isinstance(arms, Mapping) else ():
            _change(arm, "weights", seen)
    if isinstance(sweep := tree.get("sweep"), dict):
        axes = sweep.get("axes")
        for key, axis in list(axes.items()) if isinstance(axes, dict) else ():
            if isinstance(axes, dict) and key.endswith(".weights") and isinstance(axis, list):
                axes[key] = [seen(value) if _is_path(value) else value for value in axis]
        storage = sweep.get("storage")
        if isinstance(storage, str) and storage.startswith(SQLITE) and not storage.startswith(f"{SQLITE}/"):
            sweep["storage"] = SQLITE + seen(storage.removeprefix(SQLITE))
    return tree


def _source(source: str, seen: Callable[[str], str]) -> str:
    """`folder:photos` with its path seen."""
    head, argument = split_name(source)
    entry = entries("data").get(head)
    if not argument or entry is None or entry.argument != "path":
        return source
    return f"{head}:{seen(argument) if _is_path(argument) else argument}"


def _change(holder: Any, key: str, seen: Callable[[str], str]) -> None:
    if isinstance(holder, dict) and _is_path(holder.get(key)):
        holder[key] = seen(holder[key])


def _is_path(value: object) -> bool:
    return isinstance(value, str) and bool(value) and "\0" not in value
