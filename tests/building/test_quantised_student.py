"""A student trained for int8 is the float student with rounding, and nothing but training changes its scales."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.ao.quantization import disable_fake_quant

from limbeck.building.checks.before_training import check_before_training
from limbeck.building.data import load_images
from limbeck.building.models import build_model
from limbeck.building.quantised_student import FREEZE_AFTER, QuantisedStudent, observe, quantised
from limbeck.errors import LimbeckError
from limbeck.recipes import registry
from limbeck.recipes.load import check
from limbeck.recipes.recipe import Data, NameWithOptions
from limbeck.types import Outputs

SMALL = {"wide_resnet": {"depth": 10, "widen": 1}, "vgg": {"depth": 8}, "resnet": {"depth": 8}}


def families() -> list[str]:
    return sorted({entry.file for entry in registry.entries("models").values() if entry.argument is None})


def student(name: str = "resnet") -> nn.Module:
    torch.manual_seed(0)
    return build_model(NameWithOptions(**{"name": name, **SMALL.get(name, {})}), 10, {})


def pixels(count: int = 16, seed: int = 0) -> Tensor:
    drawn = torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    return drawn.contiguous(memory_format=torch.channels_last)


def ready(name: str = "resnet") -> QuantisedStudent:
    made = quantised(student(name), "net")
    observe(made, pixels(64))
    return made


def state(model: nn.Module) -> dict[str, Tensor]:
    """Without the switches, which are set before every pass."""
    return {name: value.clone() for name, value in model.state_dict().items() if not name.endswith("_enabled")}


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("name", families())
def test_without_rounding_it_is_the_float_student(name: str) -> None:
    whole = student(name).eval()
    made = quantised(copy.deepcopy(whole), "net").eval()
    made.apply(disable_fake_quant)
    with torch.no_grad():
        expected, found = whole(pixels()), made(pixels())
    assert isinstance(found, Outputs) and len(found.features) == len(expected.features)
    torch.testing.assert_close(found.logits, expected.logits, rtol=1e-3, atol=1e-4)
    for one, other in zip(found.features, expected.features, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_it_has_the_parameters_of_the_float_student_and_rounds() -> None:
    whole, made = student(), ready()
    assert sum(p.numel() for p in made.parameters()) == sum(p.numel() for p in whole.parameters())
    feature = made.eval()(pixels()).features[-1]
    assert len(feature.unique()) <= 256
    assert len(made(pixels()).logits.unique()) == made(pixels()).logits.numel(), "logits stay float"


@pytest.mark.parametrize("training", [True, False])
def test_only_training_moves_the_scales(training: bool) -> None:
    made = ready().train(training)
    before = state(made)
    with torch.no_grad():
        made(3 * pixels(seed=1))
    moved = changed(before, state(made))
    assert any(name.endswith(".scale") for name in moved) == training
    assert bool(moved) == training


def test_loading_a_state_that_was_saved_in_training_does_not_make_evaluation_train() -> None:
    made, other = ready(), ready()
    made.train()(pixels())
    other.load_state_dict(made.state_dict())
    before = state(other.eval())
    with torch.no_grad():
        other(3 * pixels(seed=1))
    assert not changed(before, state(other))


def test_scales_and_batch_statistics_freeze_and_weights_still_learn() -> None:
    made = ready().train()
    made.at_fraction(FREEZE_AFTER)
    before = state(made)
    made.train()(3 * pixels(seed=1)).logits.square().mean().backward()
    assert not changed(before, state(made))
    assert all(p.grad is not None and p.grad.isfinite().all() for p in made.parameters())
    made.at_fraction(FREEZE_AFTER - 0.01)
    made.train()(3 * pixels(seed=1))
    moved = changed(before, state(made))
    assert any(name.endswith("running_mean") for name in moved) and any(name.endswith(".scale") for name in moved)


def test_observing_sets_ranges_and_nothing_else() -> None:
    made = quantised(student(), "net")
    before, generator = state(made), torch.get_rng_state()
    observe(made, pixels())
    assert torch.equal(generator, torch.get_rng_state())
    moved = changed(before, state(made))
    assert moved and all(name.endswith((".scale", ".zero_point", ".min_val", ".max_val")) for name in moved)
    assert all(value.isfinite().all() for value in state(made).values())


def test_it_draws_no_random_numbers() -> None:
    net = student("lightweight_cnn")
    before = torch.get_rng_state()
    quantised(net, "net")
    assert torch.equal(before, torch.get_rng_state())


def test_it_computes_in_float32_under_autocast() -> None:
    made = ready().eval()
    plain = made(pixels()).logits
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(made(pixels()).logits, plain)


class Branching(nn.Module):
    """Its way depends on the numbers in the image."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.layer = nn.Linear(3, classes)

    def forward(self, images: Tensor) -> Tensor:
        means = images.mean((2, 3))
        return self.layer(means) if means.sum() > 0 else self.layer(-means)


def test_a_model_that_cannot_be_traced_is_refused_before_training() -> None:
    def branching(num_classes: int) -> nn.Module:
        return Branching(num_classes)

    models: dict[str, Callable[..., nn.Module]] = {"branching": branching}
    arm = {
        "model": "branching",
        "epochs": 1,
        "optimizer": {"name": "adam", "lr": 0.001},
        "loss": [{"name": "cross_entropy"}],
    }
    tree = {"name": "n", "data": {"source": "digits"}, "students": {"net": arm | {"quantise": "int8"}, "plain": arm}}
    recipe = check(tree, "recipe", {}, models=models)
    with pytest.raises(LimbeckError, match=r"^net: quantise: int8: this model cannot be traced.*export") as error:
        check_before_training(recipe, load_images(Data(source="digits")), models)
    assert "\n" not in str(error.value)
