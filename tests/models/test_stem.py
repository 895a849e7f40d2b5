"""Stems that shrink less: the maps grow as asked, no weight changes its shape, what cannot be is told."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from limbeck.errors import LimbeckError
from limbeck.models import timm, torchvision

MODELS = [
    (timm, "resnet18", 4),
    (timm, "convnext_atto", 4),
    (torchvision, "shufflenet_v2_x1_0", 4),
    (torchvision, "mobilenet_v2", 2),
]


def needed(adapter) -> None:
    package = adapter.__name__.rpartition(".")[2]
    if importlib.util.find_spec(package) is None:  # not imported here: the adapter declares operators first
        pytest.skip(f"{package} is not installed")


@pytest.mark.parametrize(("adapter", "name", "whole"), MODELS, ids=lambda value: str(value).rpartition(".")[2])
def test_the_maps_grow_as_asked_and_the_weights_stay(adapter, name: str, whole: int) -> None:
    needed(adapter)
    usual = adapter.build(5, name)
    images = torch.randn(2, 3, 64, 64)
    side = usual.eval()(images).features[-1].shape[-1]
    for stride in (stride for stride in (1, 2) if stride < whole):
        model = adapter.build(5, name, stem_stride=stride)
        model.load_state_dict(usual.state_dict())
        answer = model.eval()(images)
        assert answer.logits.shape == (2, 5)
        assert answer.features[-1].shape[-1] == pytest.approx(side * whole / stride, abs=1)


@pytest.mark.parametrize(
    ("adapter", "name", "stride", "told"),
    [
        (timm, "resnet18", 4, "the stem has stride 4; expected 1 or 2; got 4"),
        (timm, "resnet18", 3, "expected 1 or 2; got 3"),
        (timm, "resnet18", 0, "expected 1 or 2; got 0"),
        (torchvision, "mobilenet_v2", 2, "the stem has stride 2; expected 1; got 2"),
        (timm, "vgg11", 1, "this model has no strided stem"),
    ],
)
def test_what_cannot_be_is_told(adapter, name: str, stride: int, told: str) -> None:
    needed(adapter)
    with pytest.raises(LimbeckError) as caught:
        adapter.build(5, name, stem_stride=stride)
    assert told in str(caught.value) and name in str(caught.value)
