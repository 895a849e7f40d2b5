"""Which number format is computed in."""

from __future__ import annotations

import pytest
import torch

from limbeck.training.precision import autocast, compute_dtype, has_fast_bfloat16

CPU = torch.device("cpu")


def test_named_precisions() -> None:
    named = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    assert {name: compute_dtype(name, CPU) for name in named} == named


def test_auto_is_bfloat16_exactly_where_the_hardware_has_it() -> None:
    expected = torch.bfloat16 if has_fast_bfloat16(CPU) else torch.float32
    assert compute_dtype("auto", CPU) == expected
    assert compute_dtype("auto", torch.device("meta")) == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_a_layer_computes_in_the_type_that_was_asked_for(dtype: torch.dtype) -> None:
    layer, x = torch.nn.Conv2d(3, 4, 3), torch.randn(2, 3, 8, 8)
    with autocast(dtype, CPU):
        assert layer(x).dtype == dtype
    assert layer(x).dtype == torch.float32
    assert not torch.is_autocast_enabled("cpu")


def test_slow_depthwise_convolutions_learn_in_float32() -> None:
    conv = torch.nn.Conv2d(8, 8, 5, padding=2, groups=8)
    pixels = torch.randn(2, 8, 6, 6)
    with autocast(torch.bfloat16, CPU):
        learning = conv(pixels)
    with torch.no_grad(), autocast(torch.bfloat16, CPU):
        answering = conv(pixels)
    assert learning.dtype == answering.dtype == torch.bfloat16
    assert torch.equal(learning, conv(pixels).bfloat16()), "computed in float32, rounded once"
    assert not torch.equal(answering, learning), "without a gradient bfloat16 is fast"
