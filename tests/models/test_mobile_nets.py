"""MobileNetV2, MobileNetV3-small and ShuffleNetV2: what is ours against torchvision, what is not against the papers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.models import mobilenetv2, mobilenetv3_small, shufflenetv2, vgg
from limbeck.models.folding import fold_batch_norms
from limbeck.models.inverted_residual import InvertedResidual, SqueezeExcitation, round_channels
from limbeck.models.shufflenetv2 import interleave
from limbeck.models.torchvision_operators import declare_missing_operators

declare_missing_operators()


def copied(ours: nn.Module, theirs: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Their weights, drawn large enough to matter, in our net: both list them in the order of the layers."""
    torch.manual_seed(0)
    for name, tensor in theirs.state_dict().items():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5) if "running_var" in name or tensor.ndim == 1 else nn.init.kaiming_normal_(tensor)
    state = ours.state_dict()
    pairs = zip(state.items(), theirs.state_dict().values(), strict=True)
    ours.load_state_dict({name: source.view_as(tensor) for (name, tensor), source in pairs})
    return ours.double().eval(), theirs.double().eval()


def assert_same(ours: nn.Module, theirs: nn.Module, side: int) -> None:
    ours, theirs = copied(ours, theirs)
    x = torch.randn(2, 3, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(ours(x).logits, theirs(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("width", [0.5, 0.75, 1.4])
def test_mobilenetv2_is_torchvisions_without_two_strides(width: float) -> None:
    models = pytest.importorskip("torchvision").models
    settings = [
        [1, 16, 1, 1],
        [6, 24, 2, 1],
        [6, 32, 3, 2],
        [6, 64, 4, 2],
        [6, 96, 3, 1],
        [6, 160, 3, 2],
        [6, 320, 1, 1],
    ]
    theirs = models.MobileNetV2(7, width_mult=width, inverted_residual_setting=settings)
    theirs.features[0][0].stride = (1, 1)
    assert_same(mobilenetv2.build(7, width=width), theirs, 16)


@pytest.mark.parametrize(("stem", "side"), [("imagenet", 64), ("cifar", 16)])
def test_mobilenetv3_small_is_torchvisions(stem: str, side: int) -> None:
    theirs = pytest.importorskip("torchvision").models.mobilenet_v3_small(num_classes=7)
    if stem == "cifar":
        theirs.features[0][0].stride = theirs.features[1].block[0][0].stride = (1, 1)
        theirs.features[1].use_res_connect = True  # a block that keeps its shape has an identity beside it
    assert_same(mobilenetv3_small.build(7, stem=stem), theirs, side)


@pytest.mark.parametrize("width", [0.5, 1.0])
def test_shufflenetv2_is_torchvisions_without_stride_and_pool(width: float) -> None:
    models = pytest.importorskip("torchvision").models
    theirs = models.ShuffleNetV2([4, 8, 4], [24, *shufflenetv2.CHANNELS[width]], num_classes=7)
    theirs.conv1[0].stride, theirs.maxpool = (1, 1), nn.Identity()
    assert_same(shufflenetv2.build(7, width=width), theirs, 16)


@given(st.integers(1, 3), st.integers(1, 6), st.booleans())
def test_interleave(batch: int, channels: int, channels_last: bool) -> None:
    left, right = torch.randn(2, batch, channels, 3, 5)
    if channels_last:
        left, right = (x.contiguous(memory_format=torch.channels_last) for x in (left, right))
    mixed = interleave(left, right)
    assert torch.equal(mixed[:, 0::2], left)
    assert torch.equal(mixed[:, 1::2], right)
    assert mixed.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("build", [mobilenetv2.build, mobilenetv3_small.build, shufflenetv2.build])
def test_maps_stay_channels_last(build) -> None:
    model = build(7).to(memory_format=torch.channels_last).eval()
    with torch.no_grad():
        features = model(torch.randn(2, 3, 32, 32).contiguous(memory_format=torch.channels_last)).features
    assert len(features) == 4
    assert all(feature.is_contiguous(memory_format=torch.channels_last) for feature in features)
    assert [feature.shape[-1] for feature in features] == [32, 16, 8, 4]


@pytest.mark.parametrize("build", [mobilenetv2.build, mobilenetv3_small.build, shufflenetv2.build, vgg.build])
def test_every_norm_can_be_folded(build) -> None:
    folded = fold_batch_norms(build(7))
    assert not [module for module in folded.modules() if isinstance(module, nn.BatchNorm2d)]


@given(st.floats(0.01, 5000))
def test_rounded(channels: float) -> None:
    found = round_channels(channels)
    assert found % 8 == 0
    assert found >= 8
    assert found >= 0.9 * channels
    assert found < 8 + 1.1 * channels
    if channels >= 72:  # from here on the nearest multiple is near enough
        assert abs(found - channels) <= 4


def test_rounded_of_the_papers_widths() -> None:
    assert [round_channels(c) for c in (1, 11.2, 12, 18, 24, 44.8, 72, 134.4)] == [8, 16, 16, 24, 24, 48, 72, 136]


def test_the_identity_is_there_where_the_shape_stays() -> None:
    """With the last convolution at zero, a block is the identity or nothing."""
    x = torch.randn(2, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    for outputs, stride, stays in ((8, 1, True), (8, 2, False), (16, 1, False)):
        block = InvertedResidual(8, 24, outputs, stride=stride).eval()
        nn.init.zeros_(block.path[-1][0].weight)  # pyright: ignore[reportIndexIssue, reportArgumentType]
        assert torch.equal(block(x), x if stays else torch.zeros(2, outputs, 6 // stride, 6 // stride))


@pytest.mark.parametrize(("bias", "share"), [(0.0, 0.5), (3.0, 1.0), (-3.0, 0.0), (1.5, 0.75)])
def test_squeeze_and_excitation_weighs_by_a_hard_sigmoid(bias: float, share: float) -> None:
    module = SqueezeExcitation(16)
    nn.init.zeros_(module.gate[2].weight)  # pyright: ignore[reportArgumentType]
    nn.init.constant_(module.gate[2].bias, bias)  # pyright: ignore[reportArgumentType]
    x: Tensor = torch.randn(2, 16, 3, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(module(x), share * x)


def test_mobilenetv3_norms_are_the_published_ones() -> None:
    norms = [m for m in mobilenetv3_small.build(7).modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 34
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.01)}


@pytest.mark.parametrize(
    ("build", "options", "said"),
    [
        (mobilenetv2.build, {"width": 0}, "width: expected a number greater than 0, at most 16; got 0"),
        (mobilenetv2.build, {"width": float("nan")}, "width"),
        (mobilenetv2.build, {"width": "wide"}, "width"),
        (mobilenetv2.build, {"dropout": 1}, "dropout"),
        (shufflenetv2.build, {"width": 0.75}, "width: expected one of 0.5, 1.0, 1.5, 2.0; got 0.75"),
        (shufflenetv2.build, {"width": [1]}, "width"),
        (mobilenetv3_small.build, {"stem": "cifer"}, "did you mean 'cifar'"),
    ],
)
def test_refusals(build, options, said: str) -> None:
    with pytest.raises(LimbeckError, match=said) as raised:
        build(7, **options)
    assert "\n" not in str(raised.value)
