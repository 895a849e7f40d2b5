"""A model as a function from images to logits: what evaluation takes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from limbeck.types import Predict
from limbeck.views.preprocess import InputFormat, prepare

from .model_errors import naming_model
from .out_of_memory import naming_memory
from .precision import autocast
from .teacher import as_outputs


def predictor(
    model: nn.Module,
    form: InputFormat,
    *,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    name: str = "model",
) -> Predict:
    """uint8 `[B, C, H, W]` to float32 logits `[B, K]` on `device`, normalised and resized as `form` says.

    The model is put into eval mode for each call and afterwards back into the mode it was in.
    """

    def predict(images: Tensor) -> Tensor:
        training = model.training
        model.eval()
        try:
            with torch.inference_mode(), autocast(dtype, device), naming_memory(name, images.shape[0]):
                pixels = prepare(images.to(device), form)
                with naming_model(name, pixels.shape):
                    return as_outputs(model(pixels)).logits.float()
        finally:
            model.train(training)

    return predict
