"""The same augmentations as most training scripts make them: torchvision's transforms, image by image, with PIL.

It takes from limbeck nothing but the declaration that torchvision needs beside a CPU-only torch.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, default_collate

from limbeck.models.torchvision_operators import declare_missing_operators


class PerImage:
    """Batches of augmented images. threads: 1 makes them in this process, more in as many worker processes."""

    def __init__(self, images: np.ndarray, labels: Sequence[int], size: int, threads: int) -> None:
        declare_missing_operators()
        from torchvision.transforms import v2
        from torchvision.transforms.autoaugment import AutoAugmentPolicy

        one = v2.Compose(
            [
                v2.RandomCrop(images.shape[1], padding=4),
                v2.RandomHorizontalFlip(),
                v2.AutoAugment(AutoAugmentPolicy.CIFAR10),
                v2.PILToTensor(),
                v2.RandomErasing(p=0.25, scale=(0.02, 0.2)),
            ]
        )
        classes = max(labels) + 1
        both = v2.RandomChoice([v2.CutMix(alpha=1.0, num_classes=classes), v2.MixUp(alpha=0.8, num_classes=classes)])

        def together(items: list[Any]) -> Any:
            pixels, targets = default_collate(items)
            return both(pixels.float(), targets)

        workers = threads if threads > 1 else 0
        self.loader = DataLoader(
            Items(images, labels, one), size, shuffle=True, num_workers=workers, drop_last=True, collate_fn=together
        )
        self.ahead = 2 * workers

    def run(self, batches: int) -> float:
        """Seconds for so many batches, once the workers have used up what they made before the clock started."""
        iterator = self._batches()
        for _ in range(self.ahead + 1):
            next(iterator)
        start = time.perf_counter()
        for _ in range(batches):
            next(iterator)
        return time.perf_counter() - start

    def _batches(self) -> Iterator[Any]:
        while True:
            yield from self.loader


class Items(Dataset[Any]):
    """images: `[N, H, W, 3]` uint8."""

    def __init__(self, images: np.ndarray, labels: Sequence[int], transform: Any) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]
