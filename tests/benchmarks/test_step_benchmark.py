"""The benchmark of one step runs, and what it compares is the same work."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from short_run import FOLDER, short_run

pytestmark = pytest.mark.middle


def test_a_short_run_ends_with_both_ratios(tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="the digits come inside scikit-learn")
    result = short_run("step.py", tmp_path)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert re.fullmatch(r"limbeck / floor = \d+\.\d\d", lines[-2])
    assert re.fullmatch(r"plain loop / limbeck = \d+\.\d\d", lines[-1])
    text = result.stdout
    assert "1 threads" in text
    assert "n = 2 blocks of 2 steps" in text
    assert "enlarged to 32 px" in text
    for row in ("limbeck", "floor", "plain loop", "limbeck: view", "limbeck: prepare", "floor: teacher"):
        assert re.search(rf"^{row} +\d+\.\d+  \(\d+\.\d+ to \d+\.\d+\)$", text, re.MULTILINE), row


@pytest.mark.parametrize("way", ["step_floor", "step_plain_loop"])
def test_floor_and_plain_loop_take_nothing_from_limbeck(way: str) -> None:
    source = (FOLDER / f"{way}.py").read_text()
    assert not re.search(r"^\s*(from|import) limbeck", source, re.MULTILINE)


SAME_WORK = """
import torch
torch.manual_seed(0)
from step_floor import FloorSteps, prepared
from step_limbeck import LimbeckSteps
from step_plain_loop import PlainImages, PlainSteps
from limbeck.models import lightweight_cnn, strided_resnet
from limbeck.types import Normalisation, Outputs, Split, Targets

def pair():
    torch.manual_seed(1)
    return strided_resnet.build(10), lightweight_cnn.build(10, dropout=0.0, hidden_dropout=0.0)

images = torch.randint(0, 256, (32, 3, 32, 32), dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
labels = torch.arange(32) % 10
mean, sd = (0.5, 0.4, 0.3), (0.2, 0.2, 0.3)
[(pixels, labels)] = prepared(images, labels, mean, sd, size=32, dtype=torch.float32)

limbeck = LimbeckSteps(Split(images, labels), *pair(), normalisation=Normalisation(mean, sd), batch_size=32,
                       dtype=torch.float32)
floor = FloorSteps([(pixels, labels)], *pair(), dtype=torch.float32)
plain = PlainSteps(PlainImages(images.permute(0, 2, 3, 1).numpy(), labels.tolist(), mean, sd), *pair(), batch_size=32)

answer = limbeck.teacher(pixels)
torch.testing.assert_close(floor.teacher(pixels).logits, answer.logits, rtol=1e-4, atol=1e-5)
torch.testing.assert_close(plain.teacher(pixels).logits, answer.logits, rtol=1e-4, atol=1e-5)

targets = Targets(labels, labels, torch.ones(32))
limbeck.learner.begin_epoch()
limbeck.learner.step(pixels, targets, [answer], epoch=0, step=0, steps=100)
floor.run(1)
plain._step(pixels, labels)
for ours, theirs, third in zip(limbeck.learner.model.parameters(), floor.student.parameters(),
                               plain.student.parameters(), strict=True):
    scale = ours.grad.abs().max().item()
    assert scale > 0
    torch.testing.assert_close(theirs.grad, ours.grad, rtol=1e-3, atol=1e-3 * scale + 1e-6)
    torch.testing.assert_close(third.grad, ours.grad, rtol=1e-3, atol=1e-3 * scale + 1e-6)
"""


def test_the_three_ways_take_the_same_step() -> None:
    result = subprocess.run(
        [sys.executable, "-c", SAME_WORK],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(FOLDER), "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr
