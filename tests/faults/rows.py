"""What every row of the table is: a module with a name, a promise, and trials."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

Trial = Callable[[int, random.Random], str]
"""One trial, by its number from 0, with randomness of its own. Returns what was seen; raises where a promise broke."""


@dataclass(frozen=True)
class Trials:
    """What a row can do once it is prepared.

    ci, chaos: how many tests belong to the row in each; each: how many of them one trial stands for.
    """

    trial: Trial
    ci: int
    chaos: int
    each: int = 1


class NotHere(Exception):
    """This machine does not allow the row; the message says what it lacks."""
