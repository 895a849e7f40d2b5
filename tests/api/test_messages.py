"""What `distill` and `evaluate` say of wrong options: the argument that was passed, as the caller knows it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import limbeck
from limbeck.errors import LimbeckError

DATA = limbeck.Dataset.from_arrays((torch.arange(48 * 30).reshape(30, 3, 4, 4).byte(), torch.arange(30) % 3))


def net() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 3))


def message(teacher: Any = None, **arguments: Any) -> str:
    with pytest.raises(LimbeckError) as caught:
        limbeck.distill(net(), teacher, **{"data": DATA, "epochs": 1, **arguments})
    return str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"epochs": 0}, "distill: epochs: expected a number of at least 1; got 0"),
        ({"optimizer": {"name": "sgd", "lr": -1}}, "distill: optimizer.lr: expected a number greater than 0; got -1"),
        (
            {"optimizer": {"name": "sgd", "lr": 0.1, "temperature": 4}},
            "distill: optimizer.temperature: unknown key; `temperature` belongs to `loss`: loss.N.temperature (got 4)",
        ),
        (
            {"views": {"epochs": 3}},
            "distill: views.epochs: unknown key; `epochs` belongs to the call itself: epochs (got 3)",
        ),
        ({"clip_norm": "x"}, "distill: clip_norm: expected a number; got 'x'"),
        ({"clipnorm": 1}, "distill takes no 'clipnorm'; did you mean 'clip_norm'?"),
        ({"optimizer": {"lr": object}}, "distill: optimizer.lr: expected strings, numbers, lists and mappings; got "),
        (
            {"loss": "soft_targets"},
            "distill: teacher: is missing; loss 'soft_targets' needs a teacher",
        ),
    ],
)
def test_a_wrong_option_is_named_as_the_argument_that_it_is(arguments: dict[str, Any], expected: str) -> None:
    assert message(**arguments).startswith(expected)


def test_all_wrong_options_are_reported_at_once_the_source_of_the_data_too() -> None:
    said = message(epochs=0, loss="dkt", patience=-1, data={"source": "digts"}).split("\n")
    assert [line.split(": ")[1] for line in said] == ["epochs", "patience", "data.source", "loss.0.name"]
    assert said[2].endswith("did you mean 'digits'?")


def test_evaluate_speaks_of_itself() -> None:
    with pytest.raises(LimbeckError, match=r"^evaluate: data\.source: no data source named 'digts'; did you mean"):
        limbeck.evaluate(lambda images: torch.zeros(len(images), 10), "digts")
