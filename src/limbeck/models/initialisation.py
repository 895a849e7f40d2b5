"""The initial weights that several families use in published training."""

from __future__ import annotations

from torch import nn

from .blocks import initialise_kaiming


def initialise_with_small_head(model: nn.Module) -> None:
    """Initialise as `initialise_kaiming`, with biases 0 and linear layers normal with standard deviation 0.01.

    The initial logits are then near 0, and the initial loss is about the logarithm of the number of classes. Public
    training code of VGG, MobileNetV2 and MobileNetV3 uses this initialisation.
    """
    initialise_kaiming(model)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.01)
        if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
            nn.init.zeros_(module.bias)
