"""The system calls with which a run saves itself, listed and interfered with by strace."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from limbeck_process import Limbeck
from rows import NotHere
from the_run import STUDENTS, TheRun


@dataclass(frozen=True)
class Call:
    """One system call of a save. name: as strace has it. ordinal: how many of that name came since strace looked."""

    name: str
    ordinal: int
    line: str


def needs_strace() -> None:
    """Raises NotHere where strace is missing or not allowed."""
    probe = ["strace", "-qq", "-o", os.devnull, "true"]
    if not shutil.which("strace") or subprocess.run(probe, capture_output=True, check=False).returncode:
        raise NotHere("needs strace and the right to trace")


def traced_save(run: TheRun, log: Path, options: list[str]) -> Limbeck:
    """Continue a run, hold it still, let strace look, and ask it to stop: it saves under strace's eyes and ends."""
    process, strace = begin_traced_save(run, log, options)
    process.wait(60)
    strace.wait(10)
    return process


def begin_traced_save(run: TheRun, log: Path, options: list[str]) -> tuple[Limbeck, subprocess.Popen[str]]:
    """`traced_save`, without waiting for its end."""
    process = run.start()
    assert process.until(lambda: "continuing from" in process.err), process.err
    process.send(signal.SIGSTOP)
    # One that waits for a slow disk stops late, and SIGCONT would take the stop back before it came.
    assert process.until(lambda: _is_stopped(process.pid)), process.err
    command = ["strace", "-f", "-y", "-p", str(process.pid), "-o", str(log), *options]
    strace = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert strace.stderr is not None
    assert "attached" in strace.stderr.readline(), "strace cannot attach"
    process.send(signal.SIGTERM)
    process.send(signal.SIGCONT)
    return process, strace


def _is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("T")


def calls_of_the_save(log: Path, pid: int) -> list[Call]:
    """Those of the main thread from the first to the last that touch the stream of checkpoints."""
    seen: dict[str, int] = {}
    calls: list[Call] = []
    touching: list[int] = []
    for line in log.read_text().splitlines():
        found = re.match(rf"{pid}\s+(\w+)\((.*)", line)
        if not found:
            continue
        name = found[1]
        seen[name] = seen.get(name, 0) + 1
        calls.append(Call(name, seen[name], found[2]))
        if f"cohorts/{STUDENTS}/checkpoints" in line:
            touching.append(len(calls) - 1)
    assert touching, f"{log}: no save in it"
    return calls[touching[0] : touching[-1] + 1]


def lines_of(log: Path, pid: int, name: str = r"\w+") -> list[str]:
    """The calls of the main thread, or those of one name."""
    return [line for line in log.read_text().splitlines() if re.match(rf"{pid}\s+{name}\(", line)]
