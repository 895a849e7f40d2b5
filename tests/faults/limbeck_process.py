"""`limbeck`, as a process of its own that can be killed: forked from one that has imported everything.

A fork has its own memory, descriptors and process group, and runs the real command line from its first word; what it
saves is the four seconds in which Python imports torch, many thousand times. `forked=False` starts the installed
command instead.
"""

from __future__ import annotations

import importlib
import io
import mmap
import os
import signal
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

Prepare = Callable[[], None]
TRAINED = struct.Struct("=qqqdddd")
"""Steps taken by this process, the last one's epoch and step, when the first of its cohort began, when the last ended,
the longest time from the end of one to the end of the next, and the memory at the end of the last."""


@dataclass(frozen=True)
class Trained:
    """What a process has trained so far. epoch and step count from 0 and are of the last step taken."""

    steps: int
    epoch: int
    step: int
    began: float
    at: float
    longest_gap: float
    own_megabytes: float
    """Not shared with a file or another process. As it is at the end of a step, and not within a save."""


class Observer:
    """A page of memory in which a forked process writes down each step that it has taken."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, TRAINED.size)

    def read(self) -> Trained:
        """The newest line. Values of two steps may be mixed while the process runs."""
        return Trained(*TRAINED.unpack(self._page))

    def attach(self) -> None:
        """To be called in the forked process: `take_step` is what it was, and then writes the page."""
        from limbeck.training import loop

        take_step = loop.take_step
        steps, began, last, longest, before = 0, 0.0, 0.0, 0.0, (0, -1)

        def observed(*args: object, epoch: int, step: int, **keywords: object) -> object:
            nonlocal steps, began, last, longest, before
            if (epoch, step) <= before or not began:  # another cohort begins, or the process does
                began = time.time()
            before = epoch, step
            answer = take_step(*args, epoch=epoch, step=step, **keywords)  # type: ignore[arg-type]
            now = time.time()
            longest = max(longest, now - (last or began))
            steps, last = steps + 1, now
            TRAINED.pack_into(self._page, 0, steps, epoch, step, began, now, longest, _own_megabytes())
            return answer

        loop.take_step = observed  # type: ignore[assignment]


def _own_megabytes() -> float:
    resident, shared = map(int, Path("/proc/self/statm").read_text().split()[1:3])
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE") / 2**20


def asking(module: str, function: str, call: int, number: int) -> Prepare:
    """A process that sends itself a signal when it comes to a call of a function, and then does what it would."""

    def prepare() -> None:
        place = importlib.import_module(f"limbeck.{module}")
        called = getattr(place, function)
        calls = 0

        def asked(*args: object, **keywords: object) -> object:
            nonlocal calls
            calls += 1
            if calls == call:
                os.kill(os.getpid(), number)
            return called(*args, **keywords)

        setattr(place, function, asked)

    return prepare


class Limbeck:
    """A running `limbeck WORDS…` in a working directory."""

    def __init__(
        self, words: Sequence[object], cwd: Path, *, forked: bool = True, prepare: Sequence[Prepare] = ()
    ) -> None:
        self.words = [str(word) for word in words]
        self._out, self._err = (cwd / f".{name}-{time.monotonic_ns()}" for name in ("out", "err"))
        self.code: int | None = None
        self._popen: subprocess.Popen[bytes] | None = None
        with self._out.open("wb") as out, self._err.open("wb") as err:
            if forked:
                self.pid = _fork(self.words, cwd, out.fileno(), err.fileno(), prepare)
            else:
                command = [sys.executable, "-m", "limbeck", *self.words]
                self._popen = subprocess.Popen(command, cwd=cwd, stdout=out, stderr=err, start_new_session=True)
                self.pid = self._popen.pid

    @property
    def out(self) -> str:
        """Standard output so far."""
        return self._out.read_text(encoding="utf-8", errors="replace")

    @property
    def err(self) -> str:
        """Standard error so far."""
        return self._err.read_text(encoding="utf-8", errors="replace")

    def running(self) -> bool:
        """Whether it has not ended."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._ended(status)
        return self.code is None

    def send(self, number: int) -> None:
        """A signal, if it is still there."""
        if self.running():
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self.send(signal.SIGKILL)
        self.wait()

    def wait(self, seconds: float = 300.0) -> int:
        """Its exit code, or the negative number of the signal that ended it."""
        self.until(lambda: False, seconds)
        assert self.code is not None
        return self.code

    def until(self, true: Callable[[], bool], seconds: float = 120.0) -> bool:
        """Wait until something is true (gives True) or the process has ended (gives what is true then)."""
        deadline = time.monotonic() + seconds
        while self.running():
            if true():
                return True
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
                raise AssertionError(f"limbeck {' '.join(self.words)}: nothing happened in {seconds:.0f} s: {self.err}")
            time.sleep(0.002)
        return true()

    def _ended(self, status: int) -> None:
        self.code = os.waitstatus_to_exitcode(status)
        if self._popen:
            self._popen.returncode = self.code


def _fork(words: list[str], cwd: Path, out: int, err: int, prepare: Sequence[Prepare]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        os.chdir(cwd)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        for stream, descriptor in (("stdout", 1), ("stderr", 2)):
            setattr(sys, stream, io.TextIOWrapper(io.FileIO(descriptor, "w", closefd=False), write_through=True))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        sys.argv = ["limbeck", *words]
        for step in prepare:
            step()
        code = _main()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _main() -> int:
    from limbeck.__main__ import main

    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def import_everything() -> None:
    """What `limbeck run` imports on its way, so that forks need not. Nothing is computed: no thread is started."""
    import matplotlib.backends.backend_agg
    import matplotlib.figure  # noqa: F401
    import sklearn.datasets  # noqa: F401
    import torch

    import limbeck.__main__
    import limbeck.commands.progress
    import limbeck.data.sources.digits
    import limbeck.experiment.run
    import limbeck.models.lightweight_cnn
    import limbeck.report.summary  # noqa: F401

    torch.set_num_threads(1)
