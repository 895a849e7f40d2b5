"""Killed, or told that the disk is full or broken, at every system call of one save."""

from __future__ import annotations

import errno
import os
import random
import re
import signal
from pathlib import Path

from rows import Trials
from saves import Call, calls_of_the_save, lines_of, needs_strace, traced_save
from the_run import TheRun, must_end_alike

NAME = "system-calls"
HOLDS = "kill, ENOSPC, EIO at every system call of one save: the old state or the new, a clear error"
CI, CHAOS = 414, 2_070
"""All calls of one save with each fault; in chaos five times. More or fewer where Python makes other calls."""
FAULTS = {"kill": "signal=SIGKILL", "ENOSPC": "error=ENOSPC", "EIO": "error=EIO"}
SHIFTS = (0, 1, -1, 0, 2, -2) * 2
"""Tried one after another: a line of progress or two may be written, or not, between the signal and the save."""
MUST_END_THE_RUN = {"write", "fsync", "rename", "mkdir"}
"""Others may fail without harm, as the closing of a folder that was listed."""
RESUMED_TO_THE_END = 12
"""Every so many trials the run is gone on with to its end; in all of them the saved state is read."""


def prepare(place: Path) -> Trials:
    """Stop a run twice among its students, and list the system calls of the next polite stop's save.

    That save is the third, so it also removes the first.
    """
    needs_strace()
    whole = TheRun(place / "whole", save_every=3600).write()
    whole.to_the_end()
    reference = whole.ending()
    stopped = TheRun(place / "stopped", save_every=3600).write()
    stopped.stopped_in_the_students(epoch=2)
    stopped.stopped_in_the_students(epoch=3)
    log = place / "calls.log"
    process = traced_save(stopped.copied_to(place / "listed"), log, ["-e", "trace=%file,%desc"])
    assert process.code == 0, process.err
    save = calls_of_the_save(log, process.pid)
    trials = [(call, name) for call in save for name in FAULTS]
    old = stopped.newest().path.name

    def trial(number: int, chance: random.Random) -> str:
        call, fault = trials[number % len(trials)]
        for shift in SHIFTS:
            if call.ordinal + shift < 1:
                continue
            run = stopped.copied_to(place / "struck")
            log = place / "struck.log"
            when = call.ordinal + shift
            options = ["-e", f"trace={call.name}", "-e", f"inject={call.name}:{FAULTS[fault]}:when={when}"]
            process = traced_save(run, log, options)
            if _struck(log, process.pid, call) == _touched(call.line):
                break
        else:
            raise AssertionError(f"{call.name} {call.ordinal}: never struck where it should: {call.line}")
        told = process.err.rstrip().split("\n")[-1]
        if fault == "kill":
            assert process.code == -signal.SIGKILL, f"{process.code}: {told}"
        elif process.code or call.name in MUST_END_THE_RUN:
            reason = os.strerror(getattr(errno, fault))
            assert process.code == 2 and "Traceback" not in process.err, process.err
            assert told.startswith("limbeck: ") and told.endswith(reason), told
        assert not _asked_again(log, process.pid, call), f"{call.name} was tried again after it failed"
        state = run.newest().path.name
        assert state >= old, f"{state} after {old}: an acknowledged save is lost"
        assert process.code or state > old, "it said that all is saved"
        if number % RESUMED_TO_THE_END == 0:
            run.to_the_end()
            must_end_alike(run, reference)
        return f"{fault} at {call.name} {call.ordinal}: {'new' if state > old else 'old'} state, exit {process.code}"

    return Trials(trial, ci=len(trials), chaos=5 * len(trials))


def _touched(line: str) -> list[str]:
    """The files of the stream that a call names, whatever their numbers and temporary names."""
    asked = line.rpartition(") = ")[0]
    return re.findall(r"checkpoints[^\">]*", re.sub(r"\.tmp-\w+|step-\d+", "?", asked))


def _struck(log: Path, pid: int, call: Call) -> list[str]:
    """What the call that was struck touched: the injected one, or the last before a kill."""
    lines = lines_of(log, pid, call.name)
    injected = [line for line in lines if "(INJECTED)" in line]
    return _touched((injected or lines[-1:] or [""])[0])


def _asked_again(log: Path, pid: int, call: Call) -> bool:
    """Whether a flush that failed was tried again on the same file: the kernel may by then call lost pages clean."""
    lines = lines_of(log, pid, call.name)
    failed = next((number for number, line in enumerate(lines) if "(INJECTED)" in line), len(lines))
    later = [_touched(line) for line in lines[failed + 1 :]]
    return call.name == "fsync" and _touched(lines[failed]) in later if failed < len(lines) else False
