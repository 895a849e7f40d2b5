"""Muon: orthogonalised momentum for convolutions, Adam for all other parameters.

Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks". torch's own `Muon` (2.13) accepts only
matrices. Here the four-dimensional weight of a convolution is treated as a matrix `[out, in·kernel]`. With Muon, the
107K student of the published CIFAR-10 system reaches in 15 epochs what SGD and Adam do not; see `LOG.md`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from .parameter_groups import ParameterGroup
from .precision import has_fast_bfloat16

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic Newton-Schulz iteration of Jordan et al., which drives all singular values towards 1."""


class Muon(Optimizer):
    """Orthogonalised Nesterov momentum for four-dimensional weights, Adam without weight decay for the rest.

    lr, momentum, weight_decay: of the convolutions; weight decay is decoupled. adam_lr: of all other parameters, which
    have no weight decay and betas 0.9 and 0.99. The update of a matrix `[out, in]` is scaled by √max(1, out / in).
    """

    def __init__(
        self, parameters: Sequence[ParameterGroup], *, lr: float, momentum: float, weight_decay: float, adam_lr: float
    ) -> None:
        convolutions: list[dict[str, Any]] = [
            {
                "params": [p for p in group.parameters if p.dim() == 4],
                "lr": lr * group.lr_scale,
                "momentum": momentum,
                "weight_decay": weight_decay if group.decays else 0.0,
                "orthogonal": True,
            }
            for group in parameters
        ]
        others: list[dict[str, Any]] = [
            {
                "params": [p for p in group.parameters if p.dim() != 4],
                "lr": adam_lr * group.lr_scale,
                "orthogonal": False,
            }
            for group in parameters
        ]
        super().__init__([group for group in [*convolutions, *others] if group["params"]], {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    update = self._orthogonal if group["orthogonal"] else self._adam
                    update(parameter, parameter.grad, group)
        return loss

    def _orthogonal(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"].mul_(group["momentum"]).add_(gradient)
        ahead = gradient.add(momentum, alpha=group["momentum"])
        update = orthogonalise(ahead.reshape(ahead.shape[0], -1)).view(ahead.shape)
        rows, columns = ahead.shape[0], ahead[0].numel()
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(update, alpha=-group["lr"] * math.sqrt(max(1.0, rows / columns)))

    def _adam(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state.update(steps=0, mean=torch.zeros_like(parameter), square=torch.zeros_like(parameter))
        state["steps"] += 1
        mean = state["mean"].lerp_(gradient, 1 - 0.9)
        square = state["square"].mul_(0.99).addcmul_(gradient, gradient, value=1 - 0.99)
        scale = math.sqrt(1 - 0.99 ** state["steps"]) / (1 - 0.9 ** state["steps"])
        parameter.addcdiv_(mean, square.sqrt().add_(1e-8), value=-group["lr"] * scale)


def orthogonalise(matrix: Tensor, iterations: int = 5) -> Tensor:
    """An approximation of U Vᵀ for a matrix U S Vᵀ, with singular values between 0.7 and 1.2.

    matrix: `[rows, columns]`. Five iterations, in bfloat16 if the hardware supports it, as in the source: the result is
    rough by design.
    """
    a, b, c = COEFFICIENTS
    x = matrix.to(torch.bfloat16 if has_fast_bfloat16(matrix.device) else torch.float32)
    wide = x.shape[0] <= x.shape[1]
    x = x if wide else x.T
    x = x / (x.norm() + 1e-7)
    for _ in range(iterations):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x if wide else x.T).to(matrix.dtype)
