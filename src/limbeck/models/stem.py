"""Reduce the stride of stems designed for 224 pixels, for smaller images, without changing any weights."""

from __future__ import annotations

from torch import nn

from limbeck.errors import LimbeckError


def reduce_stem_stride(model: nn.Module, stem_stride: int, where: str) -> None:
    """Reduce the stride of the stem to `stem_stride` from 4 (ResNet, ConvNeXt, ShuffleNet) or 2.

    The stem is the first strided convolution, and the pooling between it and the next one. The pooling is removed
    first; then the stride of the convolution is reduced. Shapes of weights do not change, so published ones still fit.
    where: name of the model, for error messages. Raises LimbeckError if there is no stem, or if its stride is not a
    larger multiple of `stem_stride`.
    """
    shrinking = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.MaxPool2d) and _stride(module) > 1
    ]
    if not shrinking or not isinstance(shrinking[0][1], nn.Conv2d):
        raise LimbeckError(f"{where}: stem_stride: this model has no strided stem")
    convolution = shrinking[0][1]
    pooling = shrinking[1] if len(shrinking) > 1 and isinstance(shrinking[1][1], nn.MaxPool2d) else None
    whole = _stride(convolution) * (_stride(pooling[1]) if pooling else 1)
    if stem_stride < 1 or stem_stride >= whole or whole % stem_stride:
        valid = [str(stride) for stride in range(1, whole) if whole % stride == 0]
        raise LimbeckError(
            f"{where}: stem_stride: the stem has stride {whole}; expected {' or '.join(valid)}; got {stem_stride}"
        )
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
