"""Ctrl-C and SIGTERM: finish the step, save, and stop."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from limbeck.training.distributed import SINGLE_PROCESS, Processes

SECONDS_OF_ONE_REQUEST = 0.5
"""Seconds within which a second signal is part of the same request: `timeout` and others send theirs twice."""
KILLED_EXIT_CODE = 137


class Stopped(Exception):
    """A signal asked the run to stop, and its state is saved, if it has a directory."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signal_number).name}")
        self.signal_number = signal_number


class GracefulShutdown:
    """Within this context, the first SIGINT or SIGTERM is noted; a second one ends the process at once.

    processes: those that train together. If one gets a signal, all stop at the same step.
    """

    def __init__(self, processes: Processes = SINGLE_PROCESS) -> None:
        self.processes = processes
        self.asked: int | None = None
        self._since = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> GracefulShutdown:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked is None:
            self.asked, self._since = number, time.monotonic()
        elif time.monotonic() - self._since > SECONDS_OF_ONE_REQUEST:
            with contextlib.suppress(OSError):
                os.write(2, b"stopped at once: the work since the last save is lost\n")
            os._exit(KILLED_EXIT_CODE)

    def check(self, save: Callable[[], object] = lambda: None) -> None:
        """If there was a signal, call `save` and raise `Stopped`."""
        if asked := self.processes.maximum(self.asked or 0):
            save()
            raise Stopped(asked)
