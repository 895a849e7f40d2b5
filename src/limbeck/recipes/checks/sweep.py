"""What the keys of a recipe's `sweep:` have to do with each other."""

from __future__ import annotations

import math
from collections.abc import Iterator

from limbeck.recipes.fields import shortened
from limbeck.recipes.sweep import MOST_SETTINGS, Range, Sweep

Complaint = tuple[tuple[str | int, ...], str]


def check_sweep(sweep: Sweep) -> Iterator[Complaint]:
    """Every mistake, with its place below `sweep`."""
    for key, axis in sweep.axes.items():
        if not isinstance(axis, Range) and len({repr(value) for value in axis}) != len(axis):
            yield ("axes", key), f"takes each value once; got {shortened(list(axis))}"
    if sweep.strategy == "grid" and sweep.trials is not None:
        yield ("trials",), "a grid tries all of its settings; random and tpe take a number of them"
    if sweep.strategy != "grid" and sweep.trials is None:
        yield ("trials",), f"is missing: strategy {sweep.strategy} takes a number of trials"
    if sweep.pruning and sweep.strategy != "tpe":
        yield ("pruning",), "goes with strategy tpe; others try every setting to its end"
    for key, other in sweep.complements.items():
        if other not in sweep.axes or key in sweep.axes:
            yield ("complements", key), f"takes the name of an axis, and is none itself; got {other!r}"
            continue
        axis = sweep.axes[other]
        odd = (
            []
            if isinstance(axis, Range)
            else [v for v in axis if isinstance(v, bool) or not isinstance(v, int | float)]
        )
        if odd:
            yield ("complements", key), f"{other} takes numbers; got {shortened(odd[0])}"
    settings = math.prod(map(len, sweep.choices().values())) if sweep.strategy == "grid" else 0
    if settings > MOST_SETTINGS:
        yield ("axes",), f"{settings:,} settings; a grid takes at most {MOST_SETTINGS:,} settings"
