"""Every model family exports: the file answers as the model, in float32 and in int8."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from limbeck.building.models import build_model
from limbeck.building.saved_model import LoadedModel
from limbeck.deployment.formats import Job, find_format
from limbeck.deployment.graph import DeployedModel
from limbeck.recipes import registry
from limbeck.recipes.recipe import NameWithOptions
from limbeck.types import Normalisation
from limbeck.views.preprocess import InputFormat

pytest.importorskip("onnxruntime")

SMALL: dict[str, dict[str, Any]] = {
    "wide_resnet": {"depth": 10, "widen": 1},
    "vgg": {"depth": 8},
    "resnet": {"depth": 8},
}
PACKAGES = {"openvino": "openvino", "executorch": "executorch", "litert": "litert_torch"}
TIMM = ("convnext_atto", "mobilenetv4_conv_small", "efficientnet_b0", "deit_tiny_patch16_224", "repvit_m0_9")


def families() -> list[str]:
    return sorted({entry.file for entry in registry.entries("models").values() if entry.argument is None})


def loaded(name: str, side: int, options: dict[str, Any]) -> LoadedModel:
    torch.manual_seed(0)
    network = build_model(NameWithOptions(**{"name": name, **options}), 7, {}, pretrained=False).eval()
    for module in network.modules():  # as after training: BatchNorms that do something
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.running_var is not None:
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.8, 1.25)
    form = InputFormat(Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)))
    return LoadedModel(network, [str(index) for index in range(7)], form, (3, side, side), {}).eval()


def check(model: LoadedModel, folder: Path, to: str, closeness: float) -> None:
    side = model.image_size
    draw = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (33, 3, side, side), dtype=torch.uint8, generator=draw)
    inputs = images.permute(0, 2, 3, 1).contiguous().numpy()
    about = {"class_names": list(model.class_names), "image_shape": [3, side, side], "layout": "nhwc"}
    job = Job(DeployedModel(model), (3, side, side), about, "minmax", lambda: inputs)
    kind = find_format(to)
    kind.load().write(folder / f"model{kind.suffix}", job)
    run, _ = kind.load().open_session(folder / f"model{kind.suffix}", 1)
    expected = model(images).numpy()
    scale = max(1.0, float(np.abs(expected).max()))
    for batch in (1, 2, 3, 7, 32):
        probabilities, logits = run(inputs[:batch])
        assert np.abs(logits - expected[:batch]).max() <= closeness * scale
        assert np.abs(probabilities.sum(axis=1) - 1).max() < 1e-5


@pytest.mark.middle
@pytest.mark.parametrize("to", ["onnx", "onnx-int8", "openvino", "executorch", "litert"])
@pytest.mark.parametrize("name", families())
def test_a_family_exports(name: str, to: str, tmp_path: Path) -> None:
    if to in PACKAGES and importlib.util.find_spec(PACKAGES[to]) is None:
        pytest.skip(f"{PACKAGES[to]} is not installed")
    # int8 with random weights and pixels: the steps of eight bits add up, so only gross errors are caught here.
    check(loaded(name, 32, SMALL.get(name, {})), tmp_path, to, 0.5 if to == "onnx-int8" else 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("to", ["onnx", "onnx-int8"])
@pytest.mark.parametrize("name", TIMM)
def test_models_of_timm_export(name: str, to: str, tmp_path: Path) -> None:
    if importlib.util.find_spec("timm") is None:  # not imported here: Limbeck prepares torchvision's operators first
        pytest.skip("no timm")
    options = {} if not name.startswith("deit") else {"img_size": 64}
    check(loaded(f"timm:{name}", 64, options), tmp_path, to, 0.5 if to == "onnx-int8" else 1e-4)
