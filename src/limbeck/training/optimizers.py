"""The optimizers that recipes name. Fused wherever torch has it: one call a step, not one a tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn, optim
from torch.optim import Optimizer

from .muon import Muon
from .uncompiled import eager

Parameters = Iterable[nn.Parameter]
MakeOptimizer = Callable[[Parameters], Optimizer]
SGD, Adam, AdamW = eager(optim.SGD), eager(optim.Adam), eager(optim.AdamW)


def sgd(
    parameters: Parameters,
    *,
    lr: float,
    momentum: float = 0.9,
    nesterov: bool = True,
    weight_decay: float = 0.0,
) -> Optimizer:
    """Stochastic gradient descent with (Nesterov) momentum."""
    nesterov = nesterov and momentum > 0
    made = SGD(parameters, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay, fused=True)
    # A fused first step that a gradient scaler skips leaves torch 2.13 with momenta that nobody ever wrote (seen: NaN
    # ever after). From zero, the first step gives the same bits as from nothing.
    for parameter in made.param_groups[0]["params"] if momentum else ():
        made.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return made


def adam(
    parameters: Parameters, *, lr: float, betas: tuple[float, float] = (0.9, 0.999), weight_decay: float = 0.0
) -> Optimizer:
    """Adam; weight decay is added to the gradient (L2), as in torch and the published recipes."""
    return Adam(parameters, lr=lr, betas=betas, weight_decay=weight_decay, fused=True)


def adamw(
    parameters: Parameters, *, lr: float, betas: tuple[float, float] = (0.9, 0.999), weight_decay: float = 0.01
) -> Optimizer:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""
    return AdamW(parameters, lr=lr, betas=betas, weight_decay=weight_decay, fused=True)


def scale_rates(optimizer: Optimizer, factor: float) -> float:
    """Set every group's rate to its base rate times `factor`; returns the first group's."""
    for group in optimizer.param_groups:
        group.setdefault("base_lr", group["lr"])
        group["lr"] = group["base_lr"] * factor
    return optimizer.param_groups[0]["lr"]


def restore(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Continue from what `optimizer.state_dict()` gave, wherever its tensors have been since.

    A fused optimizer walks weights and momenta in memory order and does not look at strides, so each momentum
    is laid out as its parameter is.
    """
    optimizer.load_state_dict(dict(state))
    for parameter, own in optimizer.state.items():
        for name, value in own.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape != ():
                own[name] = torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)


def clip(optimizer: Optimizer, max_norm: float) -> torch.Tensor:
    """Scale all gradients so that their common norm is at most `max_norm`; returns the norm before."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return nn.utils.clip_grad_norm_(parameters, max_norm)


def muon(
    parameters: Parameters, *, lr: float, momentum: float = 0.95, weight_decay: float = 0.0, adam_lr: float = 0.004
) -> Optimizer:
    """Orthogonalised momentum for convolutions, Adam for the rest."""
    return Muon(parameters, lr=lr, momentum=momentum, weight_decay=weight_decay, adam_lr=adam_lr)
