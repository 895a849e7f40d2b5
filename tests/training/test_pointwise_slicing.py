"""Strided 1×1 convolutions of few channels learn without damage to memory, and as their definition says."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from limbeck.training.cpu_convolutions import PointwiseBySlicing

LEARNING = """
import torch
from limbeck.training.precision import autocast
layer = torch.nn.Conv2d({channels}, 8, 1, 2, bias=False).to(memory_format=torch.channels_last)
for _ in range(60):
    images = torch.randn(16, {channels}, {side}, {side}).contiguous(memory_format=torch.channels_last).requires_grad_()
    with autocast(torch.float32, torch.device("cpu")):
        answer = layer(images)
    answer.square().mean().backward()
print("done")
"""


@pytest.mark.parametrize(("channels", "side"), [(2, 8), (4, 8), (6, 8), (8, 64), (15, 64)])
def test_nothing_is_written_past_a_buffer(channels: int, side: int) -> None:
    """glibc's checks end a process that damages its heap (seen without the mode: signals 6 and 11)."""
    code = LEARNING.format(channels=channels, side=side)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"MALLOC_CHECK_": "3"}
    )
    assert (done.returncode, done.stdout.strip()) == (0, "done"), done.stderr[-300:]


@pytest.mark.parametrize(("channels", "groups", "stride"), [(4, 1, 2), (6, 1, (2, 1)), (8, 2, 3), (5, 5, 2)])
def test_it_is_the_same_convolution(channels: int, groups: int, stride: int | tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(channels, 2 * channels, 1, stride, groups=groups).double()
    images = torch.randn(3, channels, 9, 7, dtype=torch.float64)  # float64 is not the case that is broken
    with PointwiseBySlicing():
        found = layer(images)
    torch.testing.assert_close(found, layer(images))
