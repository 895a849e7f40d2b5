"""Join the processes that `torchrun` has started, so that they teach one run together."""

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
"""How long processes wait for the first, which alone measures. One that has died is noticed at once."""


def under_torchrun() -> bool:
    """Whether `torchrun` has started this process beside others."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_main_process() -> bool:
    """Whether this process is the one that talks to the person: alone, or the first."""
    return not under_torchrun() or os.environ.get("RANK") == "0"


@contextlib.contextmanager
def process_group(device: str) -> Iterator[tuple[Processes, torch.device]]:
    """Which of how many processes this one is, and its device. Alone where `torchrun` has not started it.

    device: as a recipe says it; with several processes on CUDA, each takes the card of its place on its machine. They
    talk over NCCL on CUDA and over gloo elsewhere.

    Raises LimbeckError where they cannot find each other, or where there are fewer cards than processes.
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
        raise LimbeckError(f"the processes cannot find each other: {one_line(error)}") from error
    try:
        # What is agreed upon travels where gloo can carry it, or on the card.
        talk = place if place.type == "cuda" else torch.device("cpu")
        yield Processes(distributed.get_rank(), distributed.get_world_size(), talk), place
    finally:
        distributed.destroy_process_group()


def exit_without_teardown(code: int) -> None:
    """End this process at once, if `torchrun` has started it; all is saved and said.

    Once in some eighty ends the interpreter's own teardown met a thread of gloo's, and the process was aborted with
    everything done; `torchrun` then calls the whole run failed.
    """
    if under_torchrun():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def must_match_main_process(processes: Processes, what: str, text: str) -> None:
    """Raises LimbeckError in a process for which something differs from what it is for the first."""
    own = float(int(hashlib.sha256(text.encode()).hexdigest()[:12], 16))
    if processes.broadcast_from_first([own]) != [own]:
        raise LimbeckError(f"{what}: process {processes.rank} has another than the first; all must have the same")
