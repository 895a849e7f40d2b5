"""Losses as pure functions, for recipes and for people with a loop of their own.

Each is `(student, teacher, targets, *, options) -> [B]`; the file's name is the function's.
"""

from .cross_entropy import cross_entropy
from .soft_targets import soft_targets

__all__ = ["cross_entropy", "soft_targets"]
