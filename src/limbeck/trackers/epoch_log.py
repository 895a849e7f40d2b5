"""The epochs of learners, written for TensorBoard, W&B or MLflow while they train.

The metrics log of the run directory decides. A tracker is first given the rows that the log holds after a resume, and
makes its own files hold exactly those; then it appends one epoch after another. A kill between two writes therefore
neither loses nor doubles an epoch.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from limbeck.errors import LimbeckError, one_line
from limbeck.packages import need

Row = Mapping[str, Any]
"""One epoch, as in the metrics log."""
PREFIXES = ("train", "validation")


class Tracker(Protocol):
    """The files of one learner in one tracker."""

    def restart(self, rows: Sequence[Row]) -> None:
        """Make the files hold exactly these epochs, and open them for more."""
        ...

    def append(self, row: Row) -> None:
        """Write one epoch, so that other processes see it."""
        ...

    def close(self, *, ended: bool) -> None:
        """Write what is left. ended: whether the learner has ended, or is to be continued later."""
        ...


class EpochLog:
    """The trackers of the learners that train together; a context manager around their training.

    names: of the trackers, as under `log` in a recipe. folder: the run directory. project: the name of the recipe.
    options: of each learner, by its name and then by flat name.

    An error in a tracker ends neither the run nor the other trackers: it is reported, and that tracker gets no more.
    The next start makes its files complete.
    """

    def __init__(
        self,
        names: Sequence[str] = (),
        folder: Path = Path(),
        project: str = "",
        options: Mapping[str, Mapping[str, Any]] | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.say = say
        self._trackers: dict[str, dict[str, Tracker]] = {
            name: {
                learner: importlib.import_module(f"limbeck.trackers.{name}").open_tracker(folder, project, learner, own)
                for learner, own in (options or {}).items()
            }
            for name in names
        }

    def __bool__(self) -> bool:
        """Whether any tracker is written."""
        return bool(self._trackers)

    def restart(self, rows: Mapping[str, Sequence[Row]]) -> None:
        """Make the files of each learner hold exactly these epochs, and open them for more."""
        for learner, of_learner in rows.items():
            self._each(learner, lambda tracker, of_learner=of_learner: tracker.restart(of_learner))

    def append(self, learner: str, row: Row) -> None:
        """Write one epoch of a learner."""
        self._each(learner, lambda tracker: tracker.append(row))

    def __enter__(self) -> EpochLog:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        for learner in {learner: None for of_name in self._trackers.values() for learner in of_name}:
            self._each(learner, lambda tracker: tracker.close(ended=kind is None))

    def _each(self, learner: str, action: Callable[[Tracker], object]) -> None:
        for name, trackers in list(self._trackers.items()):
            try:
                if learner in trackers:
                    action(trackers[learner])
            except Exception as error:  # of a library that only shows what metrics/ holds
                del self._trackers[name]
                self.say(f"log: {name}: {one_line(error)}; nothing more is written there, and the run goes on")


def check_installed(names: Sequence[str]) -> None:
    """Import the packages of these trackers. Raises LimbeckError that names the one command which installs them."""
    missing: list[str] = []
    for name in names:
        try:
            need(name, name, "log")
        except LimbeckError:
            missing.append(name)
    if missing:
        raise LimbeckError(f"log: needs {' and '.join(missing)}: pip install 'limbeck[{','.join(missing)}]'")


def scalars(row: Row) -> dict[str, float]:
    """The finite numbers of an epoch by name: `train/loss`, `validation/accuracy`, `lr`, `seconds`."""
    found: dict[str, float] = {}
    for key, value in row.items():
        if key != "epoch" and isinstance(value, int | float) and math.isfinite(value):
            prefix, _, rest = key.partition("_")
            found[f"{prefix}/{rest}" if prefix in PREFIXES and rest else key] = float(value)
    return found
