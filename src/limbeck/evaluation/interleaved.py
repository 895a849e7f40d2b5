"""Several predictors timed side by side: in turns, on the same images, in one process with so many threads."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping

import torch

from limbeck.errors import LimbeckError

from .efficiency import Latency

WARM_UP = 3


def interleaved_latencies(
    calls: Mapping[str, Callable[[], object]], *, repeats: int = 100, seconds: float = 5.0
) -> dict[str, Latency]:
    """Wall time of each call, after warm-up, one call of each in turn, so that a disturbance meets all alike.

    Stops after `repeats` rounds, or after `seconds` with at least 5 of them. Raises LimbeckError without calls.
    """
    if not calls:
        raise LimbeckError("there is nothing to time")
    for call in calls.values():
        for _ in range(WARM_UP):
            call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    running = dict.fromkeys(calls, 0.0)
    started = time.perf_counter()
    for done in range(repeats):
        if done >= 5 and time.perf_counter() - started > seconds:
            break
        for name, call in calls.items():
            ran, before = time.thread_time(), time.perf_counter()
            call()
            times[name].append((time.perf_counter() - before) * 1e3)
            running[name] += (time.thread_time() - ran) * 1e3
    return {name: _latency(taken, running[name]) for name, taken in times.items()}


def _latency(milliseconds: list[float], running: float) -> Latency:
    taken = torch.tensor(milliseconds, dtype=torch.float64)
    share = min(1.0, running / max(sum(milliseconds), 1e-9))
    median, p95 = taken.quantile(0.5).item(), taken.quantile(0.95).item()
    return Latency(median, p95, len(milliseconds), min(milliseconds), share)


@contextlib.contextmanager
def pinned(threads: int) -> Iterator[None]:
    """Let torch use so many threads and, where the system can, this process so many cores.

    Raises LimbeckError for fewer than one thread, or more than there are cores.
    """
    cores = check_threads(threads)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, cores[:threads])
        yield
    finally:
        torch.set_num_threads(before)
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, cores)


def check_threads(threads: int) -> list[int]:
    """The cores that this process may use. Raises LimbeckError for fewer than one thread, or more than cores."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    if not 1 <= threads <= len(cores):
        raise LimbeckError(f"--threads: expected 1 to {len(cores)}, the cores of this process; got {threads}")
    return cores
