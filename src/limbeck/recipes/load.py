"""Load a recipe: from a file, a name or a dict to a checked `Recipe`, or one error with every line that is wrong."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from limbeck.errors import LimbeckError, RecipeError, did_you_mean, printable
from limbeck.recipes.checks.all_errors import validate

from .fields import GROUPS, KeyPath, RecipePart, shortened
from .overrides import apply_override, precedes_defaults, split_override
from .paths import relative_to_file
from .recipe import CustomFunctions, Recipe
from .yaml_file import MAX_BYTES, MAX_DEPTH, Lines, parse_with_errors

SHIPPED = Path(__file__).resolve().parent / "shipped"
NO_FUNCTIONS: CustomFunctions = MappingProxyType({})
Root = TypeVar("Root", bound=RecipePart)


def shipped() -> dict[str, Path]:
    """The recipes inside the package, by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.yaml"))}


def find_recipe(word: str) -> Path:
    """The file of a recipe: an existing path, or the name of a shipped recipe.

    Raises RecipeError that names the nearest shipped recipe.
    """
    path = Path(word)
    try:
        exists, is_folder = path.exists(), path.is_dir()
    except (OSError, ValueError):  # not a valid file name
        exists = is_folder = False
    if exists and not is_folder:
        return path
    known = shipped()
    name = word.removesuffix(".yaml").removesuffix(".yml")
    if name in known:
        return known[name]
    if is_folder and word:
        if (path / "recipe.json").is_file():
            raise RecipeError(
                f"{word}: is a run directory, not a recipe; give the YAML file or the name that it was run from"
            )
        raise RecipeError(f"{word}: is a folder; expected a YAML file, or one of {', '.join(known)}")
    raise RecipeError(f"{shortened(word)}: no such file, and no shipped recipe of this name{did_you_mean(name, known)}")


@dataclass(frozen=True)
class ParsedRecipe:
    """A recipe as it was written.

    Attributes:
        where: its file, for messages.
        tree: plain data, not yet checked.
        lines: the line of each key.
        errors: what was wrong while parsing, each as a line of the final message.
    """

    where: str
    tree: Any
    lines: Lines
    errors: Sequence[str] = ()


def read_recipe(source: str | Path | Mapping[str, Any]) -> ParsedRecipe:
    """Read a recipe once; later changes to its file or dict have no effect.

    Relative paths are relative to the file's folder; those of a dict and of overrides to the working directory.

    Raises RecipeError if there is no such file, or if it cannot be parsed.
    """
    if isinstance(source, Mapping):
        return ParsedRecipe("recipe", plain(source), {})
    file = find_recipe(str(source))
    where = str(file)
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        tree, lines, errors = parse_with_errors(content.decode("utf-8-sig"), where)
    except UnicodeDecodeError as error:
        raise RecipeError(f"{where}: not valid UTF-8 at byte {error.start}") from error
    except OSError as error:
        raise RecipeError(f"{where}: cannot be read: {error.strerror or error}") from error
    except LimbeckError as error:
        raise RecipeError(str(error)) from error
    return ParsedRecipe(where, relative_to_file(tree, file), lines, errors)


def load_recipe(
    source: str | Path | Mapping[str, Any] | ParsedRecipe,
    overrides: Sequence[str] = (),
    *,
    losses: CustomFunctions = NO_FUNCTIONS,
    models: CustomFunctions = NO_FUNCTIONS,
) -> Recipe:
    """Read and check a recipe.

    Args:
        source: a path, the name of a shipped recipe, a dict, or the result of `read_recipe`.
        overrides: values to change, such as `students.distilled.epochs=5`.
        losses: loss functions that a caller from Python provides, by name.
        models: model functions that a caller from Python provides, by name.

    Raises RecipeError with all errors, each as `file:line: key: what is wrong`.
    """
    parsed = source if isinstance(source, ParsedRecipe) else read_recipe(source)
    tree, errors = copy.deepcopy(parsed.tree), [*parsed.errors]
    if not isinstance(tree, dict):
        message = f"{parsed.where}: expected a mapping, such as `name: …`; got {shortened(tree)}"
        raise RecipeError("\n".join([*errors, message]))
    early: list[str] = []
    late: list[str] = []
    for override in overrides:
        try:
            (early if precedes_defaults(override) else late).append(override)
        except RecipeError as error:
            errors.append(str(error))
    applied = _apply(tree, early, errors)
    for group in GROUPS:
        _merge_defaults(tree, group)
    applied += _apply(tree, late, errors)
    for group in GROUPS:
        _complete_views(tree, group)
    return check(tree, parsed.where, parsed.lines, losses=losses, models=models, overrides=applied, errors=errors)


def _apply(tree: dict[str, Any], overrides: Sequence[str], errors: list[str]) -> list[str]:
    """Apply overrides in place; return those that could be applied, and add to `errors` why others could not."""
    applied = []
    for override in overrides:
        try:
            apply_override(tree, override)
        except RecipeError as error:
            errors += str(error).split("\n")
        else:
            applied.append(override)
    return applied


def _merge_defaults(tree: dict[str, Any], group: str) -> None:
    """Complete each arm of a group by the group's `defaults`: mappings are merged, everything else is replaced."""
    arms = tree.get(group)
    if not isinstance(arms, dict) or "defaults" not in arms:
        return
    defaults = arms["defaults"] if arms["defaults"] is not None else {}
    if not isinstance(defaults, dict):
        return  # reported with all other errors
    del arms["defaults"]
    for name, arm in arms.items():
        if arm is None or isinstance(arm, dict):
            arms[name] = _merged(defaults, arm or {})


def _complete_views(tree: dict[str, Any], group: str) -> None:
    """Complete each arm's own `views` by the recipe's."""
    arms, shared = tree.get(group), tree.get("views")
    if isinstance(arms, dict) and isinstance(shared, dict):
        for arm in arms.values():
            if isinstance(arm, dict) and isinstance(arm.get("views"), dict):
                arm["views"] = _merged(shared, arm["views"])


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    # Mappings with different names (sgd, adam) are not merged: they take different options.
    if "name" in over and over["name"] != under.get("name"):
        return copy.deepcopy(over)
    result = copy.deepcopy(under)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = _merged(result[key], value) if both else copy.deepcopy(value)
    return result


def plain(value: Any, path: KeyPath = (), *, source: str = "recipe") -> Any:
    """Copy a recipe from Python into plain data. Raises RecipeError for anything else. source: for messages."""
    where = f"{source}: {'.'.join(map(str, path))}" if path else source
    if len(path) > MAX_DEPTH:
        raise RecipeError(f"{where}: too deeply nested for a recipe")
    if isinstance(value, Mapping):
        if wrong := [key for key in value if not isinstance(key, str)]:
            raise RecipeError(f"{where}: keys must be strings; got {shortened(wrong[0])}")
        return {str(key): plain(item, (*path, key), source=source) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, (*path, index), source=source) for index, item in enumerate(value)]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Path):
        return str(value)
    raise RecipeError(f"{where}: expected strings, numbers, lists and mappings; got {shortened(value)}")


def check(
    tree: dict[str, Any],
    where: str,
    lines: Lines,
    root: type[Root] = Recipe,
    *,
    losses: CustomFunctions = NO_FUNCTIONS,
    models: CustomFunctions = NO_FUNCTIONS,
    overrides: Sequence[str] = (),
    errors: Sequence[str] = (),
) -> Root:
    """Check a recipe, or the arguments of a call (`calls`), given as plain data.

    Args:
        tree: the recipe, with `defaults` merged.
        where: its file, for messages.
        lines: the line of each key.
        root: the model that the whole tree must fit.
        losses: loss functions that a caller from Python provides, by name.
        models: model functions that a caller from Python provides, by name.
        overrides: those that were applied to it.
        errors: what was already wrong while reading it.

    Raises RecipeError with all errors, in the order of the file, those of the command line last.
    """
    valid, problems = validate(tree, root, losses=losses, models=models)
    if valid is not None and not errors:
        return valid
    overridden = {split_override(override)[0] for override in overrides}
    report: list[tuple[float, str]] = [(_line_number(error, where), error) for error in errors]
    for path, message in problems:
        if path not in lines and (_in_recipe_views(path), message) in problems:
            continue
        written, line = _origin(path, lines, overridden)
        key = printable(".".join(map(str, written)))
        key = key if len(key) <= 120 else f"{key[:119]}…"
        place = "command line" if line is None else f"{where}:{line}" if line else where
        report.append(
            (math.inf if line is None else line, f"{place}: {key}: {message}" if key else f"{place}: {message}")
        )
    report.sort(key=lambda pair: pair[0])
    raise RecipeError("\n".join(dict.fromkeys(line for _, line in report)))


def _line_number(error: str, where: str) -> float:
    """The line of the file at which an error begins `where:LINE:`, or infinity for the command line."""
    number = error.removeprefix(f"{where}:").split(":")[0]
    return int(number) if error.startswith(f"{where}:") and number.isdecimal() else math.inf


def _origin(path: KeyPath, lines: Lines, overridden: Set[str]) -> tuple[KeyPath, int | None]:
    """Where a value was written: the key there, and its line (0: unknown, None: the command line)."""
    for written in (path, _in_defaults(path)):
        key = ".".join(map(str, written))
        if any(key == other or key.startswith(f"{other}.") for other in overridden):
            return written, None
        if written in lines:
            return written, lines[written]
    for end in range(len(path), 0, -1):
        for upper in (path[:end], _in_defaults(path[:end])):
            if upper in lines:
                return path, lines[upper]
        key = ".".join(map(str, path[:end]))
        if any(other.startswith(f"{key}.") for other in overridden):
            return path, None  # only the command line created this mapping
    return path, 0


def _in_defaults(path: KeyPath) -> KeyPath:
    """The same key in the `defaults` of the arm's group."""
    return (path[0], "defaults", *path[2:]) if len(path) > 2 and path[0] in GROUPS else path


def _in_recipe_views(path: KeyPath) -> KeyPath | None:
    """The same key in the recipe's `views`, for a key of an arm's own views."""
    return path[2:] if len(path) > 3 and path[0] in GROUPS and path[2] == "views" else None
