"""The optimizers of recipes. Those of torch are fused: one call for each parameter group and step."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from typing import Any, TypeVar, cast

import torch
from torch import nn, optim
from torch.optim import Optimizer

from limbeck.recipes import optimization as recipe
from limbeck.recipes.optimization import Optimizer as Options

from . import muon
from .parameter_groups import NamedParameters, parameter_groups

Made = TypeVar("Made", bound=Optimizer)
WRAPPED = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")
"""Methods that torch wraps so that its compiler leaves them alone."""


def eager(optimizer: type[Made]) -> type[Made]:
    """A subclass without the wrappers for torch's compiler; it takes the same steps bit for bit.

    The first call of such a wrapper imports the whole compiler with sympy (torch 2.13): a second of CPU time and 70 MB,
    seven seconds where Python cannot write bytecode. Nothing here is compiled. `inspect.unwrap` returns a
    plain method as it is.
    """
    members = {name: inspect.unwrap(getattr(optimizer, name)) for name in WRAPPED}
    step = torch.no_grad()(inspect.unwrap(optimizer.step))
    return cast("type[Made]", type(optimizer.__name__, (optimizer,), {**members, "step": step}))


SGD, Adam, AdamW, Muon = eager(optim.SGD), eager(optim.Adam), eager(optim.AdamW), eager(muon.Muon)


def make_optimizer(
    options: Options, of_model: NamedParameters, others: NamedParameters = (), no_weight_decay: Collection[str] = ()
) -> Optimizer:
    """The optimizer of a recipe, for the trainable parameters of a model and of its losses (`others`).

    no_weight_decay: the result of `names_without_weight_decay` for the model. Raises LimbeckError if a pattern matches
    no parameter, and ValueError if there are no parameters.
    """
    groups = parameter_groups(options, of_model, others, no_weight_decay)
    if isinstance(options, recipe.Muon):
        return Muon(
            groups,
            lr=options.lr,
            momentum=options.momentum,
            weight_decay=options.weight_decay,
            adam_lr=options.adam_lr,
        )
    torch_groups = [
        {"params": group.parameters}
        | ({"lr": options.lr * group.lr_scale} if group.lr_scale != 1 else {})
        | ({} if group.decays else {"weight_decay": 0.0})
        for group in groups
    ]
    common: dict[str, Any] = {"lr": options.lr, "weight_decay": options.weight_decay, "fused": True}
    if not isinstance(options, recipe.Sgd):
        adam = AdamW if isinstance(options, recipe.AdamW) else Adam
        return adam(torch_groups, betas=options.betas, **common)
    momentum = options.momentum
    optimizer = SGD(torch_groups, momentum=momentum, nesterov=options.nesterov and momentum > 0, **common)
    # If a gradient scaler skips the first fused step, torch 2.13 continues with uninitialised momenta (seen: NaN from
    # then on). Starting from zeros, the first step gives the same bits as without momenta.
    for group in optimizer.param_groups if momentum else ():
        for parameter in group["params"]:
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def scale_rates(optimizer: Optimizer, factor: float) -> float:
    """Set the learning rate of each group to its base rate times `factor`; returns the recipe's `lr` times `factor`."""
    for group in optimizer.param_groups:
        group.setdefault("base_lr", group["lr"])
        group["lr"] = group["base_lr"] * factor
    return optimizer.defaults["lr"] * factor


def restore(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Continue from the result of `optimizer.state_dict()`, in any memory layout.

    A fused optimizer reads weights and momenta in memory order and ignores strides, so each momentum gets the layout of
    its parameter.
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
