"""Losses on features in recipes: which models give them, and what is said before anything is trained."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import limbeck
from limbeck.building.loss_states import output_shapes
from limbeck.errors import LimbeckError
from limbeck.models.linear_classifier import explains_logits, linear_classifier
from limbeck.models.torchvision_operators import declare_missing_operators
from limbeck.types import Outputs

OWN = {"name": "resnet", "depth": 8, "stem": 8, "widths": [8, 8, 16]}
FITNET = [{"name": "fitnet", "layers": [2], "teacher_layers": [3]}, {"name": "cross_entropy"}]
EVERY = [
    {"name": "fitnet"}, {"name": "attention_transfer"}, {"name": "similarity_preserving"},
    {"name": "correlation_congruence"}, {"name": "relational"}, {"name": "probabilistic_transfer"},
    {"name": "pooled_features"}, {"name": "variational"}, {"name": "softmax_regression"}, {"name": "inter_channel"},
    {"name": "review"}, {"name": "masked"}, {"name": "class_attention"}, {"name": "cross_entropy"},
]  # fmt: skip


def recipe(student: Any, teacher: Any, loss: Any, **changed: Any) -> dict[str, Any]:
    train = {"epochs": 1, "optimizer": {"name": "sgd", "lr": 0.01}}
    return {
        "name": "features", "threads": 1, "precision": "fp32", "data": {"source": "digits", "train_images": 64},
        "views": {"batch_size": 32}, "evaluation": {"latency_batch": 0},
        "teachers": {"teacher": {"model": teacher, "loss": [{"name": "cross_entropy"}], **train}},
        "students": {
            "baseline": {"model": student, "loss": [{"name": "cross_entropy"}], **train},
            "distilled": {"model": student, "teacher": "teacher", "loss": loss, **train},
        },
    } | changed  # fmt: skip


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (
            {"name": "fitnet", "layers": [7]},
            r"fitnet: layers: the student has layers 1 to 3 .* got 7; did you mean 3\?",
        ),
        (
            {"name": "attention_transfer", "teacher_layers": [-9]},
            r"attention_transfer: teacher_layers: the teacher has ",
        ),
        (
            {"name": "review", "layers": [-4]},
            r"review: layers: the student has layers 1 to 3 .* got -4; did you mean -3",
        ),
        (
            {"name": "relational", "layers": ["layer2"]},
            r"relational: layers: 'layer2': submodules are given by name to",
        ),
    ],
)
def test_a_layer_that_does_not_exist_is_said_before_training(loss: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match=rf"^distilled: {message}[^\n]*$"):
        limbeck.run(recipe(OWN, "resnet20", [loss, {"name": "cross_entropy"}]), folder=tmp_path)
    assert not list(tmp_path.glob("*/models/*"))


def test_a_model_without_features_is_said_before_training(tmp_path: Path) -> None:
    def bare(num_classes: int) -> nn.Module:
        return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.LazyLinear(num_classes))

    def built(num_classes: int) -> nn.Module:
        model = bare(num_classes)
        model(torch.zeros(1, 3, 8, 8))
        return model

    tree = recipe(OWN, "bare", FITNET)
    with pytest.raises(LimbeckError, match=r"^distilled: fitnet: the teacher has no feature maps; [^\n]*$"):
        limbeck.run(tree, folder=tmp_path, models={"bare": built})


def test_an_outputs_bank_beside_a_loss_on_features_is_refused(tmp_path: Path) -> None:
    tree = recipe(OWN, "resnet20", FITNET, outputs_bank={"limit_gb": 1.0})
    with pytest.raises(
        LimbeckError, match=r"'fitnet' compares features, but outputs_bank stores only logits; remove o"
    ):
        limbeck.run(tree, folder=tmp_path)


def test_a_list_where_the_default_is_a_word_is_no_error_and_a_number_is_one(tmp_path: Path) -> None:
    loss = [{"name": "fitnet", "teacher_layers": 3}, {"name": "cross_entropy"}]
    with pytest.raises(LimbeckError, match=r"teacher_layers: expected a string or a list, like its default 'paired'"):
        limbeck.run(recipe(OWN, "resnet20", loss), folder=tmp_path)


@pytest.mark.middle
@pytest.mark.parametrize("student", ["resnet20", "timm:lcnet_050", "torchvision:shufflenet_v2_x0_5"], ids=str)
def test_losses_on_features_between_any_models(student: Any, tmp_path: Path) -> None:
    declare_missing_operators()
    for package in ("timm", "torchvision"):
        pytest.importorskip(package)
    teacher = "torchvision:resnet18" if "timm" in str(student) else "timm:resnet18"
    hidden = student == "timm:lcnet_050"  # a hidden layer after the pooling
    tree = recipe(student, teacher, [loss for loss in EVERY if not (hidden and loss["name"] == "class_attention")])
    for arm in (tree["teachers"]["teacher"], *tree["students"].values()):
        arm["resolution"] = 64
    result = limbeck.run(tree, folder=tmp_path).result
    assert len([arm for arm in result["arms"] if arm["role"] == "student" and not arm.get("failure")]) == 2


class Model(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.hidden, self.head, self.scale = nn.Linear(4, 4), nn.Linear(4, 3), scale

    def forward(self, x: torch.Tensor) -> Outputs:
        return Outputs(self.head(x.mean((2, 3))) * self.scale, (x,))


def test_a_classifier_is_found_only_where_the_logits_follow_from_it() -> None:
    x = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    for scale, expected in ((1.0, True), (2.0, False)):
        model = Model(scale)
        outputs = model(x)._replace(classifier=linear_classifier(model, 3))
        assert outputs.classifier is not None and outputs.classifier.weight is model.head.weight
        assert explains_logits(outputs) is expected


@pytest.mark.parametrize(
    ("name", "found"),
    [("resnet", True), ("wide_resnet", True), ("mobilenetv2", True), ("shufflenetv2", True), ("strided_resnet", True),
     ("lightweight_cnn", False), ("speed_cnn", False), ("mobilenetv3_small", False)],
)  # fmt: skip
def test_own_families_with_a_linear_classifier(name: str, found: bool) -> None:
    from limbeck.building.data import Images
    from limbeck.types import Normalisation, Split
    from limbeck.views.preprocess import InputFormat

    g = torch.Generator().manual_seed(0)
    split = Split(torch.randint(0, 256, (4, 3, 32, 32), generator=g).byte(), torch.arange(4))
    normalisation = Normalisation((0.5,) * 3, (0.25,) * 3)
    images = Images("noise", tuple("abcde"), split, split, split, "print", normalisation)
    model = importlib.import_module(f"limbeck.models.{name}").build(5)
    shapes = output_shapes(model, images, InputFormat(normalisation, 32))
    assert (shapes.classifier == (5, shapes.features[-1][1])) is found


@pytest.mark.parametrize(
    ("name", "after_relu"),
    [("resnet", [True] * 3), ("vgg", [True] * 5), ("strided_resnet", [True] * 3), ("lightweight_cnn", [True] * 4),
     ("wide_resnet", [False, False, True])],
)  # fmt: skip
def test_features_are_before_or_after_the_relu_as_documented(name: str, after_relu: list[bool]) -> None:
    """A tap at the wrong side of an activation changes a loss without an error."""
    torch.manual_seed(0)
    model = importlib.import_module(f"limbeck.models.{name}").build(5).eval()
    with torch.no_grad():
        features = model(torch.randn(4, 3, 32, 32)).features
    assert [bool(maps.min() >= 0) for maps in features] == after_relu
