"""What `limbeck.load` gives: a module that takes stored images of its own size, and nothing else."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import limbeck
from limbeck.building.saved_model import LoadedModel, save_model
from limbeck.errors import LimbeckError
from limbeck.models.lightweight_cnn import build
from limbeck.training.predictor import predictor
from limbeck.types import Normalisation
from limbeck.views.preprocess import InputFormat

CPU = torch.device("cpu")
INPUT_FORMAT = InputFormat(Normalisation((0.3, 0.4, 0.5), (0.2, 0.25, 0.3)))


def saved(folder: Path, **more: Any) -> Path:
    """A model of random weights with statistics that are not the initial ones."""
    torch.manual_seed(0)
    model = build(4)
    model.train()
    model(torch.randn(64, 3, 8, 8))
    about = {
        "model": {"name": "lightweight_cnn"},
        "class_names": list("abcd"),
        "normalisation": {"mean": [0.3, 0.4, 0.5], "sd": [0.2, 0.25, 0.3]},
        "resolution": None,
        "interpolation": "bilinear",
        "image_shape": [3, 8, 8],
        "trained_on": "random",
    }
    save_model(folder, model, about | more)
    return folder


@pytest.fixture
def model(tmp_path: Path) -> LoadedModel:
    return limbeck.load(saved(tmp_path / "model"))


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_it_averages_over_views_of_its_images(model: LoadedModel, images: torch.Tensor) -> None:
    averaged = model.with_test_time(flip=True)
    wanted = (model(images).double().softmax(1) + model(images.flip(3)).double().softmax(1)) / 2
    torch.testing.assert_close(averaged(images).double().exp(), wanted, rtol=1e-6, atol=1e-9)
    assert model.with_test_time(scales=[0.9], shifts=1)(images[:2]).shape == (2, 4)
    for options, said in (
        ({"flop": True}, "with_test_time: flop: unknown key; did you mean 'flip'?"),
        ({"shifts": 8}, "with_test_time: shifts: a shift of 8 px leaves nothing of images of 8 x 8 px"),
        ({}, "expected `flip`, `shifts` or `scales`"),
    ):
        with pytest.raises(LimbeckError) as caught:
            model.with_test_time(**options)
        assert said in str(caught.value)
    with pytest.raises(LimbeckError, match="takes uint8 images"):
        averaged(images.float())


@pytest.mark.parametrize("resolution", [None, 8, 12])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_it_answers_as_the_run_does(
    tmp_path: Path, images: torch.Tensor, resolution: int | None, interpolation: str
) -> None:
    model = limbeck.load(saved(tmp_path / "m", resolution=resolution, interpolation=interpolation))
    input_format = InputFormat(INPUT_FORMAT.normalisation, resolution, interpolation)
    assert torch.equal(model(images), predictor(model.model, input_format, device=CPU)(images))


def test_images_that_are_not_square_are_not_made_square(tmp_path: Path) -> None:
    images = torch.randint(0, 256, (2, 3, 8, 12), dtype=torch.uint8)
    for resolution in (None, 8):  # the second as the previous version wrote it
        model = limbeck.load(saved(tmp_path / str(resolution), image_shape=[3, 8, 12], resolution=resolution))
        assert torch.equal(model(images), predictor(model.model, INPUT_FORMAT, device=CPU)(images))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (torch.rand(2, 3, 8, 8), "got float32"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.int64), "got int64"),
        (torch.zeros(2, 3, 16, 16, dtype=torch.uint8), r"got \[2, 3, 16, 16\]"),
        (torch.zeros(2, 1, 8, 8, dtype=torch.uint8), r"got \[2, 1, 8, 8\]"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), r"images\[None\]"),
        (torch.zeros(2, 8, 8, 3, dtype=torch.uint8), r"permute\(0, 3, 1, 2\)"),
        (np.zeros((2, 3, 8, 8), np.uint8), "got ndarray"),
    ],
)
def test_what_it_was_not_made_for_is_refused(model: LoadedModel, wrong: Any, words: str) -> None:
    with pytest.raises(limbeck.LimbeckError, match=words) as error:
        model(wrong)
    assert "takes uint8 images [B, 3, 8, 8], 0 to 255" in str(error.value)
    assert "\n" not in str(error.value)


def test_it_is_a_module(model: LoadedModel, images: torch.Tensor, tmp_path: Path) -> None:
    answer = model(images)
    assert answer.dtype == torch.float32
    assert not answer.requires_grad
    assert not model.training
    assert {"mean", "sd"} <= set(model.state_dict())
    assert torch.equal(copy.deepcopy(model)(images), answer)
    assert torch.equal(model.to("cpu")(images), answer)
    model.to("meta")  # moves all of it
    assert {t.device.type for t in (*model.parameters(), *model.buffers())} == {"meta"}
    other = limbeck.load(saved(tmp_path / "other")).double()
    assert torch.allclose(other(images), answer, atol=1e-5)
    other.train()(images).sum().backward()
    assert any(p.grad is not None for p in other.parameters())


def test_it_can_be_traced(model: LoadedModel, images: torch.Tensor, recwarn: pytest.WarningsRecorder) -> None:
    traced = torch.jit.trace(model, images[:2])
    assert not [w for w in recwarn if "TracerWarning" in type(w.message).__name__]
    assert torch.allclose(traced(images), model(images), atol=1e-6)  # pyright: ignore


def test_it_can_be_exported(model: LoadedModel, images: torch.Tensor) -> None:
    batch = torch.export.Dim("batch", min=1, max=64)
    exported = torch.export.export(model, (images[:2],), dynamic_shapes={"images": {0: batch}})
    assert torch.allclose(exported.module()(images), model(images), atol=1e-6)


def test_classes_in_another_order(model: LoadedModel, images: torch.Tensor) -> None:
    turned = model.in_order_of(list("dcba"), "it")
    assert torch.equal(turned(images), model(images).flip(1))
    assert turned.class_names == tuple("dcba")
    assert turned.image_size == 8
    with pytest.raises(limbeck.LimbeckError, match="names differ"):
        model.in_order_of(list("abcx"), "it")
