"""`limbeck list` and `limbeck new`: list what is available, and copy a shipped recipe to edit it."""

from __future__ import annotations

from pathlib import Path

from limbeck.console.terminal import in_two_columns, wrapped
from limbeck.errors import LimbeckError, RecipeError, did_you_mean
from limbeck.recipes.load import shipped
from limbeck.recipes.registry import NO_DEFAULT, Entry, entries
from limbeck.storage.atomic import write_file

CATEGORIES = ("losses", "models", "data", "recipes")


def listing(category: str, width: int | None = None) -> list[str]:
    """List the names of a category, each with a line for its options, wrapped at `width` columns if given.

    Raises LimbeckError if there is no such category.
    """
    if category not in CATEGORIES:
        hint = did_you_mean(category, CATEGORIES)
        raise LimbeckError(f"list: expected {', '.join(CATEGORIES[:-1])} or {CATEGORIES[-1]}; got {category!r}{hint}")
    if category == "recipes":
        rows = [(name, _first_sentence(path.read_text(encoding="utf-8")), "") for name, path in shipped().items()]
    else:
        rows = [(_name(entry), entry.summary, _options(entry)) for entry in entries(category).values()]
    column = max(len(name) for name, *_ in rows) + 2
    lines: list[str] = []
    for name, summary, options in rows:
        if width is not None and column > width // 2:  # too narrow for two columns
            lines += wrapped([name, f"    {summary}", *([f"      {options}"] if options else [])], width)
        else:
            lines += in_two_columns(name, summary, column, width)
            lines += in_two_columns("", options, column + 2, width) if options else []
    return lines


def copy_shipped(name: str, to: Path | None = None) -> Path:
    """Copy a shipped recipe to `to` (default: its name, in the working directory). Never overwrites a file.

    Raises RecipeError if there is no such recipe, or if the file already exists.
    """
    known = shipped()
    word = name.removesuffix(".yaml")
    if word not in known:
        raise RecipeError(f"no shipped recipe named {word!r}{did_you_mean(word, known)}")
    target = to or Path(f"{word}.yaml")
    if target.exists():
        raise RecipeError(f"{target}: already exists; use --to FILE to write another file")
    write_file(target, known[word].read_bytes())
    return target


def _name(entry: Entry) -> str:
    return f"{entry.name}:{entry.argument.upper()}" if entry.argument else entry.name


def _options(entry: Entry) -> str:
    options = [name if default == NO_DEFAULT else f"{name}={default}" for name, default in entry.options.items()]
    return ", ".join([*options, *(["and all other options of its constructor"] if entry.open_options else [])])


def _first_sentence(text: str) -> str:
    """The first sentence of a recipe's header."""
    header: list[str] = []
    for line in text.splitlines():
        words = line.removeprefix("#").strip()
        if not line.startswith("#") or not words or line.startswith("#  "):
            break
        header.append(words)
        if words.endswith("."):
            break
    return " ".join(header).split(". ")[0].removesuffix(".")
