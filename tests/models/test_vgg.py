from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from limbeck.errors import LimbeckError
from limbeck.models import vgg


@pytest.mark.parametrize("depth", [8, 11, 13, 16, 19])
@pytest.mark.parametrize(("head", "linear_layers"), [("hidden", 3), ("linear", 1)])
def test_layers(depth: int, head: str, linear_layers: int) -> None:
    """The depth in the name counts the paper's three linear layers, whatever the head is here."""
    with torch.device("meta"):
        model = vgg.build(10, depth=depth, head=head)
    kinds = [type(module) for module in model.modules()]
    assert kinds.count(nn.Conv2d) == kinds.count(nn.BatchNorm2d) == depth - 3
    assert kinds.count(nn.Linear) == linear_layers
    assert kinds.count(nn.Dropout) == linear_layers - 1


@pytest.mark.parametrize(("head", "sides"), [("hidden", [32, 16, 8, 4, 2]), ("linear", [32, 16, 8, 4, 4])])
def test_where_it_pools(head: str, sides: list[int]) -> None:
    with torch.device("meta"):
        features = vgg.build(10, head=head).eval()(torch.empty(1, 3, 32, 32)).features
    assert [feature.shape[-1] for feature in features] == sides
    assert [feature.shape[1] for feature in features] == [64, 128, 256, 512, 512]


@pytest.mark.parametrize("head", ["hidden", "linear"])
@pytest.mark.parametrize("side", [8, 28, 33, 64])
def test_other_sizes_of_images(head: str, side: int) -> None:
    with torch.device("meta"):
        assert vgg.build(10, head=head).eval()(torch.empty(2, 3, side, side)).logits.shape == (2, 10)


def test_dropout_is_of_the_hidden_head_alone() -> None:
    x = torch.randn(4, 512, generator=torch.Generator().manual_seed(0))
    for model, random in (
        (vgg.build(10), True),
        (vgg.build(10, dropout=0.0), False),
        (vgg.build(10, head="linear"), False),
    ):
        head = model.train().head
        assert torch.equal(head(x), head(x)) is not random


def test_first_loss_is_that_of_a_guess() -> None:
    """The last layer starts small, so the first answers are nearly uniform."""
    torch.manual_seed(0)
    model = vgg.build(100).eval()
    with torch.no_grad():
        logits = model(torch.randn(8, 3, 32, 32)).logits
    loss = nn.functional.cross_entropy(logits, torch.arange(8))
    assert float(loss) == pytest.approx(math.log(100), abs=0.05)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"depth": 12}, "depth: expected one of 8, 11, 13, 16, 19; got 12"),
        ({"depth": True}, "depth"),
        ({"head": "liner"}, "did you mean 'linear'"),
        ({"dropout": 1.0}, "dropout"),
    ],
)
def test_refusals(options, said: str) -> None:
    with pytest.raises(LimbeckError, match=said) as raised:
        vgg.build(10, **options)
    assert "\n" not in str(raised.value)
