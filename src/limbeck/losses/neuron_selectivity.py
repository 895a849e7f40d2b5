"""Neuron selectivity transfer: the distribution of the places at which channels are active."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from limbeck.types import Outputs, Targets

from .layers import map_pairs, pooled_to_smaller, products
from .plain_tensors import takes_tensors

NEEDS_LABELS = False
NEEDS_FEATURES = True


@takes_tensors
def neuron_selectivity(
    student: Outputs,
    teacher: Outputs,
    targets: Targets,
    *,
    layers: str | tuple[int, ...] = "all",
    teacher_layers: str | tuple[int, ...] = "paired",
) -> Tensor:
    """Neuron selectivity transfer: the sum over layers of mean k(f, f) + mean k(g, g) − 2 · mean k(f, g).

    Huang & Wang 2017, "Like What You Like: Knowledge Distill via Neuron Selectivity Transfer", the maximum mean
    discrepancy with the polynomial kernel k(a, b) = (aᵀ b)². f and g are the channels of an image, flattened over
    positions and divided by their Euclidean norm; means are over pairs of channels. Tables use it with `weight: 50`.
    The numbers of channels may differ; maps of other sizes are compared at the smaller one. The labels are not used.

    layers, teacher_layers: any number of pairs; all from the end by default.
    student, teacher: outputs with features; no gradient flows into the teacher's.
    Returns `[B]`.
    """
    value = torch.zeros(())
    for own, of_teacher in map_pairs("neuron_selectivity", student, teacher, layers, teacher_layers):
        f, g = (_unit_channels(x) for x in pooled_to_smaller(own, of_teacher))
        value = value.to(f) + _mean_kernel(f, f) + _mean_kernel(g, g) - 2 * _mean_kernel(f, g)
    return value


def _unit_channels(maps: Tensor) -> Tensor:
    """Channels `[B, C, H · W]` of norm 1."""
    flat = maps.flatten(2)
    largest = flat.detach().abs().amax(dim=2, keepdim=True).clamp_min(torch.finfo(flat.dtype).tiny)
    return functional.normalize(flat / largest, dim=2)


def _mean_kernel(one: Tensor, other: Tensor) -> Tensor:
    return products(one, other).square().mean(dim=(1, 2))
