"""The call from Python that made a run, for its result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

USUAL = {"folder": "runs", "name": None, "fresh": False, "extend": False, "ray": None}


def python_call(function: str, recipe: Any, overrides: Sequence[str], options: Mapping[str, Any] | None) -> str | None:
    """`python: limbeck.run('quickstart', ['seeds=[0]'])`; None where the words alone would not make the same run.

    options: None where functions or modules were handed over.
    """
    if options is None or not isinstance(recipe, str | Path):
        return None
    words = [repr(str(recipe)), *([repr(list(overrides))] if overrides else [])]
    for name, value in options.items():
        value = str(value) if isinstance(value, Path) else value
        if value != USUAL[name]:
            words.append(f"{name}={value!r}")
    return f"python: limbeck.{function}({', '.join(words)})"
