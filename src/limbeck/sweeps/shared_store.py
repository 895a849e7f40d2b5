"""A notice board in a database: sweeps on machines without a common disk agree there, and share their cohorts.

What is agreed is a trial of an Optuna study that has ended, with a key: of several with one key, the lowest number
counts, for everybody and for good, so each thing is decided once and each cohort ends once. Who works on something has
a trial that has not ended, and counts up a number in it; where that number stands still for too long, its owner is dead
and the next one takes over. No clocks are compared.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from .optuna_storage import open_shared_study, optuna, unusable

KEY, OWNER, BEAT, VALUE = "limbeck_key", "limbeck_owner", "limbeck_beat", "value/"
SECONDS_BETWEEN_BEATS = 5.0
SECONDS_UNTIL_DEAD = 60.0
SECONDS_BETWEEN_LOOKS = 2.0


class Board:
    """What the processes of one sweep tell each other through a database. name: the sweep's. url: the database's.

    Every method raises LimbeckError where the database cannot be used.
    """

    def __init__(self, name: str, url: str) -> None:
        self._study = open_shared_study(f"{name} (shared work)", url)
        self._url = url
        self._states = optuna().trial.TrialState
        self._beats: dict[int, tuple[int, float]] = {}

    def find(self, key: str) -> dict[str, Any] | None:
        """What was agreed under a key, or None."""
        with self._saying():
            ended = [t for t in self._trials() if t.state == self._states.COMPLETE and t.user_attrs[KEY] == key]
        if not ended:
            return None
        first = min(ended, key=lambda trial: trial.number)
        return {name.removeprefix(VALUE): v for name, v in first.user_attrs.items() if name.startswith(VALUE)}

    def agree(self, key: str, value: Mapping[str, Any]) -> dict[str, Any]:
        """What counts under a key from now on: `value`, unless somebody was earlier.

        value: plain data by name; each is kept by itself, since some databases bound the size of one.
        """
        if (found := self.find(key)) is not None:
            return found
        kept = {KEY: key, **{VALUE + name: part for name, part in value.items()}}
        with self._saying():
            self._study.add_trial(optuna().trial.create_trial(value=0.0, user_attrs=kept))
        return self.find(key) or {}

    @contextlib.contextmanager
    def claimed(self, key: str) -> Iterator[bool]:
        """Whether this process may work on something; nobody else may while it does and lives."""
        if any(self._lives(trial) for trial in self._claims(key)):
            yield False
            return
        owner = uuid.uuid4().hex
        with self._saying():
            self._study.add_trial(
                optuna().trial.create_trial(
                    state=self._states.RUNNING, user_attrs={KEY: key, OWNER: owner, BEAT: 0}
                )
            )  # fmt: skip
        claims = self._claims(key)
        (mine,) = [trial for trial in claims if trial.user_attrs[OWNER] == owner]
        earlier = [trial for trial in claims if trial.number < mine.number]
        ours = not any(self._lives(trial) for trial in earlier)
        over = threading.Event()
        beating = threading.Thread(target=self._beat, args=(mine._trial_id, over), daemon=True)
        try:
            if ours:
                for dead in earlier:
                    self._end(dead)
                beating.start()
            yield ours
        finally:
            over.set()
            if beating.is_alive():
                beating.join(SECONDS_BETWEEN_BEATS)
            self._end(mine)

    def _trials(self) -> list[Any]:
        return [trial for trial in self._study.get_trials(deepcopy=False) if KEY in trial.user_attrs]

    def _claims(self, key: str) -> list[Any]:
        with self._saying():
            return [t for t in self._trials() if t.state == self._states.RUNNING and t.user_attrs[KEY] == key]

    def _lives(self, trial: Any) -> bool:
        """Whether its owner's number has moved of late, as far as this process has seen."""
        beat, now = trial.user_attrs.get(BEAT, 0), time.monotonic()
        seen, since = self._beats.get(trial.number, (None, now))
        if seen != beat:
            self._beats[trial.number] = beat, now
            return True
        return now - since < SECONDS_UNTIL_DEAD

    def _beat(self, trial: int, over: threading.Event) -> None:
        beat = 0
        while not over.wait(SECONDS_BETWEEN_BEATS):
            beat += 1
            with contextlib.suppress(Exception):  # a database that is away for a moment is asked again
                self._study._storage.set_trial_user_attr(trial, BEAT, beat)

    def _end(self, trial: Any) -> None:
        with contextlib.suppress(Exception):  # another one may have ended it: who works is known by what beats
            self._study._storage.set_trial_state_values(trial._trial_id, self._states.FAIL)

    @contextlib.contextmanager
    def _saying(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # Optuna's, SQLAlchemy's or a driver's own
            raise unusable(self._url, error) from error
