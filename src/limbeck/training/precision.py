"""Which number format a model computes in."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from contextlib import AbstractContextManager

import torch

from .depthwise_float32 import DepthwiseInFloat32
from .pointwise_slicing import PointwiseBySlicing


@functools.cache
def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 arithmetic is in the hardware (AVX512-bf16, AMX, GPUs since Ampere).

    Elsewhere it is emulated, several times slower than float32.
    """
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    return False


def compute_dtype(precision: str, device: torch.device) -> torch.dtype:
    """`auto`, `bf16`, `fp16` or `fp32` to the type that convolutions compute in."""
    if precision == "auto":
        return torch.bfloat16 if has_fast_bfloat16(device) else torch.float32
    return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]


def autocast(dtype: torch.dtype, device: torch.device) -> AbstractContextManager[object]:
    """Autocast to `dtype`, or nothing at all for float32.

    On a processor, depthwise convolutions that would learn slowly in bfloat16 stay in float32, and strided 1×1
    convolutions whose backward pass in float32 damages memory are computed in another way.
    """
    if dtype == torch.float32:
        return PointwiseBySlicing() if device.type == "cpu" and torch.is_grad_enabled() else contextlib.nullcontext()
    if device.type == "cpu" and dtype == torch.bfloat16 and torch.is_grad_enabled():
        return _learning_on_a_processor()
    return torch.autocast(device.type, dtype=dtype)


@contextlib.contextmanager
def _learning_on_a_processor() -> Iterator[None]:
    with torch.autocast("cpu", dtype=torch.bfloat16), DepthwiseInFloat32():
        yield
