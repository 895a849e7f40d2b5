"""A disk that is really full, of bytes or of inodes: a clear error, and the run goes on once there is room."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

from rows import NotHere, Trials
from the_run import TheRun, must_end_alike

NAME = "full-disks"
HOLDS = "a really full disk, of bytes or of inodes: a clear error; the run goes on once there is room"
CI, CHAOS = 6, 40


def prepare(place: Path) -> Trials:
    """See how much room the run takes, and try whether a small disk can be mounted."""
    if os.geteuid() or not shutil.which("mount"):
        raise NotHere("needs root, to mount a small disk")
    whole = TheRun(place / "whole").write()
    whole.to_the_end()
    reference = whole.ending()
    room, names = _taken(whole.folder / "runs")

    def trial(number: int, chance: random.Random) -> str:
        share = chance.uniform(0.05, 0.95)
        limit = f"size={int(share * room) // 4096 * 4096}" if number % 2 else f"nr_inodes={2 + int(share * names)}"
        run = TheRun(place / "short").write()
        _mount(run.folder / "runs", limit)
        try:
            failures = 0
            process = run.start()
            while process.wait():
                failures += 1
                told = process.err.rstrip().split("\n")[-1]
                assert process.code == 2 and "Traceback" not in process.err, process.err
                assert told.startswith("limbeck: ") and told.endswith("No space left on device"), told
                assert failures < 40, "never enough room"
                share *= 1.3
                more = f"size={int(share * room)}" if number % 2 else f"nr_inodes={2 + int(share * names)}"
                _mount(run.folder / "runs", f"remount,{more}")
                process = run.start()
            must_end_alike(run, reference)
        finally:
            subprocess.run(["umount", str(run.folder / "runs")], check=True)
        assert failures, f"{limit} was enough: nothing was tested"
        return f"{limit}: full {failures} times"

    return Trials(trial, ci=CI, chaos=CHAOS)


def _taken(folder: Path) -> tuple[int, int]:
    paths = [folder, *folder.rglob("*")]
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in paths if path.is_file()), len(paths)


def _mount(folder: Path, options: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise NotHere(f"a small disk cannot be mounted: {done.stderr.strip()}")
