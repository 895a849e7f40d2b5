"""`distill` with losses on the features of modules that know nothing of Limbeck."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import limbeck
from limbeck.api.submodules import WithSubmodules, features_of_submodules
from limbeck.building.teachers import make_teacher
from limbeck.errors import LimbeckError
from limbeck.training.teacher import as_outputs
from limbeck.types import Normalisation
from limbeck.views.preprocess import InputFormat

G = torch.Generator().manual_seed(0)
DATA = limbeck.Dataset.from_arrays((torch.randint(0, 256, (60, 3, 8, 8), generator=G).byte(), torch.arange(60) % 3))
WORDS: dict[str, Any] = {
    "data": DATA, "views": {"batch_size": 16}, "precision": "fp32", "epochs": 1,
    "optimizer": {"name": "sgd", "lr": 0.05},
}  # fmt: skip
INPUT_FORMAT = InputFormat(Normalisation((0.5,) * 3, (0.25,) * 3), None)
FITNET = {"name": "fitnet", "layers": ["1.norm"], "teacher_layers": ["2.norm"]}


def block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    parts = nn.Sequential()
    parts.add_module("conv", nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1))
    parts.add_module("norm", nn.BatchNorm2d(outputs))
    parts.add_module("relu", nn.ReLU(inplace=True))
    return parts


def net(seed: int, *widths: int) -> nn.Sequential:
    """Returns plain logits."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = [
        block(a, b, 1 + (i % 2)) for i, (a, b) in enumerate(zip((3, *widths), widths, strict=False))
    ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 3))


class Returning(nn.Module):
    """The same network, which returns its layers as features."""

    def __init__(self, model: nn.Sequential, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, x: Tensor) -> limbeck.Outputs:
        found: dict[str, Tensor] = {}
        for number, layer in self.model.named_children():
            for name, part in layer.named_children() or [("", layer)]:
                x = part(x)
                found[f"{number}.{name}"] = x.clone()
            if not list(layer.children()):
                x = layer(x)
        return limbeck.Outputs(x, tuple(found[name] for name in self.names))


def test_submodules_by_name_are_as_features_that_a_model_returns() -> None:
    named = limbeck.distill(net(0, 4, 6), net(1, 5, 7, 8), loss=[FITNET, "cross_entropy"], **WORDS)
    student, teacher = Returning(net(0, 4, 6), ("1.norm",)), Returning(net(1, 5, 7, 8), ("2.norm",))
    loss = [{"name": "fitnet", "layers": [1]}, "cross_entropy"]
    returned = limbeck.distill(student, teacher, loss=loss, **WORDS)
    for name, value in named.student.state_dict().items():
        torch.testing.assert_close(value, returned.student.state_dict()[f"model.{name}"], rtol=1e-4, atol=1e-5)


def test_afterwards_the_student_is_what_it_was() -> None:
    student = net(0, 4, 6)
    done = limbeck.distill(student, net(1, 5, 7, 8), loss=[FITNET], **WORDS)
    assert done.student is student and isinstance(student(torch.zeros(2, 3, 8, 8)), Tensor)
    assert not any(module._forward_hooks for module in student.modules())
    assert set(student.state_dict()) == set(net(0, 4, 6).state_dict())


def test_a_resumed_call_ends_bit_for_bit(tmp_path: Any) -> None:
    class Broken(Exception):
        pass

    def stop(done: float, epochs: int) -> None:
        if done > 1.3:
            raise Broken

    words = {**WORDS, "epochs": 3, "ema": {"decay": 0.9}, "loss": [FITNET, "attention_transfer", "cross_entropy"]}
    whole = limbeck.distill(net(0, 4, 6), net(1, 5, 7, 8), **words)
    broken = {**words, "watcher": limbeck.Watcher(step=stop)}
    with pytest.raises(Broken):
        limbeck.distill(net(0, 4, 6), net(1, 5, 7, 8), save_to=tmp_path / "run", **broken)
    again = limbeck.distill(net(0, 4, 6), net(1, 5, 7, 8), save_to=tmp_path / "run", **words)
    for name, value in whole.student.state_dict().items():
        assert torch.equal(value, again.student.state_dict()[name]), name


def test_a_tap_before_a_relu_in_place_is_not_what_the_relu_left() -> None:
    model, x = net(0, 4, 6).eval(), torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    expected = model[1].norm(model[1].conv(model[0](x)))  # type: ignore[union-attr]
    with features_of_submodules(model, ["1.norm", "1.relu"]):
        before, after = as_outputs(model(x)).features
    torch.testing.assert_close(before, expected)
    assert before.min() < 0, "before the ReLU"
    assert after.min() >= 0 and torch.equal(after, before.relu())


def test_teachers_by_name_are_not_folded_and_answer_as_themselves() -> None:
    model = net(1, 5, 7).eval()
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    outputs = as_outputs(WithSubmodules(model, ["0.conv"])(x))
    assert torch.equal(outputs.logits, model(x)) and torch.equal(outputs.features[0], model[0].conv(x))  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ({"name": "fitnet", "layers": ["1.nrm"], "teacher_layers": ["2.norm"]},
         r"layers: the student has no submodule '1\.nrm'; did you mean '1\.norm'\?"),
        ({"name": "fitnet", "layers": ["1.norm"], "teacher_layers": ["7"]},
         r"teacher_layers: the teacher has no submodule '7'"),
        ({"name": "fitnet", "layers": ["1.norm"]}, r"fitnet: the teacher has no feature maps; the loss needs a model"),
        ({"name": "fitnet"}, r"fitnet: the student has no feature maps; the loss needs a model that returns"),
        ({"name": "relational", "layers": ["1.norm"], "teacher_layers": [3]},
         r"relational: the teacher has no feature maps; the loss needs a model that returns"),
    ],
)  # fmt: skip
def test_what_does_not_exist_is_one_line_before_training(loss: Any, message: str) -> None:
    steps: list[float] = []
    watcher = limbeck.Watcher(step=lambda done, epochs: steps.append(done))
    with pytest.raises(LimbeckError, match=rf"^{message}[^\n]*$"):
        limbeck.distill(net(0, 4, 6), net(1, 5, 7, 8), loss=[loss, "cross_entropy"], watcher=watcher, **WORDS)
    assert not steps


def test_a_submodule_that_is_not_called_is_named() -> None:
    student = net(0, 4, 6)
    student[0].add_module("idle", nn.Conv2d(4, 4, 1))
    object.__setattr__(student[0], "forward", lambda x: student[0].relu(student[0].norm(student[0].conv(x))))
    loss = {"name": "fitnet", "layers": ["0.idle"], "teacher_layers": ["0.conv"]}
    with pytest.raises(LimbeckError, match=r"submodule '0\.idle' is not called by the model's forward"):
        limbeck.distill(student, net(1, 5, 7, 8), loss=[loss, "cross_entropy"], **WORDS)


def test_a_teacher_never_moves_its_batch_statistics_and_asks_for_no_gradient() -> None:
    """Reference code of one method on features keeps the teacher in training mode."""
    module = net(1, 5, 7).train()
    frozen = make_teacher("teacher", module, INPUT_FORMAT, device=torch.device("cpu"), precision="fp32", folded=False)
    frozen.frozen = WithSubmodules(frozen.frozen, ["0.norm", "1.norm"])
    before = {name: value.clone() for name, value in frozen.frozen.state_dict().items()}
    assert any(name.endswith("running_mean") for name in before)
    for seed in range(3):
        outputs = frozen(torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(seed)))
        tensors = [outputs.logits, *outputs.features, *(x for x in outputs.classifier or () if x is not None)]
        assert len(tensors) == 5 and not any(x.requires_grad for x in tensors)
    assert all(torch.equal(value, before[name]) for name, value in frozen.frozen.state_dict().items())
