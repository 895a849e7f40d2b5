"""The frozen teacher: eval mode for good, batch norms folded, low precision, no gradient."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.losses.plain_tensors import described
from limbeck.types import Outputs
from limbeck.views.preprocess import InputFormat

from .model_errors import naming_model
from .precision import autocast

Pixels = Callable[[InputFormat, torch.dtype], Tensor]
"""The images of a view `[B, C, H, W]`, prepared for one model; made when first asked for, and once for all."""


class Teacher:
    """A model that only answers.

    It is not a Module, so nobody's `.train()`, `.parameters()` or optimizer reaches what is inside.

    name: how the recipe calls it. model: gives `Outputs` or bare logits; it is copied and only read, so that
    whatever its owner does with it later does not reach the copy. fold: model to a copy of it with batch norms
    folded into convolutions (None: leave them). dtype: what convolutions compute in.
    """

    def __init__(
        self,
        name: str,
        model: nn.Module,
        form: InputFormat,
        *,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        fold: Callable[[nn.Module], nn.Module] | None = None,
    ) -> None:
        self.fingerprint = fingerprint(model)
        with torch.no_grad():  # a copy of a scripted module would remember what it was computed from
            own = fold(model) if fold else copy.deepcopy(model)
        self.name, self.form, self.device, self.dtype = name, form, device, dtype
        own = own.eval().requires_grad_(False)
        self.frozen = own.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        if dtype != torch.float32:
            # Stored as they are computed: autocast would round the weights again at every call. Norms that
            # could not be folded keep float32 statistics.
            for layer in self.frozen.modules():
                if isinstance(layer, nn.Conv2d | nn.Linear):
                    layer.to(dtype)

    def __call__(self, pixels: Tensor) -> Outputs:
        """Answers to prepared images `[B, C, H, W]`; logits are float32 `[B, K]`."""
        # Not inference mode: a student's backward pass may keep what a loss compares with, features too, and
        # inference tensors cannot be kept without a copy. What it would save is the Python of some twenty calls.
        with torch.no_grad(), autocast(self.dtype, self.device), naming_model(self.name, pixels.shape):
            outputs = as_outputs(self.frozen(pixels))
        return Outputs(outputs.logits.float(), outputs.features)

    def answer(self, pixels: Pixels, *, epoch: int, step: int) -> Outputs:
        """Answers to a view, from the model itself: which view it is does not matter."""
        return self(pixels(self.form, self.dtype))


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
    """What a model answers as `Outputs`: bare logits, or where they lie in what foreign models give.

    Logits are a tensor of its own, `.logits` of an object (Hugging Face, torchvision's Inception and GoogLeNet), the
    entry `logits` or `out` of a mapping, or the first of a tuple. What stands beside them (auxiliary heads, hidden
    states) is left alone. Raises LimbeckError for anything else.
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
    """Logits or, where there are none, what stands in their place."""
    if isinstance(answer, Tensor):
        return answer
    if (named := getattr(answer, "logits", None)) is not None:
        return named
    if isinstance(answer, Mapping):
        return next((answer[key] for key in ("logits", "out") if key in answer), answer)
    if isinstance(answer, tuple | list) and answer:
        return _logits(answer[0])
    return answer
