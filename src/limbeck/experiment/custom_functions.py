"""Losses and models of the caller's own: a run is gone on with by the functions that it was begun with."""

from __future__ import annotations

import platform
from pathlib import Path

from limbeck.errors import LimbeckError
from limbeck.recipes.recipe import CustomFunctions
from limbeck.storage.atomic import read_json, write_json
from limbeck.training.code_fingerprint import of_function

NAME = "functions.json"


def must_be_as_begun(root: Path, losses: CustomFunctions, models: CustomFunctions, *, trained: bool) -> None:
    """Write down what a run's own functions do, or see that they do the same as when it was begun.

    root: the run's directory. trained: whether there is anything to go on with; a start that trained nothing binds
    nobody. Functions that are added (`extend`) are written down too; hashes of two versions of Python are not compared.
    Raises LimbeckError that names a function that has changed.
    """
    now = {f"loss {name!r}": of_function(function) for name, function in losses.items()}
    now |= {f"model {name!r}": of_function(function) for name, function in models.items()}
    version = ".".join(platform.python_version_tuple()[:2])
    file = root / NAME
    before = read_json(file) if trained and file.exists() else {}
    known = before.get("functions", {}) if isinstance(before, dict) else {}
    for name, told in now.items():
        if before.get("python") == version and known.get(name, told) != told:
            raise LimbeckError(
                f"{root}: the {name} has changed since this run was begun (its code, or values it uses); another name "
                "keeps both, fresh=True starts anew"
            )
    written = {"python": before.get("python", version), "functions": {**now, **known}}
    if now and written != before:
        write_json(file, written)
