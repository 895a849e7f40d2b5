"""Optimizers that do not bring torch's compiler along."""

from __future__ import annotations

import inspect
from typing import TypeVar, cast

import torch
from torch.optim import Optimizer

Made = TypeVar("Made", bound=Optimizer)
KEPT_OUT = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")
"""What torch wraps in order to tell its compiler to keep out of it."""


def eager(optimizer: type[Made]) -> type[Made]:
    """A subclass without the wrappers that are there for torch's compiler, which takes the same steps bit for bit.

    The first call of such a wrapper imports the whole compiler (torch 2.13), with sympy and all: a second of processor
    time and 70 MB, seven seconds where Python may not write bytecode. Nothing here is compiled. `functools.wraps`
    leaves the way to what is wrapped; where torch no longer wraps, there is nothing to take off.
    """
    members = {name: inspect.unwrap(getattr(optimizer, name)) for name in KEPT_OUT}
    step = torch.no_grad()(inspect.unwrap(optimizer.step))
    return cast("type[Made]", type(optimizer.__name__, (optimizer,), {**members, "step": step}))
