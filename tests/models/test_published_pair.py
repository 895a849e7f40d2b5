from __future__ import annotations

import pytest
import torch
from torch import nn

from limbeck.errors import LimbeckError
from limbeck.models import lightweight_cnn, resnet, strided_resnet, wide_resnet


def test_teacher_halves_the_image_where_published() -> None:
    features = strided_resnet.build(10)(torch.zeros(2, 3, 32, 32)).features
    assert [tuple(f.shape[1:]) for f in features] == [(128, 8, 8), (256, 4, 4), (512, 2, 2)]


def test_student_pools_after_the_first_three() -> None:
    features = lightweight_cnn.build(10).eval()(torch.zeros(2, 3, 32, 32)).features
    assert [tuple(f.shape[1:]) for f in features] == [(16, 32, 32), (32, 16, 16), (64, 8, 8), (128, 4, 4)]


def test_student_has_the_published_dropout() -> None:
    def shares(model: nn.Module) -> list[float]:
        return [module.p for module in model.modules() if isinstance(module, nn.Dropout)]

    assert shares(lightweight_cnn.build(10)) == [0.5, 0.3]
    without = lightweight_cnn.build(10, dropout=0.0, hidden_dropout=0.0).train()
    assert shares(without) == [0.0, 0.0]
    x = torch.randn(4, 3, 32, 32)
    assert torch.equal(without(x).logits, without(x).logits)
    published = lightweight_cnn.build(10).train()
    assert not torch.equal(published(x).logits, published(x).logits)


@pytest.mark.parametrize("build", [strided_resnet.build, lightweight_cnn.build, resnet.build, wide_resnet.build])
def test_logits_are_the_head_of_the_last_features(build) -> None:
    model = build(10).eval()
    outputs = model(torch.randn(3, 3, 32, 32))
    torch.testing.assert_close(model.head(outputs.features[-1].mean((2, 3))), outputs.logits)


@pytest.mark.parametrize(
    ("build", "options", "said"),
    [
        (lightweight_cnn.build, {"dropout": 1.5}, "dropout: expected a number of at least 0 and less than 1; got 1.5"),
        (
            lightweight_cnn.build,
            {"hidden_dropout": "much"},
            "hidden_dropout: expected a number .*; got 'much'",
        ),
        (resnet.build, {"depth": 21}, r"depth: expected 6 n \+ 2 .*; got 21"),
        (resnet.build, {"depth": "20"}, "depth: expected an integer of at least 1; got '20'"),
        (resnet.build, {"stem": 0}, "stem: expected an integer of at least 1; got 0"),
        (wide_resnet.build, {"depth": 20}, r"depth: expected 6 n \+ 4 .*; got 20"),
        (wide_resnet.build, {"widen": 1.5}, "widen: expected an integer of at least 1; got 1.5"),
    ],
)
def test_options_that_make_no_sense(build, options, said: str) -> None:
    with pytest.raises(LimbeckError, match=said):
        build(10, **options)
