"""What is exported answers as the loaded model does, resizing and normalising included."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from limbeck.building.saved_model import LoadedModel
from limbeck.deployment.graph import DeployedModel, resize_matrix
from limbeck.types import Normalisation
from limbeck.views.preprocess import InputFormat


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from(["bilinear", "bicubic"]))
@settings(max_examples=60, deadline=None)
def test_two_matrices_resize_as_torch_does(size: int, new_size: int, interpolation: str) -> None:
    image = torch.rand(1, 3, size, size + 3, dtype=torch.float64, generator=torch.Generator().manual_seed(size)) * 255
    expected = functional.interpolate(
        image, size=(new_size, new_size), mode=interpolation, antialias=True, align_corners=False
    )
    rows, columns = (resize_matrix(side, new_size, interpolation).double() for side in (size, size + 3))
    torch.testing.assert_close(rows @ image @ columns.T, expected, atol=2e-4, rtol=0)


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("resolution", [None, 7, 20])
def test_it_answers_as_the_loaded_model(layout: str, channels: int, resolution: int | None) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    ).eval()
    norm = network[1]
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    input_format = InputFormat(Normalisation((0.4, 0.5, 0.6), (0.2, 0.3, 0.4)), resolution, "bicubic")
    model = LoadedModel(network, "abcd", input_format, (channels, 11, 13), {}).eval()
    images = torch.randint(0, 256, (5, channels, 11, 13), dtype=torch.uint8)
    deployed = DeployedModel(model, layout)  # pyright: ignore[reportArgumentType]
    probabilities, logits = deployed(images.permute(0, 2, 3, 1) if layout == "nhwc" else images)
    torch.testing.assert_close(logits, model(images), atol=2e-5, rtol=0)
    torch.testing.assert_close(probabilities, logits.softmax(dim=-1))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in deployed.modules())
