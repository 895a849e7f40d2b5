"""The cost of a model: parameters, bytes, multiply-adds and latency."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from limbeck.errors import LimbeckError

MIN_CPU_SHARE = 0.9
"""Smallest fraction of wall time in which an undisturbed process runs."""
MAX_SPREAD = 1.5
"""Largest ratio of the 95th percentile to the median of undisturbed calls."""


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one call, after warm-up, over `repeats` calls.

    cpu_share: fraction of wall time in which the calling thread ran. Below 1, it waited for a processor, for other
    threads or for the GPU.
    """

    median_ms: float
    p95_ms: float
    repeats: int
    min_ms: float
    cpu_share: float


@dataclass(frozen=True)
class Efficiency:
    """The cost of one model on one machine.

    megabytes: parameters and buffers in units of 2**20 bytes.
    multiply_adds: for one image; convolutions, linear layers and attention.
    image_ms_*: for a batch of one. batch_ms_*: for a batch of `batch_size`. min: the fastest call, which other
    processes disturbed least.
    load: one-minute load average before the first call; None if the system has none. cores: available to this process.
    cpu_share: fraction of wall time in which the calling thread ran.
    disturbed: the machine was busy, so the times are too long; see `is_disturbed`.
    """

    parameters: int
    megabytes: float
    multiply_adds: int
    image_ms_median: float
    image_ms_p95: float
    batch_ms_median: float
    batch_ms_p95: float
    batch_size: int
    image_shape: tuple[int, int, int]
    device: str
    threads: int
    image_ms_min: float
    batch_ms_min: float
    load: float | None
    cores: int
    cpu_share: float
    disturbed: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self) | {"image_shape": list(self.image_shape)}


def count_parameters(model: nn.Module) -> int:
    """Number of parameters; shared ones count once."""
    return sum(parameter.numel() for parameter in model.parameters())


def megabytes(model: nn.Module) -> float:
    """Size of parameters and buffers in units of 2**20 bytes; a shared tensor counts once."""
    return sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers())) / 2**20


def multiply_adds(model: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """Multiply-adds of one image `[C, H, W]` in evaluation mode: half of the floating-point operations.

    Attention runs in its plain form, because the counter does not know the fused CPU kernel.
    """
    image = _images(model, image_shape, 1)
    counter = FlopCounterMode(display=False)
    with _Evaluating(model), torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        model(image)
    return counter.get_total_flops() // 2


def latency(
    call: Callable[[Tensor], object],
    images: Tensor,
    *,
    warm_up: int = 5,
    repeats: int = 50,
    seconds: float = 3.0,
) -> Latency:
    """Wall time of `call(images)`. Synchronises with the device before and after each call.

    Stops after `repeats` calls, or after `seconds` if at least 5 calls are done. The warm-up takes at most a quarter of
    that time, but at least one call. Works for any callable, including an ONNX session.
    """
    started = time.perf_counter()
    for _ in range(warm_up):
        call(images)
        _synchronise(images.device)
        if time.perf_counter() - started > seconds / 4:
            break
    times: list[float] = []
    ran = time.thread_time()
    started = time.perf_counter()
    while len(times) < repeats and (len(times) < 5 or time.perf_counter() - started < seconds):
        _synchronise(images.device)
        before = time.perf_counter()
        call(images)
        _synchronise(images.device)
        times.append((time.perf_counter() - before) * 1e3)
    share = (time.thread_time() - ran) / max(time.perf_counter() - started, 1e-9)
    taken = torch.tensor(times, dtype=torch.float64)
    median, p95 = taken.quantile(0.5).item(), taken.quantile(0.95).item()
    return Latency(median, p95, len(times), min(times), min(1.0, share))


def image_latency(
    model: nn.Module, image_shape: tuple[int, int, int], *, repeats: int = 50, seconds: float = 3.0
) -> Latency:
    """Latency of one image `[C, H, W]`, measured as `measure` does: where the model lies, in evaluation mode."""
    image = _images(model, image_shape, 1)
    with _Evaluating(model), torch.inference_mode():
        return latency(model, image, repeats=repeats, seconds=seconds)


def is_disturbed(found: Latency, device: str) -> bool:
    """Whether other processes disturbed the measurement.

    That is so if the 95th percentile exceeds 1.5 times the median or, on a CPU, if the process ran less than 90 % of
    the time.
    """
    waited = device == "cpu" and found.cpu_share < MIN_CPU_SHARE
    return waited or found.p95_ms > MAX_SPREAD * found.median_ms


def measure(
    model: nn.Module,
    image_shape: tuple[int, int, int],
    *,
    batch_size: int = 128,
    repeats: int = 50,
    seconds: float = 3.0,
) -> Efficiency:
    """Measure one model on its device, in its own precision and in evaluation mode, which is reset afterwards.

    image_shape: `(C, H, W)` as the model takes it. Inputs are prepared tensors, so the time excludes decoding, resizing
    and normalisation. Raises LimbeckError for a shape or batch size that is not positive.
    """
    if len(image_shape) != 3 or min(image_shape) < 1 or batch_size < 1:
        raise LimbeckError(
            f"an image shape must be (C, H, W) and a batch size at least 1; got {image_shape} and {batch_size}"
        )
    one, many = _images(model, image_shape, 1), _images(model, image_shape, batch_size)
    load = _load()
    with _Evaluating(model), torch.inference_mode():
        image = latency(model, one, repeats=repeats, seconds=seconds)
        batch = latency(model, many, repeats=repeats, seconds=seconds)
    return Efficiency(
        parameters=count_parameters(model),
        megabytes=megabytes(model),
        multiply_adds=multiply_adds(model, image_shape),
        image_ms_median=image.median_ms,
        image_ms_p95=image.p95_ms,
        batch_ms_median=batch.median_ms,
        batch_ms_p95=batch.p95_ms,
        batch_size=batch_size,
        image_shape=image_shape,
        device=str(one.device),
        threads=torch.get_num_threads(),
        image_ms_min=image.min_ms,
        batch_ms_min=batch.min_ms,
        load=load,
        cores=_cores(),
        cpu_share=min(image.cpu_share, batch.cpu_share),
        disturbed=any(is_disturbed(found, one.device.type) for found in (image, batch)),
    )


def _load() -> float | None:
    try:
        return os.getloadavg()[0]
    except (OSError, AttributeError):  # some systems have none
        return None


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Evaluating:
    """Context in evaluation mode. Afterwards every module gets its previous mode back."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __enter__(self) -> None:
        self.modes = [(module, module.training) for module in self.model.modules()]
        self.model.eval()

    def __exit__(self, *_: object) -> None:
        for module, mode in self.modes:
            module.training = mode


def _images(model: nn.Module, image_shape: tuple[int, int, int], count: int) -> Tensor:
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    generator = torch.Generator().manual_seed(0)  # a separate one: measuring must not change the run's random numbers
    images = torch.randn(count, *image_shape, generator=generator)
    return images.to(like.device, like.dtype).contiguous(memory_format=torch.channels_last)


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
