"""What there is, in lines for a person: names, what they are, their options with defaults."""

from __future__ import annotations

from .errors import LimbeckError, did_you_mean
from .lookup import NO_DEFAULT, entries
from .recipe_file import shipped

ROOMS = ("losses", "models", "data", "recipes")


def listing(room: str) -> list[str]:
    """One line a name of a room; options stand in a second line. Raises LimbeckError where there is no such room."""
    if room not in ROOMS:
        raise LimbeckError(f"list: takes {', '.join(ROOMS)}; got {room!r}{did_you_mean(room, ROOMS)}")
    if room == "recipes":
        return [f"{name:<34}{_first_comment(path.read_text(encoding='utf-8'))}" for name, path in shipped().items()]
    lines = []
    for entry in entries(room).values():
        name = f"{entry.name}:{entry.argument.upper()}" if entry.argument else entry.name
        lines.append(f"{name:<26}{entry.summary}")
        options = [o if d == NO_DEFAULT else f"{o}={d}" for o, d in entry.options.items()]
        if options:
            lines.append(f"{'':<28}{', '.join(options)}")
    return lines


def _first_comment(text: str) -> str:
    first = text.splitlines()[0] if text else ""
    return first.removeprefix("#").strip() if first.startswith("#") else ""
