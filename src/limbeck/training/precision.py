"""Which floating-point type a model computes in."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from contextlib import AbstractContextManager

import torch

from .cpu_convolutions import DepthwiseInFloat32, PointwiseBySlicing


@functools.cache
def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether the hardware computes in bfloat16 (AVX512-bf16, AMX, GPUs since Ampere).

    Elsewhere it is emulated, several times slower than float32.
    """
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    return False


def compute_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The dtype of convolutions for a recipe's `precision`: `auto`, `bf16`, `fp16` or `fp32`."""
    if precision == "auto":
        return torch.bfloat16 if has_fast_bfloat16(device) else torch.float32
    return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]


def autocast(dtype: torch.dtype, device: torch.device) -> AbstractContextManager[object]:
    """Autocast to `dtype`; for float32 no autocast.

    On a CPU with gradients, this adds the workarounds of `cpu_convolutions`.
    """
    if dtype == torch.float32:
        return PointwiseBySlicing() if device.type == "cpu" and torch.is_grad_enabled() else contextlib.nullcontext()
    if device.type == "cpu" and dtype == torch.bfloat16 and torch.is_grad_enabled():
        return _training_in_bfloat16_on_cpu()
    return torch.autocast(device.type, dtype=dtype)


@contextlib.contextmanager
def _training_in_bfloat16_on_cpu() -> Iterator[None]:
    with torch.autocast("cpu", dtype=torch.bfloat16), DepthwiseInFloat32():
        yield
