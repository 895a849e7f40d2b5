"""Losses as pure functions, for recipes and for custom training loops.

A loss has the signature `(student, teacher, targets, *, options) -> [B]`, or returns a scalar if it relates examples to
each other. Each file has the name of its function. Logits `[B, K]` and labels `[B]` may be plain tensors, or
`limbeck.Outputs` and `limbeck.Targets`.
"""

from .attention_transfer import attention_transfer
from .class_attention import class_attention
from .correlation_congruence import correlation_congruence
from .cross_entropy import cross_entropy
from .ctkd import ctkd
from .dist import dist
from .dkd import dkd
from .fitnet import fitnet
from .fsp import fsp
from .inter_channel import inter_channel
from .logit_mse import logit_mse
from .masked import masked
from .multi_level import multi_level
from .neuron_selectivity import neuron_selectivity
from .nkd import nkd
from .pooled_features import pooled_features
from .probabilistic_transfer import probabilistic_transfer
from .relational import relational
from .review import review
from .rld import rld
from .similarity_preserving import similarity_preserving
from .soft_targets import soft_targets
from .softmax_regression import softmax_regression
from .swapped_logits import swapped_logits
from .ttm import ttm
from .variational import variational

__all__ = [
    "attention_transfer",
    "class_attention",
    "correlation_congruence",
    "cross_entropy",
    "ctkd",
    "dist",
    "dkd",
    "fitnet",
    "fsp",
    "inter_channel",
    "logit_mse",
    "masked",
    "multi_level",
    "neuron_selectivity",
    "nkd",
    "pooled_features",
    "probabilistic_transfer",
    "relational",
    "review",
    "rld",
    "similarity_preserving",
    "soft_targets",
    "softmax_regression",
    "swapped_logits",
    "ttm",
    "variational",
]
