"""Stems of networks made for 224 pixels, for images that are smaller: the same weights, less shrinking."""

from __future__ import annotations

from torch import nn

from limbeck.errors import LimbeckError


def shrink_less(model: nn.Module, stem_stride: int, where: str) -> None:
    """Change how much the stem shrinks the image: by `stem_stride` instead of 4 (ResNet, ConvNeXt, ShuffleNet) or 2.

    The stem is the first convolution that shrinks, and the pooling that follows it before the next one. The pooling
    goes first; then the convolution's stride is lowered. No weight changes its shape, so published ones still fit.
    where: how the model is called, for errors. Raises LimbeckError where the stem shrinks less than asked, or there is
    none.
    """
    shrinking = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.MaxPool2d) and _stride(module) > 1
    ]
    if not shrinking or not isinstance(shrinking[0][1], nn.Conv2d):
        raise LimbeckError(f"{where}: stem_stride: this model has no stem that shrinks its image")
    convolution = shrinking[0][1]
    pooling = shrinking[1] if len(shrinking) > 1 and isinstance(shrinking[1][1], nn.MaxPool2d) else None
    whole = _stride(convolution) * (_stride(pooling[1]) if pooling else 1)
    if stem_stride < 1 or stem_stride >= whole or whole % stem_stride:
        fitting = ", ".join(str(stride) for stride in range(1, whole) if whole % stride == 0)
        raise LimbeckError(f"{where}: stem_stride: its stem shrinks by {whole}; takes {fitting}; got {stem_stride}")
    if pooling:
        parent, _, last = pooling[0].rpartition(".")
        setattr(model.get_submodule(parent), last, nn.Identity())
    if _stride(convolution) > stem_stride:
        kernel = convolution.kernel_size
        convolution.stride = (stem_stride, stem_stride)
        convolution.padding = ((kernel[0] - stem_stride) // 2 + (kernel[0] - stem_stride) % 2,) * 2


def _stride(module: nn.Module) -> int:
    stride = module.stride
    return int(stride[0] if isinstance(stride, tuple) else stride)  # type: ignore[index, arg-type]
