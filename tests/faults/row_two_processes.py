"""Two processes, one directory: one works, the other is told; when the first dies, the next takes over at once."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

from limbeck_process import Limbeck
from rows import Trials
from the_run import TheRun, must_end_alike

NAME = "two-processes"
HOLDS = "two processes, one directory: one works, one is told which; takeover in less than 1 s after its death"
CI, CHAOS = 20, 200
FINISHED = 10


def prepare(place: Path) -> Trials:
    """A run long enough to be fought over."""
    whole = TheRun(place / "whole").write()
    whole.to_the_end()
    reference = whole.ending()

    def trial(number: int, chance: random.Random) -> str:
        run = TheRun(place / f"{number}").write()
        first, second = run.start(), run.start() if number % 2 else None
        if second is None:
            first.until(lambda: _holder(run) == first.pid)
            time.sleep(chance.uniform(0.0, 0.3))
            second = run.start()
        assert first.until(lambda: not (first.running() and second.running())), "both work in one directory"
        winner, loser = (first, second) if first.running() else (second, first)
        _was_told(loser, winner)
        time.sleep(chance.uniform(0.0, 0.5))
        winner.kill()
        assert winner.code == -signal.SIGKILL, f"it ended before it was killed: {winner.err}"
        died = time.monotonic()
        third = run.start()
        assert third.until(lambda: _holder(run) == third.pid, 20), third.err
        took = time.monotonic() - died
        assert took < 1.0, f"taken over after {took:.2f} s"
        if number % FINISHED == 0:
            assert third.wait() == 0, third.err
            must_end_alike(run, reference)
        else:
            third.kill()
        return f"taken over in {took:.2f} s"

    return Trials(trial, ci=CI, chaos=CHAOS)


def _holder(run: TheRun) -> int | None:
    lock = run.root / "run.lock"
    said = lock.read_text() if lock.exists() else ""
    return int(said.split()[1]) if said else None


def _was_told(loser: Limbeck, winner: Limbeck) -> None:
    assert loser.wait() == 2, loser.err
    told = loser.err.rstrip()
    assert told.startswith("limbeck: runs/run: is in use by "), told
    assert "\n" not in told and "--name" in told, told
    assert f"process {winner.pid}" in told or "another process" in told, told
