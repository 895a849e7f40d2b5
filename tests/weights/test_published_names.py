"""Checkpoints under the names of public nets fill ours, and the answers are the same.

The public nets are written here anew, from their papers and their names, as their authors' state_dicts show them.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from limbeck.errors import LimbeckError
from limbeck.models import mobilenetv2, mobilenetv3_small, resnet, shufflenetv2, vgg, wide_resnet
from limbeck.models.torchvision_operators import declare_missing_operators
from limbeck.weights.load import load_weights, mismatch

declare_missing_operators()
torchvision = pytest.importorskip("torchvision")
CLASSES = 7


class Block(nn.Module):
    """`conv1`, `bn1`, `conv2`, `bn2`, and a shortcut under the name that the file gives it."""

    def __init__(self, inputs: int, outputs: int, stride: int, shortcut: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut_name = shortcut
        if stride != 1 or inputs != outputs:
            layers = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
            self.add_module(shortcut, layers)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        beside = getattr(self, self.shortcut_name, None)
        return functional.relu(y + (x if beside is None else beside(x)))


class PublicResNet(nn.Module):
    def __init__(self, blocks: int, channels: tuple[int, ...], shortcut: str, head: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, channels[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels[0])
        inputs = channels[0]
        for stage, outputs in enumerate(channels[1:], 1):
            made = []
            for block in range(blocks):
                made.append(Block(inputs, outputs, 2 if block == 0 and stage > 1 else 1, shortcut))
                inputs = outputs
            self.add_module(f"layer{stage}", nn.Sequential(*made))
        self.head_name = head
        self.add_module(head, nn.Linear(inputs, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(x)))
        for stage in (1, 2, 3):
            x = getattr(self, f"layer{stage}")(x)
        return getattr(self, self.head_name)(functional.adaptive_avg_pool2d(x, 1).flatten(1))


class WideBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.convShortcut = None if inputs == outputs else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = functional.relu(self.bn1(x))
        y = self.conv2(functional.relu(self.bn2(self.conv1(active))))
        return y + (x if self.convShortcut is None else self.convShortcut(active))


class PublicWideResNet(nn.Module):
    def __init__(self, blocks: int, widen: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        inputs = 16
        for stage in (1, 2, 3):
            outputs = 8 * 2**stage * widen
            made = []
            for block in range(blocks):
                made.append(WideBlock(inputs, outputs, 2 if block == 0 and stage > 1 else 1))
                inputs = outputs
            holder = nn.Module()
            holder.layer = nn.Sequential(*made)
            self.add_module(f"block{stage}", holder)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.fc = nn.Linear(inputs, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        for stage in (1, 2, 3):
            x = getattr(self, f"block{stage}").layer(x)
        return self.fc(functional.relu(self.bn1(x)).mean((2, 3)))


def stack(inputs: int, widths: list[int | None]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for width in widths:
        if width is None:
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            inputs = width
    return layers


class TableVGG(nn.Module):
    """The distillation tables' VGG8: one convolution in each of five blocks, or two in VGG13."""

    def __init__(self, convolutions: int) -> None:
        super().__init__()
        inputs = 3
        for number, width in enumerate((64, 128, 256, 512, 512)):
            self.add_module(f"block{number}", nn.Sequential(*stack(inputs, [width] * convolutions)[:-1]))
            inputs = width
        self.classifier = nn.Linear(512, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        for number in range(5):
            x = functional.relu(getattr(self, f"block{number}")(x))
            if number < 3:
                x = functional.max_pool2d(x, 2)
        return self.classifier(functional.adaptive_avg_pool2d(x, 1).flatten(1))


class CifarVGG11(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(*stack(3, [64, None, 128, None, 256, 256, None, 512, 512, None, 512, 512, None]))
        hidden = [layer for _ in range(2) for layer in (nn.Linear(512, 512), nn.ReLU(), nn.Dropout())]
        self.classifier = nn.Sequential(*hidden, nn.Linear(512, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))


def cifar_mobilenetv2() -> nn.Module:
    model = torchvision.models.mobilenet_v2(num_classes=CLASSES, width_mult=0.5)
    model.features[0][0].stride = (1, 1)  # as the public CIFAR checkpoints have it
    model.features[2].conv[1][0].stride = (1, 1)
    return model


def cifar_mobilenetv3() -> nn.Module:
    model = torchvision.models.mobilenet_v3_small(num_classes=CLASSES)
    model.features[0][0].stride = model.features[1].block[0][0].stride = (1, 1)
    return model


def cifar_shufflenet() -> nn.Module:
    model = torchvision.models.shufflenet_v2_x0_5(num_classes=CLASSES)
    model.conv1[0].stride = (1, 1)
    model.maxpool = nn.Identity()
    return model


PAIRS = {
    "resnet20": (lambda: PublicResNet(3, (16, 16, 32, 64), "downsample", "fc"), lambda k: resnet.build(k)),
    "resnet8x4": (
        lambda: PublicResNet(1, (32, 64, 128, 256), "shortcut", "linear"),
        lambda k: resnet.build(k, **resnet.SIZES["resnet8x4"]),
    ),
    "wrn_16_2": (lambda: PublicWideResNet(2, 2), lambda k: wide_resnet.build(k)),
    "wrn_16_1": (lambda: PublicWideResNet(2, 1), lambda k: wide_resnet.build(k, widen=1)),
    "vgg8": (lambda: TableVGG(1), lambda k: vgg.build(k, depth=8, head="linear")),
    "vgg11": (CifarVGG11, lambda k: vgg.build(k, depth=11)),
    "mobilenetv2": (cifar_mobilenetv2, lambda k: mobilenetv2.build(k, width=0.5)),
    "mobilenetv3_small": (cifar_mobilenetv3, lambda k: mobilenetv3_small.build(k)),
    "shufflenetv2": (cifar_shufflenet, lambda k: shufflenetv2.build(k, width=0.5)),
}


def trained(model: nn.Module) -> nn.Module:
    """With BatchNorm's numbers away from one and zero, so that a swap shows."""
    generator = torch.Generator().manual_seed(1)
    for name, value in model.state_dict().items():
        if value.is_floating_point() and value.ndim == 1:
            low = 0.5 if name.endswith(("running_var", "weight")) else -0.2
            value.uniform_(low, low + 0.5, generator=generator)
    return model.eval()


def saved(model: nn.Module, path: Path, prefix: str = "") -> Path:
    save_file({prefix + name: value.contiguous() for name, value in model.state_dict().items()}, path)
    return path


@pytest.mark.parametrize("name", PAIRS)
def test_a_public_checkpoint_answers_as_before(name: str, tmp_path: Path) -> None:
    make_public, build = PAIRS[name]
    public, ours = trained(make_public()), build(CLASSES).eval()
    path = saved(public, tmp_path / "w.safetensors", "module.")
    assert mismatch(ours, path) is None
    assert load_weights(ours, path) == ()
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = public(images)
        assert expected.std() > 1e-3, "answers that are all the same show nothing"
        torch.testing.assert_close(ours(images).logits, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet20", "vgg11", "mobilenetv2"])
def test_another_number_of_classes_is_the_head_s_alone(name: str, tmp_path: Path) -> None:
    make_public, build = PAIRS[name]
    path = saved(make_public(), tmp_path / "w.safetensors")
    assert "has 7 classes, but the model needs 10" in str(mismatch(build(10), path))
    assert all(part.startswith("head.") for part in load_weights(build(10), path, new_head=True))


def test_another_size_of_the_family_is_refused(tmp_path: Path) -> None:
    path = saved(PAIRS["resnet20"][0](), tmp_path / "w.safetensors")
    with pytest.raises(LimbeckError, match="does not match the model"):
        load_weights(resnet.build(CLASSES, depth=32), path)
    with pytest.raises(LimbeckError, match="with another shape"):
        load_weights(resnet.build(CLASSES, widths=(16, 32, 128)), path)


def test_a_body_and_head_of_a_framework_fit_the_zoo_s_names(tmp_path: Path) -> None:
    """`backbone.` before the body and `head.` before `fc`."""
    public = trained(PAIRS["resnet20"][0]())
    tensors = {
        f"{'head' if name.startswith('fc.') else 'backbone'}.{name}": value.contiguous()
        for name, value in public.state_dict().items()
    }
    save_file(tensors, tmp_path / "w.safetensors")
    ours = resnet.build(CLASSES).eval()
    load_weights(ours, tmp_path / "w.safetensors")
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours(images).logits, public(images), rtol=1e-4, atol=1e-5)
