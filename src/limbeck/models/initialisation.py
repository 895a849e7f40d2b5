"""Where the published training of several families starts."""

from __future__ import annotations

from torch import nn

from .blocks import initialise_kaiming


def initialise_with_small_head(model: nn.Module) -> None:
    """Convolutions and BatchNorms as `initialise_kaiming`, biases 0, linear layers normal with standard deviation 0.01.

    The linear layers' spread does not shrink with their width, so the first logits are all near 0 and the first
    loss is the logarithm of the number of classes. Public training code of VGG, MobileNetV2 and V3 starts here.
    """
    initialise_kaiming(model)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.01)
        if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
            nn.init.zeros_(module.bias)
