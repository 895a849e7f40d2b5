"""The arithmetic floor of a distillation step: plain torch on tensors that already lie there.

It takes nothing from limbeck: the two models are handed in. Teacher with its batch norms folded, in the
compute precision, under inference mode; student forward, two losses, backward, one fused Adam step. No image
is selected, cropped or normalised, nothing is recorded, no generator is set, no rate is scheduled.
"""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

TEMPERATURE, LABELS_WEIGHT, TEACHER_WEIGHT = 4.0, 0.3, 0.7


PREPARED_BATCHES = 8


def prepared(
    images: Tensor, labels: Tensor, mean: Sequence[float], sd: Sequence[float], *, size: int, dtype: torch.dtype
) -> list[tuple[Tensor, Tensor]]:
    """The first batches of uint8 images `[N, 3, H, W]`: normalised, channels last, in `dtype`; and their labels."""
    middle, width = torch.tensor(mean).view(1, -1, 1, 1), torch.tensor(sd).view(1, -1, 1, 1)
    batches = []
    for at in range(max(1, min(PREPARED_BATCHES, len(labels) // size))):
        some = slice(at * size, (at + 1) * size)
        pixels = ((images[some].float() / 255 - middle) / width).to(dtype)
        batches.append((pixels.contiguous(memory_format=torch.channels_last), labels[some].clone()))
    return batches


class FloorSteps:
    """Steps on prepared batches: (pixels `[B, 3, H, W]` normalised, channels last, in `dtype`; labels `[B]`)."""

    def __init__(
        self, batches: Sequence[tuple[Tensor, Tensor]], teacher: nn.Module, student: nn.Module, *, dtype: torch.dtype
    ) -> None:
        self.batches, self.dtype, self.taken = batches, dtype, 0
        self.teacher = fold(teacher).to(dtype=dtype, memory_format=torch.channels_last)  # pyright: ignore
        self.student = student.to(memory_format=torch.channels_last).train()  # pyright: ignore
        self.optimizer = torch.optim.Adam(student.parameters(), lr=1e-3, weight_decay=1e-4, fused=True)

    def run(self, steps: int) -> float:
        """Seconds for `steps` steps."""
        return sum(self.parts(steps).values())

    def parts(self, steps: int) -> dict[str, float]:
        """Seconds of the teacher's and of the student's part over `steps` steps."""
        spent = {"teacher": 0.0, "student": 0.0}
        for _ in range(steps):
            pixels, labels = self.batches[self.taken % len(self.batches)]
            self.taken += 1
            start = time.perf_counter()
            with torch.inference_mode():
                outputs = self.teacher(pixels).logits.float()
            outputs = outputs.clone()  # an ordinary tensor, which a backward pass may keep
            middle = time.perf_counter()
            self._train_step(pixels, labels, outputs)
            end = time.perf_counter()
            spent["teacher"] += middle - start
            spent["student"] += end - middle
        return spent

    def _train_step(self, pixels: Tensor, labels: Tensor, outputs: Tensor) -> None:
        half = self.dtype != torch.float32
        with torch.autocast("cpu", dtype=self.dtype) if half else contextlib.nullcontext():
            logits = self.student(pixels).logits
        logits = logits.float()
        soft = functional.kl_div(
            functional.log_softmax(logits / TEMPERATURE, dim=1),
            functional.softmax(outputs / TEMPERATURE, dim=1),
            reduction="batchmean",
        )
        loss = LABELS_WEIGHT * functional.cross_entropy(logits, labels) + TEACHER_WEIGHT * TEMPERATURE**2 * soft
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()


def fold(model: nn.Module) -> nn.Module:
    """A copy in eval mode in which every BatchNorm that follows a convolution in a Sequential is folded into it."""
    folded = copy.deepcopy(model).eval().requires_grad_(False)
    for sequence in (module for module in folded.modules() if isinstance(module, nn.Sequential)):
        for place in range(len(sequence) - 1):
            convolution, norm = sequence[place], sequence[place + 1]
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                sequence[place], sequence[place + 1] = fuse_conv_bn_eval(convolution, norm), nn.Identity()
    return folded
