"""How many learners memory allows at once: measured on the first step of one, not guessed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from limbeck.building.assemble import make_learner, view_planner
from limbeck.building.checks.loss_states import state_parameters
from limbeck.experiment.context import RunContext
from limbeck.experiment.plan import LearnerPlan
from limbeck.recipes.recipe import LossTerm, Views
from limbeck.training.learner import Learner
from limbeck.training.loop import take_step
from limbeck.views.apply import make_view

from .free_memory import free_memory, kernel_says

SHARE_OF_WHAT_IS_FREE = 0.8
STATUS = Path("/proc/self/status")


def learners_at_once(run_context: RunContext, plan: LearnerPlan, views: Views, *, free: int | None = None) -> int:
    """How many learners like this one fit into the memory that is free now, beside one that takes its step.

    A learner keeps weights, gradients, momenta and averages as long as it is taught; what a step needs besides is
    given back before the next one's. free: bytes, where not those that are free now. At least 1.
    """
    kept, transient = _one_step(run_context, plan, views)
    room = SHARE_OF_WHAT_IS_FREE * (_free(run_context.device) if free is None else free) - transient
    return max(1, int(room // max(kept, 1)))


def _one_step(run_context: RunContext, plan: LearnerPlan, views: Views) -> tuple[int, int]:
    """Bytes that one learner keeps after a step on labels alone, and bytes that the step needs besides."""
    arm = run_context.recipe.arms()[plan.arm]
    on_labels = arm.model_copy(update={"teacher": (), "loss": (LossTerm(name="cross_entropy"),)})
    learner = make_learner(
        plan.name, on_labels, run_context.images, arm_name=plan.arm, seed=plan.seed, device=run_context.device,
        precision=run_context.recipe.precision,
        losses=run_context.losses, models=run_context.models,
    )  # fmt: skip
    planner = view_planner(run_context.images, views, 0)
    view = make_view(run_context.train, planner.plan(0, 0, planner.order(0)), planner.views, planner.normalisation)
    before = _begin_peak(run_context.device)
    take_step([learner], {}, view, epoch=0, step=0, steps=planner.steps_per_epoch)
    peak = _peak(run_context.device) - before
    kept = sum(tensor.numel() * tensor.element_size() for tensor in _kept(learner))
    if arm.choose == "best":
        kept += sum(t.numel() * t.element_size() for t in learner.answering.state_dict().values())
    states = state_parameters(
        run_context.recipe, run_context.images, run_context.losses, run_context.models, only=[plan.arm]
    )
    optimizer_states = learner.optimizer.state.values()
    momenta = sum(t.numel() for state in optimizer_states for t in state.values() if isinstance(t, Tensor) and t.ndim)
    copies = 2 + momenta / sum(p.numel() for p in learner.model.parameters())  # weights, gradients, momenta
    kept += int(4 * copies * sum(states.get(plan.arm, {}).values()))
    return kept, max(0, peak)


def _kept(learner: Learner) -> Iterator[Tensor]:
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


def _begin_peak(device: torch.device) -> int:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # Linux counts the peak from here
        return kernel_says(STATUS, "VmRSS")
    except (OSError, LookupError):
        return 0


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        return kernel_says(STATUS, "VmHWM")
    except (OSError, LookupError):
        return 0
