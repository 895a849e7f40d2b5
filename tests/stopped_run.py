"""A run that is asked to stop after some steps."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import limbeck
from limbeck.experiment.signals import Stopped


def stop_after(recipe: Mapping[str, Any], folder: Path, steps: int) -> None:
    """Run it and ask it to stop after so many steps."""
    taken = 0

    def step(done: float, epochs: int) -> None:
        nonlocal taken
        taken += 1
        if taken == steps:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped):
        limbeck.run(recipe, folder=folder, make_watcher=lambda key, names: limbeck.Watcher(step=step))
