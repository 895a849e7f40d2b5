"""Masked generative distillation: from a part of its map, the student predicts all of the teacher's."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.types import Outputs, Shapes, Targets

from .adapters import ToSize
from .layers import adapted, one_pair, one_size_pair
from .plain_tensors import takes_tensors

NEEDS_LABELS = False
NEEDS_FEATURES = True


@takes_tensors
def masked(
    student: Outputs,
    teacher: Outputs,
    targets: Targets,
    *,
    share: float = 0.15,
    layers: tuple[int, ...] = (-1,),
    teacher_layers: str | tuple[int, ...] = "paired",
    state: nn.Module,
) -> Tensor:
    """Masked generative distillation: mean over images of Σ over C, H, W of (G(m · A(f)) − g)².

    Yang et al. 2022, "Masked Generative Distillation". A is a 1×1 convolution to the teacher's channels, and a change
    of size where the maps differ. m sets a random `share` of the positions of each image to 0, anew in each step. G is
    a 3×3 convolution, ReLU and another 3×3 convolution. A and G are trained with the student. The sum is large, so the
    weights are small: 1.2e-3 is published for CIFAR-100, 7e-5 for ImageNet. The labels are not used.

    layers, teacher_layers: one layer of each model, the last by default.
    student, teacher: outputs with features; no gradient flows into the teacher's.
    Returns one number.
    """
    own, of_teacher = one_pair("masked", student, teacher, layers, teacher_layers)
    if not 0 <= share < 1:
        raise LimbeckError(f"masked: share must be at least 0 and below 1; got {share!r}")
    part: Any = state
    aligned = adapted(part.align, own)
    kept = part.kept(aligned, share)
    return (adapted(part.generate, aligned * kept) - of_teacher).square().sum(dim=(1, 2, 3)).mean()


def state(
    student_shapes: Shapes,
    teacher_shapes: Shapes | None,
    *,
    share: float,
    layers: tuple[int, ...],
    teacher_layers: str | tuple[int, ...],
) -> nn.Module:
    """The alignment and the generator. Raises LimbeckError for a share that is not possible."""
    if not 0 <= share < 1:
        raise LimbeckError(f"masked: share must be at least 0 and below 1; got {share!r}")
    own, of_teacher = one_size_pair("masked", student_shapes, teacher_shapes, layers, teacher_layers)
    return Generator(own[0], *of_teacher, same_size=own[1:] == of_teacher[1:])


class Generator(nn.Module):
    """Alignment, masks and generator. The masks follow from a seed and the number of steps, both of which are saved."""

    seed: Tensor
    steps: Tensor

    def __init__(self, inputs: int, outputs: int, height: int, width: int, *, same_size: bool) -> None:
        super().__init__()
        self.align = nn.Sequential(nn.Conv2d(inputs, outputs, 1))
        if not same_size:
            self.align.append(ToSize(height, width))
        self.generate = nn.Sequential(
            nn.Conv2d(outputs, outputs, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(outputs, outputs, 3, padding=1)
        )
        self.register_buffer("seed", torch.randint(2**31, ()))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def kept(self, maps: Tensor, share: float) -> Tensor:
        """1 at the positions that are kept, 0 at the masked ones: `[B, 1, H, W]`. Each call in training is a step."""
        g = torch.Generator().manual_seed((int(self.seed) + 1_000_003 * int(self.steps)) % 2**63)
        drawn = torch.rand(maps.shape[0], 1, *maps.shape[2:], generator=g)
        if self.training and torch.is_grad_enabled():
            self.steps += 1
        return (drawn >= share).to(maps)
