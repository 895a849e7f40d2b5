"""What must hold for every model of the folder, old and new."""

from __future__ import annotations

import importlib.util
import itertools

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from limbeck.models.folding import fold_batch_norms
from limbeck.recipes import registry
from limbeck.types import Outputs

ADAPTED = {"timm": "mobilenetv3_small_050", "torchvision": "shufflenet_v2_x0_5"}
LARGE = {"wrn_28_10", "resnet32x4", "resnet110", "wrn_40_2", "resnet56", "resnet44", "wrn_40_1"}
ENTRIES = registry.entries("models")
RUN = sorted(set(ENTRIES) - LARGE)  # a named size differs from its family's plain name by numbers alone


def make(name: str, num_classes: int = 7, seed: int = 0) -> nn.Module:
    entry = ENTRIES[name]
    torch.manual_seed(seed)
    if entry.argument is None:
        return registry.load(entry)(num_classes)
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    return registry.load(entry)(num_classes, ADAPTED[name])


def images(number: int, seed: int = 1) -> Tensor:
    x = torch.randn(number, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    return x.contiguous(memory_format=torch.channels_last)


def used(name: str) -> nn.Module:
    """In evaluation mode, after BatchNorm has seen some images."""
    model = make(name).to(memory_format=torch.channels_last).train()  # pyright: ignore[reportCallIssue]
    with torch.no_grad():
        for step in range(3):
            model(images(8, step))
    return model.eval()


def test_every_file_with_a_build_is_a_name() -> None:
    assert {"strided_resnet", "lightweight_cnn", "resnet20", "wrn_28_10", "speed_cnn", "timm"} <= set(ENTRIES)
    assert all(entry.summary for entry in ENTRIES.values())
    adapters = {name for name, entry in ENTRIES.items() if entry.argument}
    assert adapters == set(ADAPTED), "a new adapter needs a small model to be tested with"


@pytest.mark.parametrize("name", RUN)
def test_answers_and_features(name: str) -> None:
    model = used(name)
    for number in (1, 3):
        with torch.inference_mode():
            outputs = model(images(number))
            again = model(images(number))
        assert isinstance(outputs, Outputs)
        assert outputs.logits.shape == (number, 7)
        assert torch.equal(outputs.logits, again.logits)
        assert torch.isfinite(outputs.logits).all()
        assert len(outputs.features) >= 2
        for feature, same in zip(outputs.features, again.features, strict=True):
            assert feature.ndim == 4
            assert feature.shape[0] == number
            assert torch.equal(feature, same)
        sides = [feature.shape[-1] for feature in outputs.features]
        assert sides == sorted(sides, reverse=True), "shallow to deep"


@pytest.mark.parametrize("name", RUN)
def test_an_image_is_answered_alone_as_in_a_batch(name: str) -> None:
    model = used(name).double()
    x = images(3).double()
    with torch.no_grad():
        torch.testing.assert_close(model(x[1:2]).logits, model(x).logits[1:2])


@pytest.mark.parametrize("name", RUN)
def test_every_trainable_parameter_learns(name: str) -> None:
    model = make(name).train()
    outputs = model(images(4))
    outputs.logits.logsumexp(1).sum().backward()
    for parameter_name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, parameter_name
            assert torch.isfinite(parameter.grad).all(), parameter_name
    reached = [bool(p.grad.any()) for p in model.parameters() if p.grad is not None]
    assert sum(reached) >= 0.9 * len(reached)  # a bias before a BatchNorm has an exact gradient of nothing


@pytest.mark.parametrize("name", RUN)
def test_features_carry_gradients(name: str) -> None:
    model = make(name).train()
    features = model(images(2)).features
    first = next(p for p in model.parameters() if p.requires_grad)
    (gradient,) = torch.autograd.grad(sum(f.square().mean() for f in features), first)
    assert gradient.any()


@pytest.mark.parametrize("name", RUN)
def test_same_seed_same_weights(name: str) -> None:
    one, two, other = make(name), make(name), make(name, seed=1)
    for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert any(
        not torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("name", RUN)
def test_bfloat16_is_finite_and_near(name: str) -> None:
    model = used(name)
    with torch.no_grad():
        exact = model(images(3)).logits
        with torch.autocast("cpu", torch.bfloat16):
            rounded = model(images(3)).logits.float()
    assert torch.isfinite(rounded).all()
    assert (rounded - exact).abs().max() <= 0.1 * exact.abs().max() + 0.02


@pytest.mark.parametrize("name", RUN)
def test_folding_keeps_the_answers(name: str) -> None:
    model = used(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    folded = fold_batch_norms(model.train())
    assert model.training, "the model itself is left as it was"
    model.eval()
    with torch.inference_mode():
        expected, found = model(images(3)), folded(images(3))
    assert isinstance(found, Outputs)
    for a, b in zip((expected.logits, *expected.features), (found.logits, *found.features), strict=True):
        torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-4 * max(1.0, float(a.abs().max())))
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])
    assert len(_norms(folded)) < len(_norms(model)), "something was folded"


def _norms(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


@pytest.mark.parametrize("name", RUN)
def test_weights_go_through_safetensors(name: str, tmp_path) -> None:
    model = used(name)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, tmp_path / "w.safetensors")
    twin = make(name, seed=5).eval()
    twin.load_state_dict(load_file(tmp_path / "w.safetensors"))
    with torch.no_grad():
        torch.testing.assert_close(twin(images(2)).logits, model(images(2)).logits)


@pytest.mark.parametrize(("name", "classes"), list(itertools.product(["resnet20", "speed_cnn", "timm"], [1, 2, 200])))
def test_number_of_classes(name: str, classes: int) -> None:
    assert make(name, classes).eval()(images(1)).logits.shape == (1, classes)


@pytest.mark.parametrize("name", sorted(set(ENTRIES) - set(ADAPTED)))
def test_every_size_gives_shapes_without_storage(name: str) -> None:
    with torch.device("meta"):
        outputs = make(name, 100).eval()(torch.empty(2, 3, 32, 32))
    assert outputs.logits.shape == (2, 100)
    assert outputs.logits.is_meta
