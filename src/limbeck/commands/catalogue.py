"""What there is, in lines for a person: names, what they are, their options with defaults."""

from __future__ import annotations

from limbeck.console.wrapping import beside, wrapped
from limbeck.errors import LimbeckError, did_you_mean

from .load import shipped
from .registry import NO_DEFAULT, Entry, entries

ROOMS = ("losses", "models", "data", "recipes")


def listing(room: str, width: int | None = None) -> list[str]:
    """A line for each name of a room, and one for its options. width: of the terminal, at which lines are broken.

    Raises LimbeckError where there is no such room.
    """
    if room not in ROOMS:
        raise LimbeckError(f"list: takes {', '.join(ROOMS)}; got {room!r}{did_you_mean(room, ROOMS)}")
    if room == "recipes":
        rows = [(name, _first_comment(path.read_text(encoding="utf-8")), "") for name, path in shipped().items()]
    else:
        rows = [(_shown(entry), entry.summary, _options(entry)) for entry in entries(room).values()]
    column = max(len(name) for name, *_ in rows) + 2
    if width is not None and column > width // 2:  # no room beside the names: what they are stands below them
        lines = [
            line
            for name, summary, _options in rows
            for line in (name, f"    {summary}", _options and f"      {_options}")
        ]
        return wrapped([line for line in lines if line], width)
    lines = []
    for name, summary, options in rows:
        lines += beside(name, summary, column, width)
        lines += beside("", options, column + 2, width) if options else []
    return lines


def _below(name: str, summary: str, options: str) -> list[str]:
    return [name, f"    {summary}", *([f"      {options}"] if options else [])]


def _shown(entry: Entry) -> str:
    return f"{entry.name}:{entry.argument.upper()}" if entry.argument else entry.name


def _options(entry: Entry) -> str:
    named = [o if d == NO_DEFAULT else f"{o}={d}" for o, d in entry.options.items()]
    return ", ".join([*named, *(["and whatever else its constructor takes"] if entry.open_options else [])])


def _first_comment(text: str) -> str:
    """The sentence that a recipe begins with, over as many lines as it takes."""
    said: list[str] = []
    for line in text.splitlines():
        words = line.removeprefix("#").strip()
        if not line.startswith("#") or not words or line.startswith("#  "):
            break
        said.append(words)
        if words.endswith("."):
            break
    return " ".join(said).split(". ")[0].removesuffix(".")
