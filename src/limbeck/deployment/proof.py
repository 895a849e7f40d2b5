"""The proof of an exported file: it is run by its own runtime on real images and compared with the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from limbeck.building.saved_model import LoadedModel
from limbeck.evaluation import metrics
from limbeck.evaluation.evaluate import logits_of
from limbeck.evaluation.interleaved import interleaved_latencies, pinned
from limbeck.storage.atomic import path_digest
from limbeck.training.precision import autocast, compute_dtype
from limbeck.types import Split

from .formats import Format, Run

BATCHES = (1, 2, 3, 7, 32)
"""Images at a time. Odd ones, because an exporter may turn a batch size into a constant."""
LARGEST_DIFFERENCE = 1e-4
"""Of any logit of a float32 file from the model's."""
LEAST_AGREEMENT = 0.999
"""Of the top class of a float32 file with the model's, over the whole test split."""
LEAST_AGREEMENT_INT8 = 0.99
"""Of the top class of an int8 file with the model's, where the model was trained for int8. A value that lies between
two int8 numbers may be rounded to either, as the sums before it were added."""
LATENCY_BATCHES = (1, 128)


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one call. what: `file`, its float32 version or torch in a precision."""

    what: str
    batch: int
    median_ms: float
    p95_ms: float


@dataclass(frozen=True)
class Proof:
    """What was measured of one file. Accuracies and agreement are fractions.

    sha256: of the file: a proof says nothing about another one. images: of the test split, all of them.
    largest_difference: of any logit, over the split and all batch sizes. agreement: same top class.
    failures: why the file may not be used, one line each.
    """

    file: str
    format: str
    sha256: str
    bytes: int
    runtime: str
    data: str
    images: int
    batches: tuple[int, ...]
    largest_difference: float
    agreement: float
    top1: float
    model_top1: float
    threads: int
    latency: tuple[Timing, ...]
    failures: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)


class Exported:
    """An exported file as a predictor: uint8 images `[B, C, H, W]` to logits `[B, K]`."""

    def __init__(self, run: Run, layout: str) -> None:
        self.run = run
        self.nhwc = layout == "nhwc"

    def __call__(self, images: Tensor) -> Tensor:
        """The logits."""
        return self.both(images)[1]

    def both(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities and logits."""
        ready = (images.permute(0, 2, 3, 1) if self.nhwc else images).contiguous().numpy()
        probabilities, logits = self.run(ready)
        return torch.from_numpy(probabilities), torch.from_numpy(logits)


def prove(
    path: Path,
    kind: Format,
    model: LoadedModel,
    test: Split,
    *,
    data: str,
    reference: Tensor,
    threads: int,
    largest_drop: float,
    precision: str = "auto",
    float_file: Path | None = None,
    learned: bool = False,
) -> Proof:
    """Run a file on the whole test split and compare it with the model.

    reference: the model's logits `[N, K]` on `test`, float32. largest_drop: of top-1 for a quantised file, a fraction.
    precision: of the run, timed beside float32. float_file: the float32 version of a quantised file, timed beside it.
    learned: whether the model itself rounds to int8, so that its file must answer as it does.
    Raises LimbeckError where the file cannot be opened.
    """
    module = kind.load()
    run, about = module.open_session(path, threads)
    exported = Exported(run, about["layout"])
    differences, failures = [], []
    for batch in BATCHES:
        images = test.first(batch)
        probabilities, logits = exported.both(images)
        differences.append(_largest(logits, reference[: len(images)]))
        if not torch.allclose(probabilities, logits.softmax(dim=-1), atol=1e-5):
            failures.append(f"batch of {batch}: the probabilities are not the softmax of the logits")
    with pinned(threads):
        answers = logits_of(exported, test, batch_size=BATCHES[-1])
        others = (
            {"file float32": Exported(module.open_session(float_file, threads)[0], about["layout"])}
            if float_file
            else {}
        )
        timings = _timings({"file": exported, **others}, model, test, precision)
    differences.append(_largest(answers, reference))
    labels = test.labels.cpu().long()
    top1, model_top1 = metrics.accuracy(answers, labels), metrics.accuracy(reference, labels)
    agreement, largest = metrics.agreement(answers, reference), max(differences)
    if kind.quantised:
        if not model_top1 - top1 <= largest_drop:
            drop = f"{100 * (model_top1 - top1):.2f} points of top-1"
            failures.append(f"int8 loses {drop} ({100 * model_top1:.2f} to {100 * top1:.2f} %); "
                            f"at most {100 * largest_drop:.2f} are allowed")  # fmt: skip
        if learned and not agreement >= LEAST_AGREEMENT_INT8:
            failures.append(f"only {agreement:.2%} of the top classes agree with the model, which was trained for "
                            f"int8; {LEAST_AGREEMENT_INT8:.0%} must")  # fmt: skip
    else:
        if not largest <= LARGEST_DIFFERENCE:
            failures.append(f"a logit differs by {largest:.1e}; at most {LARGEST_DIFFERENCE:.0e} is allowed")
        if not agreement >= LEAST_AGREEMENT:
            failures.append(f"only {agreement:.2%} of the top classes agree; {LEAST_AGREEMENT:.1%} must")
    digest = path_digest(path)
    return Proof(
        file=path.name,
        format=kind.name,
        sha256=digest.sha256,
        bytes=digest.size,
        runtime=module.runtime_name(),
        data=data,
        images=len(test),
        batches=BATCHES,
        largest_difference=largest,
        agreement=agreement,
        top1=top1,
        model_top1=model_top1,
        threads=threads,
        latency=tuple(timings),
        failures=tuple(failures),
    )


def _largest(logits: Tensor, reference: Tensor) -> float:
    difference = (logits.double() - reference.double()).abs()
    return float("inf") if difference.isnan().any() else difference.max().item()


def _timings(files: Mapping[str, Exported], model: LoadedModel, test: Split, precision: str) -> list[Timing]:
    timings = []
    for batch in LATENCY_BATCHES:
        images = test.take(torch.arange(batch) % len(test))
        calls: dict[str, Callable[[], object]] = {
            what: lambda images=images, file=file: file(images) for what, file in files.items()
        }
        for dtype in dict.fromkeys((torch.float32, compute_dtype(precision, torch.device("cpu")))):
            name = f"torch {str(dtype).removeprefix('torch.')}"
            calls[name] = lambda images=images, dtype=dtype: _torch(model, images, dtype)
        for what, found in interleaved_latencies(calls, seconds=4.0).items():
            timings.append(Timing(what, batch, found.median_ms, found.p95_ms))
    return timings


def _torch(model: LoadedModel, images: Tensor, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(), autocast(dtype, torch.device("cpu")):
        return model(images)


def describe(proof: Proof) -> list[str]:
    """The proof in lines for a person."""
    images = f"{proof.images:,} test images of {proof.data}"
    lines = [
        f"{proof.bytes / 1e6:.3f} MB, {proof.runtime}",
        f"top-1 {proof.top1:.2%}, the model's {proof.model_top1:.2%}; same top class {proof.agreement:.2%} ({images})",
        f"largest difference of a logit {proof.largest_difference:.1e}, batches of "
        f"{', '.join(map(str, proof.batches))} included",
    ]
    for batch in LATENCY_BATCHES:
        times = {timing.what: timing for timing in proof.latency if timing.batch == batch}
        file = times.pop("file")
        others = "; ".join(
            f"{what} {timing.median_ms:.2f} ms ({_times(timing, file)})" for what, timing in times.items()
        )
        threads = f"{proof.threads} thread{'s' if proof.threads > 1 else ''}"
        lines.append(f"batch of {batch}: {file.median_ms:.2f} ms (p95 {file.p95_ms:.2f}, {threads}); {others}")
    if any(is_slower_than_float(proof, batch) for batch in LATENCY_BATCHES):
        lines.append("int8 is slower than float32 on this machine; it may be faster on the device")
    return lines + [f"FAILED: {failure}" for failure in proof.failures]


def _times(other: Timing, file: Timing) -> str:
    factor = other.median_ms / file.median_ms
    return f"the file is {factor:.1f} times as fast" if factor >= 1 else f"the file is {1 / factor:.1f} times slower"


def is_slower_than_float(proof: Proof, batch: int) -> bool:
    """Whether a quantised file takes longer than its float32 version."""
    times = {(timing.what, timing.batch): timing.median_ms for timing in proof.latency}
    return times["file", batch] > times.get(("file float32", batch), float("inf"))
