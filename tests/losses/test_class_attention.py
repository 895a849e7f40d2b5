"""Class attention transfer: the maps are the classifier before pooling."""

from __future__ import annotations

import math

import pytest
import torch
from published_maps import random_maps

from limbeck.errors import LimbeckError
from limbeck.losses import class_attention
from limbeck.losses.class_attention import class_activation_maps
from limbeck.types import Classifier, Outputs


def model(seed: int, channels: int, side: int, *, batch: int = 3, dtype: torch.dtype = torch.float64) -> Outputs:
    """A last map, a classifier of five classes, and the logits that follow."""
    g = torch.Generator().manual_seed(seed)
    weight, bias = torch.randn(5, channels, generator=g).to(dtype), torch.randn(5, generator=g).to(dtype)
    last = random_maps(seed, (batch, channels, side, side)).features[0].to(dtype)
    return Outputs(last.mean((2, 3)) @ weight.T + bias, (last,), Classifier(weight, bias))


def test_the_means_of_the_maps_are_the_logits() -> None:
    one = model(0, 3, 4)
    assert one.classifier is not None and one.classifier.bias is not None
    maps = class_activation_maps(one.features[0], one.classifier.weight, one.classifier.bias)
    torch.testing.assert_close(maps.mean((2, 3)), one.logits)
    pooled = class_attention(one, model(1, 4, 8), None, side=1)
    torch.testing.assert_close(pooled, (one.logits - model(1, 4, 8).logits).square().mean(1))


@pytest.mark.parametrize("normalise", [False, True])
def test_float64_reference(normalise: bool) -> None:
    student, teacher = model(0, 3, 4), model(1, 6, 2)
    expected = []
    for b in range(3):
        total = 0.0
        for k in range(5):
            cells = []
            for one in (student, teacher):
                assert one.classifier is not None and one.classifier.bias is not None
                last, size = one.features[0][b], one.features[0].shape[-1] // 2
                cell = []
                for i in range(2):
                    for j in range(2):
                        block = last[:, i * size : (i + 1) * size, j * size : (j + 1) * size].mean((1, 2))
                        cell.append(float((one.classifier.weight[k] * block).sum() + one.classifier.bias[k]))
                cells.append([v / math.hypot(*cell) for v in cell] if normalise else cell)
            total += sum((x - y) ** 2 for x, y in zip(*cells, strict=True))
        expected.append(total / 20)
    assert class_attention(student, teacher, None, normalise=normalise).tolist() == pytest.approx(expected, rel=1e-12)


def test_gradcheck_of_map_weight_and_bias_and_none_for_the_teacher() -> None:
    student, teacher = model(2, 3, 4), model(3, 4, 2)
    assert student.classifier is not None and student.classifier.bias is not None
    leaves = [x.requires_grad_() for x in (student.features[0], *student.classifier)]  # type: ignore[union-attr]
    call = lambda f, w, b: class_attention(Outputs(student.logits, (f,), Classifier(w, b)), teacher, None)  # noqa: E731
    assert torch.autograd.gradcheck(call, leaves)
    asks = teacher._replace(classifier=Classifier(*(x.requires_grad_() for x in teacher.classifier)))  # type: ignore[union-attr]
    class_attention(student, asks, None).sum().backward()
    assert asks.classifier is not None and asks.classifier.weight.grad is None


def test_zero_at_the_teacher_and_finite_at_extremes() -> None:
    assert class_attention(model(0, 3, 4), model(0, 3, 4), None).abs().max() == 0
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        for size in (0.0, 1.0, 1e4):
            student, teacher = (
                one._replace(features=(one.features[0] * size,))
                for one in (model(0, 3, 4, dtype=dtype), model(1, 4, 4, dtype=dtype))
            )
            leaf = student.features[0].detach().requires_grad_()
            for normalise in (False, True):
                value = class_attention(student._replace(features=(leaf,)), teacher, None, normalise=normalise)
                assert value.isfinite().all()


def test_a_model_without_a_linear_classifier_is_named() -> None:
    with pytest.raises(
        LimbeckError, match=r"^class_attention: the student does not end in a linear layer on the means"
    ):
        class_attention(model(0, 3, 4)._replace(classifier=None), model(1, 3, 4), None)
