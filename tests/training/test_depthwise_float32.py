from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from limbeck.models import lightweight_cnn, mobilenetv3_small
from limbeck.training.cpu_convolutions import DepthwiseInFloat32

DEPTHWISE = [(1, 5), (2, 3), ((2, 1), 3), (2, 5)]
OTHERS = [(1, 3, 8), (2, 3, 1), (2, 3, 4)]


def gradients(stride, kernel: int, groups: int, *, mode: bool, dtype: torch.dtype = torch.bfloat16) -> list[Tensor]:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(4, 8, 10, 10, generator=draw).contiguous(memory_format=torch.channels_last)
    weight, bias = torch.randn(8, 8 // groups, kernel, kernel, generator=draw), torch.randn(8, generator=draw)
    leaves = [t.double() if dtype == torch.float64 else t for t in (x, weight, bias)]
    for leaf in leaves:
        leaf.requires_grad_()
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16)
    with DepthwiseInFloat32() if mode else torch.enable_grad(), autocast:
        y = functional.conv2d(*leaves, stride=stride, padding=kernel // 2, groups=groups)
    assert y.dtype == dtype
    return [y, *torch.autograd.grad(y.double().square().sum(), leaves)]


@pytest.mark.parametrize(("stride", "kernel"), DEPTHWISE)
def test_nearer_to_the_truth_than_bfloat16(stride, kernel: int) -> None:
    exact = gradients(stride, kernel, 8, mode=False, dtype=torch.float64)
    found, rounded = gradients(stride, kernel, 8, mode=True), gradients(stride, kernel, 8, mode=False)
    for truth, ours, theirs in zip(exact, found, rounded, strict=True):
        assert (ours - truth).norm() <= 1.01 * (theirs - truth).norm()
        assert (ours - truth).norm() <= 4e-3 * truth.norm()  # the answer alone is rounded, to 8 bits


@pytest.mark.parametrize(("stride", "kernel", "groups"), OTHERS)
def test_other_convolutions_stay_as_they_are(stride: int, kernel: int, groups: int) -> None:
    for a, b in zip(
        gradients(stride, kernel, groups, mode=True), gradients(stride, kernel, groups, mode=False), strict=True
    ):
        assert torch.equal(a, b)


@pytest.mark.parametrize("build", [lightweight_cnn.build, mobilenetv3_small.build])
def test_without_gradients_or_autocast_nothing_changes(build) -> None:
    model: nn.Module = build(7).eval()
    x = torch.randn(2, 3, 32, 32)

    def answers() -> list[Tensor]:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            rounded = model(x).logits
        return [rounded, model(x).logits]

    plain = answers()
    with DepthwiseInFloat32():
        found = answers()
    assert all(torch.equal(a, b) for a, b in zip(plain, found, strict=True))


def test_convolutions_that_pad_by_themselves() -> None:
    """A layer that pads in another way than with zeros calls the convolution with padding 0."""
    conv = nn.Conv2d(8, 8, 5, stride=2, padding=2, groups=8, padding_mode="reflect")
    x = torch.randn(2, 8, 9, 9)
    with DepthwiseInFloat32(), torch.autocast("cpu", torch.bfloat16):
        y = conv(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), conv(x), rtol=8e-3, atol=1e-5)
