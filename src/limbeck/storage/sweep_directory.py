"""The files of a sweep directory, in which several processes may work.

run.lock            locked by every process that works in the directory (shared), or by --fresh alone
deciding.lock       locked for decisions that are made once: the settings of a batch, a recipe, the report
recipe.json         the recipe with its axes
search/NNN/         a run directory for each batch of settings; settings.json lists them
chosen/             the run directory of the chosen settings, with all seeds and the test split
report.md, index.html, figures/, tables/   the report, as Markdown and as one page
result.json         written last
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

from limbeck.errors import LimbeckError

from .lock import Lock, try_lock
from .run_directory import RunDirectory

SECONDS_BETWEEN_TRIES = 0.05


class SweepDirectory(RunDirectory):
    """The files of one sweep."""

    kind = "sweep"

    def batch(self, number: int) -> RunDirectory:
        """The run directory of a batch of settings."""
        return RunDirectory(self.root / "search" / f"{number:03d}")

    @property
    def chosen(self) -> RunDirectory:
        """The run directory of the chosen settings."""
        return RunDirectory(self.root / "chosen")

    @contextlib.contextmanager
    def join(self, recipe: Mapping[str, Any], *, fresh: bool = False) -> Iterator[None]:
        """Work on the sweep for the block, beside other processes.

        The first process binds the directory to its recipe, as a run does. Others must come with the same recipe, even
        while nothing has been trained. fresh: delete everything first; no other process may be working here.
        Raises LimbeckError where a run or a `--fresh` holds the directory, where it is bound to another recipe, and
        where the folder holds files that are not of a sweep.
        """
        self._create()
        with contextlib.ExitStack() as locks:
            with self.decision_lock():
                with try_lock(self.root / "run.lock") as lock:
                    if fresh:
                        self._check_acquired(lock)
                        self.clear()
                    if lock.acquired:
                        self.bind(recipe)
                self._check_acquired(locks.enter_context(try_lock(self.root / "run.lock", shared=True)))
                self.check_recipe(recipe)
            yield

    def _check_acquired(self, lock: Lock) -> None:
        if not lock.acquired:
            raise LimbeckError(f"{self.root}: is in use by {lock.holder}; wait for it, or give another --name")

    @contextlib.contextmanager
    def decision_lock(self) -> Iterator[None]:
        """Wait until no other process makes a decision, and keep others from it for the block."""
        while True:
            with try_lock(self.root / "deciding.lock") as lock:
                if lock.acquired:
                    yield
                    return
            time.sleep(SECONDS_BETWEEN_TRIES)
