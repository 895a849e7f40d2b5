"""Find the linear layer that ends a model, for losses that apply it to features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from limbeck.types import Classifier, Outputs


def linear_layers(model: nn.Module) -> tuple[nn.Linear, ...]:
    """The linear layers of a model, for `classifier_among`. Found once for each model: large ones have many modules."""
    return tuple(module for module in model.modules() if isinstance(module, nn.Linear))


def classifier_among(layers: Sequence[nn.Linear], num_classes: int) -> Classifier | None:
    """Weight and bias of the last linear layer with one output per class, or None. They are not copied.

    Whether the logits are that layer of the means of the last feature map is for `explains_logits` to say.
    """
    found = [layer for layer in layers if layer.out_features == num_classes]
    return Classifier(found[-1].weight, found[-1].bias) if found else None


def linear_classifier(model: nn.Module, num_classes: int) -> Classifier | None:
    """`classifier_among` the layers of a model that is asked once."""
    return classifier_among(linear_layers(model), num_classes)


def explains_logits(outputs: Outputs) -> bool:
    """Whether the logits `[B, K]` are the classifier of the means of the last feature map, up to rounding."""
    if outputs.classifier is None or not outputs.features:
        return False
    weight, bias = outputs.classifier
    last = outputs.features[-1].float()
    means = last if last.dim() == 2 else last.mean(dim=(2, 3)) if last.dim() == 4 else last.flatten(1)
    if means.shape[1] != weight.shape[1]:
        return False
    expected: Tensor = means @ weight.float().T
    if bias is not None:
        expected = expected + bias.float()
    # Folded and half-precision teachers round: the tolerance is that of bfloat16.
    scale = outputs.logits.float().abs().max().clamp_min(1e-6)
    return bool(((expected - outputs.logits.float()).abs().max() <= 0.03 * scale).item() and torch.isfinite(scale))
