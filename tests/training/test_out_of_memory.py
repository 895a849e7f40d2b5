"""Out of memory is answered with what to lower; every other error stays itself."""

from __future__ import annotations

import pytest
import torch
from digit_cohorts import learner, teacher, train_split
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.recipes.views import Views
from limbeck.training.loop import train
from limbeck.training.model_errors import explain_out_of_memory
from limbeck.views.plan import ViewPlanner


class Hungry(nn.Module):
    """Asks for a million gigabytes."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 10)

    def forward(self, pixels: Tensor) -> Tensor:
        torch.empty(2**50, dtype=torch.uint8)
        return self.layer(pixels.mean((2, 3)))


def test_a_real_refusal_names_model_batch_and_remedy() -> None:
    planner = ViewPlanner("digits", 48, Views(batch_size=16), seed=0)
    with pytest.raises(LimbeckError) as caught:
        next(train([learner("hungry", model=Hungry())], {"teacher": teacher()}, train_split(), planner))
    message = str(caught.value)
    assert "\n" not in message
    for word in ("out of memory", "'hungry'", "16 images", "views.batch_size", "try 8"):
        assert word in message


def test_an_accelerators_refusal_is_named_too() -> None:
    with (
        pytest.raises(LimbeckError, match=r"'big' with a batch of 1 images; .* \(try 1\)"),
        explain_out_of_memory("big", 1),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.mark.parametrize("error", [RuntimeError("shapes do not fit"), ValueError("out of memory"), KeyboardInterrupt()])
def test_other_errors_pass(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, explain_out_of_memory("model", 4):
        raise error
    assert caught.value is error


def test_a_model_that_does_not_fit_its_images_says_so_itself() -> None:
    class Wrong(Hungry):
        def forward(self, pixels: Tensor) -> Tensor:
            return self.layer(pixels)

    planner = ViewPlanner("digits", 48, Views(batch_size=16), seed=0)
    with pytest.raises(LimbeckError, match=r"^wrong: .*training on a batch of 16 images .*shapes"):
        next(train([learner("wrong", model=Wrong())], {"teacher": teacher()}, train_split(), planner))
