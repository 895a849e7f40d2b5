"""A save of many megabytes takes little memory beside the model, and leaves none behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SAVE_AND_LOAD = """
import sys
from pathlib import Path

import torch

from limbeck.storage import checkpoint
from limbeck.training.snapshot import pack, unpack


def megabytes(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def measured(work):
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from now on
    before = megabytes("VmRSS")
    result = work()
    print(megabytes("VmHWM") - before, megabytes("RssAnon"))
    return result


folder = Path(sys.argv[1])
model = torch.nn.Sequential(*(torch.nn.Conv2d(512, 512, 3) for _ in range(4))).to(memory_format=torch.channels_last)
optimizer = torch.optim.Adam(model.parameters())
for parameter in model.parameters():
    parameter.grad = torch.ones_like(parameter)
optimizer.step()
optimizer.zero_grad()
state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
checkpoint.write(folder / "warm-up", 0, pack("a", {"weight": torch.ones(2)}), {})
measured(lambda: None)
for step in (1, 2):
    measured(lambda: checkpoint.write(folder / "stream", step, pack("a", state), {}))
found = measured(lambda: checkpoint.newest(folder / "stream"))
del state, model, optimizer
measured(lambda: None)
back = measured(lambda: unpack("a", found.path))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux to measure the peak")
def test_a_save_and_a_load_hold_one_tensor_at_a_time(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SAVE_AND_LOAD, str(tmp_path)]
    # Else malloc keeps freed tensors for itself, how many depends on where the system puts its blocks.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**20)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    size = (tmp_path / "stream" / "step-000000000002" / "a.safetensors").stat().st_size / 2**20
    assert size > 100, "else this test says nothing"
    figures = [tuple(map(float, line.split())) for line in done.stdout.splitlines()]
    (_, before), save, again, read, (_, empty), load = figures
    for peak, held in (save, again, read):
        assert peak < 0.2 * size, "two tensors of 9 MB: the next is copied while the last is let go"
        assert held - before < 2, "nothing is left behind"
    assert load[1] - empty < 1.2 * size, "a state is loaded into memory once"
