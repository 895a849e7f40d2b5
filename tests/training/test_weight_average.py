"""The average of weights against its formula in float64."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from limbeck.training.weight_average import WeightAverage


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))


def move(of: nn.Module, step: int) -> None:
    g = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for p in of.parameters():
            p.add_(torch.randn(p.shape, generator=g))
    of.train()(torch.randn(5, 3, 4, 4, generator=g))


def floats(of: nn.Module) -> dict[str, torch.Tensor]:
    return {name: t.double().clone() for name, t in of.state_dict().items() if t.is_floating_point()}


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.999])
def test_formula(decay: float) -> None:
    """a ← d·a + (1 − d)·w with d = min(decay, t / (t + 9)), of parameters and batch statistics."""
    source = model()
    average = WeightAverage(source, decay)
    expected = floats(source)
    for t in range(1, 31):
        move(source, t)
        average.update()
        d = min(decay, t / (t + 9))
        now = floats(source)
        expected = {name: d * expected[name] + (1 - d) * now[name] for name in expected}
    assert average.updates == 30
    assert {"1.running_mean", "1.running_var", "0.weight"} <= set(expected)
    for name, value in floats(average.model).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-5)


def test_the_first_weights_are_soon_forgotten() -> None:
    source = nn.Linear(1, 1)
    nn.init.constant_(source.weight, 1e6)
    average = WeightAverage(source, 0.9999)
    nn.init.constant_(source.weight, 0.0)
    for _ in range(100):
        average.update()
    assert 0 <= average.model.get_parameter("weight").item() < 1e-3, "a fixed decay would still stand at 990,000"


def test_counters_are_copied_when_asked() -> None:
    source = model()
    average = WeightAverage(source, 0.9)
    for t in range(3):
        move(source, t)
        average.update()
    average.copy_counters()
    assert average.model.get_buffer("1.num_batches_tracked").item() == 3


def test_the_average_is_a_model_of_its_own_in_evaluation_mode() -> None:
    source = model()
    average = WeightAverage(source, 0.9)
    before = {name: t.clone() for name, t in source.state_dict().items()}
    average.update()
    assert not average.model.training
    assert not any(p.requires_grad for p in average.model.parameters())
    assert all(p.requires_grad for p in source.parameters())
    assert all(torch.equal(t, source.state_dict()[name]) for name, t in before.items())
    mine = {t.data_ptr() for t in average.model.state_dict().values()}
    assert not mine & {t.data_ptr() for t in source.state_dict().values()}
