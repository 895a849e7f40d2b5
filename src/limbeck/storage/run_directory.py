"""The files of a run directory.

run.lock            locked while a process works in the directory
recipe.json         the recipe of the run, with all defaults and with absolute paths
plan.json           only of an extended run: its cohorts, its earlier recipes, and what was added when
extension.json      an extension that is not complete yet; the next start completes it first
cohorts/KEY/        checkpoints/, metrics/LEARNER.jsonl and, once the cohort is finished, done.json
models/LEARNER/     model.safetensors and model.json of each finished learner, and of each snapshot (LEARNER-epochN)
predictions/        LEARNER.safetensors: what each measured learner predicts for single images, with a checksum
sample-images.safetensors   images on which students and teachers disagree, for the report
report.md, index.html, figures/   the report, as Markdown and as one page
result.json         written last: it exists once the run is finished
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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

    epoch: of a snapshot, the weights of the learner after that epoch.
    Its text (`ARM-seedN`, `ARM-seedN-epochM`, or `ARM`) names files and learners in logs and messages. It is never
    parsed back.
    """

    arm: str
    seed: int | None = None
    epoch: int | None = None

    def __str__(self) -> str:
        snapshot = "" if self.epoch is None else f"-epoch{self.epoch}"
        return self.arm if self.seed is None else f"{self.arm}-seed{self.seed}{snapshot}"

    @property
    def trained(self) -> LearnerId:
        """The learner of a snapshot; of anything else, itself."""
        return replace(self, epoch=None)


class RunDirectory:
    """The files of one run; nothing outside `root` is written."""

    kind = "run"

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def recipe(self) -> Path:
        """`recipe.json`."""
        return self.root / "recipe.json"

    @property
    def result(self) -> Path:
        """`result.json`."""
        return self.root / "result.json"

    @property
    def plan(self) -> Path:
        """`plan.json`; exists only in an extended run."""
        return self.root / "plan.json"

    def cohort(self, key: str) -> CohortDirectory:
        """The files of one cohort."""
        return CohortDirectory(self.root / "cohorts" / check_file_name(key))

    def model(self, learner: LearnerId | str) -> Path:
        """The folder of a learner's final weights."""
        return self.root / "models" / check_file_name(str(learner))

    def predictions(self, learner: LearnerId | str) -> Path:
        """The file of a learner's predictions for single images."""
        return self.root / "predictions" / f"{check_file_name(str(learner))}.safetensors"

    @property
    def sample_images(self) -> Path:
        """`sample-images.safetensors`."""
        return self.root / "sample-images.safetensors"

    def clear(self) -> None:
        """Delete everything but the lock files. The caller holds the lock.

        `result.json` is deleted first and `recipe.json` last: a kill in between leaves an unfinished run of the old
        recipe, never old results under a new recipe.
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
        """Create the directory and lock it for the block. The kernel releases the lock when the process ends.

        Raises LimbeckError where another process holds the lock, and where the folder holds files of something else.
        """
        self._create()
        with try_lock(self.root / "run.lock") as lock:
            if not lock.acquired:
                raise LimbeckError(f"{self.root}: is in use by {lock.holder}; wait for it, or give another --name")
            yield

    def _create(self) -> None:
        """Create the folder. Raises LimbeckError where it holds files that are not of a run or sweep."""
        make_folder(self.root)
        with explain_os_errors(self.root):
            present = {path.name for path in self.root.iterdir()}
        if present and not present & {"run.lock", "recipe.json", "deciding.lock"}:
            raise LimbeckError(
                f"{self.root}: holds other files ({shortened(min(present))}); a {self.kind} takes a folder of its own: "
                "give another --name"
            )

    def extend(self, recipe: Mapping[str, Any], plan: Mapping[str, Any], reopened: Sequence[str]) -> None:
        """Bind the directory to a recipe that has more arms, seeds or epochs. The caller holds the lock.

        plan: the content of `plan.json`. reopened: keys of cohorts that are to be trained further. All steps are first
        written to one file: before it exists nothing has changed, afterwards `finish_extension` completes them.
        """
        whole = with_absolute_paths(dict(recipe))
        write_json(self.root / "extension.json", {"recipe": whole, "plan": plan, "reopened": list(reopened)})
        self.finish_extension()

    def finish_extension(self) -> None:
        """Complete an interrupted extension, if there is one. The caller holds the lock."""
        path = self.root / "extension.json"
        if not path.exists():
            return
        extension = read_json(path)
        self._remove(self.result)
        for key in extension["reopened"]:
            self._remove(self.cohort(key).root / "done.json")
        write_json(self.plan, extension["plan"])
        write_json(self.recipe, extension["recipe"])
        self._remove(path)

    def _remove(self, path: Path) -> None:
        with explain_os_errors(path):
            path.unlink(missing_ok=True)
            if path.parent.exists():
                flush(path.parent)

    def bind(self, recipe: Mapping[str, Any], *, hint: Callable[[], str] = str) -> None:
        """Bind the directory to `recipe`, unless a recipe has been trained in it: then check that it is the same.

        The caller holds the lock. hint: returns other ways to go on, for the error message.
        Raises LimbeckError with every difference from the recipe that has been trained.
        """
        recipe = with_absolute_paths(dict(recipe))
        if not self.has_trained():
            if not self.recipe.exists() or read_json(self.recipe) != json.loads(json.dumps(recipe)):
                for folder in ("search", "chosen"):  # of a sweep by another recipe in which nothing was trained
                    shutil.rmtree(self.root / folder, ignore_errors=True)
                self._remove(self.plan)
                write_json(self.recipe, recipe)
            return
        self.check_recipe(recipe, hint=hint)

    def check_recipe(self, recipe: Mapping[str, Any], *, hint: Callable[[], str] = str) -> None:
        """Raises LimbeckError with every difference where the directory is bound to another recipe."""
        if not self.recipe.exists():
            raise LimbeckError(f"{self.root}: holds a run whose recipe.json is missing; --fresh starts over")
        if changes := self.recipe_changes(recipe):
            raise LimbeckError(
                f"{self.root}: was made by another recipe:\n  "
                + "\n  ".join(changes)
                + f"\n{hint()}use --name NAME to run it elsewhere, or --fresh to start over here"
            )

    def recipe_changes(self, recipe: Mapping[str, Any]) -> list[str]:
        """Every difference between the recipe that the directory is bound to and `recipe`, one line each.

        Paths are compared as absolute ones: earlier versions stored them as written.
        """
        before, now = _with_defaults(read_json(self.recipe)), json.loads(json.dumps(recipe))
        return differences(with_absolute_paths(before), with_absolute_paths(now))

    def has_trained(self) -> bool:
        """Whether training has written anything in the directory."""

        def is_from_training(path: Path) -> bool:
            is_checkpoint = path.name == "manifest.json" and path.parent.name.startswith("step-")
            is_result = path.name in ("result.json", "done.json", "model.safetensors", "model.json")
            return is_checkpoint or is_result or path.suffix == ".jsonl"

        return any(map(is_from_training, files_below(self.root)))


def _with_defaults(stored: Any) -> Any:
    """A recipe of an earlier version, with the defaults of the keys that have been added since."""
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
        """The folder of the checkpoints."""
        return self.root / "checkpoints"

    def metrics(self, learner: str) -> MetricsLog:
        """The metrics of one learner."""
        return MetricsLog(self.root / "metrics" / f"{check_file_name(learner)}.jsonl")

    @contextlib.contextmanager
    def try_lock(self) -> Iterator[bool]:
        """Lock the cohort for the block; yields False if another process works on it. Does not wait."""
        make_folder(self.root)
        with try_lock(self.root / "cohort.lock") as lock:
            self._lock = lock
            if lock.acquired:
                remove_leftovers(self.root)
            try:
                yield lock.acquired
            finally:
                self._lock = None

    def has_started(self) -> bool:
        """Whether training has written anything for the cohort."""
        written = itertools.chain(self.checkpoints.glob("step-*"), (self.root / "metrics").glob("*.jsonl"))
        return (self.root / "done.json").exists() or any(True for _ in written)

    def check_not_removed(self) -> None:
        """Raises LimbeckError where the folder was removed or replaced while this process has it locked."""
        if self._lock and not self._lock.is_valid():
            raise LimbeckError(f"{self.root}: was removed while a process worked in it; nothing more is saved there")

    def read_result(self) -> Any | None:
        """The results of the cohort, or None while it is not finished."""
        path = self.root / "done.json"
        return read_json(path) if path.exists() else None

    def write_result(self, result: Any) -> None:
        """Store the results of the cohort, which marks it as finished."""
        make_folder(self.root)
        write_json(self.root / "done.json", result)


class MetricsLog:
    """The metrics of a learner: one JSON object per line, one line per epoch.

    A checkpoint stores the size of the file; a resumed run truncates it to that size, so no row is lost or doubled.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, row: Mapping[str, Any]) -> None:
        """Append a row and flush it to the disk. Raises WriteError."""
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
        """The size of the file in bytes."""
        return self.path.stat().st_size if self.path.exists() else 0

    def truncate(self, size: int) -> None:
        """Truncate the file to `size` bytes. Raises LimbeckError where it has fewer: rows have been lost."""
        if self.size() < size:
            raise LimbeckError(
                f"{self.path}: has {self.size()} bytes, and had {size} when the checkpoint was written; "
                "--fresh starts over"
            )
        if self.size() > size:
            with explain_os_errors(self.path), self.path.open("r+b") as file:
                file.truncate(size)
                os.fsync(file.fileno())

    def rows(self) -> list[dict[str, Any]]:
        """All complete rows. Raises LimbeckError for a damaged line."""
        if not self.path.exists():
            return []
        rows = []
        for number, line in enumerate(self.path.read_bytes().split(b"\n")[:-1], 1):
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                raise LimbeckError(f"{self.path}:{number}: damaged, not a row of metrics") from error
        return rows
