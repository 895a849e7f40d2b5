"""Multi-level distillation against its definition, and what its mask leaves out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from published_values import check_extremes, check_gradient, check_shifts, divergence, draws, probabilities

from limbeck.errors import LimbeckError
from limbeck.losses import multi_level, soft_targets

WEIGHTS = ("instance_weight", "batch_weight", "class_weight")


def only(part: str, **options: Any) -> Any:
    return lambda *given: multi_level(*given, **{name: float(name == part) for name in WEIGHTS}, **options)


def products(rows: list[list[float]]) -> list[list[float]]:
    return [[sum(a * b for a, b in zip(u, v, strict=True)) for v in rows] for u in rows]


@pytest.mark.parametrize("uncertain", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_float64_reference(uncertain: bool, temperature: float) -> None:
    student, teacher, labels = draws(1, batch=7, classes=5)
    q, p = ([probabilities(row, temperature) for row in z] for z in (student, teacher))
    plain = [probabilities(row) for row in teacher]
    sure, summed = [max(row) for row in plain], [sum(column) for column in zip(*plain, strict=True)]
    rows = [i for i in range(7) if not uncertain or sure[i] <= sorted(sure)[3]]
    columns = [k for k in range(5) if not uncertain or summed[k] <= sorted(summed)[2]]
    of_rows = [products(m) for m in (q, p)]
    of_columns = [products([list(column) for column in zip(*m, strict=True)]) for m in (q, p)]
    expected = {
        "instance_weight": sum(temperature**2 * divergence(student[i], teacher[i], temperature) for i in rows)
        / len(rows),
        "batch_weight": sum((of_rows[0][i][j] - of_rows[1][i][j]) ** 2 for i in rows for j in rows) / len(rows),
        "class_weight": sum((of_columns[0][k][m] - of_columns[1][k][m]) ** 2 for k in columns for m in range(5))
        / len(columns),
    }
    for part, value in expected.items():
        call = only(part, temperatures=[temperature], uncertain_only=uncertain)
        assert call(student, teacher, labels).item() == pytest.approx(value, rel=1e-10), part
    whole = multi_level(student, teacher, labels, temperatures=[temperature], uncertain_only=uncertain)
    assert whole.item() == pytest.approx(sum(expected.values()), rel=1e-10)


def test_the_mask_leaves_examples_out() -> None:
    """Masking after the reduction, as the published code does, would let the logits of every example through."""
    student, teacher, labels = draws(2, batch=8)
    sure = teacher.softmax(-1).amax(-1)
    left_out = sure > sure.quantile(0.5)
    changed = student.clone()
    changed[left_out] = changed[left_out].flip(-1) * 5
    for part in ("instance_weight", "batch_weight"):
        call = only(part, uncertain_only=True)
        assert torch.equal(call(student, teacher, labels), call(changed, teacher, labels))
        everything = only(part)
        assert not torch.isclose(everything(student, teacher, labels), everything(changed, teacher, labels))


def test_the_parts_add_up_over_temperatures() -> None:
    student, teacher, labels = draws(3)
    each = sum(multi_level(student, teacher, labels, temperatures=[t]) for t in (2.0, 3.0, 4.0, 5.0, 6.0))
    torch.testing.assert_close(multi_level(student, teacher, labels), each)
    alone = only("instance_weight", temperatures=[4.0])(student, teacher, labels)
    torch.testing.assert_close(alone, soft_targets(student, teacher, None, temperature=4.0).mean())


def test_the_order_of_the_batch_does_not_matter_but_its_size_does() -> None:
    student, teacher, labels = draws(4, batch=8)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    for uncertain in (False, True):
        whole = multi_level(student, teacher, labels, uncertain_only=uncertain)
        turned = multi_level(student[order], teacher[order], labels[order], uncertain_only=uncertain)
        torch.testing.assert_close(turned, whole)
    halves = [multi_level(student[i : i + 4], teacher[i : i + 4], labels[i : i + 4]) for i in (0, 4)]
    assert not torch.isclose(sum(halves) / 2, multi_level(student, teacher, labels))


def test_a_batch_of_one_has_a_value() -> None:
    student, teacher, labels = draws(5, batch=1)
    for uncertain in (False, True):
        assert multi_level(student, teacher, labels, uncertain_only=uncertain).isfinite()


@pytest.mark.parametrize("uncertain", [False, True])
def test_invariants(uncertain: bool) -> None:
    check_gradient(lambda *a: multi_level(*a, uncertain_only=uncertain))
    check_shifts(lambda *a: multi_level(*a, uncertain_only=uncertain))
    check_extremes(lambda *a: multi_level(*a, uncertain_only=uncertain))


@pytest.mark.parametrize("wrong", [[], 4.0, "4", [0.0], [True], [float("nan")]])
def test_wrong_temperatures_are_named(wrong: Any) -> None:
    with pytest.raises(LimbeckError, match="multi_level: temperatures must be a list of numbers above 0"):
        multi_level(*draws(0), temperatures=wrong)
