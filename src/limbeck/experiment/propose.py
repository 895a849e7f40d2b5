"""The adapter to Optuna: settings proposed from what earlier ones gave (TPE), and its study kept for its own tools.

The sweep's directory knows what was tried and what came of it. The study is told so, each setting once, whole, when it
has ended; no trial of it is ever in the making, so a killed process leaves nothing stale, and a study in a file that is
damaged is made anew. (Optuna's journal file cannot be read again after one half-written line, and has no heartbeat:
a database is used, SQLite in the directory unless a URL is given.)
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from limbeck.runs.errors import LimbeckError
from limbeck.runs.recipe_sweep import Range, Sweep
from limbeck.seeding import key

from .settings import Setting

OWN_NAME = "limbeck_setting"
MOST_ASKED_FOR_ONE = 50


class Study:
    """What is known of earlier settings, in a database; several sweeps of one name may share it."""

    def __init__(self, name: str, sweep: Sweep, folder: Path) -> None:
        self.optuna = _optuna()
        self.sweep = sweep
        file = folder / "study.db"
        url = sweep.storage or f"sqlite:///{file.absolute()}"
        try:
            self.study = self._open(name, url)
        except Exception as error:
            if sweep.storage:
                reason = " ".join(str(error).split())[:200]
                raise LimbeckError(f"sweep.storage: {_without_password(url)}: cannot be used: {reason}") from error
            file.replace(folder / "study.db.damaged")
            self.study = self._open(name, url)

    def _open(self, name: str, url: str) -> Any:
        study = self.optuna.create_study(storage=url, study_name=name, direction="maximize", load_if_exists=True)
        study.get_trials(deepcopy=False)
        return study

    def known(self) -> list[Any]:
        """Its trials that have ended."""
        ended = (self.optuna.trial.TrialState.COMPLETE, self.optuna.trial.TrialState.PRUNED)
        return self.study.get_trials(states=ended)

    def tell(self, own_name: str, setting: Setting, accuracies: Sequence[float], value: float | None) -> None:
        """One setting that has ended; told again it changes nothing.

        own_name: the same for the same setting of the same sweep. accuracies: validation top-1 by epoch.
        value: the last word, None where it was pruned or failed.
        """
        if any(trial.user_attrs.get(OWN_NAME) == own_name for trial in self.known()):
            return
        state = self.optuna.trial.TrialState
        trial = self.optuna.trial.create_trial(
            state=state.PRUNED if value is None else state.COMPLETE,
            value=value,
            params=self._params(setting),
            distributions=self._distributions(),
            user_attrs={OWN_NAME: own_name},
            intermediate_values=dict(enumerate(accuracies, 1)),
        )
        self.study.add_trial(trial)

    def propose(self, count: int, number: int, tried: Sequence[Setting]) -> list[Setting]:
        """At most `count` settings that nobody has tried; a pure function of what is known, the seed and the number."""
        seed = key("tpe", self.sweep.seed, number) % 2**32
        sampler = self.optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
        study = self.optuna.create_study(sampler=sampler, direction="maximize")
        study.add_trials(sorted(self.known(), key=lambda trial: trial.user_attrs.get(OWN_NAME, "")))
        found: dict[str, Setting] = {}
        known = {json.dumps(setting) for setting in tried}
        for _ in range(MOST_ASKED_FOR_ONE * count):
            if len(found) == count:
                break
            setting = self._setting(study.ask(self._distributions()).params)
            if json.dumps(setting) not in known:
                found.setdefault(json.dumps(setting), setting)
        return list(found.values())

    def _distributions(self) -> dict[str, Any]:
        of = self.optuna.distributions
        made: dict[str, Any] = {}
        for name, axis in self.sweep.axes.items():
            if not isinstance(axis, Range):
                made[name] = of.CategoricalDistribution([json.dumps(value) for value in axis])
            elif axis.whole:
                made[name] = of.IntDistribution(round(axis.low), round(axis.high), log=axis.log)
            else:
                made[name] = of.FloatDistribution(axis.low, axis.high, log=axis.log)
        return made

    def _params(self, setting: Setting) -> dict[str, Any]:
        return {
            name: setting[name] if isinstance(axis, Range) else json.dumps(setting[name])
            for name, axis in self.sweep.axes.items()
        }

    def _setting(self, params: Mapping[str, Any]) -> Setting:
        return {
            name: axis.rounded(params[name]) if isinstance(axis, Range) else json.loads(params[name])
            for name, axis in self.sweep.axes.items()
        }

    def holds(self, setting: Setting) -> bool:
        """Whether a setting lies on the axes, as one that the recipe was written with need not."""
        return all(
            axis.low <= setting[name] <= axis.high  # type: ignore[operator]
            if isinstance(axis, Range)
            else setting[name] in axis
            for name, axis in self.sweep.axes.items()
        )


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise LimbeckError("sweep.strategy: tpe takes Optuna: pip install 'limbeck[sweep]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna


def _without_password(url: str) -> str:
    scheme, at, rest = url.partition("://")
    return f"{scheme}{at}…@{rest.rpartition('@')[2]}" if "@" in rest else url
