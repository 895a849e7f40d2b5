"""A model as a function from images to logits, as evaluation takes it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from limbeck.types import Predict
from limbeck.views.preprocess import InputFormat, prepare

from .model_errors import explain_model_errors, explain_out_of_memory
from .precision import autocast
from .teacher import as_outputs


def predictor(
    model: nn.Module,
    input_format: InputFormat,
    *,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    name: str = "model",
) -> Predict:
    """uint8 `[B, C, H, W]` to float32 logits `[B, K]` on `device`, normalised and resized as `input_format` says.

    Each call runs the model in eval mode and restores its previous mode.
    """

    def predict(images: Tensor) -> Tensor:
        training = model.training
        model.eval()
        try:
            with torch.inference_mode(), autocast(dtype, device), explain_out_of_memory(name, images.shape[0]):
                pixels = prepare(images.to(device), input_format)
                with explain_model_errors(name, pixels.shape):
                    return as_outputs(model(pixels)).logits.float()
        finally:
            model.train(training)

    return predict
