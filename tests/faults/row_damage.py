"""Bytes of checkpoints flipped, cut off, swapped: always noticed, named, and the one before is used."""

from __future__ import annotations

import os
import random
from pathlib import Path

from rows import Trials
from the_run import TheRun, must_end_alike

from limbeck.storage import checkpoint

NAME = "damage"
HOLDS = "flipped, truncated, swapped bytes in checkpoints: all noticed, named, the one before is used"
CI, CHAOS = 500, 20_000
RESUMED_TO_THE_END = 100


def prepare(place: Path) -> Trials:
    """A run that was stopped twice among its students has two checkpoints of two learners."""
    whole = TheRun(place / "whole", save_every=3600).write()
    whole.to_the_end()
    reference = whole.ending()
    stopped = TheRun(place / "stopped", save_every=3600).write()
    stopped.stopped_in_the_students(epoch=2)
    stopped.stopped_in_the_students(epoch=3)
    before, newest = (checkpoint.read(path) for path in sorted(stopped.checkpoints().iterdir()))

    def trial(number: int, chance: random.Random) -> str:
        struck = sorted(newest.path.iterdir())
        path = chance.choices(struck, [file.stat().st_size + 2000 for file in struck])[0]
        content = path.read_bytes()
        what, spoilt = _spoilt(content, chance)
        while spoilt == content:
            what, spoilt = _spoilt(content, chance)
        path.write_bytes(spoilt)
        try:
            found = checkpoint.newest(stopped.checkpoints())
            assert found is not None and found.path == before.path, f"{what} in {path.name}: not noticed"
            assert found.files == before.files
            (told,) = found.skipped
            named = path.name in told or "manifest.json" in told
            assert named and str(newest.path) in told and "\n" not in told, told
            if number % RESUMED_TO_THE_END == 0:
                run = stopped.copied_to(place / "resumed")
                process = run.start()
                assert process.wait() == 0, process.err
                assert f"skipped: runs/run/cohorts/{run.checkpoints().parent.name}" in process.err
                must_end_alike(run, reference)
        finally:
            path.write_bytes(content)
        return f"{what} in {path.name}"

    return Trials(trial, ci=CI, chaos=CHAOS)


def _spoilt(content: bytes, chance: random.Random) -> tuple[str, bytes]:
    size = len(content)
    at, other = sorted(chance.randrange(size) for _ in range(2))
    spoilt = bytearray(content)
    what = chance.choice(["flipped", "flipped", "truncated", "swapped", "zeroed", "longer", "overwritten", "shifted"])
    match what:
        case "flipped":
            spoilt[at] ^= 1 << chance.randrange(8)
        case "truncated":
            del spoilt[at:]
        case "swapped":
            spoilt[at], spoilt[other] = spoilt[other], spoilt[at]
        case "zeroed":
            spoilt[at : at + 512] = bytes(len(spoilt[at : at + 512]))
        case "longer":
            spoilt += os.urandom(chance.randrange(1, 100))
        case "overwritten":
            spoilt[at : at + 64] = chance.randbytes(len(spoilt[at : at + 64]))
        case "shifted":
            spoilt = bytearray(spoilt[1:] + spoilt[:1])
    return what, bytes(spoilt)
