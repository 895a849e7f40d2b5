"""The directory of a sweep: several processes may work in it, and what is decided once is decided under a lock.

run.lock            held shared by every process at work here, alone by --fresh
deciding.lock       held for as long as something is decided: settings of a batch, a recipe, the page
recipe.json         the recipe with its axes
search/NNN/         a run directory for each batch of settings; settings.json lists them
chosen/             the run directory of what was chosen, with all seeds and the test split
report.md, figures/ for people
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
        """The run directory of what was chosen."""
        return RunDirectory(self.root / "chosen")

    @contextlib.contextmanager
    def shared(self, recipe: Mapping[str, Any], *, fresh: bool = False) -> Iterator[None]:
        """Work on a recipe here beside others. fresh: empty it first, which takes nobody else at work.

        Who is alone claims the directory as a run does. Who comes while others are at work must have their recipe, also
        where they have not trained anything yet.
        Raises LimbeckError where a run or a `--fresh` holds it, where the recipe is another one than claimed, and
        where the folder holds what is not a sweep's.
        """
        self._create()
        with contextlib.ExitStack() as at_work:
            with self.deciding():
                with try_lock(self.root / "run.lock") as lock:
                    if fresh:
                        self._refuse(lock)
                        self.empty()
                    if lock.acquired:
                        self.claim(recipe)
                self._refuse(at_work.enter_context(try_lock(self.root / "run.lock", shared=True)))
                self.must_be_of(recipe)
            yield

    def _refuse(self, lock: Lock) -> None:
        if not lock.acquired:
            raise LimbeckError(f"{self.root}: is in use by {lock.holder}; wait for it, or give another --name")

    @contextlib.contextmanager
    def deciding(self) -> Iterator[None]:
        """Decide something alone: others that want to wait until it is decided."""
        while True:
            with try_lock(self.root / "deciding.lock") as lock:
                if lock.acquired:
                    yield
                    return
            time.sleep(SECONDS_BETWEEN_TRIES)
