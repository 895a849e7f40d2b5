"""Offline runs of W&B: `wandb/offline-run-…/` in the run directory, one for each learner.

W&B cannot continue an offline run in another process. After a resume, a new offline run therefore gets all epochs so
far, under the same id, and the folder of the old one is deleted. `wandb/LEARNER.json` holds the id of the learner's
run, and once it has ended, which epochs it holds.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from limbeck.errors import LimbeckError
from limbeck.packages import need
from limbeck.storage.atomic import check_file_name, make_folder, read_json, write_json

from .epoch_log import Row, scalars


def open_tracker(folder: Path, project: str, learner: str, options: Mapping[str, Any]) -> OfflineRun:
    """The offline run of a learner in a run directory."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # it would call its makers
    return OfflineRun(folder, project, check_file_name(learner), options)


class OfflineRun:
    """One step per epoch, whose number is the epoch."""

    def __init__(self, folder: Path, project: str, learner: str, options: Mapping[str, Any]) -> None:
        self.folder, self.project, self.learner, self.options = folder, project, learner, options
        self._rows: list[Row] = []
        self._run: Any = None
        self._id = ""

    @property
    def _state(self) -> Path:
        return self.folder / "wandb" / f"{self.learner}.json"

    def restart(self, rows: Sequence[Row]) -> None:
        """Write an offline run with these epochs, unless there is one that has ended with just these."""
        state: dict[str, Any] = {}
        with contextlib.suppress(LimbeckError):
            state = read_json(self._state) if self._state.exists() else {}
        self._rows, self._id = list(rows), str(state.get("id") or secrets.token_hex(8))
        earlier = sorted(self.folder.glob(f"wandb/offline-run-*-{self._id}"))
        if rows and len(earlier) == 1 and state.get("epochs") == _digest(rows):
            return
        make_folder(self._state.parent)
        write_json(self._state, {"id": self._id})
        for path in earlier:  # first: two runs that begin in the same second share a name
            shutil.rmtree(path)
        wandb: Any = need("wandb", "wandb", "log")
        self._run = wandb.init(
            mode="offline", dir=str(self.folder), project=self.project, name=self.learner, id=self._id,
            config=dict(self.options), reinit="create_new",
            settings=wandb.Settings(
                console="off", silent=True, disable_git=True, save_code=False, x_disable_stats=True,
                x_disable_meta=True, x_disable_machine_info=True,
            ),
        )  # fmt: skip
        for row in rows:
            self._log(row)

    def append(self, row: Row) -> None:
        """Append one epoch."""
        if self._run:
            self._rows.append(row)
            self._log(row)

    def close(self, *, ended: bool) -> None:
        """End the offline run."""
        if self._run:
            self._run.finish(exit_code=0 if ended else 1)
            self._run = None
            write_json(self._state, {"id": self._id, "epochs": _digest(self._rows)} if ended else {"id": self._id})

    def _log(self, row: Row) -> None:
        self._run.log(scalars(row), step=row["epoch"], commit=True)


def _digest(rows: Sequence[Row]) -> str:
    text = json.dumps([[row["epoch"], scalars(row)] for row in rows], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
