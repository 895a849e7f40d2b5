"""Learning rates against the formulas of the published recipes."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from limbeck.recipes.optimization import Constant, Cosine, MultiStep, OneCycle, Schedule, Step
from limbeck.training.schedules import rate_factor

STEPS = 7


def rates(schedule: Schedule, epochs: int, steps: int = STEPS) -> list[float]:
    return [rate_factor(schedule, step, steps, epochs) for step in range(epochs * steps)]


def by_epoch(schedule: Schedule, epochs: int) -> list[float]:
    """The rate of each epoch, of a schedule that changes once an epoch."""
    all_rates = rates(schedule, epochs)
    for epoch in range(epochs):
        assert len(set(all_rates[epoch * STEPS : (epoch + 1) * STEPS])) == 1
    return all_rates[::STEPS]


def of_torch(make, epochs: int) -> list[float]:
    """The same from one of torch's schedulers, stepped once an epoch at a base rate of 1."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(optimizer)
    found = []
    for _ in range(epochs):
        found.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return found


def test_constant() -> None:
    assert set(rates(Constant(), 3)) == {1.0}


def test_step_is_torchs() -> None:
    """The published CIFAR-10 system: halved every 5 of 15 epochs."""
    mine = by_epoch(Step(every_epochs=5, factor=0.5), 15)
    assert mine == [1.0] * 5 + [0.5] * 5 + [0.25] * 5
    assert mine == of_torch(lambda o: torch.optim.lr_scheduler.StepLR(o, 5, 0.5), 15)


def test_multi_step_is_torchs() -> None:
    mine = by_epoch(MultiStep(milestones=(150, 180, 210), factor=0.1), 240)
    expected = of_torch(lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [150, 180, 210], 0.1), 240)
    assert mine == pytest.approx(expected, rel=1e-12)
    assert [epoch for epoch in range(1, 240) if mine[epoch] != mine[epoch - 1]] == [150, 180, 210]


def test_published_warm_up_then_cosine() -> None:
    """Five epochs of (epoch + 1) / 5, then a cosine over the 195 that remain, stepped once an epoch."""
    mine = by_epoch(Cosine(warmup_epochs=5, per_epoch=True), 200)
    assert mine[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    cosine = of_torch(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 195), 195)
    assert mine[5:] == pytest.approx(cosine, abs=1e-9)


def test_cosine_without_warm_up_is_torchs_stepped_every_step() -> None:
    mine = rates(Cosine(), 10)
    expected = of_torch(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 70), 70)
    assert mine == pytest.approx(expected, abs=1e-9)


def test_warm_up_by_the_step() -> None:
    mine = rates(Cosine(warmup_epochs=2), 10)
    assert mine[: 2 * STEPS] == pytest.approx([(s + 1) / (2 * STEPS) for s in range(2 * STEPS)])
    assert mine[2 * STEPS :] == pytest.approx(
        [0.5 * (1 + math.cos(math.pi * s / (8 * STEPS))) for s in range(8 * STEPS)]
    )


def test_one_cycle_closed_form() -> None:
    mine = rates(OneCycle(peak=0.2, start_fraction=0.1, final_fraction=0.02), 10)
    for step, rate in enumerate(mine):
        progress = (step + 1) / 70
        up = 0.1 + 0.9 * progress / 0.2
        down = 0.02 + 0.98 * (1 - progress) / 0.8
        assert rate == pytest.approx(up if progress < 0.2 else down)
    assert max(mine) == mine[13] == 1.0
    assert mine[-1] == pytest.approx(0.02)


@given(
    st.integers(1, 40), st.integers(1, 9), st.floats(0, 30), st.floats(0, 1), st.booleans(), st.floats(0.05, 0.95)
)  # fmt: skip
def test_factors_stay_between_nothing_and_the_base_rate(
    epochs: int, steps: int, warmup: float, final: float, per_epoch: bool, peak: float
) -> None:
    made = rates(Cosine(warmup_epochs=warmup, final_fraction=final, per_epoch=per_epoch), epochs, steps)
    made += rates(OneCycle(peak=peak, start_fraction=final, final_fraction=final), epochs, steps)
    assert all(0 <= rate <= 1 + 1e-12 for rate in made)


@given(st.integers(2, 40), st.integers(1, 9), st.floats(0, 10), st.booleans())
def test_cosine_rises_then_falls(epochs: int, steps: int, warmup: float, per_epoch: bool) -> None:
    made = rates(Cosine(warmup_epochs=warmup, per_epoch=per_epoch), epochs, steps)
    top = made.index(max(made))
    assert made[: top + 1] == sorted(made[: top + 1])
    assert made[top:] == sorted(made[top:], reverse=True)


def test_a_schedule_remembers_nothing() -> None:
    schedule = Cosine(warmup_epochs=1)
    assert [rate_factor(schedule, s, 5, 4) for s in reversed(range(20))] == rates(schedule, 4, 5)[::-1]
