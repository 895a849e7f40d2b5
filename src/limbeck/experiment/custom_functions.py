"""Losses and models of the caller: a run is resumed only with the functions with which it was started."""

from __future__ import annotations

import platform
from pathlib import Path

from limbeck.errors import LimbeckError
from limbeck.recipes.recipe import CustomFunctions
from limbeck.storage.atomic import read_json, write_json
from limbeck.training.code_fingerprint import of_function

NAME = "functions.json"


def check_unchanged_functions(root: Path, losses: CustomFunctions, models: CustomFunctions, *, trained: bool) -> None:
    """Record the hashes of a run's custom functions, or check that they are the same as at its start.

    root: the run directory. trained: whether there is anything to resume; until then, functions may change. Functions
    that `extend` adds are recorded too. Hashes of different Python versions are not compared.
    Raises LimbeckError that names the function that has changed.
    """
    now = {f"loss {name!r}": of_function(function) for name, function in losses.items()}
    now |= {f"model {name!r}": of_function(function) for name, function in models.items()}
    version = ".".join(platform.python_version_tuple()[:2])
    file = root / NAME
    before = read_json(file) if trained and file.exists() else {}
    recorded = before.get("functions", {}) if isinstance(before, dict) else {}
    for name, digest in now.items():
        if before.get("python") == version and recorded.get(name, digest) != digest:
            raise LimbeckError(
                f"{root}: the {name} has changed since this run was started (its code, or values it uses); "
                "another name keeps both runs, fresh=True starts over"
            )
    record = {"python": before.get("python", version), "functions": {**now, **recorded}}
    if now and record != before:
        write_json(file, record)
