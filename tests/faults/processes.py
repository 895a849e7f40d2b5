"""Work in a process of its own, so that a crash, silence or a hook in it is seen and stays there."""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Callable
from typing import Any


def in_a_process(work: Callable[[], dict[str, Any]], seconds: float) -> dict[str, Any]:
    """What a function gives, called in a fork. Raises AssertionError for a crash, an exception or silence."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writing, json.dumps(work()).encode())
            os._exit(0)
        except BaseException as error:
            os.write(writing, repr(error).encode())
        finally:
            os._exit(1)
    os.close(writing)
    heard = b""
    try:
        deadline = time.monotonic() + seconds
        while select.select([reading], [], [], max(0.0, deadline - time.monotonic()))[0]:
            piece = os.read(reading, 65536)
            if not piece:
                break
            heard += piece
        else:
            os.kill(pid, signal.SIGKILL)
            raise AssertionError(f"no answer within {seconds:.0f} s")
    finally:
        os.close(reading)
        _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code == 0 and heard, f"the process ended with {code}: {heard.decode(errors='replace')}"
    return json.loads(heard)
