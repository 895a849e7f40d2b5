"""Teachers: from trained models, and from users' files with their outputs converted to logits in the data's order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from limbeck.errors import LimbeckError
from limbeck.models.folding import fold_batch_norms
from limbeck.recipes.recipe import Arm, CustomFunctions
from limbeck.training.model_errors import explain_build_errors
from limbeck.training.precision import compute_dtype
from limbeck.training.teacher import Teacher, as_outputs
from limbeck.views.preprocess import InputFormat
from limbeck.weights.load import load_weights

from .data import Images
from .models import build_model, check_output, first_names, make_input_format


def make_teacher(
    name: str, model: nn.Module, input_format: InputFormat, *, device: torch.device, precision: str
) -> Teacher:
    """A frozen teacher of a trained model."""
    return Teacher(
        name, model, input_format, device=device, dtype=compute_dtype(precision, device), fold=fold_batch_norms
    )


def load_teacher_from_file(name: str, arm: Arm, images: Images, models: CustomFunctions) -> nn.Module:
    """A teacher from the user's own file, its outputs in the order of the data's classes.

    Raises LimbeckError that names both where the count or the names of the classes do not fit.
    """
    path = Path(str(arm.weights))
    count = len(arm.classes) if arm.classes else len(images.class_names)
    with explain_build_errors(name, arm.model.name):
        model = build_model(arm.model, count, models, pretrained=False)
    load_weights(model, path)
    if arm.outputs == "probabilities":
        model = LogOfProbabilities(model)
    model = reorder_classes(model, f"teachers.{name}", arm.classes, images.class_names)
    check_output(name, model, images, make_input_format(arm, images), arm.model.name)
    return model


def reorder_classes(
    model: nn.Module, where: str, classes: Sequence[str] | None, class_names: Sequence[str]
) -> nn.Module:
    """Reorder a model's logits from its own class order to the data's.

    Raises LimbeckError that names both lists' difference.
    """
    if classes is None or tuple(classes) == tuple(class_names):
        return model
    if len(classes) != len(class_names):
        raise LimbeckError(
            f"{where}.classes: the teacher has {len(classes)} classes, the data {len(class_names)} "
            f"({first_names(classes)} against {first_names(class_names)})"
        )
    if set(classes) != set(class_names):
        theirs, ours = sorted(set(classes) - set(class_names)), sorted(set(class_names) - set(classes))
        raise LimbeckError(
            f"{where}.classes: names differ: {first_names(theirs)} only in the model, "
            f"{first_names(ours)} only in the data"
        )
    return Reordered(model, [list(classes).index(name) for name in class_names])


class Reordered(nn.Module):
    """A model whose logits come in another order."""

    def __init__(self, model: nn.Module, order: Sequence[int]) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("order", torch.tensor(order), persistent=False)

    def forward(self, pixels: torch.Tensor) -> Any:
        """`Outputs` with the columns of the logits put in order."""
        outputs = as_outputs(self.model(pixels))
        return outputs._replace(logits=outputs.logits[:, self.order])  # pyright: ignore[reportArgumentType]


class LogOfProbabilities(nn.Module):
    """A model that ends in a softmax, with the logarithm of its answers as logits; of 0 that of the smallest number."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: torch.Tensor) -> Any:
        """`Outputs` with logits whose softmax is what the model answers."""
        outputs = as_outputs(self.model(pixels))
        probabilities = outputs.logits.float()
        return outputs._replace(logits=probabilities.clamp_min(torch.finfo(torch.float32).tiny).log())
