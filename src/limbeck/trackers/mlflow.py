"""An MLflow store in the run directory, `mlflow/mlflow.db`, with one MLflow run for each learner.

After a resume, an MLflow run that holds the epochs of the metrics log, or their beginning, is continued. One that holds
anything else, such as epochs after the last checkpoint, is deleted and written anew. An epoch is one transaction.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from limbeck.packages import need
from limbeck.storage.atomic import make_folder

from .epoch_log import Row, scalars

LEARNER = "limbeck.learner"
"""The tag by which the run of a learner is found."""
LARGEST_BATCH = 1000
"""Metrics of one transaction that MLflow accepts."""
LONGEST_VALUE = 500
"""Characters of an option that MLflow stores."""


def open_tracker(folder: Path, project: str, learner: str, options: Mapping[str, Any]) -> StoredRun:
    """The MLflow run of a learner in the store of a run directory."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it would call its makers
    return StoredRun(folder / "mlflow", project, learner, options)


class StoredRun:
    """One step per epoch, whose number is the epoch."""

    def __init__(self, folder: Path, project: str, learner: str, options: Mapping[str, Any]) -> None:
        self.folder, self.project, self.learner, self.options = folder, project, learner, options
        self._client: Any = None
        self._id = ""

    def restart(self, rows: Sequence[Row]) -> None:
        """Continue the run of the learner if it holds nothing but a beginning of these epochs, or begin a new one."""
        mlflow: Any = need("mlflow", "mlflow", "log")
        for chatty in ("mlflow", "alembic"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
        make_folder(self.folder)
        self._client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{(self.folder / 'mlflow.db').resolve()}")
        experiment = self._experiment()
        is_ours = f"tags.`{LEARNER}` = '{self.learner}'"
        runs = [run.info.run_id for run in self._client.search_runs([experiment], is_ours)]
        held = {run: self._epochs(run) for run in runs}
        wanted = [(row["epoch"], scalars(row)) for row in rows]
        kept = next((run for run in runs if held[run] == wanted[: len(held[run])]), None)
        if kept is None:
            self._id = self._begin(experiment)
        else:
            self._id = kept
            self._client.update_run(kept, status="RUNNING")
        self._write(rows[len(held[kept]) if kept else 0 :])
        for run in runs:
            if run != self._id:
                self._client.delete_run(run)

    def append(self, row: Row) -> None:
        """Append one epoch."""
        if self._client:
            self._write([row])

    def close(self, *, ended: bool) -> None:
        """Say that the run has ended, or that it was stopped."""
        if self._client:
            self._client.set_terminated(self._id, status="FINISHED" if ended else "KILLED")
            self._client = None

    def _experiment(self) -> str:
        if found := self._client.get_experiment_by_name(self.project):
            return found.experiment_id
        artifacts = (self.folder / "artifacts").resolve().as_uri()
        return self._client.create_experiment(self.project, artifact_location=artifacts)

    def _begin(self, experiment: str) -> str:
        entities: Any = need("mlflow.entities", "mlflow", "log")
        run = self._client.create_run(experiment, run_name=self.learner, tags={LEARNER: self.learner})
        options = [entities.Param(key, str(value)[:LONGEST_VALUE]) for key, value in self.options.items()]
        for start in range(0, len(options), 100):  # as many as MLflow accepts at once
            self._client.log_batch(run.info.run_id, params=options[start : start + 100])
        return run.info.run_id

    def _epochs(self, run: str) -> list[tuple[int, dict[str, float]]]:
        """What a run holds, by epoch; a value that is there twice makes it differ from any metrics log."""
        epochs: dict[int, dict[str, float]] = {}
        for name in self._client.get_run(run).data.metrics:
            for metric in self._client.get_metric_history(run, name):
                epoch = epochs.setdefault(metric.step, {})
                epoch[f"{name} twice" if name in epoch else name] = metric.value
        return sorted(epochs.items())

    def _write(self, rows: Sequence[Row]) -> None:
        for metrics in _batches(rows):
            self._client.log_batch(self._id, metrics=metrics)


def _batches(rows: Sequence[Row]) -> Iterator[list[Any]]:
    """The metrics of whole epochs, as many at once as MLflow accepts."""
    entities: Any = need("mlflow.entities", "mlflow", "log")
    now, batch = int(1000 * time.time()), []
    for row in rows:
        of_epoch = [entities.Metric(name, value, now, row["epoch"]) for name, value in scalars(row).items()]
        if len(batch) + len(of_epoch) > LARGEST_BATCH:
            yield batch
            batch = []
        batch += of_epoch
    if batch:
        yield batch
