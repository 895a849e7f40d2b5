"""Find the first layer of a model whose values are not finite."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from limbeck.training.precision import autocast


def first_not_finite(model: nn.Module, pixels: Tensor, dtype: torch.dtype) -> str | None:
    """The first layer whose weights or, for these prepared images `[B, C, H, W]`, whose outputs are not finite.

    As in `stage3.0.conv2 (Conv2d)`; None where all are. dtype: what the model computes in.
    """
    for name, tensor in model.named_parameters():
        if not bool(tensor.isfinite().all()):
            return f"the weights {name}"
    found: list[str] = []

    def look(name: str, layer: nn.Module, answer: object) -> None:
        if not found and any(not bool(tensor.isfinite().all()) for tensor in _tensors(answer)):
            found.append(f"{name} ({type(layer).__name__})")

    hooks = [
        layer.register_forward_hook(lambda layer, _, answer, name=name: look(name, layer, answer))
        for name, layer in model.named_modules()
        if name
    ]
    try:
        with torch.no_grad(), autocast(dtype, pixels.device):
            model(pixels)
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else None


def _tensors(answer: object) -> Iterator[Tensor]:
    if isinstance(answer, Tensor):
        if answer.is_floating_point():
            yield answer
    elif isinstance(answer, dict):
        for part in answer.values():
            yield from _tensors(part)
    elif isinstance(answer, tuple | list):
        for part in answer:
            yield from _tensors(part)
