"""Losses as pure functions, for recipes and for custom training loops.

A loss has the signature `(student, teacher, targets, *, options) -> [B]`, or returns a scalar if it relates examples to
each other. Each file has the name of its function. Logits `[B, K]` and labels `[B]` may be plain tensors, or
`limbeck.Outputs` and `limbeck.Targets`.
"""

from .cross_entropy import cross_entropy
from .dist import dist
from .dkd import dkd
from .soft_targets import soft_targets

__all__ = ["cross_entropy", "dist", "dkd", "soft_targets"]
