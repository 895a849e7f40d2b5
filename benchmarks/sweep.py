"""A sweep of twelve trials: one cohort against twelve runs, and against replaying the teacher's stored outputs.

    python benchmarks/sweep.py [--images FOLDER|digits] [--threads N] [--steps N] [--repeats N]

Twelve trials of (temperature, weight) for one pair whose teacher is expensive (speed_cnn, 1.97M parameters, beside a
CNN of 107K; the ratio of their forward passes is printed), batch 128, crop and flip, Adam, all with the same views. An
epoch of `steps` steps is trained in turn: twelve times with one student each, once with all twelve, once with all
twelve and the teacher outputs read from an outputs bank, and as bare arithmetic (one teacher's pass and twelve
students' steps on tensors that already lie there). A ratio is the median of the ratios within each turn.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from step import THREAD_VARIABLES, arguments, header, load, ratio, table

if TYPE_CHECKING:
    import argparse

    import torch

TEMPERATURES, WEIGHTS = (1.0, 2.0, 4.0, 8.0), (0.1, 0.5, 0.9)


def main() -> None:
    options = arguments(__doc__, steps=20)
    for name in THREAD_VARIABLES:
        os.environ[name] = str(options.threads)
    with tempfile.TemporaryDirectory(prefix="limbeck-bench-") as cache:
        import torch

        torch.set_num_threads(options.threads)
        compare(options, cache)


def compare(options: argparse.Namespace, cache: str) -> None:
    import torch

    from limbeck.models import lightweight_cnn, speed_cnn
    from limbeck.models.folding import fold_batch_norms
    from limbeck.recipes.views import Crop, Views
    from limbeck.training.precision import compute_dtype
    from limbeck.training.teacher import Teacher
    from limbeck.types import Split
    from limbeck.views.plan import ViewPlanner
    from limbeck.views.preprocess import InputFormat
    from step_floor import FloorSteps, prepared

    dataset, whole = load(options.images)
    os.environ["LIMBECK_CACHE"] = cache  # the images came from the usual one; banks go here
    classes, norm = len(dataset.class_names), dataset.normalisation
    dtype, device = compute_dtype(options.precision, torch.device("cpu")), torch.device("cpu")
    size = min(options.batch_size, len(whole))
    split = Split(whole.images[: size * options.steps], whole.labels[: size * options.steps])
    planner = ViewPlanner(
        "benchmark", len(split), Views(batch_size=size, crop=Crop(padding=4), flip=True), 0, (32, 32), norm
    )
    torch.manual_seed(0)
    input_format, model = InputFormat(norm), speed_cnn.build(classes)
    teacher = Teacher("teacher", model, input_format, device=device, dtype=dtype, fold=fold_batch_norms)

    def student() -> torch.nn.Module:
        torch.manual_seed(1)
        return lightweight_cnn.build(classes)

    def learners(trials: list[tuple[float, float]]) -> list[Any]:
        return [_learner(student(), t, w, input_format, dtype) for t, w in trials]

    trials = [(t, w) for t in TEMPERATURES for w in WEIGHTS]
    print(header(options, dataset, whole, dtype), flush=True)
    passes = _passes(teacher, student(), split, input_format, dtype)
    print(f"an epoch of {planner.steps_per_epoch} steps; forward passes: {passes}", flush=True)
    batches = prepared(split.images, split.labels, norm.mean, norm.sd, size=size, dtype=dtype)
    floors = [FloorSteps(batches, model, student(), dtype=dtype) for _ in trials]

    def floor() -> None:
        for step in range(planner.steps_per_epoch):
            pixels, labels = batches[step % len(batches)]
            with torch.inference_mode():
                outputs = floors[0].teacher(pixels).logits.float()
            outputs = outputs.clone()
            for one in floors:
                one._train_step(pixels, labels, outputs)

    def separate() -> None:
        for trial in trials:
            _train_epoch(learners([trial]), {"teacher": teacher}, split, planner)

    def replayed() -> None:
        _train_epoch(learners(trials), {"teacher": _banked(teacher, planner, split, classes)}, split, planner)

    ways: dict[str, Callable[[], None]] = {
        "twelve runs": separate,
        "one cohort": lambda: _train_epoch(learners(trials), {"teacher": teacher}, split, planner),
        "from the bank": replayed,
        "floor": floor,
    }
    replayed()  # writes the bank
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.repeats):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append((time.perf_counter() - start) / planner.steps_per_epoch)
    print(table(seconds, "ms a step of all twelve"))
    print()
    ratio("one cohort / twelve runs", seconds["one cohort"], seconds["twelve runs"])
    ratio("from the bank / twelve runs", seconds["from the bank"], seconds["twelve runs"])
    ratio("floor / twelve runs", seconds["floor"], seconds["twelve runs"])
    ratio("one cohort / floor", seconds["one cohort"], seconds["floor"])


def _learner(student: torch.nn.Module, temperature: float, weight: float, input_format: Any, dtype: torch.dtype) -> Any:
    import torch

    from limbeck.losses import cross_entropy, soft_targets
    from limbeck.recipes.optimization import Adam
    from limbeck.training.learner import Learner, Training
    from limbeck.training.objective import Objective, WeightedLoss

    terms = [
        WeightedLoss("soft_targets", soft_targets, weight, {"temperature": temperature}),
        WeightedLoss("cross_entropy", cross_entropy, 1 - weight),
    ]
    training = Training(Adam(lr=1e-3, weight_decay=1e-4), epochs=1, teachers=("teacher",))
    objective = Objective(terms, teacher_weights=[1.0])
    return Learner(
        f"{temperature} {weight}",
        student,
        objective,
        training,
        input_format=input_format,
        device=torch.device("cpu"),
        dtype=dtype,
    )


def _train_epoch(learners: list[Any], teachers: Mapping[str, Any], split: Any, planner: Any) -> None:
    from limbeck.training.loop import EpochEnded, train

    for event in train(learners, teachers, split, planner):
        if isinstance(event, EpochEnded):
            break
    for teacher in teachers.values():
        if hasattr(teacher, "close"):
            teacher.close()


def _banked(teacher: Any, planner: Any, split: Any, classes: int) -> Any:
    from limbeck.training.outputs_bank.bank import OutputsBank
    from limbeck.training.outputs_bank.key import bank_key, shape
    from limbeck.training.outputs_bank.teacher import BankedTeacher

    key = bank_key(teacher, {"model": {"name": "speed_cnn"}}, planner, split, classes)
    bank = OutputsBank(key, shape(planner, classes))
    return BankedTeacher("teacher", bank, planner, lambda: teacher, device=teacher.device)


def _passes(teacher: Any, student: torch.nn.Module, split: Any, input_format: Any, dtype: torch.dtype) -> str:
    """How much more the teacher's pass takes than the student's, both in eval mode and without gradients."""
    import torch

    from limbeck.models.folding import fold_batch_norms
    from limbeck.training.teacher import Teacher
    from limbeck.views.preprocess import prepare

    other = Teacher("student", student, input_format, device=torch.device("cpu"), dtype=dtype, fold=fold_batch_norms)
    pixels = prepare(split.images[:128], input_format, dtype)
    spent = {}
    for name, model in (("teacher", teacher), ("student", other)):
        times = []
        for _ in range(7):
            start = time.perf_counter()
            model(pixels)
            times.append(time.perf_counter() - start)
        spent[name] = sorted(times)[3]
    times = " and ".join(f"{name} {1000 * value:.1f} ms" for name, value in spent.items())
    return f"{times}, {spent['teacher'] / spent['student']:.1f} times"


if __name__ == "__main__":
    main()
