"""Names come from files and options from signatures, without anything being imported."""

from __future__ import annotations

import ast
import contextlib
import importlib
import inspect
import re

import pytest

from limbeck.commands.catalogue import listing
from limbeck.errors import LimbeckError, did_you_mean
from limbeck.recipes.registry import (
    FIXED,
    FUNCTION,
    NO_DEFAULT,
    PACKAGE,
    check_options,
    entries,
    find,
    load,
    split_name,
)


@pytest.mark.parametrize("room", ["losses", "models", "data"])
def test_entries_are_what_the_functions_say(room: str) -> None:
    found = entries(room)
    assert list(found) == sorted(found)
    for entry in found.values():
        parameters = inspect.signature(load(entry)).parameters.values()
        passed = {*entry.preset, *FIXED[room]}  # `state` is keyword-only too, and passed by Limbeck
        keyword_only = {p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in passed}
        assert list(entry.options) == list(keyword_only)
        for name, default in entry.options.items():
            real = keyword_only[name].default
            assert (default == NO_DEFAULT) == (real is inspect.Parameter.empty)
        assert entry.summary, "a line for `limbeck list`"
        assert not entry.summary.endswith(".")


def files_with(room: str, function: str | None) -> set[str]:
    """The files of a room that define the function which makes them a name."""
    found = set()
    for path in (PACKAGE / ("data/sources" if room == "data" else room)).glob("*.py"):
        wanted = function or path.stem
        if re.search(rf"^def {wanted}\(", path.read_text(encoding="utf-8"), re.MULTILINE):
            found.add(path.stem)
    return found


@pytest.mark.parametrize("room", ["losses", "models", "data"])
def test_names_are_files(room: str) -> None:
    found = entries(room)
    assert {entry.file for entry in found.values()} == files_with(room, FUNCTION[room])
    assert {name for name, entry in found.items() if not entry.preset} == files_with(room, FUNCTION[room])


@pytest.mark.parametrize("room", ["losses", "models"])
def test_constants_are_what_the_modules_say(room: str) -> None:
    for entry in entries(room).values():
        module = importlib.import_module(f"limbeck.{room}.{entry.file}")
        sizes = getattr(module, "SIZES", {})
        assert entry.preset == sizes.get(entry.name, {})
        assert set(sizes) <= set(entries(room))
        assert entry.needs_teacher == getattr(module, "NEEDS_TEACHER", True)
        assert entry.needs_features == getattr(module, "NEEDS_FEATURES", False)


def test_defaults_are_read_as_they_are_written() -> None:
    for room in ("losses", "models", "data"):
        for entry in entries(room).values():
            parameters = inspect.signature(load(entry)).parameters
            for name, default in entry.options.items():
                if default != NO_DEFAULT and default != (real := parameters[name].default):
                    with contextlib.suppress(ValueError):  # a name of the file, not a literal
                        assert ast.literal_eval(default) == real


def test_a_function_from_python_goes_before_a_file() -> None:
    def resnet20(num_classes: int, *, width: int, twice: bool = False) -> None:
        """Mine.

        More.
        """

    entry = find("models", "resnet20", {"resnet20": resnet20})
    assert (entry.summary, entry.options, entry.preset) == ("Mine.", {"width": NO_DEFAULT, "twice": "False"}, {})
    assert load(entry, {"resnet20": resnet20}) is resnet20
    assert check_options(entry, {}) == [("width", "'resnet20' needs a value for 'width'")]
    with pytest.raises(LimbeckError, match="no model named 'resnet-20'; did you mean 'resnet20'"):
        find("models", "resnet-20", {"mine": resnet20})


def test_named_sizes_set_their_options() -> None:
    assert entries("models")["resnet20"].preset == {"depth": 20}
    assert "depth" not in entries("models")["resnet20"].options
    assert "depth" in entries("models")["resnet"].options


def test_which_losses_need_a_teacher() -> None:
    assert not find("losses", "cross_entropy").needs_teacher
    assert find("losses", "soft_targets").needs_teacher


def test_which_losses_need_features() -> None:
    def hints(student: object, teacher: object, targets: object) -> None:
        """Mine."""

    assert not find("losses", "soft_targets").needs_features
    assert not find("losses", "hints", {"hints": hints}).needs_features
    hints.NEEDS_FEATURES = True  # pyright: ignore[reportFunctionMemberAccess]
    assert find("losses", "hints", {"hints": hints}).needs_features


def test_an_argument_after_a_colon() -> None:
    assert split_name("folder:a:b") == ("folder", "a:b")
    assert split_name("digits") == ("digits", None)
    assert find("data", "folder:photos").name == "folder"
    for nothing in ("folder", "folder:"):
        with pytest.raises(LimbeckError, match="'folder' needs a path after a colon: folder:PATH"):
            find("data", nothing)
    with pytest.raises(LimbeckError, match="'digits' takes no value after a colon; got 'x'"):
        find("data", "digits:x")


def test_options_are_checked_by_name_and_kind() -> None:
    entry = find("models", "lightweight_cnn")
    assert check_options(entry, {"dropout": 0, "hidden_dropout": 0.5}) == []
    assert check_options(entry, {"droput": 0.1}) == [
        ("droput", "'lightweight_cnn' has no option 'droput'; did you mean 'dropout'?")
    ]
    assert check_options(entry, {"dropout": True})[0][1].startswith("expected a number")
    assert check_options(find("models", "resnet"), {"widths": [1, float("nan"), 2]})[0][1].startswith(
        "expected finite numbers"
    )
    assert check_options(find("models", "resnet"), {"widths": "wide"})[0][1].startswith("expected a list")
    assert check_options(find("models", "resnet"), {"depth": 20.0})[0][1].startswith("expected an integer")


def test_the_nearest_word() -> None:
    assert did_you_mean("epocs", ["epochs", "ema"]) == "; did you mean 'epochs'?"
    assert did_you_mean("every", ["every_epochs", "factor"]) == "; did you mean 'every_epochs'?"
    assert did_you_mean("zebra", ["b", "a"]) == "; expected one of a, b"
    assert did_you_mean("zebra", []) == ""


@pytest.mark.parametrize("room", ["losses", "models", "data", "recipes"])
def test_lists_are_made_of_lines(room: str) -> None:
    lines = listing(room)
    assert lines
    assert all(line.isprintable() and line == line.rstrip() for line in lines)
