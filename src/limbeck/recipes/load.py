"""From a file, a name or a dict to a checked recipe: every mistake is told at once, with its line."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from limbeck.errors import LimbeckError, RecipeError, did_you_mean, printable
from limbeck.recipes.checks.all_errors import mistakes

from .defaults import complete_views, merge_defaults
from .fields import shortened
from .overrides import GROUPS, apply_override, shared_by_arms, split_override
from .paths import follow_file
from .recipe import CustomFunctions, Recipe
from .yaml_file import DEEPEST, MOST_BYTES, Lines, parse_with_slips
from .yaml_file import Path as Path_

SHIPPED = Path(__file__).resolve().parent / "shipped"
NO_FUNCTIONS: CustomFunctions = MappingProxyType({})


def shipped() -> dict[str, Path]:
    """The recipes inside the package, by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.yaml"))}


def find_recipe(word: str) -> Path:
    """A recipe's file: a path that exists, or the name of a shipped one.

    Raises RecipeError that names the nearest.
    """
    path = Path(word)
    try:
        there, folder = path.exists() and not path.is_dir(), path.is_dir()
    except (OSError, ValueError):  # no name that a file could have
        there = folder = False
    if there:
        return path
    known = shipped()
    name = word.removesuffix(".yaml").removesuffix(".yml")
    if name in known:
        return known[name]
    if folder and word:
        raise RecipeError(f"{word}: is a folder; a recipe is a YAML file, or one of {', '.join(known)}")
    near = did_you_mean(name, known)
    raise RecipeError(f"{shortened(word)}: no such recipe file, and none shipped with this name{near}")


@dataclass(frozen=True)
class ParsedRecipe:
    """A recipe as it was written.

    where: its file. tree: plain data, unchecked. lines: of each key. slips: what reading it has found, as lines.
    """

    where: str
    tree: Any
    lines: Lines
    slips: Sequence[str] = ()


def read_recipe(source: str | Path | Mapping[str, Any]) -> ParsedRecipe:
    """Read a recipe once; what becomes of its file or its dict afterwards changes nothing.

    Relative paths follow the file's folder; those of a dict, and of overrides, the working directory.

    Raises RecipeError where there is no such file, or where it cannot be parsed.
    """
    if isinstance(source, Mapping):
        return ParsedRecipe("recipe", plain(source), {})
    file = find_recipe(str(source))
    where, tree, lines, slips = _read(file)
    return ParsedRecipe(where, follow_file(tree, file), lines, slips)


def load_recipe(
    source: str | Path | Mapping[str, Any] | ParsedRecipe,
    overrides: Sequence[str] = (),
    *,
    losses: CustomFunctions = NO_FUNCTIONS,
    models: CustomFunctions = NO_FUNCTIONS,
) -> Recipe:
    """Read and check a recipe.

    source: a path, the name of a shipped recipe, a dict, or what `read_recipe` gave.
    overrides: `students.distilled.epochs=5`.
    losses, models: functions that a caller from Python brings, by name.
    Raises RecipeError with all mistakes, each `file:line: key: what is wrong`.
    """
    written = source if isinstance(source, ParsedRecipe) else read_recipe(source)
    where, tree, lines, slips = written.where, copy.deepcopy(written.tree), written.lines, written.slips
    if not isinstance(tree, dict):
        raise RecipeError("\n".join([*slips, f"{where}: takes a mapping, as in `name: …`; got {shortened(tree)}"]))
    overrides, told = _readable(overrides)
    early = [override for override in overrides if shared_by_arms(override)]
    applied, refused = _apply(tree, early)
    for group in GROUPS:
        merge_defaults(tree, group)
    late, also_refused = _apply(tree, [override for override in overrides if override not in early])
    for group in GROUPS:
        complete_views(tree, group)
    return check(
        tree,
        where,
        lines,
        losses=losses,
        models=models,
        overrides=[*applied, *late],
        slips=[*slips, *told, *refused, *also_refused],
    )


def _readable(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """The overrides that are `key=value`, and what is wrong with the others."""
    readable, told = [], []
    for override in overrides:
        try:
            split_override(override)
        except RecipeError as error:
            told.append(str(error))
        else:
            readable.append(override)
    return readable, told


def _apply(tree: dict[str, Any], overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Set the values in place. Returns the overrides that were set, and what is wrong with the others."""
    applied, refused = [], []
    for override in overrides:
        try:
            apply_override(tree, override)
        except RecipeError as error:
            refused += str(error).split("\n")
        else:
            applied.append(override)
    return applied, refused


def _read(path: Path) -> tuple[str, Any, Lines, list[str]]:
    where = str(path)
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        return where, *parse_with_slips(content.decode("utf-8-sig"), where)
    except UnicodeDecodeError as error:
        raise RecipeError(f"{where}: takes text in UTF-8; byte {error.start} is none") from error
    except OSError as error:
        raise RecipeError(f"{where}: cannot be read: {error.strerror or error}") from error
    except RecipeError:
        raise
    except LimbeckError as error:
        raise RecipeError(str(error)) from error


def plain(value: Any, path: Path_ = ()) -> Any:
    """A recipe from Python as plain data of its own. Raises RecipeError where it holds anything else."""
    here = f"recipe: {'.'.join(map(str, path))}" if path else "recipe"
    if len(path) > DEEPEST:
        raise RecipeError(f"{here}: too deep a nest for a recipe")
    if isinstance(value, Mapping):
        if odd := [key for key in value if not isinstance(key, str)]:
            raise RecipeError(f"{here}: takes words as keys; got {shortened(odd[0])}")
        return {str(key): plain(item, (*path, key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, (*path, index)) for index, item in enumerate(value)]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Path):
        return str(value)
    raise RecipeError(f"{here}: takes words, numbers, lists and mappings; got {shortened(value)}")


def check(
    tree: dict[str, Any],
    where: str,
    lines: Lines,
    *,
    losses: CustomFunctions = NO_FUNCTIONS,
    models: CustomFunctions = NO_FUNCTIONS,
    overrides: Sequence[str] = (),
    slips: Sequence[str] = (),
) -> Recipe:
    """A recipe of plain data, or RecipeError with all that is wrong with it.

    slips: what reading it has found already, as lines.
    """
    recipe, complaints = mistakes(tree, losses=losses, models=models)
    if recipe is not None and not slips:
        return recipe
    told = {split_override(override)[0] for override in overrides}
    report: list[tuple[float, str]] = [(_line_of(slip, where), slip) for slip in slips]
    for path, message in complaints:
        if path not in lines and (_of_the_run(path), message) in complaints:
            continue
        shown, line = _origin(path, lines, told)
        key = printable(".".join(map(str, shown)))
        key = key if len(key) <= 120 else f"{key[:119]}…"
        place = "command line" if line is None else f"{where}:{line}" if line else where
        said = f"{place}: {key}: {message}" if key else f"{place}: {message}"
        report.append((math.inf if line is None else line, said))
    report.sort(key=lambda pair: pair[0])  # as the file has them; what has no line first, the command line last
    raise RecipeError("\n".join(dict.fromkeys(line for _, line in report)))


def _line_of(slip: str, where: str) -> float:
    """The line of the file that a line of complaint names; those of the command line come last."""
    number = slip.removeprefix(f"{where}:").split(":")[0]
    return int(number) if slip.startswith(f"{where}:") and number.isdecimal() else math.inf


def _origin(path: Path_, lines: Lines, told: Set[str]) -> tuple[Path_, int | None]:
    """Where a value was written: the key there, and its line (0: unknown, None: the command line)."""
    for written in (path, _shared(path)):
        key = ".".join(map(str, written))
        if any(key == word or key.startswith(f"{word}.") for word in told):
            return written, None
        if written in lines:
            return written, lines[written]
    for end in range(len(path), 0, -1):
        for upper in (path[:end], _shared(path[:end])):
            if upper in lines:
                return path, lines[upper]
        key = ".".join(map(str, path[:end]))
        if any(word.startswith(f"{key}.") for word in told):
            return path, None  # nothing but the command line made this mapping
    return path, 0


def _shared(path: Path_) -> Path_:
    """Where `defaults` would say it for all arms."""
    return (path[0], "defaults", *path[2:]) if len(path) > 2 and path[0] in GROUPS else path


def _of_the_run(path: Path_) -> Path_ | None:
    """Where the run's views would say what an arm's own views have taken over from them."""
    return path[2:] if path[:1] in (("students",), ("teachers",)) and path[2:3] == ("views",) and path[3:] else None


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
