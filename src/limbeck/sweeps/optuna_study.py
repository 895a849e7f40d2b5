"""The adapter to Optuna: settings proposed from what earlier ones gave (TPE), and its study kept for its own tools.

The sweep's directory knows what was tried and what came of it. The study is told so, each setting once, whole, when it
has ended; no trial of it is ever in the making, so a killed process leaves nothing stale, and a study in a file that is
damaged is made anew. (Optuna's journal file cannot be read again after one half-written line, and has no heartbeat:
a database is used, SQLite in the directory unless a URL is given.)
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from limbeck.recipes.sweep import Range, Sweep
from limbeck.seeding import key

from .optuna_storage import open_shared_study, open_study, optuna
from .trials import Setting

OWN_NAME = "limbeck_setting"
MOST_ASKED_FOR_ONE = 50


class Study:
    """What is known of earlier settings, in a database."""

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
        # SQLite, SQLAlchemy and Optuna each raise in their own way. The study is only a summary: it is made again from
        # the results in the directory, and the file is kept for whoever wants to look.
        except Exception:
            file.replace(folder / "study.db.damaged")
            self.study = open_study(name, url)

    def known(self) -> list[Any]:
        """Its trials that have ended; of one setting that two processes told at once, the first."""
        ended = (self.optuna.trial.TrialState.COMPLETE, self.optuna.trial.TrialState.PRUNED)
        found: dict[str, Any] = {}
        for trial in self.study.get_trials(states=ended):
            found.setdefault(trial.user_attrs.get(OWN_NAME, f"foreign {trial.number}"), trial)
        return list(found.values())

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
