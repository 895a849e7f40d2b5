"""Whatever a model raises is told in one line: when it is built, with the first image, and while it is trained."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import limbeck
from limbeck.building.models import build_model, check_forward
from limbeck.errors import LimbeckError
from limbeck.experiment.estimate import describe_plan
from limbeck.models import timm as timm_models
from limbeck.recipes.load import NO_FUNCTIONS, check
from limbeck.recipes.recipe import NameWithOptions

CLASSES = [str(number) for number in range(10)]
ARM: dict[str, Any] = {
    "model": "lightweight_cnn",
    "epochs": 1,
    "optimizer": {"name": "sgd", "lr": 0.01},
    "loss": [{"name": "cross_entropy"}],
}
TINY: dict[str, Any] = {
    "data": {"source": "digits", "train_images": 96},
    "views": {"batch_size": 32},
    "evaluation": {"latency_batch": 0},
    "precision": "fp32",
}
FIXED_SIZE = {
    "timm:vit_tiny_patch16_224": 224,
    "timm:deit_tiny_patch16_224": 224,
    "timm:swin_tiny_patch4_window7_224": 224,
    "timm:beit_base_patch16_224": 224,
    "timm:cait_xxs24_224": 224,
    "timm:mixer_s32_224": 224,
    "timm:eva02_tiny_patch14_224": 224,
    "timm:pit_ti_224": 224,
    "timm:swinv2_tiny_window8_256": 256,
    "timm:levit_128s": 224,
    "torchvision:vit_b_16": 224,
    "torchvision:alexnet": 64,
}


def refusal(model_name: str, channels: int, side: int, **options: Any) -> str:
    with torch.device("meta"):
        model = build_model(NameWithOptions(name=model_name, **options), 10, NO_FUNCTIONS).eval()
        pixels = torch.empty(1, channels, side, side)
    with pytest.raises(LimbeckError) as caught:
        check_forward("big", model, pixels, CLASSES, model_name)
    return str(caught.value)


def takes(model_name: str, side: int, **options: Any) -> None:
    with torch.device("meta"):
        model = build_model(NameWithOptions(name=model_name, **options), 10, NO_FUNCTIONS).eval()
        check_forward("big", model, torch.empty(1, 3, side, side), CLASSES, model_name)


QUICK = ("timm:swin_tiny_patch4_window7_224", "timm:mixer_s32_224", "timm:levit_128s", "torchvision:vit_b_16")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.middle) for name in FIXED_SIZE]
)
def test_a_model_of_one_size_is_told_with_what_helps(name: str) -> None:
    said = refusal(name, 3, 32)
    assert "\n" not in said
    assert said.startswith(f"big: the model {name} does not take images of 32 px (")
    assert f"set `resolution: {FIXED_SIZE[name]}`" in said
    takes(name, FIXED_SIZE[name])
    if "img_size: 32" in said:  # what is offered must help
        takes(name, 32, img_size=32)
    else:
        assert not name.startswith("timm:") or name == "timm:levit_128s"


def test_channels_are_told_as_channels() -> None:
    assert "the model takes 3 channels, the images have 1" in refusal("timm:vit_tiny_patch16_224", 1, 224)
    assert "the model takes 3 channels, the images have 1" in refusal("resnet20", 1, 32)


def test_a_run_and_its_plan_tell_the_arm_and_the_size(tmp_path: Path) -> None:
    recipe = {"name": "small", **TINY, "students": {"a": {**ARM, "model": "timm:vit_tiny_patch16_224"}}}
    with pytest.raises(LimbeckError, match=r"^a: .*8 px \(AssertionError.*resolution: 224.*img_size: 8"):
        limbeck.run(recipe, folder=tmp_path)
    with pytest.raises(LimbeckError, match=r"^a: .*8 px \(AssertionError.*resolution: 224.*img_size: 8"):
        describe_plan(check(recipe, "test", {}), timed=False)


def test_a_traced_model_that_fails_prints_nothing_itself(capfd: pytest.CaptureFixture[str]) -> None:
    refusal("torchvision:alexnet", 3, 32)
    refusal("torchvision:resnet18", 1, 32)
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


class BreaksLater(nn.Module):
    """Answers well until it has been called so many times in training, or sees a batch of another size."""

    def __init__(self, *, calls: int = 10**9, odd_batch: bool = False, in_backward: bool = False) -> None:
        super().__init__()
        self.layer = nn.Linear(192, 10)
        self.calls, self.odd_batch, self.in_backward = calls, odd_batch, in_backward
        self.done = 0

    def forward(self, pixels: Tensor) -> Tensor:
        self.done += self.training
        if self.done > self.calls:
            raise KeyError("no such\nentry")
        if self.odd_batch and pixels.shape[0] not in (1, 16, 32):
            raise AssertionError("an odd batch")
        hidden = torch.sigmoid(self.layer(pixels.flatten(1)))
        if self.in_backward and self.training:
            hidden.detach().mul_(2.0)
            with torch.no_grad():
                hidden += 1  # sigmoid needs its answer for the backward pass
        return hidden


@pytest.mark.parametrize(
    ("model", "pattern"),
    [
        (BreaksLater(calls=2), r"^a-seed0: .*training on a batch of 32 images of 3×8×8: KeyError: 'no such"),
        (BreaksLater(odd_batch=True), r"^a-seed0: .*answering a batch of \d+ images.*AssertionError: an odd batch$"),
        (BreaksLater(in_backward=True), r"^a-seed0: .*training on .*RuntimeError: one of the variables"),
    ],
)
def test_a_model_that_breaks_while_it_is_taught(tmp_path: Path, model: nn.Module, pattern: str) -> None:
    recipe = {"name": "breaks", **TINY, "students": {"a": {**ARM, "model": "mine"}}}
    with pytest.raises(LimbeckError, match=pattern) as caught:
        limbeck.run(recipe, folder=tmp_path, models={"mine": lambda num_classes: model})
    assert "\n" not in str(caught.value)


def test_a_batch_of_one_image_and_batch_normalisation(tmp_path: Path) -> None:
    def build(num_classes: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.BatchNorm1d(8), nn.Linear(8, num_classes))

    recipe = {"name": "one", **TINY, "views": {"batch_size": 1}, "students": {"a": {**ARM, "model": "mine"}}}
    with pytest.raises(LimbeckError, match=r"^a-seed0: .*a batch of 1 images.*raise views.batch_size$"):
        limbeck.run(recipe, folder=tmp_path, models={"mine": build})


def test_a_model_that_cannot_be_built(tmp_path: Path) -> None:
    def build(num_classes: int) -> nn.Module:
        raise ZeroDivisionError("division\nby zero")

    recipe = {"name": "unbuilt", **TINY, "students": {"a": {**ARM, "model": "mine"}}}
    with pytest.raises(LimbeckError, match=r"^a: mine cannot be built: ZeroDivisionError: division by zero$"):
        limbeck.run(recipe, folder=tmp_path, models={"mine": build})
    with pytest.raises(LimbeckError, match=r"^a: mine cannot be built: ZeroDivisionError"):
        describe_plan(check(recipe, "test", {}, models={"mine": build}), models={"mine": build}, timed=False)


def test_a_teacher_that_breaks_in_the_middle() -> None:
    class Breaks(BreaksLater):
        def forward(self, pixels: Tensor) -> Tensor:
            if pixels.shape[0] != 1:
                raise IndexError("too many")
            return super().forward(pixels)

    with pytest.raises(LimbeckError, match=r"^teacher-0: .*a batch of 128 images of 3×8×8: IndexError: too many$"):
        limbeck.distill(nn.Sequential(nn.Flatten(), nn.Linear(192, 10)), Breaks(), data="digits", epochs=1)


def test_memory_is_still_told_as_memory(tmp_path: Path) -> None:
    class Greedy(BreaksLater):
        def forward(self, pixels: Tensor) -> Tensor:
            if pixels.shape[0] > 1:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().forward(pixels)

    recipe = {"name": "greedy", **TINY, "students": {"a": {**ARM, "model": "mine"}}}
    with pytest.raises(LimbeckError, match=r"out of memory at 'a-seed0' with a batch of 32"):
        limbeck.run(recipe, folder=tmp_path, models={"mine": lambda num_classes: Greedy()})


def test_what_a_model_says_for_people_passes_through() -> None:
    assert re.search(r"img_size|takes", str(_refused_option()))


def _refused_option() -> LimbeckError:
    with pytest.raises(LimbeckError) as caught:
        timm_models.build(10, "resnet18", img_size=64)
    return caught.value
