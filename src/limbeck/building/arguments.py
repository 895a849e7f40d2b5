"""Checks of arguments that several public functions take: functions by name, callbacks, folders, overrides, views of
test-time augmentation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from limbeck.errors import LimbeckError, printable, short_repr
from limbeck.recipes.checks.messages import message_of, place_of
from limbeck.recipes.load import ParsedRecipe
from limbeck.recipes.recipe import Recipe
from limbeck.recipes.test_time import AveragedViews


def check_run(
    recipe: Any, overrides: Any, *, folder: Any, name: Any, losses: Any, models: Any, make_watcher: Any
) -> None:
    """Check the argument types of `run` and `sweep`; the recipe itself is checked later. Raises LimbeckError."""
    if not isinstance(recipe, str | Path | Mapping | Recipe | ParsedRecipe):
        raise LimbeckError(f"recipe takes a path, the name of a shipped recipe, or a dict; got {short_repr(recipe)}")
    if not isinstance(overrides, list | tuple) or not all(isinstance(override, str) for override in overrides):
        raise LimbeckError(f"overrides takes a list of strings, such as ['seeds=[0]']; got {short_repr(overrides)}")
    if check_folder("folder", folder) is None:
        raise LimbeckError("folder takes a path; got None")
    if name is not None and not isinstance(name, str):
        raise LimbeckError(f"name takes a string; got {short_repr(name)}")
    check_functions("losses", losses)
    check_functions("models", models)
    check_callback("make_watcher", make_watcher)


def check_functions(what: str, given: Any) -> None:
    """Raises LimbeckError unless `given` maps names to functions."""
    if not isinstance(given, Mapping):
        raise LimbeckError(f"{what} takes a mapping from names to functions; got {type(given).__name__}")
    for name, function in given.items():
        if not isinstance(name, str) or not callable(function):
            raise LimbeckError(
                f"{what} takes a mapping from names to functions; got {short_repr(name)}: {short_repr(function)}"
            )


def check_callback(name: str, function: Callable[..., Any] | None) -> None:
    """Raises LimbeckError unless `function` can be called or is None."""
    if function is not None and not callable(function):
        raise LimbeckError(f"{name} takes a function; got {type(function).__name__}")


def check_folder(name: str, folder: Any) -> Path | None:
    """The folder as a path; None for None. Raises LimbeckError for anything that cannot be a path."""
    if folder is None:
        return None
    if not isinstance(folder, str | Path) or not str(folder) or "\0" in str(folder):
        raise LimbeckError(f"{name} takes the path of a folder; got {short_repr(folder)}")
    try:
        Path(folder).exists()
    except OSError as error:
        raise LimbeckError(f"{name}: {short_repr(str(folder))}: {error.strerror}") from error
    return Path(folder)


def checked_test_time(given: Any, where: str = "test_time") -> AveragedViews:
    """Options of test-time augmentation, as a recipe takes them below `evaluation.test_time`.

    where: what errors call them. Raises LimbeckError that names the option.
    """
    if isinstance(given, AveragedViews):
        return given
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        raise LimbeckError(f"{where} takes a mapping, such as {{'flip': True, 'shifts': 2}}; got {short_repr(given)}")
    try:
        return AveragedViews.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        message = message_of(first, place_of(("evaluation", "test_time", *first["loc"]), Recipe))
        option = ".".join(map(str, first["loc"]))
        raise LimbeckError(printable(": ".join(filter(None, (where, option, message))))) from error
