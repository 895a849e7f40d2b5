"""Any option of a timm or torchvision constructor can be given, and is checked before the model is built."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch

from limbeck.commands.catalogue import listing
from limbeck.errors import LimbeckError
from limbeck.models.torchvision_operators import declare_missing_operators
from limbeck.recipes.load import load_recipe
from limbeck.recipes.registry import check_options, find

declare_missing_operators()
pytest.importorskip("timm")
pytest.importorskip("torchvision")
timm = importlib.import_module("limbeck.models.timm")
torchvision = importlib.import_module("limbeck.models.torchvision")


def logits(model: torch.nn.Module, pixels: int) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(torch.randn(2, 3, pixels, pixels)).logits


@pytest.mark.parametrize(
    ("name", "options", "pixels"),
    [
        ("vit_tiny_patch16_224", {"img_size": 32, "patch_size": 4, "num_heads": 2, "embed_dim": 32, "depth": 2}, 32),
        ("deit_tiny_distilled_patch16_224", {"img_size": 32, "patch_size": 8, "depth": 1}, 32),
        ("resnet18", {"layers": [1, 1, 1, 1], "stem_width": 16}, 32),
        ("convnext_atto", {"depths": [1, 1, 1, 1], "dims": [8, 16, 16, 32]}, 64),
        ("swin_tiny_patch4_window7_224", {"img_size": 32, "patch_size": 2, "window_size": 4, "depths": [1, 1, 1]}, 32),
    ],
)  # fmt: skip
def test_timm_models_take_what_their_constructors_take(name: str, options: dict[str, Any], pixels: int) -> None:
    assert check_options(find("models", f"timm:{name}"), options) == []
    model = timm.build(5, name, **options)
    assert logits(model, pixels).shape == (2, 5)
    published = sum(p.numel() for p in timm.build(5, name).parameters())
    assert sum(p.numel() for p in model.parameters()) < published


def test_torchvision_models_too() -> None:
    narrow = torchvision.build(5, "mobilenet_v2", width_mult=0.25, dropout=0.5)
    assert logits(narrow, 64).shape == (2, 5)
    assert [m.p for m in narrow.modules() if isinstance(m, torch.nn.Dropout)] == [0.5]
    assert logits(torchvision.build(5, "vit_b_16", image_size=32), 32).shape == (2, 5)


@pytest.mark.parametrize(
    ("zoo", "name", "options", "told"),
    [
        (timm, "vit_tiny_patch16_224", {"patchsize": 4},
         "timm:vit_tiny_patch16_224 has no option 'patchsize'; did you mean 'patch_size'?"),
        (timm, "vit_tiny_patch16_224", {"num_head": 4, "deph": 2},
         "timm:vit_tiny_patch16_224 has no option 'num_head'; did you mean 'num_heads'?\n"
         "timm:vit_tiny_patch16_224 has no option 'deph'; did you mean 'depth'?"),
        (timm, "resnet18", {"drop_rat": 0.1}, "timm:resnet18 has no option 'drop_rat'; did you mean 'drop_rate'?"),
        (timm, "vit_tiny_patch16_224", {"num_heads": "3"},
         "timm:vit_tiny_patch16_224: num_heads: expected an integer; got '3'"),
        (timm, "vit_tiny_patch16_224", {"patch_size": True},
         "timm:vit_tiny_patch16_224: patch_size: expected an integer or a list; got True"),
        (timm, "vit_tiny_patch16_224", {"qkv_bias": 1},
         "timm:vit_tiny_patch16_224: qkv_bias: expected true or false; got 1"),
        (timm, "resnet18", {"checkpoint_path": "x.pth"}, "timm:resnet18 has no option 'checkpoint_path'"),
        (timm, "resnet18", {"pretrained_cfg_overlay": {}}, "timm:resnet18 has no option 'pretrained_cfg_overlay'"),
        (timm, "vit_tiny_patch16_224", {"num_heads": 5},
         "timm:vit_tiny_patch16_224: cannot be built with num_heads=5: "),
        (torchvision, "mobilenet_v2", {"width_multiplier": 2},
         "torchvision:mobilenet_v2 has no option 'width_multiplier'; did you mean 'width_mult'?"),
        (torchvision, "vit_b_16", {"patch_size": 8},
         "torchvision:vit_b_16: patch_size is determined by the name of the model and cannot be set"),
        (torchvision, "mobilenet_v2", {"norm_layer": "x"}, "torchvision:mobilenet_v2 has no option 'norm_layer'"),
        (torchvision, "inception_v3", {"aux_logits": True}, "torchvision:inception_v3: aux_logits"),
    ],
)  # fmt: skip
def test_what_a_constructor_does_not_take_is_told(zoo: Any, name: str, options: dict[str, Any], told: str) -> None:
    with pytest.raises(LimbeckError) as caught:
        zoo.build(5, name, **options)
    assert str(caught.value).startswith(told)
    assert all(len(line) < 1500 for line in str(caught.value).split("\n"))


def test_further_options_draw_no_random_numbers_of_their_own() -> None:
    weights = []
    for options in ({}, {"global_pool": "avg"}):
        torch.manual_seed(0)
        weights.append(timm.build(5, "resnet18", **options).state_dict())
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_a_recipe_may_name_them_and_numbers_are_finite() -> None:
    tree = load_recipe("quickstart").to_dict()
    tree["teachers"]["resnet"]["model"] = {"name": "timm:vit_tiny_patch16_224", "patch_size": 4}
    assert load_recipe(tree).teachers["resnet"].model.options == {"patch_size": 4}
    entry = find("models", "timm:vit_tiny_patch16_224")
    assert check_options(entry, {"init_values": float("nan")}) == [("init_values", "expected finite numbers; got nan")]
    assert check_options(entry, {"num_classes": 3}) == [("num_classes", "is set from the data; remove it")]
    assert check_options(entry, {"drop_rate": "x"})[0][1].startswith("expected a number")


def test_the_list_says_that_further_options_are_taken() -> None:
    assert sum("all other options of its constructor" in line for line in listing("models")) == 2
