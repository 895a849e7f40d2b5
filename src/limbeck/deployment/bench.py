"""`limbeck bench`: latency and throughput of models and exported files side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from limbeck.building.saved_model import load
from limbeck.errors import LimbeckError, did_you_mean, one_line, short_repr
from limbeck.evaluation.efficiency import Latency, is_disturbed
from limbeck.evaluation.interleaved import interleaved_latencies, pinned
from limbeck.storage.atomic import path_digest

from .formats import format_of
from .proof import Exported

EXTRAS = ("compiled", "openvino")
BATCHES = (1, 128)


@dataclass(frozen=True)
class Candidate:
    """A predictor to be timed. call: uint8 images `[B, C, H, W]`. image_shape: of one image, `(C, H, W)`."""

    name: str
    call: Callable[[Tensor], object]
    image_shape: tuple[int, int, int]
    megabytes: float


@dataclass(frozen=True)
class Row:
    """A candidate at one batch size. speedup: the reference's median over this one's, at the same batch size."""

    name: str
    megabytes: float
    batch: int
    latency: Latency
    speedup: float

    @property
    def images_per_second(self) -> float:
        """Of the median call."""
        return 1e3 * self.batch / self.latency.median_ms

    @property
    def disturbed(self) -> bool:
        """Whether something else took the machine's time."""
        return is_disturbed(self.latency, "cpu")


def bench(
    paths: Sequence[str | Path],
    *,
    batches: Sequence[int] = BATCHES,
    threads: int = 1,
    extras: Sequence[str] = (),
    seconds: float = 5.0,
) -> list[Row]:
    """Time models and files in turns, in this process, on the same random pixels. The first is the reference.

    paths: folders of saved models (torch, float32) and exported files (their own runtime). threads: of each; the
    process is bound to as many cores. extras: `compiled` adds each model compiled by torch, `openvino` adds each
    ONNX file run by OpenVINO. seconds: for each batch size.

    Raises LimbeckError for a path that is neither, files of different image sizes, and a batch size below 1.
    """
    for word in extras:
        if word not in EXTRAS:
            raise LimbeckError(f"--with: no {word!r}{did_you_mean(word, EXTRAS)}")
    for batch in batches:
        if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
            raise LimbeckError(f"--batch: expected at least 1; got {short_repr(batch)}")
    with pinned(threads):
        candidates = [candidate for path in paths for candidate in _candidates(Path(path), threads, extras)]
        _check(candidates)
        return [row for batch in batches for row in _rows(candidates, batch, seconds)]


def _candidates(path: Path, threads: int, extras: Sequence[str]) -> list[Candidate]:
    if (path / "model.json").is_file():
        return _of_model(path, extras)
    kind = format_of(path)
    run, about = kind.load().open_session(path, threads)
    shape, megabytes = _shape(about["image_shape"]), path_digest(path).size / 1e6
    found = [Candidate(path.name, Exported(run, about["layout"]), shape, megabytes)]
    if "openvino" in extras and path.suffix == ".onnx":
        from . import openvino_file

        run, about = openvino_file.open_session(path, threads)
        found.append(Candidate(f"{path.name} (OpenVINO)", Exported(run, about["layout"]), shape, megabytes))
    return found


def _of_model(folder: Path, extras: Sequence[str]) -> list[Candidate]:
    model = load(folder)
    shape = _shape(model.image_shape)
    megabytes = (folder / "model.safetensors").stat().st_size / 1e6
    found = [Candidate(f"{folder.name} (torch)", _torch_call(model), shape, megabytes)]
    if "compiled" in extras:
        try:
            compiled = torch.compile(model)
            with torch.inference_mode():
                compiled(torch.zeros(2, *model.image_shape, dtype=torch.uint8))
        except Exception as error:  # the compiler needs a C++ compiler, and does not know every operation
            raise LimbeckError(f"--with compiled: torch cannot compile {folder}: {one_line(error)}") from error
        found.append(Candidate(f"{folder.name} (torch, compiled)", _torch_call(compiled), shape, megabytes))
    return found


def _torch_call(model: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def call(images: Tensor) -> Tensor:
        with torch.inference_mode():
            return model(images)

    return call


def _shape(values: Sequence[int]) -> tuple[int, int, int]:
    channels, height, width = values
    return channels, height, width


def _check(candidates: Sequence[Candidate]) -> None:
    if not candidates:
        raise LimbeckError("bench: expected folders of saved models or exported files; got none")
    first = candidates[0]
    for other in candidates:
        if other.image_shape != first.image_shape:
            sizes = (" x ".join(map(str, one.image_shape)) for one in (first, other))
            raise LimbeckError(f"{other.name}: cannot be compared with {first.name}: images of {' and '.join(sizes)}")


def _rows(candidates: Sequence[Candidate], batch: int, seconds: float) -> list[Row]:
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (batch, *candidates[0].image_shape), dtype=torch.uint8, generator=draw)
    images = images.contiguous(memory_format=torch.channels_last)
    calls = {str(index): lambda one=one: one.call(images) for index, one in enumerate(candidates)}
    found = interleaved_latencies(calls, seconds=seconds)
    reference = found["0"].median_ms
    return [
        Row(one.name, one.megabytes, batch, found[str(index)], reference / found[str(index)].median_ms)
        for index, one in enumerate(candidates)
    ]


def table(rows: Sequence[Row]) -> list[str]:
    """The rows as lines of text, a block for each batch size."""
    width = max(len(row.name) for row in rows)
    lines = []
    for batch in dict.fromkeys(row.batch for row in rows):
        lines.append(
            f"{f'batch of {batch}':<{width}}  {'MB':>8}  {'median ms':>9}  {'p95 ms':>8}  {'images/s':>9}  speed"
        )
        for row in rows:
            if row.batch == batch:
                busy = "  (machine busy)" if row.disturbed else ""
                lines.append(
                    f"{row.name:<{width}}  {row.megabytes:>8.3f}  {row.latency.median_ms:>9.3f}  "
                    f"{row.latency.p95_ms:>8.3f}  {row.images_per_second:>9,.0f}  {row.speedup:.2f}x{busy}"
                )
        lines.append("")
    return lines[:-1]
