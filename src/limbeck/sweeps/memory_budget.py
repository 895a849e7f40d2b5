"""How many learners fit into memory: the step of one is measured, and the free memory of machine and container."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from limbeck.building.checks.loss_states import state_parameters
from limbeck.building.data import view_planner
from limbeck.building.learners import make_learner
from limbeck.experiment.context import RunContext
from limbeck.experiment.plan import LearnerPlan
from limbeck.recipes.recipe import LossTerm, Views
from limbeck.training.learner import Learner
from limbeck.training.loop import take_step
from limbeck.views.apply import make_view

SHARE_OF_FREE_MEMORY = 0.8
STATUS = Path("/proc/self/status")
CGROUP_V2 = ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file")
CGROUP_V1 = ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def max_concurrent_learners(
    run_context: RunContext, plan: LearnerPlan, views: Views, *, free: int | None = None
) -> int:
    """How many learners like this one fit into free memory while one takes its step; at least 1.

    Weights, gradients, optimizer states and averages persist for the whole training; the other memory of a step is
    released before the next learner's step. free: bytes (None: those that are free now).
    """
    persistent, transient = _measure_step(run_context, plan, views)
    budget = SHARE_OF_FREE_MEMORY * (_free(run_context.device) if free is None else free) - transient
    return max(1, int(budget // max(persistent, 1)))


def _measure_step(run_context: RunContext, plan: LearnerPlan, views: Views) -> tuple[int, int]:
    """Persistent and transient bytes of a training step on labels only."""
    arm = run_context.recipe.arms()[plan.arm]
    labels_only = arm.model_copy(update={"teacher": (), "loss": (LossTerm(name="cross_entropy"),)})
    learner = make_learner(
        plan.name, labels_only, run_context.images, arm_name=plan.arm, seed=plan.seed, device=run_context.device,
        precision=run_context.recipe.precision,
        losses=run_context.losses, models=run_context.models,
    )  # fmt: skip
    planner = view_planner(run_context.images, views, 0)
    view = make_view(
        run_context.train_split, planner.plan(0, 0, planner.order(0)), planner.views, planner.normalisation
    )
    before = _reset_peak(run_context.device)
    take_step([learner], {}, view, epoch=0, step=0, steps=planner.steps_per_epoch)
    peak = _peak(run_context.device) - before
    persistent = sum(tensor.numel() * tensor.element_size() for tensor in _persistent_tensors(learner))
    if arm.choose == "best":
        persistent += sum(t.numel() * t.element_size() for t in learner.evaluated_model.state_dict().values())
    states = state_parameters(
        run_context.recipe, run_context.images, run_context.losses, run_context.models, only=[plan.arm]
    )
    optimizer_states = learner.optimizer.state.values()
    momenta = sum(t.numel() for state in optimizer_states for t in state.values() if isinstance(t, Tensor) and t.ndim)
    copies = 2 + momenta / sum(p.numel() for p in learner.model.parameters())  # weights, gradients, momenta
    persistent += int(4 * copies * sum(states.get(plan.arm, {}).values()))
    return persistent, max(0, peak)


def _persistent_tensors(learner: Learner) -> Iterator[Tensor]:
    yield from learner.model.state_dict().values()
    yield from (p.grad for p in learner.model.parameters() if p.grad is not None)
    for state in learner.optimizer.state.values():
        yield from (value for value in state.values() if isinstance(value, Tensor))
    if learner.average:
        yield from learner.average.model.state_dict().values()


def _free(device: torch.device) -> int:
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return free_memory()


def _reset_peak(device: torch.device) -> int:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets the peak (Linux)
        return _read_kernel_value(STATUS, "VmRSS")
    except (OSError, LookupError):
        return 0


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        return _read_kernel_value(STATUS, "VmHWM")
    except (OSError, LookupError):
        return 0


def free_memory(root: Path = Path("/")) -> int:
    """Bytes that this process may still use: the minimum of the kernel's MemAvailable and the limits of its cgroups.

    root: the folder with `proc` and `sys`. On systems without them: half of the machine's memory.
    """
    known = [*_free_in_cgroups(root)]
    with contextlib.suppress(OSError, LookupError, ValueError):
        known.append(_read_kernel_value(root / "proc/meminfo", "MemAvailable"))
    return min(known) if known else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _read_kernel_value(path: Path, name: str) -> int:
    """Bytes of a line of a file such as /proc/meminfo. Raises LookupError or OSError if there is none."""
    for line in path.read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(name)


def _free_in_cgroups(root: Path) -> Iterator[int]:
    """Bytes below the limit of each control group of this process."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, name = rest.partition(":")
        version = (
            CGROUP_V2
            if number == "0" and not controllers
            else CGROUP_V1
            if "memory" in controllers.split(",")
            else None
        )
        if version is None:
            continue
        mount, limit, used, reclaimable = version
        own = PurePosixPath(name.lstrip("/"))
        for group in (own, *own.parents):  # limits of the groups above apply too; "." is the root group
            with contextlib.suppress(OSError, ValueError):
                folder = root / mount / group
                maximum = int((folder / limit).read_text(encoding="ascii"))  # "max": no limit here
                yield max(
                    0, maximum - int((folder / used).read_text(encoding="ascii")) + _reclaimable(folder, reclaimable)
                )


def _reclaimable(folder: Path, name: str) -> int:
    """Bytes of the page cache that the kernel can reclaim."""
    with contextlib.suppress(OSError, ValueError):
        for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines():
            if line.startswith(f"{name} "):
                return int(line.split()[1])
    return 0
