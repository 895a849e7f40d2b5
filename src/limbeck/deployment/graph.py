"""The module that is exported: uint8 images in, probabilities and logits out, preprocessing included."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from limbeck.building.saved_model import LoadedModel
from limbeck.models.folding import fold_batch_norms
from limbeck.training.teacher import as_outputs

from .learned_scales import is_quantised, with_explicit_quantisation

Layout = Literal["nhwc", "nchw"]


class DeployedModel(nn.Module):
    """A loaded model as a device runs it. Call it with uint8 images for `(probabilities, logits)`, each `[B, K]`.

    It resizes and normalises like `LoadedModel`, its BatchNorms are folded, and it shares no tensor with the model.
    learned_int8: whether the model was trained for int8; the graph then has its roundings.
    layout: `nhwc` takes images `[B, H, W, C]`, as image libraries and browsers hold them; `nchw` takes `[B, C, H, W]`.
    """

    scale: Tensor
    shift: Tensor
    rows: Tensor
    columns: Tensor

    def __init__(self, model: LoadedModel, layout: Layout = "nhwc") -> None:
        super().__init__()
        self.layout = layout
        self.learned_int8 = is_quantised(model.model)
        network = with_explicit_quantisation(model.model) if self.learned_int8 else fold_batch_norms(model.model)
        self.network = network.float()
        sd, mean = (getattr(model.input_format.normalisation, name) for name in ("sd", "mean"))
        self.register_buffer("scale", 1 / (255 * torch.tensor(sd)).view(1, -1, 1, 1))
        self.register_buffer("shift", -torch.tensor(mean).view(1, -1, 1, 1) / torch.tensor(sd).view(1, -1, 1, 1))
        side, interpolation = model.input_format.resolution, model.input_format.interpolation
        _, height, width = model.image_shape
        self.resizes = side is not None and (height, width) != (side, side)
        if self.resizes:
            self.register_buffer("rows", resize_matrix(height, side or height, interpolation))
            self.register_buffer("columns", resize_matrix(width, side or width, interpolation).T.contiguous())
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities and logits, float32."""
        pixels = (images.permute(0, 3, 1, 2) if self.layout == "nhwc" else images).float()
        if self.resizes:
            pixels = self.rows @ pixels @ self.columns
        logits = as_outputs(self.network(pixels * self.scale + self.shift)).logits.float()
        return logits.softmax(dim=-1), logits


def resize_matrix(size: int, new_size: int, interpolation: str) -> Tensor:
    """The matrix `[new_size, size]` by which torch's antialiased `interpolate` resizes one side of an image.

    The graph multiplies by it in place of a resize operation: runtimes disagree about antialiasing (and some have
    none), but all of them multiply matrices.
    """
    identity = torch.eye(size, dtype=torch.float64).view(1, 1, size, size)
    resized = functional.interpolate(
        identity, size=(new_size, size), mode=interpolation, antialias=True, align_corners=False
    )
    return resized[0, 0].float()
