"""A power cut after each system call of a save, on a disk of its own: nothing that was acknowledged is lost."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from rows import NotHere, Trials
from saves import begin_traced_save, calls_of_the_save, lines_of, needs_strace, traced_save
from the_run import TheRun, must_end_alike

NAME = "power-cuts"
HOLDS = "a power cut after each call of a save (ext4, shut down without its journal): no acknowledged save lost"
CI, CHAOS = 22, 200
SHUTDOWN = 0x8004587D
"""EXT4_IOC_SHUTDOWN; with NOT_EVEN_THE_JOURNAL, whatever is not on the disk is gone."""
NOT_EVEN_THE_JOURNAL = 2
RESUMED_TO_THE_END = 4
AT_THE_END = (20, 21)
"""Trials in which the power is cut when the run has just ended."""
CHANGING = {"mkdir", "write", "fsync", "rename", "unlinkat", "rmdir", "openat", "close"}


def prepare(place: Path) -> Trials:
    """List the calls of a third save, and try whether a disk in a file can be mounted."""
    needs_strace()
    if os.geteuid() or not shutil.which("mkfs.ext4"):
        raise NotHere("needs root and mkfs.ext4, to make a disk that can be cut off")
    whole = TheRun(place / "whole", save_every=3600).write()
    whole.to_the_end()
    reference = whole.ending()
    stopped = TheRun(place / "stopped", save_every=3600).write()
    stopped.stopped_in_the_students(epoch=2)
    listed = stopped.copied_to(place / "listed")
    listed.stopped_in_the_students(epoch=3)
    process = traced_save(listed, place / "calls.log", ["-e", "trace=%file,%desc"])
    assert process.code == 0, process.err
    calls = [call for call in calls_of_the_save(place / "calls.log", process.pid) if call.name in CHANGING]
    with _disk(place / "probe"):
        pass

    def after_the_end() -> str:
        with _disk(place / "disk") as disk:
            run = TheRun(disk.mounted / "whole").write()
            os.sync()
            run.to_the_end()  # acknowledged: it ended with 0
            disk.cut()
            disk.power_up()
            must_end_alike(run, reference)
            empty = [str(path) for path in run.root.rglob("*") if path.is_file() and not path.stat().st_size]
            empty = [path for path in empty if not path.endswith(".lock")]
            assert not empty, f"empty after the cut: {', '.join(empty)}"
            assert {path.suffix for path in (run.root / "figures").iterdir()} == {".png"}
        return "after the end: all is there"

    def trial(number: int, chance: random.Random) -> str:
        if number in AT_THE_END:
            return after_the_end()
        call = calls[number * len(calls) // 20 % len(calls)] if number < 20 else chance.choice(calls)
        for shift in (0, 1, 2):  # a line of progress before the save may have been written once, and not now
            when = max(1, call.ordinal - shift)
            if state := cut_after(call.name, when, to_the_end=number % RESUMED_TO_THE_END == 0):
                return f"after {call.name} {when}: {state} state"
        raise AssertionError(f"{call.name} {call.ordinal} never came: {call.line}")

    def cut_after(name: str, when: int, *, to_the_end: bool) -> str | None:
        log = place / "cut.log"
        with _disk(place / "disk") as disk:
            run = stopped.copied_to(disk.mounted / "cut")
            os.sync()
            run.stopped_in_the_students(epoch=3)  # acknowledged: it said that all is saved
            first = run.newest().path.name
            stop = ["-e", "trace=%file,%desc", "-e", f"inject={name}:signal=SIGSTOP:when={when}"]
            process, strace = begin_traced_save(run, log, stop)
            if not process.until(lambda: log.read_text().count("stopped by SIGSTOP") == 2, 60):  # the first is ours
                return None
            disk.cut()
            process.kill()
            strace.wait(10)
            acknowledged = _flushed(lines_of(log, process.pid))
            disk.power_up()
            state = run.newest().path.name
            assert state >= first, f"{state}: the save before, {first}, was acknowledged and is lost"
            assert not acknowledged or state > first, f"{state}: the save after {first} was flushed and is lost"
            if to_the_end:
                run.to_the_end()
                must_end_alike(run, reference)
        return "new" if state > first else "old"

    return Trials(trial, ci=CI, chaos=CHAOS)


def _flushed(lines: list[str]) -> bool:
    """Whether the stream's folder was flushed after the new checkpoint got its name."""
    renamed = next((n for n, line in enumerate(lines) if "rename(" in line and "step-" in line.split(", ")[1]), None)
    if renamed is None or not lines[renamed].endswith("= 0"):
        return False
    return any("fsync(" in line and "checkpoints>) = 0" in line for line in lines[renamed:])


class _Disk:
    """A file with an ext4 file system, mounted."""

    def __init__(self, image: Path, mounted: Path) -> None:
        self.image, self.mounted = image, mounted

    def cut(self) -> None:
        """Cut it off: from here on nothing reaches it, and what had not is gone."""
        descriptor = os.open(self.mounted, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, SHUTDOWN, struct.pack("I", NOT_EVEN_THE_JOURNAL))
        finally:
            os.close(descriptor)

    def power_up(self) -> None:
        """Mount it anew: the journal is replayed."""
        self.unmount()
        self.mount()

    def mount(self) -> None:
        subprocess.run(["mount", "-o", "loop", str(self.image), str(self.mounted)], check=True, capture_output=True)

    def unmount(self) -> None:
        for _ in range(100):
            if subprocess.run(["umount", str(self.mounted)], check=False, capture_output=True).returncode == 0:
                return
            time.sleep(0.05)
        raise AssertionError(f"{self.mounted}: cannot be unmounted")


@contextlib.contextmanager
def _disk(place: Path) -> Iterator[_Disk]:
    image, mounted = place.with_suffix(".img"), place
    with contextlib.suppress(OSError):
        subprocess.run(["umount", str(mounted)], check=False, capture_output=True)
    mounted.mkdir(parents=True, exist_ok=True)
    with image.open("wb") as file:
        file.truncate(48 * 2**20)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True, capture_output=True)
    disk = _Disk(image, mounted)
    try:
        disk.mount()
    except subprocess.CalledProcessError as error:
        raise NotHere(f"a disk in a file cannot be mounted: {error.stderr.decode().strip()}") from error
    try:
        yield disk
    finally:
        disk.unmount()
        image.unlink()
