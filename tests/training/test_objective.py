"""The weighted sum of losses, and several teachers as one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.losses import cross_entropy, soft_targets
from limbeck.training.objective import Objective, WeightedLoss, ensemble
from limbeck.types import Outputs, Targets

LABELS = torch.tensor([0, 1, 2, 3, 4, 0])
TARGETS = Targets(LABELS, LABELS.flip(0), torch.tensor([1.0, 0.5, 0.25, 0.0, 1.0, 0.75]))


def outputs(seed: int, scale: float = 3.0, dtype: torch.dtype = torch.float64) -> Outputs:
    g = torch.Generator().manual_seed(seed)
    return Outputs((torch.randn(6, 5, generator=g) * scale).to(dtype), (torch.randn(6, 4, 2, 2, generator=g),))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_weighted_sum(dtype: torch.dtype) -> None:
    objective = Objective(
        [
            WeightedLoss("soft_targets", soft_targets, 0.7, {"temperature": 2.0}),
            WeightedLoss("cross_entropy", cross_entropy, 0.3, {"label_smoothing": 0.1}),
        ],
        teacher_weights=[1.0],
    )
    student, teacher = outputs(0, dtype=dtype), outputs(1, dtype=dtype)
    values = objective(student, [teacher], TARGETS)
    expected = [
        0.7 * soft_targets(student, teacher, TARGETS, temperature=2.0).mean(),
        0.3 * cross_entropy(student, None, TARGETS, label_smoothing=0.1).mean(),
    ]
    assert values.dtype == torch.float32
    assert torch.equal(values, torch.stack(expected))


def test_a_weight_may_grow_in_a_straight_line() -> None:
    growing = Objective([WeightedLoss("cross_entropy", cross_entropy, 0.5, warmup_epochs=4.0)])
    full = cross_entropy(outputs(0), None, TARGETS).mean().item()
    for epochs, share in ((0.5, 0.125), (1, 0.25), (3.9, 0.975), (4, 1), (400, 1)):
        assert growing(outputs(0), [], TARGETS, epochs).item() == pytest.approx(0.5 * share * full)
    assert growing(outputs(0), [], TARGETS).item() == pytest.approx(0.5 * full)


def test_without_a_teacher() -> None:
    objective = Objective([WeightedLoss("cross_entropy", cross_entropy)])
    assert objective(outputs(0), [], TARGETS).item() == cross_entropy(outputs(0), None, TARGETS).mean().item()
    assert list(objective.parameters()) == []


def test_a_loss_may_return_one_number_for_the_batch() -> None:
    def spread(student: Outputs, teacher: Outputs, targets: Targets) -> Tensor:
        return student.logits.var()

    student = outputs(0)
    values = Objective([WeightedLoss("spread", spread, 2.0)])(student, [], TARGETS)
    assert values.shape == (1,)
    assert values.item() == pytest.approx(2 * student.logits.var().item())


def test_one_teacher_is_passed_through_untouched() -> None:
    teacher = outputs(1)
    assert ensemble([teacher], [1.0], 4.0) is teacher
    assert ensemble([], [], 4.0) is None


weights = st.lists(st.floats(0.01, 10.0), min_size=2, max_size=4)


@given(weights, st.floats(0.05, 100.0), st.sampled_from([1.0, 100.0, 1e4]))
def test_several_teachers_are_the_average_of_their_softened_probabilities(
    raw: list[float], temperature: float, scale: float
) -> None:
    teachers = [outputs(seed, scale) for seed in range(len(raw))]
    total = sum(raw)
    one = ensemble(teachers, [w / total for w in raw], temperature)
    assert one is not None
    average = sum(w / total * (t.logits / temperature).softmax(-1) for w, t in zip(raw, teachers, strict=True))
    assert isinstance(average, Tensor)
    assert one.logits.isfinite().all()
    torch.testing.assert_close((one.logits / temperature).softmax(-1), average, rtol=1e-6, atol=1e-6)
    assert one.features == ()


@given(weights, st.floats(0.5, 20.0))
def test_each_loss_averages_at_its_own_temperature(raw: list[float], temperature: float) -> None:
    """The gradient of an ensemble's soft targets is the weighted sum of each teacher's."""
    teachers = [outputs(seed) for seed in range(1, len(raw) + 1)]
    terms = [
        WeightedLoss("soft_targets", soft_targets, 1.0, {"temperature": temperature}),
        WeightedLoss("other", soft_targets, 0.5, {"temperature": 2 * temperature}),
    ]
    together = outputs(0).logits.requires_grad_()
    Objective(terms, teacher_weights=raw)(Outputs(together), teachers, TARGETS).sum().backward()
    apart = outputs(0).logits.requires_grad_()
    for weight, teacher in zip(raw, teachers, strict=True):
        alone = Objective(terms, teacher_weights=[7.0])
        (weight / sum(raw) * alone(Outputs(apart), [teacher], TARGETS).sum()).backward()
    assert together.grad is not None
    assert apart.grad is not None
    torch.testing.assert_close(together.grad, apart.grad, rtol=1e-4, atol=1e-6)


def test_an_unsaid_temperature_is_the_losss_own() -> None:
    teachers, equal = [outputs(1), outputs(2)], [1.0, 1.0]
    unsaid = Objective([WeightedLoss("soft_targets", soft_targets)], teacher_weights=equal)
    said = Objective([WeightedLoss("soft_targets", soft_targets, options={"temperature": 4.0})], teacher_weights=equal)
    assert torch.equal(unsaid(outputs(0), teachers, TARGETS), said(outputs(0), teachers, TARGETS))
    assert WeightedLoss("cross_entropy", cross_entropy).temperature == 1.0


def test_only_the_proportion_of_the_teachers_weights_counts() -> None:
    assert Objective([], teacher_weights=[2.0, 6.0]).teacher_weights == (0.25, 0.75)


def test_a_loss_with_parameters_of_its_own() -> None:
    def adapted(student: Outputs, teacher: Outputs, targets: Targets, *, state: nn.Module) -> Tensor:
        return (state(student.logits) - teacher.logits).square().mean(-1)

    adapter = nn.Linear(5, 5).double()
    objective = Objective(
        [WeightedLoss("adapted", adapted, 0.5), WeightedLoss("cross_entropy", cross_entropy)],
        teacher_weights=[1.0],
        states={"adapted": adapter},
    )
    assert set(objective.state_dict()) == {"states.adapted.weight", "states.adapted.bias"}
    values = objective(outputs(0), [outputs(1)], TARGETS)
    expected = 0.5 * (adapter(outputs(0).logits) - outputs(1).logits).square().mean()
    torch.testing.assert_close(values[0], expected)
    values.sum().backward()
    assert adapter.weight.grad is not None
    assert adapter.weight.grad.abs().max() > 0


# A loss of the user's own that breaks


def with_a_mistake(student: Outputs, teacher: Outputs, targets: Targets, *, power: int = 2) -> Tensor:
    return student.logits.softmax(dim=-1).gather(1, targets)  # type: ignore[arg-type]


def told(function: object, options: dict[str, object] | None = None) -> str:
    student = Outputs(outputs(0).logits.requires_grad_())
    with pytest.raises(LimbeckError) as caught:
        Objective([WeightedLoss("mine", function, options=options or {})])(student, [outputs(1)], TARGETS)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_loss_that_raises_is_named_with_what_it_was_given_and_where_it_broke() -> None:
    line = with_a_mistake.__code__.co_firstlineno + 1
    said = told(with_a_mistake, {"power": 3})
    assert said.startswith(f"loss 'mine' raised TypeError at {__file__}:{line}: ")
    assert "with_a_mistake(student, teacher, targets, *, power=2) was given student logits [6, 5] float64" in said
    assert "teacher logits [6, 5] float64, labels [6] int64, options {'power': 3}" in said


def test_a_loss_with_another_signature_is_named() -> None:
    said = told(lambda logits, labels: logits)
    assert said.startswith("loss 'mine' raised TypeError: ")
    assert "(logits, labels) was given" in said


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (lambda s, t, y: None, "NoneType"),
        (lambda s, t, y: 0.5, "float"),
        (lambda s, t, y: s.logits, r"[6, 5] float64"),
        (lambda s, t, y: s.logits.argmax(-1), r"[6] int64"),
        (lambda s, t, y: s.logits[:3, 0], r"[3] float64"),
    ],
)
def test_a_loss_that_returns_something_else_is_named(value: object, shown: str) -> None:
    assert f"must return [6] or one number, floating point; it returned {shown} (" in told(value)


def test_a_loss_without_a_gradient_is_named() -> None:
    assert "does not depend on the student" in told(lambda s, t, y: s.logits.detach().mean())
    assert "does not depend on the student" in told(lambda s, t, y: t.logits.mean())
