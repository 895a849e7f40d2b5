"""The pair of the recipe studies, through the adapter, without published weights."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest
import torch

from limbeck.models.torchvision_operators import declare_missing_operators

declare_missing_operators()
pytest.importorskip("timm")
adapter = importlib.import_module("limbeck.models.timm")


@pytest.mark.parametrize(
    ("name", "at_100_classes", "printed", "widths"),
    [
        ("tf_efficientnetv2_l", 117_362_372, "118.5", (32, 64, 96, 224, 640)),
        ("tf_efficientnetv2_s", 20_305_588, "21.5", (24, 48, 64, 160, 256)),
    ],
)
def test_sizes(name: str, at_100_classes: int, printed: str, widths: tuple[int, ...]) -> None:
    """Papers print the size with the 1,000 classes of ImageNet, whose head is 1,280 inputs and a bias."""
    with torch.device("meta"):
        model = adapter.build(100, name).eval()
        outputs = model(torch.empty(2, 3, 32, 32))
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == at_100_classes
    assert f"{(count + 900 * 1281) / 1e6:.1f}" == printed
    assert outputs.logits.shape == (2, 100)
    assert tuple(feature.shape[1] for feature in outputs.features) == widths
    assert [feature.shape[-1] for feature in outputs.features] == [16, 8, 4, 2, 1]


TWO_STEPS = """
import resource, torch
from limbeck.models import timm
torch.manual_seed(0)
model = timm.build(100, "tf_efficientnetv2_l").train()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
images = torch.randn(4, 3, 32, 32).contiguous(memory_format=torch.channels_last)
for _ in range(2):
    loss = torch.nn.functional.cross_entropy(model(images).logits, torch.arange(4))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
assert loss.isfinite()
assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is in kibibytes only there")
def test_two_steps_of_the_large_one_in_six_gigabytes() -> None:
    """Weights, gradients and AdamW's two averages are 1.9 GB; the rest is activations and Python."""
    done = subprocess.run([sys.executable, "-c", TWO_STEPS], capture_output=True, text=True, check=True)
    peak = int(done.stdout) * 1024
    assert 1.8e9 < peak < 6e9
