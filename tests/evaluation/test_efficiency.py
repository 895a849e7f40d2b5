"""What a model costs, against counts by hand."""

from __future__ import annotations

import time

import pytest
import torch
from torch import nn

from limbeck.errors import LimbeckError
from limbeck.evaluation import comparison, efficiency


def net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Dropout(0.5), nn.Flatten(), nn.Linear(8 * 36, 5)
    )


def test_counts_by_hand() -> None:
    model = net()
    parameters = 3 * 8 * 9 + 8 + 16 + 8 * 36 * 5 + 5
    assert efficiency.count_parameters(model) == parameters
    buffers = 8 + 8  # running mean and variance; the count of batches is an int64
    assert efficiency.megabytes(model) == pytest.approx((4 * (parameters + buffers) + 8) / 2**20)
    assert efficiency.multiply_adds(model, (3, 6, 6)) == 36 * 3 * 8 * 9 + 8 * 36 * 5


def test_shared_weights_count_once() -> None:
    layer = nn.Linear(4, 4)
    assert efficiency.count_parameters(nn.Sequential(layer, layer)) == 20


def test_measuring_leaves_the_model_as_it_was() -> None:
    model = net().train()
    model[1].eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    found = efficiency.measure(model, (3, 6, 6), batch_size=4, repeats=5, seconds=0.1)
    assert torch.equal(torch.rand(1), expected), "the run's random numbers have not moved"
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert model.training
    assert not model[1].training
    assert found.batch_size == 4
    assert 0 < found.image_ms_median <= found.image_ms_p95
    assert found.to_dict()["image_shape"] == [3, 6, 6]


def test_latency_is_the_calls_time() -> None:
    calls = []

    def sleep(images: torch.Tensor) -> None:
        calls.append(len(images))
        time.sleep(0.004)

    found = efficiency.latency(sleep, torch.zeros(2, 1), warm_up=3, repeats=9, seconds=10)
    assert found.repeats == 9
    assert len(calls) == 12
    assert 4 <= found.median_ms < 40
    assert found.p95_ms >= found.median_ms


def test_a_process_that_waits_says_so() -> None:
    """Sleeping is what being kept from the processor looks like: time goes by and the process does not run."""

    class Waiting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(1, 5)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            time.sleep(0.003)
            return self.layer(images.flatten(1)[:, :1])

    found = efficiency.measure(Waiting(), (3, 6, 6), batch_size=4, repeats=9, seconds=0.5)
    assert found.disturbed
    assert found.cpu_share < 0.6
    assert 3 <= found.image_ms_min <= found.image_ms_median
    assert found.to_dict()["disturbed"] is True
    assert found.load is None or found.load >= 0
    assert found.cores >= 1


@pytest.mark.parametrize(
    ("median", "p95", "share", "device", "disturbed"),
    [
        (1.0, 1.2, 0.99, "cpu", False),
        (1.0, 1.2, 0.80, "cpu", True),
        (1.0, 1.6, 0.99, "cpu", True),
        (1.0, 1.2, 0.10, "cuda", False),  # the processor has nothing to do there
        (1.0, 1.6, 0.10, "cuda", True),
    ],
)
def test_what_counts_as_disturbed(median: float, p95: float, share: float, device: str, disturbed: bool) -> None:
    found = efficiency.Latency(median, p95, 50, min_ms=0.9, cpu_share=share)
    assert efficiency.is_disturbed(found, device) is disturbed


@pytest.mark.parametrize(("shape", "batch"), [((3, 0, 4), 1), ((3, 4), 1), ((3, 4, 4), 0)])
def test_impossible_shapes_are_refused(shape: tuple[int, ...], batch: int) -> None:
    with pytest.raises(LimbeckError):
        efficiency.measure(net(), shape, batch_size=batch)  # pyright: ignore[reportArgumentType]


def test_the_published_figures_by_the_printed_formula() -> None:
    """System E: 83.13 / (17.81 · 111.29) and 72.70 / (0.41 · 27.76); what was printed there left out the size."""
    assert comparison.efficiency_score(83.13, 17.81, 111.29) == pytest.approx(0.042, abs=5e-4)
    assert comparison.efficiency_score(72.70, 0.41, 27.76) == pytest.approx(6.39, abs=5e-3)
    assert comparison.retention(72.36, 75.75) == pytest.approx(0.955, abs=5e-4)
    assert comparison.knowledge_transfer_efficiency(77.93 - 76.19, 84.39 - 76.65) == pytest.approx(0.225, abs=5e-4)
    assert comparison.compression_ratio(4_664_970, 106_826) == pytest.approx(43.67, abs=0.01)
    assert comparison.gap(0.8, 0.9) == pytest.approx(0.1)
    assert comparison.gain(0.8, 0.9) == pytest.approx(-0.1)
