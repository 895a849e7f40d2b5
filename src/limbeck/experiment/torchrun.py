"""Connect the processes that `torchrun` has started, so that they train one run together."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from collections.abc import Iterator
from datetime import timedelta

import torch
from torch import distributed

from limbeck.errors import LimbeckError, one_line
from limbeck.training.device import choose_device
from limbeck.training.distributed import SINGLE_PROCESS, Processes

PATIENCE = timedelta(hours=6)
"""How long processes wait for the first, which alone evaluates. A process that dies is noticed at once."""


def under_torchrun() -> bool:
    """Whether `torchrun` has started this process beside others."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_main_process() -> bool:
    """Whether this process is the only one or the first: the one that reports to the user."""
    return not under_torchrun() or os.environ.get("RANK") == "0"


@contextlib.contextmanager
def process_group(device: str) -> Iterator[tuple[Processes, torch.device]]:
    """The processes of this run, seen from this one, and its device; a single process without `torchrun`.

    device: as in a recipe. With several processes on CUDA, each uses the GPU of its local rank. They communicate by
    NCCL on CUDA, by gloo elsewhere.

    Raises LimbeckError if they cannot connect, or if there are fewer GPUs than processes.
    """
    if not under_torchrun():
        yield SINGLE_PROCESS, choose_device(device)
        return
    place = choose_device(device)
    if place.type == "cuda":
        place = choose_device(f"cuda:{os.environ['LOCAL_RANK']}")
        torch.cuda.set_device(place)
    try:
        distributed.init_process_group("nccl" if place.type == "cuda" else "gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise LimbeckError(f"the processes cannot connect: {one_line(error)}") from error
    try:
        # Values that processes exchange are on the GPU for NCCL, on the CPU for gloo.
        exchange = place if place.type == "cuda" else torch.device("cpu")
        yield Processes(distributed.get_rank(), distributed.get_world_size(), exchange), place
    finally:
        distributed.destroy_process_group()


def exit_without_teardown(code: int) -> None:
    """End this process at once, if `torchrun` has started it; everything is saved and reported by then.

    In about one of eighty runs, the interpreter's teardown collided with a thread of gloo, and the process was aborted
    although its work was done; `torchrun` then reports the whole run as failed.
    """
    if under_torchrun():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def must_match_main_process(processes: Processes, what: str, text: str) -> None:
    """Raises LimbeckError in a process whose `text` differs from that of the first process. what: for the message."""
    own = float(int(hashlib.sha256(text.encode()).hexdigest()[:12], 16))
    if processes.broadcast_from_first([own]) != [own]:
        raise LimbeckError(
            f"{what}: differs between process {processes.rank} and the first; it must be the same in all"
        )
