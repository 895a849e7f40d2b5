"""Teachers from trained models and from weights files, with logits in the class order of the data."""

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
    name: str,
    model: nn.Module,
    input_format: InputFormat,
    *,
    device: torch.device,
    precision: str,
    folded: bool = True,
) -> Teacher:
    """Make a frozen teacher from a trained model. folded: whether BatchNorm layers are folded into convolutions."""
    fold = fold_batch_norms if folded else None
    return Teacher(name, model, input_format, device=device, dtype=compute_dtype(precision, device), fold=fold)


def load_teacher_from_file(name: str, arm: Arm, images: Images, models: CustomFunctions) -> nn.Module:
    """Load a teacher from the user's own file, with logits in the class order of the data.

    Raises LimbeckError if the classes of the teacher and of the data differ in number or name; it shows both.
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
    """Reorder a model's logits from its own class order to that of the data.

    Raises LimbeckError that shows how the two lists differ.
    """
    if classes is None or tuple(classes) == tuple(class_names):
        return model
    if len(classes) != len(class_names):
        raise LimbeckError(
            f"{where}.classes: the teacher has {len(classes)} classes, the data {len(class_names)} "
            f"({first_names(classes)} against {first_names(class_names)})"
        )
    if set(classes) != set(class_names):
        only_model, only_data = sorted(set(classes) - set(class_names)), sorted(set(class_names) - set(classes))
        raise LimbeckError(
            f"{where}.classes: names differ: {first_names(only_model)} only in the model, "
            f"{first_names(only_data)} only in the data"
        )
    return Reordered(model, [list(classes).index(name) for name in class_names])


class Reordered(nn.Module):
    """A model with its logits put into another order."""

    def __init__(self, model: nn.Module, order: Sequence[int]) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("order", torch.tensor(order), persistent=False)

    def forward(self, pixels: torch.Tensor) -> Any:
        """`Outputs` with the columns of the logits reordered."""
        outputs = as_outputs(self.model(pixels))
        return outputs._replace(logits=outputs.logits[:, self.order])  # pyright: ignore[reportArgumentType]


class LogOfProbabilities(nn.Module):
    """A model that outputs probabilities, with their logarithms as logits. 0 counts as the smallest normal float32."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: torch.Tensor) -> Any:
        """`Outputs` with logits whose softmax gives the model's probabilities."""
        outputs = as_outputs(self.model(pixels))
        probabilities = outputs.logits.float()
        return outputs._replace(logits=probabilities.clamp_min(torch.finfo(torch.float32).tiny).log())
