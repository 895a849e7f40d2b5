"""Softmax regression against its formula."""

from __future__ import annotations

import pytest
import torch
from published_maps import new_state
from test_class_attention import model
from torch import nn

from limbeck.errors import LimbeckError
from limbeck.losses import softmax_regression

NOT_ZERO_AT_THE_TEACHER = "the layer that maps the student's features starts at random weights"


def test_float64_reference() -> None:
    student, teacher = model(0, 3, 4, batch=5), model(1, 6, 2, batch=5)
    state = new_state("softmax_regression", student, teacher)
    mapped = student.features[0].mean((2, 3)) @ state[0].weight.T
    unit = (mapped - mapped.mean(0)) / (mapped.var(0, unbiased=False) + 1e-5).sqrt()
    h = unit.clamp_min(0).tolist()
    assert teacher.classifier is not None and teacher.classifier.bias is not None
    weight, bias = teacher.classifier.weight.tolist(), teacher.classifier.bias.tolist()
    expected = []
    for b in range(5):
        g, z = teacher.features[0][b].mean((1, 2)).tolist(), teacher.logits[b].tolist()
        answered = [sum(w * x for w, x in zip(weight[k], h[b], strict=True)) + bias[k] for k in range(5)]
        features = sum((x - y) ** 2 for x, y in zip(h[b], g, strict=True)) / 6
        expected.append(2.0 * features + 3.0 * sum((x - y) ** 2 for x, y in zip(answered, z, strict=True)) / 5)
    value = softmax_regression(student, teacher, None, feature_weight=2.0, logit_weight=3.0, state=state)
    assert value.tolist() == pytest.approx(expected, rel=1e-10)


def test_zero_where_the_mapped_features_are_the_teachers() -> None:
    teacher = model(1, 6, 2)
    assert softmax_regression(teacher, teacher, None, state=nn.Identity()).abs().max() < 1e-20


def test_gradcheck_and_extremes() -> None:
    student, teacher = model(0, 3, 4), model(1, 6, 2)
    state = new_state("softmax_regression", student, teacher)
    leaf = student.features[0].requires_grad_()
    call = lambda f: softmax_regression(student._replace(features=(f,)), teacher, None, state=state)  # noqa: E731
    assert torch.autograd.gradcheck(call, (leaf,))
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        for size in (0.0, 1.0, 1e4):
            small, large = model(0, 3, 4, dtype=dtype), model(1, 6, 2, dtype=dtype)
            own = (small.features[0] * size).requires_grad_()
            words = {"state": new_state("softmax_regression", small, large).float()}
            value = softmax_regression(small._replace(features=(own,)), large, None, **words)
            value.sum().backward()
            assert value.isfinite().all() and own.grad is not None and own.grad.isfinite().all()


def test_a_teacher_without_a_linear_classifier_is_named() -> None:
    student, teacher = model(0, 3, 4), model(1, 6, 2)._replace(classifier=None)
    state = new_state("softmax_regression", student, teacher)
    with pytest.raises(
        LimbeckError, match=r"^softmax_regression: the teacher does not end in a linear layer on the me"
    ):
        softmax_regression(student, teacher, None, state=state)
