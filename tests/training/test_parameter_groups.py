"""Learning rates by layer and parameters without weight decay."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from packed_state import packed, restored
from torch import nn

from limbeck.errors import LimbeckError
from limbeck.recipes import optimization as recipe
from limbeck.training import optimizers
from limbeck.training.parameter_groups import layer_numbers, names_without_weight_decay, parameter_groups


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 5))


def named(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return list(model.named_parameters())


def made(options: recipe.Optimizer, model: nn.Module, **others: Any) -> torch.optim.Optimizer:
    return optimizers.make_optimizer(options, named(model), **others)


ALL: list[recipe.Optimizer] = [
    recipe.Sgd(lr=0.1, weight_decay=0.1),
    recipe.Adam(lr=0.1, weight_decay=0.1),
    recipe.AdamW(lr=0.1),
    recipe.Muon(lr=0.1, weight_decay=0.1),
]


@pytest.mark.parametrize("options", ALL, ids=lambda options: options.name)
def test_the_default_is_one_group_in_the_order_of_the_model(options: recipe.Optimizer) -> None:
    model = net()
    (group,) = parameter_groups(options, named(model))
    assert group.parameters == list(model.parameters())
    assert (group.lr_scale, group.decays) == (1.0, True)
    assert "layer_decay" not in options.model_dump()
    assert "no_weight_decay" not in options.model_dump()
    assert "decay_norms_and_biases" not in options.model_dump()


def test_options_that_are_set_are_dumped_and_read_back() -> None:
    options = recipe.AdamW(lr=0.1, layer_decay=0.5, no_weight_decay=("a",), decay_norms_and_biases=False)
    again = recipe.AdamW.model_validate(options.model_dump())
    assert again == options
    assert {"layer_decay", "no_weight_decay", "decay_norms_and_biases"} <= set(options.model_dump(mode="json"))


def test_the_layers_of_usual_names() -> None:
    names = {
        "model.conv1.weight": (4, 0), "model.bn1.weight": (1, 0), "model.layer1.0.conv1.weight": (4, 1),
        "model.layer1.0.bn1.bias": (1, 1), "model.layer1.1.conv1.weight": (4, 2), "model.norm.weight": (1, 2),
        "model.fc.weight": (2, 3), "model.fc.bias": (1, 3),
    }  # fmt: skip
    assert layer_numbers([(name, dim) for name, (dim, _) in names.items()]) == [layer for _, layer in names.values()]
    assert layer_numbers([]) == []


@pytest.mark.parametrize("options", ALL, ids=lambda options: options.name)
def test_rates_fall_towards_the_input_and_schedules_scale_all_in_proportion(options: recipe.Optimizer) -> None:
    model = net()
    optimizer = made(options.model_copy(update={"layer_decay": 0.5}), model)
    rate_of = {id(p): g["lr"] for g in optimizer.param_groups for p in g["params"]}
    adam = 0.004 if options.name == "muon" else 0.1
    assert rate_of[id(model[0].weight)] == pytest.approx(0.05)
    assert rate_of[id(model[1].weight)] == pytest.approx(adam / 2), "a norm belongs to the layer before it"
    assert rate_of[id(model[3].weight)] == pytest.approx(adam)
    before = [g["lr"] for g in optimizer.param_groups]
    for factor in (0.5, 0.1, 1.0):
        assert optimizers.scale_rates(optimizer, factor) == pytest.approx(0.1 * factor)
        assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([rate * factor for rate in before])


@pytest.mark.parametrize("decays", [True, False])
def test_one_step_of_sgd_in_float64(decays: bool) -> None:
    """w ← w − lr (g + decay · w), without the decay for biases where the option says so."""
    model = nn.Linear(3, 2).double()
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    options = recipe.Sgd(lr=0.1, momentum=0.0, weight_decay=0.5, decay_norms_and_biases=decays)
    optimizer = made(options, model)
    for p in model.parameters():
        p.grad = torch.full_like(p, 2.0)
    optimizer.step()
    for name, p in model.named_parameters():
        decay = 0.5 if decays or name == "weight" else 0.0
        torch.testing.assert_close(p.detach(), start[name] - 0.1 * (2.0 + decay * start[name]), rtol=0, atol=1e-12)


class WithPositions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.ones(4, 3))
        self.head = nn.Linear(3, 2)

    def no_weight_decay(self) -> set[str]:
        return {"positions"}


def test_what_a_module_and_a_recipe_leave_out_of_weight_decay() -> None:
    model = nn.Sequential(WithPositions())
    assert names_without_weight_decay(model) == {"0.positions"}
    own = names_without_weight_decay(model)

    def without(**options: Any) -> set[str]:
        groups = parameter_groups(recipe.AdamW(lr=0.1, **options), named(model), no_weight_decay=own)
        left_out = {id(p) for group in groups if not group.decays for p in group.parameters}
        return {name for name, p in model.named_parameters() if id(p) in left_out}

    assert without() == set()
    assert without(decay_norms_and_biases=False) == {"0.positions", "0.head.bias"}
    assert without(no_weight_decay=("*.head.*",)) == {"0.head.weight", "0.head.bias"}


def test_a_pattern_that_matches_nothing_is_named() -> None:
    with pytest.raises(LimbeckError, match=r"no_weight_decay: no parameter of the model matches '\*\.pos'; its"):
        made(recipe.AdamW(lr=0.1, no_weight_decay=("*.pos",)), net())
    with pytest.raises(LimbeckError, match=r"matches '0\.wieght'; did you mean '0\.weight'\?$"):
        made(recipe.AdamW(lr=0.1, no_weight_decay=("1.*", "0.wieght")), net())


@pytest.mark.parametrize("options", ALL, ids=lambda options: options.name)
def test_a_saved_optimizer_of_several_groups_goes_on_bit_for_bit(options: recipe.Optimizer) -> None:
    changed: dict[str, Any] = {"layer_decay": 0.5}
    if options.name != "muon":
        changed["decay_norms_and_biases"] = False
    options = options.model_copy(update=changed)
    images = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(1))

    def walk(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
        for step in steps:
            optimizer.zero_grad()
            optimizers.scale_rates(optimizer, 1 / (1 + step))
            model(images).square().mean().backward()
            optimizer.step()

    whole, first, second = net(), net(), net()
    walk(whole, made(options, whole), range(6))
    optimizer = made(options, first)
    walk(first, optimizer, range(3))
    assert len(optimizer.param_groups) > 1
    saved = restored(packed({"optimizer": optimizer.state_dict(), "model": first.state_dict()}))
    again = made(options, second)
    optimizers.restore(again, saved["optimizer"])
    second.load_state_dict(saved["model"])
    walk(second, again, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), second.parameters(), strict=True))


def test_parameters_of_losses_have_the_full_rate() -> None:
    state = nn.Linear(2, 2)
    options = recipe.Sgd(lr=0.1, layer_decay=0.5)
    optimizer = made(options, net(), others=list(state.named_parameters()))
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.05, 0.1])
    assert {id(p) for p in state.parameters()} <= {id(p) for p in optimizer.param_groups[1]["params"]}
