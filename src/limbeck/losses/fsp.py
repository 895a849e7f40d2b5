"""Flow of solution procedure: how a model goes from one stage to the next."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.types import Outputs, Targets

from .layers import map_pairs, pooled_to_smaller, products
from .plain_tensors import takes_tensors

NEEDS_LABELS = False
NEEDS_FEATURES = True


@takes_tensors
def fsp(
    student: Outputs,
    teacher: Outputs,
    targets: Targets,
    *,
    layers: str | tuple[int, ...] = "all",
    teacher_layers: str | tuple[int, ...] = "paired",
) -> Tensor:
    """Flow of solution procedure: the sum over consecutive layers of the mean of (G(f) − G(g))².

    Yim et al. 2017, "A Gift from Knowledge Distillation". G `[C1, C2]` of an image is the mean over positions of the
    products of the channels of one layer with those of the next, at the size of the smaller map. Tables use it with
    `weight: 50`. The paper trains on it alone first and then on labels; here it is a term beside others. The channels
    of student and teacher must be equal. The labels are not used.

    layers, teacher_layers: at least two pairs; all from the end by default.
    student, teacher: outputs with features; no gradient flows into the teacher's.
    Returns `[B]`.
    """
    pairs = map_pairs("fsp", student, teacher, layers, teacher_layers)
    if len(pairs) < 2:
        raise LimbeckError(
            "fsp: layers: expected at least two layers, because it compares the way from one to the next"
        )
    for own, of_teacher in pairs:
        if own.shape[1] != of_teacher.shape[1]:
            raise LimbeckError(
                f"fsp: needs equal numbers of channels; the student's layer has {own.shape[1]}, the teacher's "
                f"{of_teacher.shape[1]}; choose other layers, or a loss with an adapter, such as fitnet"
            )
    value = torch.zeros(())
    for (f1, g1), (f2, g2) in itertools.pairwise(pairs):
        difference = flow(f1, f2) - flow(g1, g2)
        value = value.to(difference) + difference.square().mean(dim=(1, 2))
    return value


def flow(one: Tensor, following: Tensor) -> Tensor:
    """Mean products `[B, C1, C2]` of the channels of two maps."""
    one, following = pooled_to_smaller(one, following)
    return products(one.flatten(2), following.flatten(2)) / one[0, 0].numel()
