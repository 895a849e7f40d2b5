"""SIGKILL at random times: the run ends as if it had never happened, and little work was done twice."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

from limbeck_process import Limbeck, Observer
from rows import Trials
from the_run import TheRun, must_end_alike

from limbeck.storage import checkpoint

NAME = "kills"
HOLDS = "SIGKILL at random times: bitwise equal in the end, work lost <= one save interval, no torn load"
CI, CHAOS = 25, 500
EACH = 25
STARTED_BY_COMMAND = 8
"""Every so many processes is the installed command and not a fork."""


def prepare(place: Path) -> Trials:
    """One trial is a run that is killed 25 times."""
    whole = TheRun(place / "whole", teacher_epochs=12, student_epochs=40, patience=12).write()
    whole.to_the_end()
    reference = whole.ending()

    def trial(number: int, chance: random.Random) -> str:
        kills, runs, started, lost = 0, 0, 0, [0.0]
        while kills < EACH:
            run = whole.copied_to(place / "killed")
            shutil.rmtree(run.root, ignore_errors=True)
            runs += 1
            while not (run.root / "result.json").exists():
                if kills == EACH:
                    run.to_the_end()
                    break
                started += 1
                forked = started % STARTED_BY_COMMAND != 0
                observer = Observer()
                process = run.start(forked=forked, prepare=[observer.attach])
                _wait_for_work(process, observer, forked, run, chance)
                process.kill()
                if process.code != -9:
                    assert process.code == 0, process.err
                    continue
                kills += 1
                assert "skipped: " not in process.err, process.err
                lost.append(_lost(run, observer))
            must_end_alike(run, reference)
        return f"{runs} runs, {started} starts; most work lost {max(lost):.2f} s, saved every {whole.save_every} s"

    return Trials(trial, ci=CI, chaos=CHAOS, each=EACH)


def _wait_for_work(process: Limbeck, observer: Observer, forked: bool, run: TheRun, chance: random.Random) -> None:
    """Let it live for a random while: mostly of training, now and then only of its start."""
    if chance.random() < 0.1:
        time.sleep(chance.uniform(0.0, 0.3))
        return
    if forked:
        process.until(lambda: observer.read().steps > 0)
    else:
        process.until(lambda: "continuing from" in process.err or (run.root / "cohorts").exists())
    until = time.monotonic() + chance.uniform(0.0, 0.9)
    process.until(lambda: time.monotonic() > until)


def _lost(run: TheRun, observer: Observer) -> float:
    """Seconds of this process's training that no save holds: one interval at most, and the step and save under way."""
    trained = observer.read()
    streams = sorted(run.root.glob("cohorts/*/checkpoints"), key=lambda path: path.parent.stat().st_ctime)
    for stream in streams:
        for path in stream.glob("step-*"):
            checkpoint.read(path)
    if not trained.steps or not streams:
        return 0.0
    found = checkpoint.newest(streams[-1])
    saved = (found.path / checkpoint.MANIFEST).stat().st_mtime if found else 0.0
    lost = trained.at - max(saved, trained.began)
    limit = run.save_every + 2 * trained.longest_gap
    assert lost <= limit, f"{lost:.2f} s of work lost, saved every {run.save_every} s"
    return max(lost, 0.0)
