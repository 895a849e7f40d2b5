"""A run directory: which files there are, and in what order they come.

run.lock            held while a process works here
recipe.json         the recipe as it runs, every default filled in and every path whole
plan.json           of a run that was extended: its cohorts, what it was before, and what was added when
extension.json      an extension that is being made; a start that finds one finishes it first
cohorts/KEY/        checkpoints/, metrics/LEARNER.jsonl and, when it is complete, done.json
models/LEARNER/     model.safetensors and model.json of each learner that ended
report.md, figures/ for people
result.json         written last: its existence means that the run is finished
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from limbeck.errors import LimbeckError
from limbeck.recipes.differences import differences
from limbeck.recipes.fields import shortened
from limbeck.recipes.paths import with_absolute_paths
from limbeck.recipes.recipe import Recipe

from .atomic import (
    check_file_name,
    explain_os_errors,
    files_below,
    finite,
    flush,
    make_folder,
    read_json,
    remove_leftovers,
    write_json,
)
from .lock import Lock, try_lock


@dataclass(frozen=True)
class LearnerId:
    """One arm, trained with one random seed; an arm that is used as it comes from a file has none.

    Its text (`ARM-seedN`, or `ARM`) names files and learners in logs and messages. It is never parsed back.
    """

    arm: str
    seed: int | None = None

    def __str__(self) -> str:
        return self.arm if self.seed is None else f"{self.arm}-seed{self.seed}"


class RunDirectory:
    """The files of one run; nothing outside `root` is written."""

    kind = "run"

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def recipe(self) -> Path:
        """The recipe as it runs."""
        return self.root / "recipe.json"

    @property
    def result(self) -> Path:
        """Written last."""
        return self.root / "result.json"

    @property
    def plan(self) -> Path:
        """The cohorts of a run that was extended; else it is not there."""
        return self.root / "plan.json"

    def cohort(self, key: str) -> CohortDirectory:
        """The files of one cohort."""
        return CohortDirectory(self.root / "cohorts" / check_file_name(key))

    def model(self, learner: LearnerId | str) -> Path:
        """The folder of a learner's final weights."""
        return self.root / "models" / check_file_name(str(learner))

    def empty(self) -> None:
        """Remove what a run has written. To be called under the lock, which stays.

        What says that the run is finished goes first, what says whose it was goes last: a kill in between leaves an
        unfinished run of the old recipe, and never old numbers under a new one.
        """
        order = {"result.json": 0, "recipe.json": 2}
        with explain_os_errors(self.root):
            for path in sorted(self.root.iterdir(), key=lambda path: order.get(path.name, 1)):
                if path.name.endswith(".lock"):
                    continue
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
                flush(self.root)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory for this process; the kernel lets go when the process ends, however it ends.

        Raises LimbeckError where another process holds it, and where the folder holds what is not a run's.
        """
        self._create()
        with try_lock(self.root / "run.lock") as lock:
            if not lock.acquired:
                raise LimbeckError(f"{self.root}: is in use by {lock.holder}; wait for it, or give another --name")
            yield

    def _create(self) -> None:
        """Make the folder. Raises LimbeckError where it holds files that are not of a run or sweep."""
        make_folder(self.root)
        with explain_os_errors(self.root):
            present = {path.name for path in self.root.iterdir()}
        if present and not present & {"run.lock", "recipe.json", "deciding.lock"}:
            raise LimbeckError(
                f"{self.root}: holds other files ({shortened(min(present))}); a {self.kind} takes a folder of its own: "
                "give another --name"
            )

    def extend(self, recipe: Mapping[str, Any], plan: Mapping[str, Any], reopened: Sequence[str]) -> None:
        """Make this the directory of a recipe with more in it. To be called under the lock.

        plan: what `plan.json` will hold. reopened: cohorts that are not complete any more. One file says all that is to
        be done: until it is there nothing has happened, and from then on `finish_extension` comes to the same end.
        """
        whole = with_absolute_paths(dict(recipe))
        write_json(self.root / "extension.json", {"recipe": whole, "plan": plan, "reopened": list(reopened)})
        self.finish_extension()

    def finish_extension(self) -> None:
        """Do what an extension that was cut off had left to do. To be called under the lock."""
        asked = self.root / "extension.json"
        if not asked.exists():
            return
        found = read_json(asked)
        self._remove(self.result)
        for key in found["reopened"]:
            self._remove(self.cohort(key).root / "done.json")
        write_json(self.plan, found["plan"])
        write_json(self.recipe, found["recipe"])
        self._remove(asked)

    def _remove(self, path: Path) -> None:
        with explain_os_errors(path):
            path.unlink(missing_ok=True)
            if path.parent.exists():
                flush(path.parent)

    def claim(self, recipe: Mapping[str, Any], *, otherwise: Callable[[], str] = str) -> None:
        """Make this the directory of `recipe`, or see that it is. A start that trained nothing binds nobody.

        To be called by who works here alone. otherwise: what else one could do, for the refusal.
        Raises LimbeckError that shows every difference where it belongs to another recipe.
        """
        recipe = with_absolute_paths(dict(recipe))
        if not self.has_trained():
            if not self.recipe.exists() or read_json(self.recipe) != json.loads(json.dumps(recipe)):
                for decided in ("search", "chosen"):  # settings of a sweep by another recipe, and nothing was trained
                    shutil.rmtree(self.root / decided, ignore_errors=True)
                self._remove(self.plan)
                write_json(self.recipe, recipe)
            return
        self.must_be_of(recipe, otherwise=otherwise)

    def must_be_of(self, recipe: Mapping[str, Any], *, otherwise: Callable[[], str] = str) -> None:
        """Raises LimbeckError that shows every difference where the directory belongs to another recipe."""
        if not self.recipe.exists():
            raise LimbeckError(f"{self.root}: holds a run whose recipe.json is missing; --fresh starts anew")
        if changed := self.changed(recipe):
            raise LimbeckError(
                f"{self.root}: was made by another recipe:\n  "
                + "\n  ".join(changed)
                + f"\n{otherwise()}use --name NAME to run it elsewhere, or --fresh to start this directory anew"
            )

    def changed(self, recipe: Mapping[str, Any]) -> list[str]:
        """Every difference between the recipe that this directory was made by and `recipe`, a line each.

        Paths are compared as whole ones: earlier versions kept them as they were written.
        """
        before, now = _completed(read_json(self.recipe)), json.loads(json.dumps(recipe))
        return differences(with_absolute_paths(before), with_absolute_paths(now))

    def has_trained(self) -> bool:
        """Whether there is anything that training has left."""

        def left_by_training(path: Path) -> bool:
            saved = path.name == "manifest.json" and path.parent.name.startswith("step-")
            ended = path.name in ("result.json", "done.json", "model.safetensors", "model.json")
            return saved or ended or path.suffix == ".jsonl"

        return any(map(left_by_training, files_below(self.root)))


def _completed(stored: Any) -> Any:
    """A recipe of an earlier version with what has been added since, at its default."""
    try:
        return Recipe.model_validate(stored).to_dict()
    except ValidationError:
        return stored


class CohortDirectory:
    """The files of one cohort."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock: Lock | None = None

    @property
    def checkpoints(self) -> Path:
        """The stream of checkpoints."""
        return self.root / "checkpoints"

    def metrics(self, learner: str) -> MetricsLog:
        """The rows of one learner."""
        return MetricsLog(self.root / "metrics" / f"{check_file_name(learner)}.jsonl")

    @contextlib.contextmanager
    def claimed(self) -> Iterator[bool]:
        """Whether this process may work on the cohort; no other may while it does."""
        make_folder(self.root)
        with try_lock(self.root / "cohort.lock") as lock:
            self._lock = lock
            if lock.acquired:
                remove_leftovers(self.root)
            try:
                yield lock.acquired
            finally:
                self._lock = None

    def has_begun(self) -> bool:
        """Whether training has left anything here."""
        kept = self.checkpoints.glob("step-*"), (self.root / "metrics").glob("*.jsonl")
        return (self.root / "done.json").exists() or any(True for paths in kept for _ in paths)

    def must_still_be_ours(self) -> None:
        """Raises LimbeckError where the folder has been removed or replaced under a process that works in it."""
        if self._lock and not self._lock.is_valid():
            raise LimbeckError(f"{self.root}: was removed while a process worked in it; nothing more is saved there")

    def finished(self) -> Any | None:
        """What `finish` was given, or None."""
        path = self.root / "done.json"
        return read_json(path) if path.exists() else None

    def finish(self, result: Any) -> None:
        """Say that the cohort is complete."""
        make_folder(self.root)
        write_json(self.root / "done.json", result)


class MetricsLog:
    """Rows of a learner, one JSON object a line, one line an epoch.

    A checkpoint keeps the size of the file; a resumed run cuts it back to that, so no row is lost or doubled.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row and wait until it is on the disk."""
        with explain_os_errors(self.path):
            new = not self.path.exists()
            if new:
                make_folder(self.path.parent)
            with self.path.open("ab") as file:
                file.write(json.dumps(finite(row)).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            if new:
                flush(self.path.parent)

    def size(self) -> int:
        """Bytes so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def cut(self, size: int) -> None:
        """Back to `size` bytes. Raises LimbeckError where there are fewer: rows have been lost."""
        if self.size() < size:
            raise LimbeckError(
                f"{self.path}: has {self.size()} bytes, and had {size} when the checkpoint was written; "
                "--fresh starts anew"
            )
        if self.size() > size:
            with explain_os_errors(self.path), self.path.open("r+b") as file:
                file.truncate(size)
                os.fsync(file.fileno())

    def rows(self) -> list[dict[str, Any]]:
        """All whole rows. Raises LimbeckError for a line that is damaged."""
        if not self.path.exists():
            return []
        found = []
        for number, line in enumerate(self.path.read_bytes().split(b"\n")[:-1], 1):
            try:
                found.append(json.loads(line))
            except ValueError as error:
                raise LimbeckError(f"{self.path}:{number}: damaged, not a row of metrics") from error
        return found
