"""A teacher only answers: nothing that anybody does during a run changes what it says."""

from __future__ import annotations

import hashlib

import pytest
import torch
from digit_cohorts import CPU, INPUT_FORMAT, digits, follow, learner, photograph, teacher, used_model
from torch import Tensor, nn

from limbeck.losses import soft_targets
from limbeck.models.folding import fold_batch_norms
from limbeck.training.teacher import Teacher, as_outputs
from limbeck.types import Outputs, Targets
from limbeck.views.preprocess import prepare

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
FOLDED = pytest.mark.parametrize("fold", [True, False], ids=["folded", "as it is"])


def digest(model: nn.Module) -> str:
    """SHA-256 of all parameters and buffers, with their names."""
    found = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        found.update(name.encode())
        found.update(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def pixels() -> Tensor:
    return prepare(digits(200, 16).images, INPUT_FORMAT)


@DTYPES
@FOLDED
def test_a_run_changes_nothing_in_it_whatever_its_owner_does_with_the_model(dtype: torch.dtype, fold: bool) -> None:
    model = used_model()
    heard = Teacher("teacher", model, INPUT_FORMAT, device=CPU, dtype=dtype, fold=fold_batch_norms if fold else None)
    inside, answer = digest(heard.frozen), heard(pixels()).logits
    owned = digest(model)

    def use_the_model() -> None:
        model.train()
        model(pixels()).logits.sum().backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(1.0)

    one, undisturbed = learner(), learner()
    follow([undisturbed], heard=heard)
    follow([one], heard=heard, disturb=use_the_model)
    assert digest(model) != owned, "the owner did change his own"
    assert digest(heard.frozen) == inside
    assert torch.equal(heard(pixels()).logits, answer)
    assert photograph(one) == photograph(undisturbed)
    assert not any(module.training for module in heard.frozen.modules())
    assert all(p.grad is None and not p.requires_grad for p in heard.frozen.parameters())


@DTYPES
@FOLDED
def test_the_owners_model_is_only_read(dtype: torch.dtype, fold: bool) -> None:
    model = used_model().train()
    before = digest(model)
    Teacher("teacher", model, INPUT_FORMAT, device=CPU, dtype=dtype, fold=fold_batch_norms if fold else None)(pixels())
    assert digest(model) == before
    assert model.training
    assert all(p.requires_grad and p.dtype == torch.float32 for p in model.parameters())


def test_it_is_no_module() -> None:
    """So that a student which holds it does not train, save or count it."""
    holder = nn.Linear(1, 1)
    holder.teacher = teacher()  # pyright: ignore[reportArgumentType]
    holder.train()
    assert len(list(holder.parameters())) == 2
    assert set(holder.state_dict()) == {"weight", "bias"}


@FOLDED
def test_it_answers_as_the_model_does_in_evaluation_mode(fold: bool) -> None:
    model = used_model()
    with torch.inference_mode():
        expected = model.eval()(pixels())
    found = teacher(fold=fold)(pixels())
    assert found.logits.dtype == torch.float32
    torch.testing.assert_close(found.logits, expected.logits, rtol=1e-4, atol=1e-5)
    for mine, theirs in zip(found.features, expected.features, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


@FOLDED
def test_in_bfloat16_it_answers_nearly_so(fold: bool) -> None:
    wide, low = teacher()(pixels()).logits, teacher(torch.bfloat16, fold=fold)(pixels()).logits
    assert low.dtype == torch.float32
    assert not torch.equal(wide, low)
    assert (wide - low).abs().max() < 0.05 * wide.abs().max()
    assert (wide.softmax(1) - low.softmax(1)).abs().max() < 0.01


def test_a_student_learns_from_an_answer_and_the_teacher_does_not() -> None:
    heard = teacher()
    answer = heard(pixels())
    assert not answer.logits.requires_grad
    assert not answer.logits.is_inference()
    logits = torch.zeros(16, 10, requires_grad=True)
    labels = torch.zeros(16, dtype=torch.int64)
    soft_targets(Outputs(logits), answer, Targets(labels, labels, torch.ones(16))).sum().backward()
    assert logits.grad is not None
    assert logits.grad.abs().max() > 1e-3
    assert answer.logits.grad is None
    assert all(p.grad is None for p in heard.frozen.parameters())


def test_a_loss_may_compare_features_too() -> None:
    """A product with a teacher's feature keeps it for the backward pass."""
    answer = teacher(torch.bfloat16)(pixels())
    for feature in answer.features:
        mine = torch.ones_like(feature, requires_grad=True)
        (mine * feature).sum().backward()
        assert torch.equal(mine.grad, feature)  # pyright: ignore[reportArgumentType]


def test_each_image_is_answered_by_itself() -> None:
    """Evaluation mode: the batch does not matter."""
    heard = teacher()
    whole = heard(pixels()).logits
    alone = torch.cat([heard(pixels()[i : i + 1]).logits for i in range(16)])
    torch.testing.assert_close(alone, whole, rtol=1e-5, atol=1e-5)


def test_foreign_models_answer_with_bare_logits() -> None:
    logits = torch.zeros(2, 3)
    assert as_outputs(logits) == Outputs(logits)
    outputs = Outputs(logits, (logits,))
    assert as_outputs(outputs) is outputs
    plain = Teacher("t", nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 10)), INPUT_FORMAT, device=CPU)
    assert plain(pixels()).logits.shape == (16, 10)
