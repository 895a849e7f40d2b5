"""Which layers are compared: numbers from 1 or from the end, and pairs from the end."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from published_maps import of, random_maps

from limbeck.errors import LimbeckError
from limbeck.losses import attention_transfer, fitnet, pooled_features, relational
from limbeck.losses.layers import map_pairs, size_pairs
from limbeck.types import Outputs, Shapes

STUDENT = random_maps(0, (2, 1, 8, 8), (2, 2, 4, 4), (2, 3, 2, 2))
TEACHER = random_maps(1, (2, 11, 8, 8), (2, 12, 4, 4), (2, 13, 4, 4), (2, 14, 2, 2))


@pytest.mark.parametrize(
    ("layers", "teacher_layers", "channels"),
    [
        ("all", "paired", [(1, 12), (2, 13), (3, 14)]),
        ([2], [3], [(2, 13)]),
        ([-1], "paired", [(3, 14)]),
        ([1, 3], "paired", [(1, 12), (3, 14)]),
        ([2], "paired", [(2, 13)]),
        ([-2, -1], [1, -1], [(2, 11), (3, 14)]),
        ("all", [3, 4], [(2, 13), (3, 14)]),
        ((3,), (1,), [(3, 11)]),
    ],
)
def test_pairs(layers: Any, teacher_layers: Any, channels: list[tuple[int, int]]) -> None:
    maps = map_pairs("x", STUDENT, TEACHER, layers, teacher_layers)
    assert [(s.shape[1], t.shape[1]) for s, t in maps] == channels
    sizes = size_pairs("x", Shapes.of(STUDENT), Shapes.of(TEACHER), layers, teacher_layers)
    assert [(s[0], t[0]) for s, t in sizes] == channels


def test_pairs_of_a_student_with_more_stages_count_from_the_end_too() -> None:
    pairs = map_pairs("x", TEACHER, STUDENT, "all", "paired")
    assert [(s.shape[1], t.shape[1]) for s, t in pairs] == [(12, 1), (13, 2), (14, 3)]


@pytest.mark.parametrize(
    ("layers", "teacher_layers", "message"),
    [
        (
            [4],
            "paired",
            r"layers: the student has layers 1 to 3 \(or -1 to -3, from the end\); got 4; did you mean 3\?",
        ),
        ([-5], "paired", r"layers: the student has layers 1 to 3 .* got -5; did you mean -3\?"),
        ([0], "paired", r"layers: the student has layers 1 to 3 .* got 0; did you mean 1\?"),
        ([1], [9], r"teacher_layers: the teacher has layers 1 to 4 .* got 9; did you mean 4\?"),
        ([True], "paired", r"layers: the student has layers .* got True"),
        ([1.0], "paired", r"layers: the student has layers .* got 1\.0"),
        ([], "paired", r"layers: expected a list of layers, such as \[3\] or \[-1\], or 'all'; got \[\]"),
        ("last", "paired", r"layers: expected a list of layers, .* or 'all'; got 'last'"),
        ([1], "all", r"teacher_layers: expected a list of layers, .* or 'paired'; got 'all'"),
        ([1, 2], [3], r"layers has 2 layers, teacher_layers 1; each layer needs its counterpart"),
        (
            ["layer2"],
            "paired",
            r"layers: 'layer2': submodules are given by name to limbeck\.distill; here, the student's",
        ),
        (
            "all",
            [1],
            r"the student has 3 layers, so none is as far from the end as layer 1 of the other model; give lay",
        ),
    ],
)
def test_layers_that_do_not_exist_are_named(layers: Any, teacher_layers: Any, message: str) -> None:
    with pytest.raises(LimbeckError, match=rf"^x: {message}[^\n]*$"):
        map_pairs("x", STUDENT, TEACHER, layers, teacher_layers)
    with pytest.raises(LimbeckError, match=rf"^x: {message}[^\n]*$"):
        size_pairs("x", Shapes.of(STUDENT), Shapes.of(TEACHER), layers, teacher_layers)


def test_a_model_without_features_is_named() -> None:
    bare = Outputs(torch.zeros(2, 5))
    with pytest.raises(LimbeckError, match=r"^attention_transfer: the student has no feature maps; the loss needs a m"):
        attention_transfer(bare, of(torch.ones(2, 1, 2, 2)), None)
    with pytest.raises(LimbeckError, match=r"^attention_transfer: the teacher has no feature maps; the loss needs a m"):
        attention_transfer(of(torch.ones(2, 1, 2, 2)), torch.zeros(2, 5), None)


def test_tokens_are_refused_and_vectors_are_maps_of_one_position() -> None:
    tokens = of(torch.ones(2, 7, 4))
    with pytest.raises(
        LimbeckError, match=r"^relational: expected feature maps \[B, C, H, W\]; the student's are \[2, 7"
    ):
        relational(tokens, of(torch.ones(2, 3, 2, 2)), None)
    vectors = torch.arange(6.0).view(2, 3) ** 2
    maps = vectors[:, :, None, None].expand(2, 3, 4, 4)
    other = of(torch.arange(8.0).view(2, 4))
    torch.testing.assert_close(relational(of(vectors), other, None), relational(of(maps), other, None))


def test_a_loss_of_one_layer_refuses_two() -> None:
    for loss, state in ((fitnet, torch.nn.Identity()), (pooled_features, torch.nn.Identity())):
        with pytest.raises(LimbeckError, match=r"layers: expected one layer, such as \[-1\]; got \[1, 2\]$"):
            loss(STUDENT, TEACHER, None, layers=[1, 2], state=state)


def test_no_gradient_reaches_the_teacher() -> None:
    teacher = of(*(x.clone().requires_grad_() for x in TEACHER.features))
    for own, theirs in map_pairs("x", STUDENT, teacher, "all", "paired"):
        assert not theirs.requires_grad and own.dtype == torch.float64
