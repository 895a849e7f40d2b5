"""Memory over a long run: what a process takes after 500 steps is what it takes 2,000 later."""

from __future__ import annotations

import random
import statistics
import time
from pathlib import Path

from limbeck_process import Limbeck, Observer
from rows import Trials
from the_run import TheRun

NAME = "memory"
HOLDS = "memory after 500 steps of warm-up: growth < 4 MB over 2,000 steps, < 8 MB over two hours"
CI, CHAOS = 1, 2
WARM_UP, STEPS = 500, 2_000
CI_MEGABYTES, CHAOS_MEGABYTES = 4.0, 8.0
HOURS = 2.0


def prepare(place: Path) -> Trials:
    """The first trial is counted in steps, the second takes two hours."""

    def trial(number: int, chance: random.Random) -> str:
        steps = WARM_UP + STEPS if number == 0 else 10**9
        limit = CI_MEGABYTES if number == 0 else CHAOS_MEGABYTES
        epochs = 10**6
        run = TheRun(place / f"{number}", student_epochs=epochs, patience=epochs, save_every=1.0).write()
        observer = Observer()
        process = run.start(prepare=[observer.attach])
        try:
            growth, taken = _growth(process, observer, steps, 0.0 if number == 0 else HOURS * 3600)
        finally:
            process.kill()
        assert growth < limit, f"grew by {growth:.1f} MB in {taken} steps"
        return f"{growth:+.1f} MB in {taken} steps"

    return Trials(trial, ci=CI, chaos=CHAOS)


def _growth(process: Limbeck, observer: Observer, steps: int, seconds: float) -> tuple[float, int]:
    """Megabytes that the process's own memory grew, from the median of 200 steps to the median of the last 200.

    Taken when steps end. Looked at from outside, a process that gets little of the processor is mostly seen within a
    save, which takes 5 MB for itself.
    """
    began = time.monotonic()
    samples: list[tuple[int, float]] = []
    while process.running():
        trained = observer.read()
        if not samples or trained.steps > samples[-1][0]:
            samples.append((trained.steps, trained.own_megabytes))
        if trained.steps >= steps or (seconds and time.monotonic() - began > seconds):
            break
        time.sleep(0.02 if steps < 10**6 else 0.5)
    assert process.running(), f"it ended by itself: {process.err}"
    last = samples[-1][0]
    early = [mb for step, mb in samples if WARM_UP <= step < WARM_UP + 200]
    late = [mb for step, mb in samples if step > last - 200]
    return statistics.median(late) - statistics.median(early), last - WARM_UP
