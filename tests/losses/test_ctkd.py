"""Curriculum temperature: the loss, and a temperature that ascends it."""

from __future__ import annotations

import copy
import importlib
import math

import pytest
import torch
from published_values import check_extremes, check_shifts, draws

from limbeck.errors import LimbeckError
from limbeck.losses import ctkd, soft_targets

MODULE = importlib.import_module("limbeck.losses.ctkd")


def new(lowest: float = 1.0, span: float = 20.0, ramp_steps: int = 0) -> torch.nn.Module:
    return MODULE.state(None, None, lowest=lowest, span=span, ramp_steps=ramp_steps)


def test_it_is_distillation_at_the_learned_temperature() -> None:
    student, teacher, labels = draws(1)
    for theta in (-3.0, 0.0, 1.0):
        state = new()
        state.theta.data.fill_(theta)
        temperature = 1 + 20 / (1 + math.exp(-theta))
        expected = soft_targets(student, teacher, None, temperature=temperature)
        torch.testing.assert_close(ctkd(student, teacher, labels, state=state), expected, rtol=1e-10, atol=1e-10)


def test_it_starts_as_published() -> None:
    assert new()().item() == pytest.approx(15.62, abs=0.005)


@pytest.mark.parametrize("steps", [0, 3, 5, 10, 25])
def test_theta_gets_the_reversed_gradient_by_the_ramp(steps: int) -> None:
    student, teacher, labels = draws(2)
    state = new(ramp_steps=10)
    state.steps.fill_(steps)
    ctkd(student, teacher, labels, state=state).sum().backward()
    theta = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    temperature = 1 + 20 * theta.sigmoid()
    p, q = ((z / temperature).log_softmax(-1) for z in (teacher, student))
    (temperature**2 * (p.exp() * (p - q)).sum()).backward()
    assert theta.grad is not None and theta.grad.abs() > 1e-3
    strength = 0.5 * (1 - math.cos(math.pi * min(steps / 10, 1)))
    assert state.theta.grad.item() == pytest.approx(-strength * theta.grad.item(), rel=1e-5, abs=1e-12)


def test_a_step_of_theta_makes_the_task_harder_and_one_of_the_student_easier() -> None:
    student, teacher, labels = draws(3)
    state, leaf = new(), student.clone().requires_grad_()
    before = ctkd(leaf, teacher, labels, state=state).mean()
    before.backward()
    harder, easier = copy.deepcopy(state), (leaf - 0.01 * leaf.grad).detach()
    harder.theta.data -= 0.01 * state.theta.grad
    assert ctkd(student, teacher, labels, state=harder).mean() > before
    assert ctkd(easier, teacher, labels, state=state).mean() < before


def test_only_training_with_gradients_advances_the_ramp() -> None:
    state = new(ramp_steps=10)
    given = draws(4)
    ctkd(*given, state=state)
    assert state.steps == 1
    with torch.no_grad():
        ctkd(*given, state=state)
    state.eval()
    ctkd(*given, state=state)
    assert state.steps == 1


def test_the_ramp_is_saved_with_the_temperature() -> None:
    state, again = new(ramp_steps=10), new(ramp_steps=10)
    for _ in range(4):
        ctkd(*draws(5), state=state)
    state.theta.data.fill_(0.3)
    again.load_state_dict(state.state_dict())
    assert torch.equal(again.strength(), state.strength()) and torch.equal(again(), state())


def test_gradcheck_of_the_students_logits_and_invariants() -> None:
    student, teacher, labels = draws(6)
    state = new()
    call = lambda s, t, y: ctkd(s, t, y, state=state)  # noqa: E731
    assert torch.autograd.gradcheck(lambda z: call(z, teacher, labels), (student.requires_grad_(),))
    check_shifts(call)
    check_extremes(call)


@pytest.mark.parametrize(
    "wrong", [{"lowest": 0.0}, {"lowest": -1.0}, {"span": -1.0}, {"ramp_steps": -1}, {"lowest": float("nan")}]
)
def test_a_range_that_is_not_possible_is_named(wrong: dict[str, float]) -> None:
    with pytest.raises(LimbeckError, match=r"^ctkd: [^\n]+; got"):
        new(**wrong)  # type: ignore[arg-type]
