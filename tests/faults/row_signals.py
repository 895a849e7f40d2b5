"""SIGTERM and SIGINT at twelve phases of a run: the step is finished and saved, and no step is taken twice."""

from __future__ import annotations

import random
import shlex
import signal
from dataclasses import dataclass
from pathlib import Path

from limbeck_process import Observer, asking
from rows import Trials
from the_run import TheRun, must_end_alike

NAME = "signals"
HOLDS = "SIGTERM and SIGINT at 12 phases: finished, saved, exit 0 and 130, the command to go on; 0 steps lost"
CI, CHAOS = 24, 120
"""Each phase with both signals; in chaos at five times of each."""


@dataclass(frozen=True)
class Phase:
    """Where a signal comes: when `function` of `module` is called for one of the times `calls`."""

    name: str
    module: str
    function: str
    calls: range


PHASES = (
    Phase("images are loaded", "experiment.context", "load_images", range(1, 2)),
    Phase("a model is made", "experiment.cohorts", "make_learner", range(1, 4)),
    Phase("the first step", "training.loop", "take_step", range(1, 2)),
    Phase("a step of the teacher", "training.loop", "take_step", range(2, 41)),
    Phase("a step of the students", "training.loop", "take_step", range(42, 100)),
    Phase("validation", "experiment.train_cohort", "evaluate", range(1, 8)),
    Phase("a learner's state is packed", "experiment.train_cohort", "pack", range(1, 8)),
    Phase("a save begins", "storage.checkpoint", "make_folder", range(1, 4)),
    Phase("a file is written", "storage.checkpoint", "write_new", range(1, 12)),
    Phase("a save is flushed", "storage.atomic", "flush", range(1, 6)),
    Phase("a learner is measured", "experiment.results", "measure_learner", range(1, 4)),
    Phase("the report is written", "experiment.run", "write_report", range(1, 2)),
)


def prepare(place: Path) -> Trials:
    """Count the steps of the run that nobody asks to stop."""
    whole = TheRun(place / "whole", save_every=0.1).write()
    observer = Observer()
    process = whole.start(prepare=[observer.attach])
    assert process.wait() == 0, process.err
    steps, reference = observer.read().steps, whole.ending()

    def trial(number: int, chance: random.Random) -> str:
        phase = PHASES[number % len(PHASES)]
        asked = (signal.SIGTERM, signal.SIGINT)[number // len(PHASES) % 2]
        call = chance.choice(phase.calls)
        run = TheRun(place / f"{number}", save_every=0.1).write()
        before, after = Observer(), Observer()
        process = run.start(prepare=[before.attach, asking(phase.module, phase.function, call, asked)])
        code = process.wait()
        assert "Traceback" not in process.err, process.err
        if (run.root / "result.json").exists():
            assert code == 0, process.err
            assert phase.name == "the report is written", f"it went on to the end: {process.err}"
        else:
            assert code == (0 if asked == signal.SIGTERM else 130), f"{code}: {process.err}"
            assert process.err.rstrip().endswith(f"To continue: {shlex.join(['limbeck', *process.words])}"), process.err
            again = run.start(prepare=[after.attach])
            assert again.wait() == 0, again.err
            assert "skipped: " not in again.err, again.err
        taken = before.read().steps, after.read().steps
        assert sum(taken) == steps, f"{taken[0]} and {taken[1]} steps were taken, undisturbed {steps}"
        must_end_alike(run, reference)
        return f"{asked.name} when {phase.name} ({call}): {taken[0]} + {taken[1]} steps"

    return Trials(trial, ci=CI, chaos=CHAOS)
