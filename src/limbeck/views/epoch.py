"""The views of an epoch, made a few steps at a time."""

from __future__ import annotations

from collections.abc import Iterator

from limbeck.types import Split

from .apply import View, make_views
from .plan import ViewPlanner

BYTES_AT_ONCE = 3 * 2**18
STEPS_AT_ONCE = 8
"""As many whole views as fit, so many at most: two of 128 images of 32 px, eight of 32, and one where images are large.

Some three hundred short operations make a view, whatever its size. With all augmentations on, 128 images of 32 px, 2
threads: alone 3.5 ms, two at once 2.5 ms each, four 2.6, eight 2.6 (they no longer stay in the processor's cache).
"""


def epoch_of_views(split: Split, planner: ViewPlanner, epoch: int, first: int = 0) -> Iterator[tuple[int, View]]:
    """Each step of an epoch from `first` on, with its view.

    Which views are made at once does not depend on where an epoch is taken up again.
    """
    steps, order = planner.steps_per_epoch, planner.order(epoch)
    view_bytes = min(planner.views.batch_size, planner.size) * split.stored[0].nbytes
    at_once = min(max(1, BYTES_AT_ONCE // view_bytes), STEPS_AT_ONCE)
    for start in range(first - first % at_once, steps, at_once):
        plans = [planner.plan(epoch, step, order) for step in range(start, min(start + at_once, steps))]
        for step, view in enumerate(make_views(split, plans, planner.views, planner.normalisation), start):
            if step >= first:
                yield step, view
