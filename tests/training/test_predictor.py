"""A model as evaluation sees it."""

from __future__ import annotations

import pytest
import torch
from digit_cohorts import CPU, INPUT_FORMAT, digits, used_model

from limbeck.training.predictor import predictor
from limbeck.views.preprocess import InputFormat, prepare


@pytest.mark.parametrize("training", [True, False])
def test_it_answers_in_evaluation_mode_and_puts_the_mode_back(training: bool) -> None:
    model, images = used_model().train(training), digits(200, 8).images
    before = {name: value.clone() for name, value in model.state_dict().items()}
    logits = predictor(model, INPUT_FORMAT, device=CPU)(images)
    assert model.training is training
    assert logits.dtype == torch.float32
    with torch.no_grad():
        assert torch.equal(logits, model.eval()(prepare(images, INPUT_FORMAT)).logits)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_mode_is_put_back_after_an_error() -> None:
    model = used_model().train()
    with pytest.raises(RuntimeError):
        predictor(model, INPUT_FORMAT, device=CPU)(torch.zeros(2, 5, 16, 16, dtype=torch.uint8))
    assert model.training


def test_its_own_resolution() -> None:
    model, images = used_model().eval(), digits(200, 8).images
    input_format = InputFormat(INPUT_FORMAT.normalisation, 24)
    with torch.no_grad():
        expected = model(prepare(images, input_format)).logits
    assert torch.equal(predictor(model, input_format, device=CPU)(images), expected)


def test_low_precision() -> None:
    model, images = used_model(), digits(200, 8).images
    low = predictor(model, INPUT_FORMAT, device=CPU, dtype=torch.bfloat16)(images)
    wide = predictor(model, INPUT_FORMAT, device=CPU)(images)
    assert low.dtype == torch.float32
    assert not torch.equal(low, wide)
    assert (low - wide).abs().max() < 0.05 * wide.abs().max()
