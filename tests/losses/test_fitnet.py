"""FitNets' hints against equation 3."""

from __future__ import annotations

import pytest
import torch
from published_maps import check_extremes, check_gradient, check_orders, new_state, random_maps
from torch import nn

from limbeck.losses import fitnet

NOT_ZERO_AT_THE_TEACHER = "the regressor starts at random weights"


@pytest.mark.parametrize(
    ("student_side", "teacher_side", "kind"),
    [
        (8, 4, "Conv2d 3 2"),
        (4, 8, "ConvTranspose2d 4 2"),
        (4, 4, "Conv2d 1 1"),
        (8, 2, "Conv2d 1 1"),
        (3, 8, "Conv2d 1 1"),
    ],
)
def test_the_regressor_takes_every_size_to_the_teachers(student_side: int, teacher_side: int, kind: str) -> None:
    student = random_maps(0, (3, 2, student_side, student_side))
    teacher = random_maps(1, (3, 5, teacher_side, teacher_side))
    state = new_state("fitnet", student, teacher, layers=(-1,))
    assert f"{type(state[0]).__name__} {state[0].kernel_size[0]} {state[0].stride[0]}" == kind
    assert state(student.features[0]).shape == teacher.features[0].shape


def test_float64_reference() -> None:
    """By loops: 1×1 convolution, BatchNorm of the batch, mean of squares of each image."""
    student, teacher = random_maps(2, (3, 2, 2, 2), (3, 1, 1, 1)), random_maps(3, (3, 4, 2, 2), (3, 1, 1, 1))
    state = new_state("fitnet", student, teacher)
    weight, bias = state[0].weight[:, :, 0, 0], state[0].bias
    mapped = torch.empty(3, 4, 2, 2, dtype=torch.float64)
    for b in range(3):
        for c in range(4):
            mapped[b, c] = sum(weight[c, k] * student.features[0][b, k] for k in range(2)) + bias[c]
    for c in range(4):
        values = mapped[:, c]
        mean = values.sum() / 12
        variance = ((values - mean) ** 2).sum() / 12
        mapped[:, c] = (values - mean) / (variance + 1e-5) ** 0.5
    expected = [((mapped[b] - teacher.features[0][b]) ** 2).sum().item() / 16 for b in range(3)]
    assert fitnet(student, teacher, None, state=state).tolist() == pytest.approx(expected, rel=1e-12)


def test_the_published_regressor_of_resnet8x4_has_its_parameters() -> None:
    """128 to 128 channels at the second stage: 1×1 convolution and BatchNorm, 16.8 K."""
    maps = random_maps(0, (2, 64, 32, 32), (2, 128, 16, 16), (2, 256, 8, 8))
    state: nn.Module = new_state("fitnet", maps, maps)
    assert sum(p.numel() for p in state.parameters()) == 128 * 128 + 128 + 2 * 128


def test_gradient_order_and_extremes() -> None:
    check_gradient("fitnet")
    check_orders("fitnet")
    check_extremes("fitnet")
