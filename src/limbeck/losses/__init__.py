"""Losses as pure functions, for recipes and for people with a loop of their own.

Each is `(student, teacher, targets, *, options) -> [B]`, or one number where it relates examples; the file's name
is the function's. Logits `[B, K]` and labels `[B]` may be bare tensors, or `limbeck.Outputs` and `limbeck.Targets`.
"""

from .cross_entropy import cross_entropy
from .dist import dist
from .dkd import dkd
from .soft_targets import soft_targets

__all__ = ["cross_entropy", "dist", "dkd", "soft_targets"]
