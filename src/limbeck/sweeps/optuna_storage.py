"""The one door to Optuna: studies in a database, and what goes wrong with it in a line."""

from __future__ import annotations

import time
import warnings
from typing import Any

from limbeck.errors import LimbeckError, one_line

TRIES, SECONDS_BETWEEN_TRIES = 4, 0.5
"""Two who come to an empty database at once both make its tables, and one of them is refused."""


def optuna() -> Any:
    """The library. Raises LimbeckError where it is not installed."""
    try:
        import optuna
    except ImportError as error:
        raise LimbeckError("sweep: `tpe` and `storage` take Optuna: pip install 'limbeck[sweep]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna


def open_study(name: str, url: str) -> Any:
    """A study, made if it is not there. Raises whatever the database and its driver raise."""
    study = optuna().create_study(storage=url, study_name=name, direction="maximize", load_if_exists=True)
    study.get_trials(deepcopy=False)
    return study


def open_shared_study(name: str, url: str) -> Any:
    """A study in a database that the recipe names. Raises LimbeckError where it cannot be used."""
    optuna()
    for left in reversed(range(TRIES)):
        try:
            return open_study(name, url)
        except Exception as error:  # Optuna's, SQLAlchemy's or a driver's own
            if left == 0:
                raise unusable(url, error) from error
        time.sleep(SECONDS_BETWEEN_TRIES)
    raise AssertionError


def unusable(url: str, error: Exception) -> LimbeckError:
    """What is said of a database that cannot be used, without its password."""
    return LimbeckError(f"sweep.storage: {_without_password(url)}: cannot be used: {one_line(error)}")


def _without_password(url: str) -> str:
    scheme, at, rest = url.partition("://")
    return f"{scheme}{at}…@{rest.rpartition('@')[2]}" if "@" in rest else url
