"""One, two or three processes teach the same: the same views and targets, and losses but for the order of sums."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from limbeck.training.distributed import SINGLE_PROCESS, Processes
from limbeck.types import Outputs

HERE = Path(__file__).parent
STEPS = 20
TRAINED = HERE / "trained_together.py"


def train_together(folder: Path, losses: str, steps: int, counts: tuple[int, ...]) -> None:
    words = [sys.executable, str(TRAINED), str(folder), str(steps), losses, *map(str, counts)]
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")]),
        "GLOO_SOCKET_IFNAME": "lo",
    }
    done = subprocess.run(words, env=env, stderr=subprocess.PIPE, text=True, timeout=480, check=False)
    assert done.returncode == 0, done.stderr


def test_states_are_trained_alike_by_any_number_of_processes(tmp_path: Path) -> None:
    """A state sees the whole batch in every process: its batch statistics, its dropout and its gradients are one."""
    steps = 10
    train_together(tmp_path, "features", steps, (1, 2))
    alone = json.loads((tmp_path / "1-0.json").read_text())
    together = [json.loads((tmp_path / f"2-{rank}.json").read_text()) for rank in range(2)]
    for step in range(steps):
        assert together[0][step]["losses"] == together[1][step]["losses"]
        for found, expected in zip(together[0][step]["losses"], alone[step]["losses"], strict=True):
            assert found == pytest.approx(expected, abs=1e-5)
    for what in ("weights", "buffers"):
        assert together[0][-1][what] == together[1][-1][what], "bit for bit the same in each"
        assert together[0][-1][what] == pytest.approx(alone[-1][what], abs=1e-4)
    assert len(alone[-1]["buffers"]) > 100


@pytest.mark.middle
def test_the_number_of_processes_changes_sums_alone(tmp_path: Path) -> None:
    train_together(tmp_path, "logits", STEPS, (1, 2, 3))
    alone = json.loads((tmp_path / "1-0.json").read_text())
    for count in (2, 3):
        together = [json.loads((tmp_path / f"{count}-{rank}.json").read_text()) for rank in range(count)]
        for step in range(STEPS):
            images = [image for one in together for image in one[step]["images"]]
            assert images == alone[step]["images"], "the same images, each once and in order"
            for one in together:
                assert one[step]["targets"] == alone[step]["targets"], "the same labels, partners and shares"
                assert one[step]["losses"] == together[0][step]["losses"], "every process knows the same"
                assert one[step]["sent"] == one[-1]["needed"], (
                    "gradients and logits; no feature, which no loss compares"
                )
            for found, expected in zip(together[0][step]["losses"], alone[step]["losses"], strict=True):
                assert found == pytest.approx(expected, abs=1e-5)
        for one in together:
            assert one[-1]["weights"] == together[0][-1]["weights"], "bit for bit the same weights in each"
        assert together[0][-1]["weights"] == pytest.approx(alone[-1]["weights"], abs=1e-4)


@given(st.integers(1, 64), st.integers(1, 9))
def test_parts_are_the_whole(size: int, count: int) -> None:
    every = [Processes(rank, count) for rank in range(count)]
    places = [place for one in every for place in range(size)[one.shard(size)]]
    assert places == list(range(size))
    lengths = [one.shard(size).stop - one.shard(size).start for one in every]
    assert max(lengths) - min(lengths) <= 1


def test_alone_everything_is_as_it_was() -> None:
    outputs = Outputs(torch.ones(4, 10), (torch.ones(4, 2, 3, 3),))
    assert SINGLE_PROCESS.all_gather(outputs, 4) is outputs
    assert SINGLE_PROCESS.shard(4) == slice(0, 4)
    assert SINGLE_PROCESS.broadcast_from_first([0.5, 2.0]) == [0.5, 2.0] and SINGLE_PROCESS.maximum(3) == 3
    SINGLE_PROCESS.barrier()
