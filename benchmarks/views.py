"""What views cost: with every augmentation on, beside a distillation step, and beside per-image transforms.

    python benchmarks/views.py [--images FOLDER|digits] [--threads N] [--steps N] [--repeats N]

Views: crop, flip, AutoAugment (CIFAR-10 policy), random erasing, mixup or CutMix; batch 128. Steps: of the published
CIFAR-10 pair (a ResNet-like teacher, a CNN of 107K) and of wrn-40-2 to resnet8x4. Per-image transforms: torchvision's
v2 of the same policy on PIL images, in one process on one thread and in as many worker processes on more. Blocks are
taken in turn, and a ratio is the median of the ratios within each turn.
"""

from __future__ import annotations

import os
import statistics
import time
from typing import TYPE_CHECKING

from step import THREAD_VARIABLES, arguments, header, load, table

if TYPE_CHECKING:
    import argparse


def main() -> None:
    options = arguments(__doc__, steps=10)
    for name in THREAD_VARIABLES:  # read once, when torch is imported
        os.environ[name] = str(options.threads)
    import torch

    torch.set_num_threads(options.threads)
    compare(options)


def compare(options: argparse.Namespace) -> None:
    import torch

    from limbeck.models import lightweight_cnn, resnet, strided_resnet, wide_resnet
    from limbeck.recipes.views import AutoAugment, Crop, Erasing, Mixing, Views
    from limbeck.training.precision import compute_dtype
    from limbeck.views.plan import ViewPlanner
    from step_limbeck import SIDE, LimbeckSteps, endless_views
    from views_per_image import PerImage

    dataset, split = load(options.images)
    classes, normalisation = len(dataset.class_names), dataset.normalisation
    dtype = compute_dtype(options.precision, torch.device("cpu"))
    size = min(options.batch_size, len(split))
    everything = Views(
        batch_size=size,
        crop=Crop(padding=4),
        flip=True,
        policy=AutoAugment(table="cifar10"),
        erasing=Erasing(probability=0.25, area=(0.02, 0.2)),
        mixing=Mixing(mixup=0.8, cutmix=1.0),
    )
    print(header(options, dataset, split, dtype), flush=True)
    torch.manual_seed(0)
    published = {"normalisation": normalisation, "batch_size": size, "dtype": dtype, "views": everything}
    pairs = {
        "system E": LimbeckSteps(split, strided_resnet.build(classes), lightweight_cnn.build(classes), **published),
        "wrn-40-2 to resnet8x4": LimbeckSteps(
            split,
            wide_resnet.build(classes, depth=40, widen=2),
            resnet.build(classes, depth=8, stem=32, widths=(64, 128, 256)),
            **published,
        ),
    }
    planner = ViewPlanner("benchmark", len(split), everything, 0, (SIDE, SIDE), normalisation)
    views_of_steps = endless_views(split, planner)
    per_image = PerImage(split.images.permute(0, 2, 3, 1).numpy(), split.labels.tolist(), size, options.threads)

    def ours(steps: int) -> float:
        start = time.perf_counter()
        for _ in range(steps):
            next(views_of_steps)
        return time.perf_counter() - start

    ours(3)
    for pair in pairs.values():
        pair.parts(2)
    seconds: dict[str, list[float]] = {"limbeck views": [], "per-image transforms": []}
    steps: dict[str, list[float]] = {name: [] for name in pairs}
    for _ in range(options.repeats):
        seconds["limbeck views"].append(ours(options.steps) / options.steps)
        seconds["per-image transforms"].append(per_image.run(options.steps) / options.steps)
        for name, pair in pairs.items():
            steps[name].append(sum(pair.parts(options.steps).values()) / options.steps)
    print(table(seconds, "ms a batch"))
    print(table(steps, "ms a step, views included"))
    print()
    views = seconds["limbeck views"]
    for name, values in steps.items():
        share = statistics.median(a / b for a, b in zip(views, values, strict=True))
        print(f"views / step of {name} = {100 * share:.1f} %")
    faster = statistics.median(a / b for a, b in zip(seconds["per-image transforms"], views, strict=True))
    print(f"per-image transforms / limbeck views = {faster:.1f}", flush=True)


if __name__ == "__main__":
    main()
