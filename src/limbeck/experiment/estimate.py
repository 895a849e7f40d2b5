"""What a plan will cost, measured on a few images before anything is trained."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from limbeck.building.checks.before_training import check_before_training
from limbeck.building.checks.pretrained import check_arms_from_files
from limbeck.building.data import Images
from limbeck.building.learners import arm_precision
from limbeck.building.models import build_model, check_output, make_input_format
from limbeck.building.quantised_student import quantised
from limbeck.evaluation.budget import judge
from limbeck.evaluation.efficiency import count_parameters, megabytes, multiply_adds
from limbeck.recipes.load import NO_FUNCTIONS
from limbeck.recipes.recipe import Arm, CustomFunctions, Recipe
from limbeck.report.budget import allowed_in_words, in_words
from limbeck.storage.run_directory import RunDirectory
from limbeck.training.model_errors import explain_build_errors, explain_model_errors, explain_out_of_memory
from limbeck.training.precision import autocast, compute_dtype
from limbeck.training.teacher import as_outputs

from .context import open_context
from .outputs_banks import describe_banks
from .plan import batches_larger_than_data, make_plan

IMAGES_TO_TIME = 16


@dataclass(frozen=True)
class ArmCost:
    """The cost of one arm. Seconds are per image; memory is in bytes: fixed, and per image of a batch."""

    parameters: int
    megabytes: float
    multiply_adds: int
    train_seconds: float
    inference_seconds: float
    fixed_bytes: int
    bytes_per_image: int


def _starting_points(recipe: Recipe) -> list[str]:
    """A line for each arm that starts from a file and is trained further: this may be a mistake."""
    lines: list[str] = []
    for group, arms in (("teachers", recipe.teachers), ("students", recipe.students)):
        for name, arm in arms.items():
            if arm.weights and arm.trained:
                untrained = f"; {group}.{name}.loss=[] uses it untrained" if group == "teachers" else ""
                lines.append(f"{name} starts from {arm.weights} and is trained further{untrained}")
    return ["", *lines] if lines else []


def _snapshots(recipe: Recipe, costs: Mapping[str, ArmCost]) -> list[str]:
    """The disk space of each arm's snapshots."""
    return [
        f"{name} saves snapshots of epochs {', '.join(map(str, arm.snapshots))}: "
        f"{len(arm.snapshots)} × {costs[name].megabytes:.2f} MB on disk for each seed"
        for name, arm in recipe.arms().items()
        if arm.snapshots
    ]


def _within_budget(recipe: Recipe, costs: Mapping[str, ArmCost]) -> list[str]:
    """What each student costs in megabytes and multiply-adds, and whether it meets the limits that there are."""
    if recipe.budget is None:
        return []
    later = "; milliseconds are measured after training" if recipe.budget.milliseconds is not None else ""
    lines = ["", f"budget: {allowed_in_words(recipe.budget.limits())} for one image{later}"]
    for name in recipe.students:
        cost = {"megabytes": costs[name].megabytes, "multiply_adds": costs[name].multiply_adds}
        limits = judge(recipe.budget, cost)["limits"]
        free = {limit: {"measured": value, "allowed": None, "met": None} for limit, value in cost.items()}
        lines.append(f"  {name}: {in_words({limit: [limits.get(limit, free[limit])] for limit in cost})}")
    return lines


def describe_plan(
    recipe: Recipe,
    *,
    losses: CustomFunctions = NO_FUNCTIONS,
    models: CustomFunctions = NO_FUNCTIONS,
    timed: bool = True,
    folder: Path | None = None,
) -> list[str]:
    """The plan of a recipe in lines for a person: data, models, cohorts, steps, outputs banks, estimated time, memory.

    folder: the run directory (default: `runs/NAME`), for teachers that are already trained.
    timed: measure each model on a few random images; otherwise only counts are given.
    Times are estimates from a batch of 16, with the machine as busy as it is now.
    """
    context = open_context(recipe, RunDirectory(folder or Path("runs") / recipe.name), losses=losses, models=models)
    images, device = context.images, context.device
    states = check_before_training(recipe, images, models, losses=losses, published=False)
    plan = make_plan(recipe)
    costs = {name: arm_cost(arm, name, images, device, recipe, models, timed) for name, arm in recipe.arms().items()}
    dtype = str(compute_dtype(recipe.precision, device)).removeprefix("torch.")
    wide = max(24, *(len(name) + 2 for name in recipe.arms()))
    lines = [
        f"{recipe.name}: {images.name}, {len(images.class_names)} classes, {len(images.train):,} training, "
        f"{len(images.validation):,} validation and {len(images.test):,} test images of "
        f"{images.shape[2]}×{images.shape[1]} px",
        *images.notes,
        f"on {device}, {torch.get_num_threads()} threads, {dtype}",
        "",
        f"{'arm':<{wide}}{'model':<28}{'parameters':>12}{'multiply-adds':>15}{'epochs':>8}",
    ]
    for name, arm in recipe.arms().items():
        epochs = str(arm.epochs) if arm.trained else "ready"
        lines.append(
            f"{name:<{wide}}{arm.model.name:<28}{costs[name].parameters:>12,}"
            f"{costs[name].multiply_adds / 1e6:>13.1f} M{epochs:>8}"
        )
    for name, of_losses in states.items():
        own = ", ".join(f"{loss} {parameters:,}" for loss, parameters in of_losses.items())
        lines.append(f"{name} also trains parameters of its losses, not part of the model: {own}")
    lines += _within_budget(recipe, costs)
    lines += _snapshots(recipe, costs)
    lines += _starting_points(recipe)
    measured: list[str] = []
    check_arms_from_files(recipe, images, device, models, measured.append)
    lines += ["", *measured] if measured else []
    if large := batches_larger_than_data([cohort.views for cohort in plan.cohorts], len(images.train)):
        lines += ["", *large]
    if test_time := recipe.evaluation.test_time:
        passes = f"{test_time.count} forward passes for each validation and test image"
        lines += ["", f"test-time augmentation ({test_time.describe()}): {passes}, in every arm"]
    lines += ["", f"{'cohort':<32}{'learners':<34}{'steps':>8}{'time':>12}{'memory':>10}"]
    total, most = 0.0, 0
    for cohort in plan.cohorts:
        seconds, memory = 0.0, 0
        batch = min(cohort.views.batch_size, len(images.train))
        steps = max(1, len(images.train) // cohort.views.batch_size)
        names = [learner.arm for learner in cohort.learners]
        for learner in cohort.learners:
            arm, cost = recipe.arms()[learner.arm], costs[learner.arm]
            seconds += cost.train_seconds * steps * batch * (arm.epochs or 0)
            memory += cost.fixed_bytes
            copies = 2 + (arm.optimizer.buffers_per_parameter if arm.optimizer else 0)  # weights, gradients, momenta
            memory += 4 * copies * sum(states.get(learner.arm, {}).values())
        for teacher in cohort.teachers:
            longest = max(recipe.arms()[arm].epochs or 0 for arm in names)
            seconds += costs[teacher.arm].inference_seconds * steps * batch * longest
            memory += costs[teacher.arm].parameters * 4
        memory += max(costs[arm].bytes_per_image for arm in names) * batch + len(images.train) * math.prod(images.shape)
        epochs = max(recipe.arms()[arm].epochs or 0 for arm in names)
        shown = ", ".join(dict.fromkeys(names))
        time_text = duration(seconds) if timed else "-"
        lines.append(
            f"{cohort.key[:31]:<32}{shown[:33]:<34}{steps * epochs:>8,}{time_text:>12}{memory / 2**20:>7,.0f} MB"
        )
        total, most = total + seconds, max(most, memory)
    if banks := describe_banks(context, plan.cohorts):
        lines += ["", *banks]
    if timed:
        lines += ["", f"in all about {duration(total)}, and at most about {most / 2**20:,.0f} MB at a time"]
    return lines


def arm_cost(
    arm: Arm, name: str, images: Images, device: torch.device, recipe: Recipe, models: CustomFunctions, timed: bool
) -> ArmCost:
    """Measure one arm's model on random pixels; pretrained weights are not needed for that.

    Raises LimbeckError naming the arm where the model does not take the images.
    """
    with explain_build_errors(name, arm.model.name):
        model = build_model(arm.model, len(images.class_names), models, pretrained=False).to(device)
    input_format = make_input_format(arm, images)
    side = input_format.resolution or images.shape[1]
    count = min(IMAGES_TO_TIME, recipe.views.batch_size)
    pixels = torch.randn(count, images.shape[0], side, side, device=device)
    dtype = compute_dtype(arm_precision(arm, recipe.precision), device)
    parameters = count_parameters(model)
    states = arm.optimizer.buffers_per_parameter if arm.optimizer else 0
    fixed = parameters * 4 * (2 + states + bool(arm.ema))
    check_output(name, model, images, input_format, arm.model.name)
    if arm.quantise:
        model = quantised(model, name)
    with explain_model_errors(name, pixels.shape, "timing"), explain_out_of_memory(name, count):
        macs = multiply_adds(model, (images.shape[0], side, side))
        train, inference, saved = _timed(model, pixels, dtype, arm.trained) if timed else (0.0, 0.0, 0)
    return ArmCost(parameters, megabytes(model), macs, train / count, inference / count, fixed, saved // count)


def _timed(model: nn.Module, pixels: torch.Tensor, dtype: torch.dtype, trained: bool) -> tuple[float, float, int]:
    """Seconds of a training step and of inference, and bytes saved for the backward pass, for these pixels."""
    model = model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    model.eval()
    with torch.inference_mode(), autocast(dtype, pixels.device):
        inference = _seconds(lambda: model(pixels), pixels.device)
    if not trained:
        return 0.0, inference, 0
    saved: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    model.train()
    owned = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def step() -> Any:
        with autocast(dtype, pixels.device), torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
            logits = as_outputs(model(pixels)).logits
        logits.float().logsumexp(-1).mean().backward()

    train = _seconds(step, pixels.device)
    model.zero_grad(set_to_none=True)
    return train, inference, sum(size for pointer, size in saved.items() if pointer not in owned)


def _seconds(call: Any, device: torch.device) -> float:
    times = []
    for _ in range(3):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        started = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - started)
    return min(times[1:])


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
