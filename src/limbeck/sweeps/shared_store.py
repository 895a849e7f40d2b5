"""A key-value store in a database: machines without a common disk share the cohorts of a sweep through it.

Each value is a completed trial of an Optuna study with a key. If several trials have one key, the one with the lowest
number counts, on all machines and for good, so each value is set once. A lease is a running trial whose owner
increments its heartbeat; if the heartbeat stops for too long, the owner is dead and another process takes the lease. No
clocks are compared between machines.
"""

from __future__ import annotations

import base64
import contextlib
import json
import threading
import time
import uuid
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from limbeck.experiment.cohorts import Publish
from limbeck.experiment.plan import CohortPlan
from limbeck.storage.atomic import finite
from limbeck.storage.run_directory import RunDirectory

from .optuna_study import open_shared_study, optuna, unusable

KEY, OWNER, HEARTBEAT, VALUE = "limbeck_key", "limbeck_owner", "limbeck_beat", "value/"
HEARTBEAT_SECONDS = 5.0
DEAD_AFTER_SECONDS = 60.0
POLL_SECONDS = 2.0
"""How often a process looks whether a cohort that another machine trains has finished."""
CohortResult = dict[str, Any]


class SharedStore:
    """What the processes of one sweep share through a database. name: of the sweep. url: of the database.

    Every method raises LimbeckError if the database cannot be used.
    """

    def __init__(self, name: str, url: str) -> None:
        self._study = open_shared_study(f"{name} (shared work)", url)
        self._url = url
        self._states = optuna().trial.TrialState
        self._heartbeats: dict[int, tuple[int, float]] = {}

    def get(self, key: str) -> dict[str, Any] | None:
        """The value of a key, or None."""
        with self._database_errors():
            complete = [t for t in self._trials() if t.state == self._states.COMPLETE and t.user_attrs[KEY] == key]
        if not complete:
            return None
        first = min(complete, key=lambda trial: trial.number)
        return {name.removeprefix(VALUE): v for name, v in first.user_attrs.items() if name.startswith(VALUE)}

    def setdefault(self, key: str, value: Mapping[str, Any]) -> dict[str, Any]:
        """Set the value of a key unless it has one; returns the value that counts.

        value: JSON data by name; each part is stored separately, since some databases limit the size of one.
        """
        if (existing := self.get(key)) is not None:
            return existing
        attributes = {KEY: key, **{VALUE + name: part for name, part in value.items()}}
        with self._database_errors():
            self._study.add_trial(optuna().trial.create_trial(value=0.0, user_attrs=attributes))
        return self.get(key) or {}

    @contextlib.contextmanager
    def lease(self, key: str) -> Iterator[bool]:
        """Try to lease a key; gives whether this process has the lease. No other process has it at the same time."""
        if any(self._is_alive(trial) for trial in self._leases(key)):
            yield False
            return
        owner = uuid.uuid4().hex
        attributes = {KEY: key, OWNER: owner, HEARTBEAT: 0}
        with self._database_errors():
            self._study.add_trial(optuna().trial.create_trial(state=self._states.RUNNING, user_attrs=attributes))
        leases = self._leases(key)
        (own,) = [trial for trial in leases if trial.user_attrs[OWNER] == owner]
        earlier = [trial for trial in leases if trial.number < own.number]
        acquired = not any(self._is_alive(trial) for trial in earlier)
        done = threading.Event()
        heartbeat = threading.Thread(target=self._send_heartbeats, args=(own._trial_id, done), daemon=True)
        try:
            if acquired:
                for dead in earlier:
                    self._release(dead)
                heartbeat.start()
            yield acquired
        finally:
            done.set()
            if heartbeat.is_alive():
                heartbeat.join(HEARTBEAT_SECONDS)
            self._release(own)

    def _trials(self) -> list[Any]:
        return [trial for trial in self._study.get_trials(deepcopy=False) if KEY in trial.user_attrs]

    def _leases(self, key: str) -> list[Any]:
        with self._database_errors():
            return [t for t in self._trials() if t.state == self._states.RUNNING and t.user_attrs[KEY] == key]

    def _is_alive(self, trial: Any) -> bool:
        """Whether the heartbeat of a lease changed recently, as far as this process has seen."""
        heartbeat, now = trial.user_attrs.get(HEARTBEAT, 0), time.monotonic()
        seen, since = self._heartbeats.get(trial.number, (None, now))
        if seen != heartbeat:
            self._heartbeats[trial.number] = heartbeat, now
            return True
        return now - since < DEAD_AFTER_SECONDS

    def _send_heartbeats(self, trial: int, done: threading.Event) -> None:
        heartbeat = 0
        while not done.wait(HEARTBEAT_SECONDS):
            heartbeat += 1
            with contextlib.suppress(Exception):  # the database may be back at the next heartbeat
                self._study._storage.set_trial_user_attr(trial, HEARTBEAT, heartbeat)

    def _release(self, trial: Any) -> None:
        with contextlib.suppress(Exception):  # another process may have released it: heartbeats decide who is alive
            self._study._storage.set_trial_state_values(trial._trial_id, self._states.FAIL)

    @contextlib.contextmanager
    def _database_errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # of Optuna, SQLAlchemy or a database driver
            raise unusable(self._url, error) from error


@contextlib.contextmanager
def claim_in_store(store: SharedStore, directory: RunDirectory, cohort: CohortPlan) -> Iterator[Publish | None]:
    """Claim a cohort that one machine trains for all; gives None if another machine is training it or has trained it.

    In the latter case its results are now in the directory. Metrics are shared with the results; weights stay where
    they were trained. Each machine trains its own teachers.
    """
    if any(learner.role == "teacher" for learner in cohort.learners):
        yield lambda result: result
        return
    key = f"{directory.root.name}/{cohort.key}"
    files = directory.cohort(cohort.key)
    if (stored := store.get(key)) is not None:
        files.write_result(_unpack_cohort(directory, cohort, stored))
        yield None
        return
    with store.lease(key) as acquired:
        if acquired and (stored := store.get(key)) is not None:  # it may have been stored since the first look
            files.write_result(_unpack_cohort(directory, cohort, stored))
            yield None
            return

        def publish(result: CohortResult) -> CohortResult:
            parts = {f"rows of {one.name}": files.metrics(one.name).rows() for one in cohort.learners}
            parts |= {f"arm {number}": pack_result(arm) for number, arm in enumerate(result["arms"])}
            rest = {name: value for name, value in result.items() if name != "arms"}
            return _unpack_cohort(directory, cohort, store.setdefault(key, parts | {"rest": rest}))

        yield publish if acquired else None


def _unpack_cohort(directory: RunDirectory, cohort: CohortPlan, stored: dict[str, Any]) -> CohortResult:
    """Write the stored metrics into the run directory; returns the cohort's results."""
    for learner in cohort.learners:
        log, rows = directory.cohort(cohort.key).metrics(learner.name), stored[f"rows of {learner.name}"]
        if log.rows() != rows:
            log.truncate(0)
            for row in rows:
                log.append(row)
    count = sum(name.startswith("arm ") for name in stored)
    return {**stored["rest"], "arms": [unpack_result(stored[f"arm {number}"]) for number in range(count)]}


def pack_result(arm: dict[str, Any]) -> str:
    """A learner's result as compressed text below 64 kB, the limit of MySQL: confusion matrices are mostly zeros."""
    return base64.b64encode(zlib.compress(json.dumps(finite(arm)).encode(), 9)).decode()


def unpack_result(text: str | dict[str, Any]) -> dict[str, Any]:
    """The inverse of `pack_result`; results stored by earlier versions are not packed."""
    return text if isinstance(text, dict) else json.loads(zlib.decompress(base64.b64decode(text)))
