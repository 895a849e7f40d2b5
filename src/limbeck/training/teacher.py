"""The frozen teacher: permanent eval mode, folded batch norms, low precision, no gradient."""

from __future__ import annotations

import copy
import functools
import hashlib
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.losses.plain_tensors import described
from limbeck.models.linear_classifier import classifier_among, linear_layers
from limbeck.types import Outputs
from limbeck.views.preprocess import InputFormat

from .model_errors import explain_model_errors
from .precision import autocast

PreparePixels = Callable[[InputFormat, torch.dtype], Tensor]
"""Prepares the images of a view, `[B, C, H, W]`, for an input format and dtype; each combination once per view."""


class Teacher:
    """A model for inference only.

    It is not a Module, so no `.train()`, `.parameters()` or optimizer of its surroundings reaches the model inside.

    name: as in the recipe. model: returns `Outputs` or bare logits; it is copied, so later changes to it have no effect
    here. fold: returns a copy of a model with batch norms folded into convolutions (None: a plain copy). dtype: of
    convolutions and linear layers.
    """

    def __init__(
        self,
        name: str,
        model: nn.Module,
        input_format: InputFormat,
        *,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        fold: Callable[[nn.Module], nn.Module] | None = None,
    ) -> None:
        self.fingerprint = fingerprint(model)
        with torch.no_grad():  # a copy of a scripted module would record how it was computed
            own = fold(model) if fold else copy.deepcopy(model)
        self.name, self.input_format, self.device, self.dtype = name, input_format, device, dtype
        own = own.eval().requires_grad_(False)
        self.frozen = own.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        if dtype != torch.float32:
            # Stored as they are computed: autocast would round the weights again at every call. Norms that
            # could not be folded keep float32 statistics.
            for layer in self.frozen.modules():
                if isinstance(layer, nn.Conv2d | nn.Linear):
                    layer.to(dtype)

    def __call__(self, pixels: Tensor) -> Outputs:
        """Outputs for prepared images `[B, C, H, W]`; logits are float32 `[B, K]`."""
        # Not inference mode: the student's backward pass may save teacher outputs, which inference tensors do not
        # allow without a copy. Inference mode would save little: the overhead of some twenty calls.
        with torch.no_grad(), autocast(self.dtype, self.device), explain_model_errors(self.name, pixels.shape):
            outputs = as_outputs(self.frozen(pixels))
        classifier = classifier_among(self._linear_layers, outputs.logits.shape[1]) if outputs.features else None
        return Outputs(outputs.logits.float(), outputs.features, classifier)

    @functools.cached_property
    def _linear_layers(self) -> tuple[nn.Linear, ...]:
        return linear_layers(self.frozen)

    def outputs(self, pixels: PreparePixels, *, epoch: int, step: int) -> Outputs:
        """Outputs for a view, computed by the model; epoch and step do not matter."""
        return self(pixels(self.input_format, self.dtype))


def fingerprint(model: nn.Module) -> str:
    """SHA-256 of a model's weights and buffers: their names, types, shapes and bytes."""
    whole = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        if not isinstance(tensor, Tensor):  # what a module keeps beside its tensors
            whole.update(f"{name} {tensor!r}\n".encode())
            continue
        whole.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        whole.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return whole.hexdigest()


def as_outputs(answer: object) -> Outputs:
    """The return value of any model as `Outputs`.

    Logits are a tensor, the attribute `.logits` (Hugging Face, torchvision's Inception and GoogLeNet), the entry
    `logits` or `out` of a mapping, or the first element of a tuple. Anything else (auxiliary heads, hidden states) is
    ignored. Raises LimbeckError where there are no floating-point logits.
    """
    if isinstance(answer, Outputs):
        logits = answer.logits
    else:
        logits = _logits(answer)
        answer = Outputs(logits) if isinstance(logits, Tensor) else Outputs(torch.empty(0))
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        raise LimbeckError(
            "a model must answer with floating-point logits [B, K]: a tensor, a tuple whose first is one, a mapping "
            f"with 'logits', or an object with .logits; this one gave {described(logits)}"
        )
    return answer


def _logits(answer: object) -> object:
    """The logits, or whatever is in their place."""
    if isinstance(answer, Tensor):
        return answer
    if (named := getattr(answer, "logits", None)) is not None:
        return named
    if isinstance(answer, Mapping):
        return next((answer[key] for key in ("logits", "out") if key in answer), answer)
    if isinstance(answer, tuple | list) and answer:
        return _logits(answer[0])
    return answer
