"""FitNets' hints: the student's feature map, through a regressor, predicts the teacher's."""

from __future__ import annotations

from torch import Tensor, nn

from limbeck.types import Outputs, Shapes, Targets

from .adapters import map_adapter
from .layers import adapted, one_pair, one_size_pair
from .plain_tensors import takes_tensors

NEEDS_LABELS = False
NEEDS_FEATURES = True


@takes_tensors
def fitnet(
    student: Outputs,
    teacher: Outputs,
    targets: Targets,
    *,
    layers: tuple[int, ...] = (-2,),
    teacher_layers: str | tuple[int, ...] = "paired",
    state: nn.Module,
) -> Tensor:
    """FitNets' hint loss: mean over C, H, W of (r(f) − g)².

    Romero et al. 2015, "FitNets: Hints for Thin Deep Nets", equation 3, without its ½ and as a mean, as in the code
    that the literature compares with. f and g are feature maps of student and teacher, r a regressor that is trained
    with the student: a convolution to the teacher's channels and size, then BatchNorm. Use it with `weight: 100` beside
    cross-entropy, which is one stage of training. The paper first trains on hints alone, then on the teacher's logits.

    The regressor is a 3×3 convolution of stride 2 if the student's map is twice as large, a transposed 4×4 one of
    stride 2 if it is half as large, and 1×1 if both have one size. For other sizes it is 1×1 at the teacher's size.
    layers, teacher_layers: one layer of each model; the one before the last by default. The labels are not used.
    student, teacher: outputs with features; no gradient flows into the teacher's.
    Returns `[B]`.
    """
    own, of_teacher = one_pair("fitnet", student, teacher, layers, teacher_layers)
    return (adapted(state, own) - of_teacher).square().mean(dim=(1, 2, 3))


def state(
    student_shapes: Shapes,
    teacher_shapes: Shapes | None,
    *,
    layers: tuple[int, ...],
    teacher_layers: str | tuple[int, ...],
) -> nn.Module:
    """The regressor of the student's map."""
    own, of_teacher = one_size_pair("fitnet", student_shapes, teacher_shapes, layers, teacher_layers)
    return map_adapter(own, of_teacher)
