"""Sizes that the literature prints."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from limbeck.evaluation import efficiency
from limbeck.models import lightweight_cnn, speed_cnn, strided_resnet
from limbeck.recipes import registry

# millions of parameters and of multiply-adds as printed, at 100 classes and 32 pixels
PRINTED = {
    "resnet20": ("0.278", "41"),
    "resnet32": ("0.473", "69"),
    "resnet44": ("0.667", "97.44"),
    "resnet56": ("0.862", "126"),
    "resnet110": ("1.737", "253"),
    "resnet8x4": ("1.234", "177"),
    "resnet32x4": ("7.434", "1083"),
    "wrn_16_2": ("0.703", "101"),
    "wrn_40_1": ("0.570", "83"),
    "wrn_40_2": ("2.255", "328"),
    "wrn_28_10": ("36.537", "5243"),
    "vgg8_bn": ("3.97", "96"),
    "vgg11_bn": ("9.80", "153.34"),
    "vgg13_bn": ("9.99", "228.84"),
    "vgg16_bn": ("15.30", "313.77"),
    "vgg19_bn": ("20.61", "398.71"),
}
# the same of families whose sizes are an option; the second version of VGG is the one of the distillation tables
PRINTED_WITH_OPTIONS = [
    ("vgg11_bn", {"head": "linear"}, "9.28", "209.44"),
    ("vgg13_bn", {"head": "linear"}, "9.46", "285"),
    ("mobilenetv2", {"width": 0.5}, "0.82", "28.08"),
    ("mobilenetv2", {"width": 0.75}, "1.48", "59.43"),
    ("mobilenetv2", {"width": 1.0}, "2.35", "88.09"),
    ("mobilenetv2", {"width": 1.4}, "4.50", "170.23"),
    ("shufflenetv2", {"width": 0.5}, "0.44", "10.99"),
    ("shufflenetv2", {"width": 1.0}, "1.36", "45.09"),
    ("shufflenetv2", {"width": 1.5}, "2.58", "94.35"),
    ("shufflenetv2", {"width": 2.0}, "5.55", "188.00"),
    ("mobilenetv3_small", {"stem": "cifar"}, "1.62", "17.60"),
    ("mobilenetv3_small", {"stem": "imagenet"}, "1.62", "2.26"),
]
EXACT = {  # parameters at 100 classes
    "resnet44": 667_188,
    "vgg8_bn": 3_965_028,
    "vgg11_bn": 9_802_596,
    "mobilenetv2": 2_351_972,
    "shufflenetv2": 1_356_104,
    "mobilenetv3_small": 1_620_356,
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


def without_storage(name: str, **options: Any) -> torch.nn.Module:
    with torch.device("meta"):
        return registry.load(registry.find("models", name))(100, **options)


def rounds_to(value: float, printed: str) -> bool:
    return f"{value / 1e6:.{len(printed.partition('.')[2])}f}" == printed


@pytest.mark.parametrize(
    ("name", "options", "parameters", "multiply_adds"),
    [*((name, {}, *printed) for name, printed in PRINTED.items()), *PRINTED_WITH_OPTIONS],
)
def test_as_printed(name: str, options: dict[str, Any], parameters: str, multiply_adds: str) -> None:
    model = without_storage(name, **options)
    assert rounds_to(count(model), parameters)
    assert rounds_to(efficiency.multiply_adds(model, (3, 32, 32)), multiply_adds)


@pytest.mark.parametrize("name", EXACT)
def test_parameters_exactly(name: str) -> None:
    assert count(without_storage(name)) == EXACT[name]


def test_mobilenetv3_small_is_also_printed_without_its_biases() -> None:
    model = without_storage("mobilenetv3_small")
    assert rounds_to(sum(p.numel() for name, p in model.named_parameters() if not name.endswith("bias")), "1.61")


def test_all_named_sizes_are_checked() -> None:
    assert {name for name, entry in registry.entries("models").items() if entry.preset} == set(PRINTED)
