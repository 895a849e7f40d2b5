"""Distillation as most tutorials write it: PIL transforms image by image, a DataLoader, float32, NCHW.

It takes nothing from limbeck: the two models are handed in. The transforms do what torchvision's RandomCrop,
RandomHorizontalFlip, ToTensor and Normalize do, with the same Pillow and torch calls and less around them.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, Subset

TEMPERATURE, LABELS_WEIGHT, TEACHER_WEIGHT = 4.0, 0.3, 0.7
PADDING = 4
WORKERS = 2
AHEAD = 2 * WORKERS
"""Batches that the loader makes ahead (its default: two a worker)."""


class PlainImages(Dataset[tuple[Tensor, int]]):
    """images: `[N, H, W, 3]` uint8. Each item is cropped, mirrored and normalised when it is asked for."""

    def __init__(self, images: np.ndarray, labels: Sequence[int], mean: Sequence[float], sd: Sequence[float]) -> None:
        self.images, self.labels, self.mean, self.sd = images, labels, mean, sd

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.images[index])
        width, height = image.size
        padded = ImageOps.expand(image, border=PADDING, fill=0)
        left, top = random.randint(0, 2 * PADDING), random.randint(0, 2 * PADDING)
        image = padded.crop((left, top, left + width, top + height))
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().to(torch.float32).div(255)
        mean, sd = torch.tensor(self.mean).view(-1, 1, 1), torch.tensor(self.sd).view(-1, 1, 1)
        return pixels.sub_(mean).div_(sd), self.labels[index]


class PlainSteps:
    """The tutorial's loop over `images`."""

    def __init__(self, images: PlainImages, teacher: nn.Module, student: nn.Module, *, batch_size: int) -> None:
        self.images, self.batch_size, self.taken = images, batch_size, 0
        self.teacher, self.student = teacher.eval(), student.train()
        self.optimizer = torch.optim.Adam(student.parameters(), lr=1e-3, weight_decay=1e-4)

    def run(self, steps: int) -> float:
        """Seconds for `steps` steps in the middle of an epoch.

        The clock starts when as many batches have been used as the loader makes ahead, and the loader's workers
        live only as long as this call, so they take no time from what is measured between two calls.
        """
        count = (steps + AHEAD) * self.batch_size
        places = [(self.taken + i) % len(self.images) for i in range(count)]
        self.taken += count
        loader = DataLoader(
            Subset(self.images, places), self.batch_size, shuffle=True, num_workers=WORKERS, drop_last=True
        )
        start = 0.0
        for number, (pixels, labels) in enumerate(loader):
            if number == AHEAD:
                start = time.perf_counter()
            self._step(pixels, labels)
        return time.perf_counter() - start

    def _step(self, pixels: Tensor, labels: Tensor) -> None:
        with torch.no_grad():
            teacher_logits = self.teacher(pixels).logits
        logits = self.student(pixels).logits
        soft = functional.kl_div(
            functional.log_softmax(logits / TEMPERATURE, dim=1),
            functional.softmax(teacher_logits / TEMPERATURE, dim=1),
            reduction="batchmean",
        )
        loss = TEACHER_WEIGHT * TEMPERATURE * TEMPERATURE * soft
        loss = loss + LABELS_WEIGHT * functional.cross_entropy(logits, labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
