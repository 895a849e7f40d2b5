"""One, two or three processes teach the same: the same views and targets, and losses but for the order of sums."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from limbeck.teaching.processes import ALONE, Processes
from limbeck.types import Outputs

HERE = Path(__file__).parent
STEPS = 20
TAUGHT = HERE / "taught_together.py"


def taught_by(count: int) -> list[list[dict[str, Any]]]:
    """What each of so many processes on loopback prints."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {
        **os.environ, "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0", "PYTHONPATH": str(HERE), "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip
    running = [
        subprocess.Popen(
            [sys.executable, str(TAUGHT), str(STEPS)], env={**env, "RANK": str(rank)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(count)
    ]  # fmt: skip
    said = [process.communicate(timeout=240) for process in running]
    assert all(process.returncode == 0 for process in running), "".join(err for _, err in said)
    return [[json.loads(line) for line in out.splitlines()] for out, _ in said]


def test_the_number_of_processes_changes_sums_alone() -> None:
    (alone,) = taught_by(1)
    for count in (2, 3):
        together = taught_by(count)
        for step in range(STEPS):
            images = [image for one in together for image in one[step]["images"]]
            assert images == alone[step]["images"], "the same images, each once and in order"
            for one in together:
                assert one[step]["targets"] == alone[step]["targets"], "the same labels, partners and shares"
                assert one[step]["losses"] == together[0][step]["losses"], "every process knows the same"
            for found, expected in zip(together[0][step]["losses"], alone[step]["losses"], strict=True):
                assert found == pytest.approx(expected, abs=1e-5)
        for one in together:
            assert one[-1]["weights"] == together[0][-1]["weights"], "bit for bit the same weights in each"
        assert together[0][-1]["weights"] == pytest.approx(alone[-1]["weights"], abs=1e-4)


@given(st.integers(1, 64), st.integers(1, 9))
def test_parts_are_the_whole(size: int, count: int) -> None:
    every = [Processes(rank, count) for rank in range(count)]
    places = [place for one in every for place in range(size)[one.part(size)]]
    assert places == list(range(size))
    lengths = [one.part(size).stop - one.part(size).start for one in every]
    assert max(lengths) - min(lengths) <= 1


def test_alone_everything_is_as_it_was() -> None:
    outputs = Outputs(torch.ones(4, 10), (torch.ones(4, 2, 3, 3),))
    assert ALONE.whole(outputs, 4) is outputs
    assert ALONE.part(4) == slice(0, 4)
    assert ALONE.first_says([0.5, 2.0]) == [0.5, 2.0] and ALONE.largest(3) == 3
    ALONE.wait()
