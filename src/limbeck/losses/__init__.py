"""Losses as pure functions, for recipes and for custom training loops.

A loss has the signature `(student, teacher, targets, *, options) -> [B]`, or returns a scalar if it relates examples to
each other. Each file has the name of its function. Logits `[B, K]` and labels `[B]` may be plain tensors, or
`limbeck.Outputs` and `limbeck.Targets`.
"""

from .cross_entropy import cross_entropy
from .ctkd import ctkd
from .dist import dist
from .dkd import dkd
from .logit_mse import logit_mse
from .multi_level import multi_level
from .nkd import nkd
from .rld import rld
from .soft_targets import soft_targets
from .swapped_logits import swapped_logits
from .ttm import ttm

__all__ = [
    "cross_entropy",
    "ctkd",
    "dist",
    "dkd",
    "logit_mse",
    "multi_level",
    "nkd",
    "rld",
    "soft_targets",
    "swapped_logits",
    "ttm",
]
