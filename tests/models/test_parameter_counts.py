"""Sizes that the literature prints."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from limbeck.models import lightweight_cnn, speed_cnn, strided_resnet
from limbeck.runs import lookup

# millions of parameters and of multiply-adds, at 100 classes and 32 pixels
PRINTED = {
    "resnet20": ("0.278", 41),
    "resnet32": ("0.473", 69),
    "resnet44": ("0.667", 97.44),
    "resnet56": ("0.862", 126),
    "resnet110": ("1.737", 253),
    "resnet8x4": ("1.234", 177),
    "resnet32x4": ("7.434", 1083),
    "wrn_16_2": ("0.703", 101),
    "wrn_40_1": ("0.570", 83),
    "wrn_40_2": ("2.255", 328),
    "wrn_28_10": ("36.537", 5243),
}


def count(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_published_pair_exactly() -> None:
    assert count(strided_resnet.build(10)) == 4_664_970
    assert count(lightweight_cnn.build(10)) == 106_826


def test_published_pair_in_megabytes() -> None:
    for model, printed in ((strided_resnet.build(10), "17.81"), (lightweight_cnn.build(10), "0.41")):
        tensors = [*model.parameters(), *model.buffers()]
        assert f"{sum(t.numel() * t.element_size() for t in tensors) / 2**20:.2f}" == printed


def test_speed_cnn() -> None:
    assert f"{count(speed_cnn.build(10)) / 1e6:.2f}" == "1.97"


@pytest.mark.parametrize("name", PRINTED)
def test_as_printed(name: str) -> None:
    parameters, multiply_adds = PRINTED[name]
    with torch.device("meta"):
        model = lookup.load(lookup.find("models", name))(100).eval()
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(1, 3, 32, 32))
    assert f"{count(model) / 1e6:.3f}" == parameters
    decimals = 2 if isinstance(multiply_adds, float) else 0
    assert round(counter.get_total_flops() / 2e6, decimals) == multiply_adds


def test_all_named_sizes_are_checked() -> None:
    assert {name for name, entry in lookup.entries("models").items() if entry.preset} == set(PRINTED)
