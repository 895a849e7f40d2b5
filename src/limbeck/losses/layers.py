"""Which feature maps a loss compares, and how maps of different sizes are brought together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from limbeck.errors import LimbeckError, short_repr
from limbeck.types import Classifier, Outputs, Shapes

from .log_space import widened

Pair = TypeVar("Pair")
ALL, PAIRED = "all", "paired"
Layers = str | Sequence[int]
"""Numbers of layers: 1 is the shallowest, -1 the deepest. `all` takes as many from the end as both models have;
`paired`, for the teacher's, takes those that are as far from the end as the student's."""


class SizePair(NamedTuple):
    """The sizes `(C, H, W)` of a feature map of the student and of the teacher's that it is compared with."""

    student: tuple[int, int, int]
    teacher: tuple[int, int, int]


def map_pairs(
    name: str, student: Outputs, teacher: Outputs, layers: Layers, teacher_layers: Layers
) -> list[tuple[Tensor, Tensor]]:
    """The feature maps that loss `name` compares: pairs `[B, C, H, W]` of student and teacher.

    Both are at least float32, and no gradient flows into the teacher's. A feature `[B, C]` is a map of one position.
    Raises LimbeckError for layers that a model does not have, and for features that are not maps.
    """
    numbers = _numbers(name, len(student.features), len(teacher.features), layers, teacher_layers)
    return [
        (
            _as_map(name, "student", widened(student.features[i])),
            _as_map(name, "teacher", widened(teacher.features[j].detach())),
        )
        for i, j in numbers
    ]


def size_pairs(
    name: str, student: Shapes, teacher: Shapes | None, layers: Layers, teacher_layers: Layers
) -> list[SizePair]:
    """The sizes of the maps that `map_pairs` returns, for the state of a loss."""
    if teacher is None:
        raise LimbeckError(f"{name}: needs a teacher")
    numbers = _numbers(name, len(student.features), len(teacher.features), layers, teacher_layers)
    return [
        SizePair(_size(name, "student", student.features[i]), _size(name, "teacher", teacher.features[j]))
        for i, j in numbers
    ]


def pooled_pair(
    name: str, student: Outputs, teacher: Outputs, layers: Layers, teacher_layers: Layers
) -> tuple[Tensor, Tensor]:
    """The means over all positions of one pair of maps: `[B, C]` of student and teacher."""
    own, of_teacher = one_pair(name, student, teacher, layers, teacher_layers)
    return own.mean(dim=(2, 3)), of_teacher.mean(dim=(2, 3))


def one_pair(
    name: str, student: Outputs, teacher: Outputs, layers: Layers, teacher_layers: Layers
) -> tuple[Tensor, Tensor]:
    """`map_pairs` of a loss that compares one layer. Raises LimbeckError for several."""
    return _only(name, map_pairs(name, student, teacher, layers, teacher_layers), layers)


def one_size_pair(
    name: str, student: Shapes, teacher: Shapes | None, layers: Layers, teacher_layers: Layers
) -> SizePair:
    """`size_pairs` of a loss that compares one layer."""
    return _only(name, size_pairs(name, student, teacher, layers, teacher_layers), layers)


def _only(name: str, found: Sequence[Pair], layers: Layers) -> Pair:
    if len(found) != 1:
        raise LimbeckError(f"{name}: layers: expected one layer, such as [-1]; got {short_repr(layers)}")
    return found[0]


def _numbers(name: str, own: int, of_teacher: int, layers: Layers, teacher_layers: Layers) -> list[tuple[int, int]]:
    """Indices, from 0, of the layers of student and teacher."""
    for who, count in (("student", own), ("teacher", of_teacher)):
        if not count:
            raise LimbeckError(
                f"{name}: the {who} has no feature maps; the loss needs a model that returns "
                "Outputs(logits, features), or one whose submodules limbeck.distill is given by name"
            )
    everything = isinstance(layers, str) and layers == ALL
    paired = isinstance(teacher_layers, str) and teacher_layers == PAIRED
    if everything and paired:
        both = min(own, of_teacher)
        return [(own - back, of_teacher - back) for back in range(both, 0, -1)]
    if everything:
        theirs = _chosen(name, "teacher_layers", "teacher", of_teacher, teacher_layers)
        mine = [own - of_teacher + j for j in theirs]
        _check_counterparts(name, "layers", "student", own, mine, theirs)
    else:
        mine = _chosen(name, "layers", "student", own, layers)
        if paired:
            theirs = [of_teacher - own + i for i in mine]
            _check_counterparts(name, "teacher_layers", "teacher", of_teacher, theirs, mine)
        else:
            theirs = _chosen(name, "teacher_layers", "teacher", of_teacher, teacher_layers)
    if len(mine) != len(theirs):
        raise LimbeckError(
            f"{name}: layers has {len(mine)} layers, teacher_layers {len(theirs)}; each layer needs its counterpart"
        )
    return list(zip(mine, theirs, strict=True))


def _chosen(name: str, option: str, who: str, count: int, given: object) -> list[int]:
    word = ALL if option == "layers" else PAIRED
    if not isinstance(given, list | tuple) or not given:
        raise LimbeckError(
            f"{name}: {option}: expected a list of layers, such as [{count}] or [-1], or {word!r}; "
            f"got {short_repr(given)}"
        )
    for layer in given:
        if isinstance(layer, str):
            raise LimbeckError(
                f"{name}: {option}: {layer!r}: submodules are given by name to limbeck.distill; here, the {who}'s "
                f"layers are 1 to {count}"
            )
        if isinstance(layer, bool) or not isinstance(layer, int) or not 1 <= abs(layer) <= count:
            near = "" if isinstance(layer, bool) or not isinstance(layer, int) else _nearest(layer, count)
            raise LimbeckError(
                f"{name}: {option}: the {who} has layers 1 to {count} (or -1 to -{count}, from the end); "
                f"got {short_repr(layer)}{near}"
            )
    return [layer - 1 if layer > 0 else count + layer for layer in given]


def _nearest(layer: int, count: int) -> str:
    return f"; did you mean {(count if layer > 0 else -count) if layer else 1}?"


def _check_counterparts(
    name: str, option: str, who: str, count: int, found: Sequence[int], counterparts: Sequence[int]
) -> None:
    for index, counterpart in zip(found, counterparts, strict=True):
        if index < 0:
            raise LimbeckError(
                f"{name}: the {who} has {count} layers, so none is as far from the end as layer {counterpart + 1} of "
                f"the other model; give {option}"
            )


def _as_map(name: str, who: str, feature: Tensor) -> Tensor:
    _size(name, who, tuple(feature.shape))
    return feature[:, :, None, None] if feature.dim() == 2 else feature


def _size(name: str, who: str, shape: Sequence[int]) -> tuple[int, int, int]:
    if len(shape) == 2:
        return shape[1], 1, 1
    if len(shape) != 4:
        raise LimbeckError(f"{name}: expected feature maps [B, C, H, W]; the {who}'s are {list(shape)}")
    return shape[1], shape[2], shape[3]


def pooled_to_smaller(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Two maps at the lower of their heights and widths, by average pooling."""
    size = (min(one.shape[2], other.shape[2]), min(one.shape[3], other.shape[3]))
    pooled = [x if x.shape[2:] == size else functional.adaptive_avg_pool2d(x, size) for x in (one, other)]
    return pooled[0], pooled[1]


def adapted(module: nn.Module, *inputs: Tensor) -> Tensor:
    """A module of a loss's state, applied in the precision of its parameters whatever autocast says.

    The result has the type of the inputs, so float64 stays float64.
    """
    dtype = next((parameter.dtype for parameter in module.parameters()), inputs[0].dtype)
    with torch.autocast(inputs[0].device.type, enabled=False):
        return module(*(x.to(dtype) for x in inputs)).to(inputs[0].dtype)


def products(one: Tensor, other: Tensor) -> Tensor:
    """Inner products `[..., N, M]` of the rows of `[..., N, C]` and `[..., M, C]`; autocast does not reach them."""
    with torch.autocast(one.device.type, enabled=False):
        return one @ other.transpose(-1, -2)


def classifier_of(name: str, who: str, outputs: Outputs) -> tuple[Tensor, Tensor]:
    """Weight `[K, C]` and bias `[K]` of a model's linear classifier, at least float32.

    Raises LimbeckError if the model does not end in a linear layer on the means of its last map.
    """
    found: Classifier | None = outputs.classifier
    if found is None:
        raise LimbeckError(
            f"{name}: the {who} does not end in a linear layer on the means of its last feature map, which this loss "
            "needs"
        )
    weight = widened(found.weight)
    bias = weight.new_zeros(weight.shape[0]) if found.bias is None else widened(found.bias)
    return weight, bias
