"""From a file, a name or a dict to a checked recipe: every mistake is told at once, with its line."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from .errors import LimbeckError, did_you_mean
from .recipe import Functions, Recipe
from .recipe_checks import Complaint, check_names
from .recipe_complaints import complaints_of
from .yaml_file import Lines, parse

SHIPPED = Path(__file__).resolve().parents[1] / "recipes"
NONE: Functions = MappingProxyType({})


class RecipeError(LimbeckError):
    """A recipe that cannot be run; one line for each mistake."""


def shipped() -> dict[str, Path]:
    """The recipes inside the package, by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.yaml"))}


def find_recipe(word: str) -> Path:
    """A recipe's file: a path that exists, or the name of a shipped one.

    Raises RecipeError that names the nearest.
    """
    path = Path(word)
    if path.is_file():
        return path
    known = shipped()
    name = word.removesuffix(".yaml").removesuffix(".yml")
    if name in known:
        return known[name]
    if path.is_dir():
        raise RecipeError(f"{word}: is a folder; a recipe is a YAML file, or one of {', '.join(known)}")
    raise RecipeError(f"{word}: no such recipe file, and none shipped with this name{did_you_mean(name, known)}")


def load_recipe(
    source: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    losses: Functions = NONE,
    models: Functions = NONE,
) -> Recipe:
    """Read and check a recipe.

    source: a path, the name of a shipped recipe, or a dict. overrides: `students.distilled.epochs=5`.
    losses, models: functions that a caller from Python brings, by name.
    Raises RecipeError with all mistakes, each `file:line: key: what is wrong`.
    """
    if isinstance(source, Mapping):
        where, tree, lines = "recipe", copy.deepcopy(dict(source)), {}
    else:
        path = find_recipe(str(source))
        where = str(path)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"{where}: cannot be read as text: {error}") from error
        tree, lines = parse(text, where)
    if not isinstance(tree, dict):
        raise RecipeError(f"{where}: takes a mapping such as `name: …`, not {type(tree).__name__}")
    early = [o for o in overrides if o.split(".")[1:2] == ["defaults"]]
    for override in early:
        apply_override(tree, override)
    for group in ("students", "teachers"):
        merge_defaults(tree, group)
    for override in overrides:
        if override not in early:
            apply_override(tree, override)
    for group in ("students", "teachers"):
        complete_views(tree, group)
    return check(tree, where, lines, losses=losses, models=models, overrides=overrides)


def check(
    tree: dict[str, Any],
    where: str,
    lines: Lines,
    *,
    losses: Functions = NONE,
    models: Functions = NONE,
    overrides: Sequence[str] = (),
) -> Recipe:
    """A recipe of plain data, or RecipeError with all that is wrong with it."""
    complaints: list[Complaint]
    try:
        recipe = Recipe.model_validate(tree)
    except ValidationError as error:
        complaints = complaints_of(error, tree)
    else:
        complaints = check_names(recipe, losses=losses, models=models)
        if not complaints:
            return recipe
    told = {override.partition("=")[0] for override in overrides}
    report = []
    for path, message in complaints:
        key = ".".join(map(str, path))
        if any(key == word or key.startswith(word + ".") for word in told):
            place = "command line"
        else:
            line = _line(path, lines)
            place = f"{where}:{line}" if line else where
        report.append(f"{place}: {key}: {message}" if key else f"{place}: {message}")
    raise RecipeError("\n".join(dict.fromkeys(report)))


def _line(path: tuple[str | int, ...], lines: Lines) -> int | None:
    """The line of a key; of `defaults` where the value came from there; else of the nearest that is known."""
    shared = (path[0], "defaults", *path[2:]) if len(path) > 2 else path
    for known in (path, shared):
        if known in lines:
            return lines[known]
    return _line(path[:-1], lines) if path else None


def merge_defaults(tree: dict[str, Any], group: str) -> None:
    """Lay `defaults` of a group of arms under each of them: mappings are merged, everything else replaced."""
    arms = tree.get(group)
    if not isinstance(arms, dict) or "defaults" not in arms:
        return
    defaults = arms.pop("defaults")
    if defaults is None:
        return
    if not isinstance(defaults, dict):
        raise RecipeError(f"{group}.defaults: takes what all arms share, as a mapping; got {defaults!r}")
    for name, arm in arms.items():
        if arm is None:
            arms[name] = copy.deepcopy(defaults)
        elif isinstance(arm, dict):
            arms[name] = _merged(defaults, arm)


def complete_views(tree: dict[str, Any], group: str) -> None:
    """Fill what an arm's own `views` leave open with the run's."""
    arms, shared = tree.get(group), tree.get("views")
    if isinstance(arms, dict) and isinstance(shared, dict):
        for arm in arms.values():
            if isinstance(arm, dict) and isinstance(arm.get("views"), dict):
                arm["views"] = _merged(shared, arm["views"])


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    # Two mappings that name different things (sgd, adam) do not mix: their options are not the same.
    if "name" in over and over["name"] != under.get("name"):
        return copy.deepcopy(over)
    result = copy.deepcopy(under)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = _merged(result[key], value) if both else copy.deepcopy(value)
    return result


def apply_override(tree: dict[str, Any], override: str) -> None:
    """Set one value in place: `views.batch_size=64`, `students.distilled.loss.0.temperature=2`.

    Raises RecipeError where there is no such place.
    """
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise RecipeError(f"{override!r}: an override is key=value, as in views.batch_size=64")
    value, _ = parse(text, f"command line: {key}")
    parts = key.split(".")
    node: Any = tree
    for depth, part in enumerate(parts):
        last = depth == len(parts) - 1
        place = ".".join(parts[: depth + 1])
        if isinstance(node, list):
            if not part.isdigit() or int(part) >= len(node):
                raise RecipeError(f"command line: {place}: the list has items 0 to {len(node) - 1}; got {part!r}")
            if last:
                node[int(part)] = value
            node = node[int(part)]
        elif isinstance(node, dict):
            if depth == 1 and parts[0] in ("students", "teachers") and part not in node and part != "defaults":
                raise RecipeError(f"command line: {place}: no such arm{did_you_mean(part, node)}")
            if last:
                node[part] = value
            elif isinstance(node.get(part), str) and part == "model":
                node[part] = {"name": node[part]}
            elif not isinstance(node.get(part), dict | list):
                node[part] = {}
            node = node[part]


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """What changed between two plain recipes, a line a value: `students.distilled.epochs: 15 -> 20`."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = [*old, *(key for key in new if key not in old)]
        missing = object()
        found = []
        for key in keys:
            at = f"{path}.{key}" if path else str(key)
            before, after = old.get(key, missing), new.get(key, missing)
            if before is missing:
                found.append(f"{at}: (not there) -> {after}")
            elif after is missing:
                found.append(f"{at}: {before} -> (not there)")
            else:
                found += differences(before, after, at)
        return found
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [
            line for i, (a, b) in enumerate(zip(old, new, strict=True)) for line in differences(a, b, f"{path}.{i}")
        ]
    return [] if old == new else [f"{path}: {old} -> {new}"]


def copy_shipped(name: str, to: Path | None = None) -> Path:
    """Copy a shipped recipe to `to` (default: its name, here); nothing is overwritten.

    Raises RecipeError where there is no such recipe, or where the file is there already.
    """
    known = shipped()
    word = name.removesuffix(".yaml")
    if word not in known:
        raise RecipeError(f"no shipped recipe called {word!r}{did_you_mean(word, known)}")
    target = to or Path(f"{word}.yaml")
    try:
        with target.open("x", encoding="utf-8") as file:
            file.write(known[word].read_text(encoding="utf-8"))
    except FileExistsError as error:
        raise RecipeError(f"{target}: is there already; --to FILE writes another") from error
    except OSError as error:
        raise RecipeError(f"{target}: cannot be written: {error.strerror or error}") from error
    return target
