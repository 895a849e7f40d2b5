"""Can the other rows fail? Limbeck is broken on purpose, once for each, and its row has to notice."""

from __future__ import annotations

import contextlib
import importlib
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from processes import in_a_process
from rows import NotHere, Trials

NAME = "sabotage"
HOLDS = "Limbeck broken on purpose in thirteen ways: the row that is there for it fails each time"
CI, CHAOS = 13, 13


def _flushes_nothing() -> None:
    os.fsync = lambda descriptor: None


def _flushes_again() -> None:
    fsync = os.fsync

    def stubborn(descriptor: Any) -> None:
        try:
            fsync(descriptor)
        except OSError:
            fsync(descriptor)

    os.fsync = stubborn


def _locks_nothing() -> None:
    import fcntl

    fcntl.flock = lambda descriptor, operation: None


def _checks_no_sums() -> None:
    from limbeck.storage import checkpoint

    checkpoint._verify = lambda path, expected: None


def _writes_in_place() -> None:
    from limbeck.storage import checkpoint

    @contextlib.contextmanager
    def in_place(path: Path, **options: Any) -> Iterator[Path]:
        path.mkdir(exist_ok=True)
        yield path

    checkpoint.atomic_folder = in_place


def _explains_no_errors() -> None:
    from limbeck.storage import atomic, checkpoint, lock, run_directory

    @contextlib.contextmanager
    def silent(path: Path) -> Iterator[None]:
        yield

    modules: tuple[Any, ...] = (checkpoint, run_directory, atomic, lock)
    for module in modules:
        module.explain_os_errors = silent


def _stops_without_saving() -> None:
    from limbeck.experiment.signals import GracefulShutdown

    check = GracefulShutdown.check
    GracefulShutdown.check = lambda self, save=None: check(self)


def _forgets_momenta() -> None:
    from limbeck.training import learner

    learner.restore = lambda optimizer, state: None


def _keeps_every_step() -> None:
    from limbeck.training import loop

    take_step, kept = loop.take_step, []

    def hoarding(*args: Any, **keywords: Any) -> Any:
        kept.append(bytearray(os.urandom(10_000)))
        return take_step(*args, **keywords)

    loop.take_step = hoarding


def _copies_exports_into_place() -> None:
    from limbeck.deployment import export

    def copied(temporary: Path, path: Path, **options: Any) -> None:
        if temporary.is_dir():
            shutil.rmtree(path, ignore_errors=True)
            temporary.replace(path)
            return
        content = temporary.read_bytes()
        with path.open("wb") as file:
            for begin in range(0, len(content), -(-len(content) // 20)):
                file.write(content[begin : begin + -(-len(content) // 20)])
                file.flush()
                os.fsync(file.fileno())

    export.publish = copied


def _gives_images_up_otherwise() -> None:
    from limbeck.data.unreadable import UnreadableError

    UnreadableError.__str__ = lambda self: "an image cannot be read"


def _runs_what_it_reads() -> None:
    from limbeck.recipes import load as recipe_file

    load = recipe_file.load_recipe

    def obliging(source: Any, *args: Any, **keywords: Any) -> Any:
        if isinstance(source, Path) and b"touch " in source.read_bytes():
            os.system("true")
        return load(source, *args, **keywords)

    recipe_file.load_recipe = obliging


SABOTAGES: tuple[tuple[str, Callable[[], None], int], ...] = (
    ("kills", _forgets_momenta, 1),
    ("system-calls", _flushes_again, 414),
    ("system-calls", _writes_in_place, 414),
    ("power-cuts", _flushes_nothing, 20),
    ("full-disks", _explains_no_errors, 4),
    ("damage", _checks_no_sums, 50),
    ("two-processes", _locks_nothing, 4),
    ("signals", _stops_without_saving, 5),
    ("sweeps", _forgets_momenta, 10),
    ("exports", _copies_exports_into_place, 1),
    ("mutated-files", _gives_images_up_otherwise, 50),
    ("recipes", _runs_what_it_reads, 3),
    ("memory", _keeps_every_step, 1),
)
"""The row, what is done to Limbeck, and within how many trials the row must have noticed."""
SHORTER = {"kills": {"EACH": 4}, "memory": {"STEPS": 1_000}}
"""Constants of rows whose single trial takes minutes: what is broken shows after far less."""


def prepare(place: Path) -> Trials:
    """Nothing to prepare: each row prepares itself, undisturbed or not."""

    def trial(number: int, chance: random.Random) -> str:
        row, sabotage, most = SABOTAGES[number % len(SABOTAGES)]
        of_row = place / f"{number}"
        of_row.mkdir()
        found = in_a_process(lambda: _noticed(row, sabotage, most, of_row), seconds=600.0)
        name = sabotage.__name__.strip("_").replace("_", " ")
        if found["missing"]:
            raise NotHere(found["missing"])
        assert found["noticed"] is not False, f"Limbeck {name}, and {row} does not notice"
        return f"{row}, where Limbeck {name}: {found['noticed']}"

    return Trials(trial, ci=CI, chaos=CHAOS)


def _noticed(row: str, sabotage: Callable[[], None], most: int, place: Path) -> dict[str, Any]:
    module = importlib.import_module(f"row_{row.replace('-', '_')}")
    for constant, value in SHORTER.get(row, {}).items():
        setattr(module, constant, value)
    sabotage()
    try:
        trials = module.prepare(place)
    except NotHere as reason:
        return {"noticed": False, "missing": str(reason)}
    for number in range(most):
        try:
            trials.trial(number, random.Random(f"{row}/{number}"))
        except Exception as error:
            return {"noticed": f"trial {number}: {error}"[:300], "missing": ""}
    return {"noticed": False, "missing": ""}
