"""One distillation step: Limbeck against the arithmetic floor and against a plain loop.

    python benchmarks/step.py [--images FOLDER|digits] [--threads N] [--steps N] [--repeats N]

The published CIFAR-10 pair: a ResNet-like teacher of 4.66M parameters, a CNN of 107K, batch 128, crop and flip,
cross-entropy 0.3 and soft targets 0.7 at temperature 4, Adam. Blocks of steps of the three ways are taken in turn,
A B C A B C …, so that whatever else the machine does meets all three alike; a ratio is the median of the ratios
within each turn. Only ratios are claimed: seconds are of this machine on this day.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from limbeck.types import Dataset, Split

SIDE = 32
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def main() -> None:
    options = arguments(__doc__, steps=20)
    for name in THREAD_VARIABLES:  # read once, when torch is imported
        os.environ[name] = str(options.threads)
    import torch

    torch.set_num_threads(options.threads)
    compare(options)


def arguments(description: str | None, *, steps: int) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", help="folder of CIFAR-10 as parquet files, or `digits`", default=default_images())
    parser.add_argument("--threads", type=int, default=cores(), help="of torch (default: all cores)")
    parser.add_argument("--steps", type=int, default=steps, help="steps a block")
    parser.add_argument("--repeats", type=int, default=9, help="blocks of each way")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--precision", choices=("auto", "bf16", "fp32"), default="auto", help="of Limbeck and floor")
    return parser.parse_args()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_images() -> str:
    """CIFAR-10 where the tests look for it, else the digits that come inside scikit-learn."""
    folder = Path(os.environ.get("LIMBECK_TEST_IMAGES", Path(__file__).parents[2] / "shared" / "data")) / "cifar10"
    return str(folder) if folder.is_dir() else "digits"


def compare(options: argparse.Namespace) -> None:
    import torch

    from limbeck.models import lightweight_cnn, strided_resnet
    from limbeck.training.precision import compute_dtype
    from step_floor import FloorSteps, prepared
    from step_limbeck import LimbeckSteps
    from step_plain_loop import PlainImages, PlainSteps

    dataset, split = load(options.images)
    classes, normalisation = len(dataset.class_names), dataset.normalisation
    dtype = compute_dtype(options.precision, torch.device("cpu"))
    size = min(options.batch_size, len(split))

    def pair() -> tuple[torch.nn.Module, torch.nn.Module]:
        torch.manual_seed(0)
        return strided_resnet.build(classes), lightweight_cnn.build(classes)

    print(header(options, dataset, split, dtype), flush=True)
    limbeck = LimbeckSteps(split, *pair(), normalisation=normalisation, batch_size=size, dtype=dtype)
    batches = prepared(split.images, split.labels, normalisation.mean, normalisation.sd, size=size, dtype=dtype)
    floor = FloorSteps(batches, *pair(), dtype=dtype)
    pixels = split.images.permute(0, 2, 3, 1).numpy()
    plain_images = PlainImages(pixels, split.labels.tolist(), normalisation.mean, normalisation.sd)
    plain = PlainSteps(plain_images, *pair(), batch_size=size)

    ways = {"limbeck": limbeck, "floor": floor, "plain loop": plain}
    for way in ways.values():
        way.run(max(1, options.steps // 4))
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    parts: dict[str, list[float]] = {}
    for _ in range(options.repeats):
        for name, way in ways.items():
            seconds[name].append(way.run(options.steps) / options.steps)
        for name, way in (("limbeck", limbeck), ("floor", floor)):
            for part, spent in way.parts(options.steps).items():
                parts.setdefault(f"{name}: {part}", []).append(spent / options.steps)
    print(table(seconds, "ms a step"))
    print(table(parts, "ms, parts of a step"))
    print()
    ratio("limbeck / floor", seconds["limbeck"], seconds["floor"])
    ratio("plain loop / limbeck", seconds["plain loop"], seconds["limbeck"])


def load(images: str) -> tuple[Dataset, Split]:
    """The training images, 32 pixels a side."""
    import torch

    from limbeck.data.sources import digits, parquet
    from limbeck.types import Split

    dataset = digits.build() if images == "digits" else parquet.build(images)
    split = dataset.train
    if split.images.shape[-1] != SIDE:
        scaled = torch.nn.functional.interpolate(split.images.float(), size=(SIDE, SIDE), mode="nearest")
        split = Split(scaled.to(torch.uint8).contiguous(memory_format=torch.channels_last), split.labels)
    return dataset, split


def header(options: argparse.Namespace, dataset: Dataset, split: Split, dtype: torch.dtype) -> str:
    import numpy
    import PIL
    import torch

    note = "" if dataset.train is split else f" enlarged to {SIDE} px (CIFAR-10 was not given)"
    return "\n".join(
        (
            f"{processor()}, {os.cpu_count()} cores; {options.threads} threads; load average {load_average()}",
            f"Python {platform.python_version()}, torch {torch.__version__}, numpy {numpy.__version__}, "
            f"Pillow {PIL.__version__}, {platform.system()}",
            f"images: {dataset.name}{note}, {len(split)} to train; batch {min(options.batch_size, len(split))}",
            f"precision: {str(dtype).removeprefix('torch.')}, channels last; plain loop: float32, 2 workers",
            f"n = {options.repeats} blocks of {options.steps} steps of each, in turn; median (min to max)",
        )
    )


def processor() -> str:
    """The processor's name, and whether bfloat16 is in its hardware."""
    import torch

    from limbeck.training.precision import has_fast_bfloat16

    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        named = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        name = named[0].split(":", 1)[1].strip() if named else name
    return f"{name} ({'with' if has_fast_bfloat16(torch.device('cpu')) else 'without'} bfloat16 arithmetic)"


def load_average() -> str:
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


def table(seconds: dict[str, list[float]], unit: str) -> str:
    lines = [f"\n{'':<20}{unit}"]
    for name, values in seconds.items():
        low, middle, high = (1000 * value for value in (min(values), statistics.median(values), max(values)))
        lines.append(f"{name:<20}{middle:9.3f}  ({low:.3f} to {high:.3f})")
    return "\n".join(lines)


def ratio(name: str, above: Sequence[float], below: Sequence[float]) -> None:
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    print(f"{name} = {statistics.median(ratios):.2f}", flush=True)


if __name__ == "__main__":
    main()
