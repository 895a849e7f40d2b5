"""The adapter to Optuna: studies in a database, and trials suggested from the results of earlier ones (TPE).

The sweep's directory holds the trials and their results. The study receives each trial once, when it has finished; it
never holds running trials, so a killed process leaves nothing stale, and a damaged study file is rebuilt. (Optuna's
journal file cannot be read after a half-written line, and has no heartbeat; hence a database, SQLite in the sweep's
directory unless the recipe gives a URL.)
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from limbeck.errors import LimbeckError, one_line
from limbeck.recipes.sweep import Range, Sweep
from limbeck.seeding import key

from .trials import Trial

TRIES, SECONDS_BETWEEN_TRIES = 4, 0.5
"""Two processes that create the tables of an empty database at the same time collide; one of them tries again."""
TRIAL_ID = "limbeck_setting"
MAX_SUGGESTIONS_PER_TRIAL = 50


def optuna() -> Any:
    """The library. Raises LimbeckError if it is not installed."""
    try:
        import optuna
    except ImportError as error:
        raise LimbeckError("sweep: `tpe` and `storage` need Optuna: pip install 'limbeck[sweep]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna


def open_study(name: str, url: str) -> Any:
    """Open or create a study. Raises the exceptions of the database and its driver."""
    study = optuna().create_study(storage=url, study_name=name, direction="maximize", load_if_exists=True)
    study.get_trials(deepcopy=False)
    return study


def open_shared_study(name: str, url: str) -> Any:
    """Open or create a study in the recipe's database. Raises LimbeckError if the database cannot be used."""
    optuna()
    for tries_left in reversed(range(TRIES)):
        try:
            return open_study(name, url)
        except Exception as error:  # of Optuna, SQLAlchemy or a database driver
            if tries_left == 0:
                raise unusable(url, error) from error
        time.sleep(SECONDS_BETWEEN_TRIES)
    raise AssertionError


def unusable(url: str, error: Exception) -> LimbeckError:
    """The error for a database that cannot be used, without the password of its URL."""
    scheme, separator, rest = url.partition("://")
    safe = f"{scheme}{separator}…@{rest.rpartition('@')[2]}" if "@" in rest else url
    return LimbeckError(f"sweep.storage: {safe}: cannot be used: {one_line(error)}")


class Study:
    """The finished trials of a sweep, in a database. folder: for the SQLite file, without `sweep.storage`."""

    def __init__(self, name: str, sweep: Sweep, folder: Path) -> None:
        self.optuna = optuna()
        self.sweep = sweep
        if sweep.storage:
            self.study = open_shared_study(name, sweep.storage)
            return
        file = folder / "study.db"
        url = f"sqlite:///{file.absolute()}"
        try:
            self.study = open_study(name, url)
        # SQLite, SQLAlchemy and Optuna each have exceptions of their own. The study can be rebuilt from the results in
        # the directory; the damaged file is kept for inspection.
        except Exception:
            file.replace(folder / "study.db.damaged")
            self.study = open_study(name, url)

    def finished(self) -> list[Any]:
        """The finished trials; if two processes added the same one at once, the first."""
        states = (self.optuna.trial.TrialState.COMPLETE, self.optuna.trial.TrialState.PRUNED)
        by_id: dict[str, Any] = {}
        for trial in self.study.get_trials(states=states):
            by_id.setdefault(trial.user_attrs.get(TRIAL_ID, f"foreign {trial.number}"), trial)
        return list(by_id.values())

    def tell(self, trial_id: str, trial: Trial, accuracies: Sequence[float], value: float | None) -> None:
        """Add a finished trial, unless it is there.

        trial_id: unique among the trials of all sweeps in the database. accuracies: validation top-1 by epoch.
        value: the objective, None if the trial was pruned or failed.
        """
        if any(finished.user_attrs.get(TRIAL_ID) == trial_id for finished in self.finished()):
            return
        state = self.optuna.trial.TrialState
        self.study.add_trial(
            self.optuna.trial.create_trial(
                state=state.PRUNED if value is None else state.COMPLETE,
                value=value,
                params=self._params(trial),
                distributions=self._distributions(),
                user_attrs={TRIAL_ID: trial_id},
                intermediate_values=dict(enumerate(accuracies, 1)),
            )
        )

    def suggest(self, count: int, number: int, tried: Sequence[Trial]) -> list[Trial]:
        """At most `count` new trials; a pure function of the finished trials, the seed and the batch's number."""
        seed = key("tpe", self.sweep.seed, number) % 2**32
        sampler = self.optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
        study = self.optuna.create_study(sampler=sampler, direction="maximize")
        study.add_trials(sorted(self.finished(), key=lambda trial: trial.user_attrs.get(TRIAL_ID, "")))
        suggested: dict[str, Trial] = {}
        known = {json.dumps(trial) for trial in tried}
        for _ in range(MAX_SUGGESTIONS_PER_TRIAL * count):
            if len(suggested) == count:
                break
            trial = self._trial(study.ask(self._distributions()).params)
            if json.dumps(trial) not in known:
                suggested.setdefault(json.dumps(trial), trial)
        return list(suggested.values())

    def contains(self, trial: Trial) -> bool:
        """Whether a trial lies on the axes; the recipe's own values need not."""
        return all(
            axis.low <= trial[name] <= axis.high  # type: ignore[operator]
            if isinstance(axis, Range)
            else trial[name] in axis
            for name, axis in self.sweep.axes.items()
        )

    def _distributions(self) -> dict[str, Any]:
        classes = self.optuna.distributions
        distributions: dict[str, Any] = {}
        for name, axis in self.sweep.axes.items():
            if not isinstance(axis, Range):
                distributions[name] = classes.CategoricalDistribution([json.dumps(value) for value in axis])
            elif axis.whole:
                distributions[name] = classes.IntDistribution(round(axis.low), round(axis.high), log=axis.log)
            else:
                distributions[name] = classes.FloatDistribution(axis.low, axis.high, log=axis.log)
        return distributions

    def _params(self, trial: Trial) -> dict[str, Any]:
        return {
            name: trial[name] if isinstance(axis, Range) else json.dumps(trial[name])
            for name, axis in self.sweep.axes.items()
        }

    def _trial(self, params: Mapping[str, Any]) -> Trial:
        return {
            name: axis.rounded(params[name]) if isinstance(axis, Range) else json.loads(params[name])
            for name, axis in self.sweep.axes.items()
        }
