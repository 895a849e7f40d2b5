"""The views of an epoch, made in chunks of a few steps."""

from __future__ import annotations

from collections.abc import Iterator

from limbeck.types import Split

from .apply import View, make_views
from .plan import ViewPlanner

MAX_CHUNK_BYTES = 3 * 2**18
MAX_CHUNK_STEPS = 8
"""Limits of a chunk. With images of 32 px that is two views of 128 images or eight of 32; large images go one by one.

A view takes about three hundred short operations, whatever its size, so chunks save overhead. With all augmentations,
128 images of 32 px and 2 threads, a view takes 3.5 ms alone, 2.5 ms in a chunk of two, and 2.6 ms in a chunk of four or
eight, which no longer fits the processor's cache.
"""


def epoch_of_views(split: Split, planner: ViewPlanner, epoch: int, first: int = 0) -> Iterator[tuple[int, View]]:
    """Yield each step of an epoch from `first` on, with its view.

    Chunk boundaries do not depend on `first`, so a resumed epoch makes the same chunks.
    """
    steps, order = planner.steps_per_epoch, planner.order(epoch)
    view_bytes = min(planner.views.batch_size, planner.size) * split.stored[0].nbytes
    chunk_steps = min(max(1, MAX_CHUNK_BYTES // view_bytes), MAX_CHUNK_STEPS)
    for start in range(first - first % chunk_steps, steps, chunk_steps):
        plans = [planner.plan(epoch, step, order) for step in range(start, min(start + chunk_steps, steps))]
        for step, view in enumerate(make_views(split, plans, planner.views, planner.normalisation), start):
            if step >= first:
                yield step, view
