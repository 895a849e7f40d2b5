"""Anything that is a function from images to logits is measured by the same code."""

from __future__ import annotations

import json

import pytest
import torch

from limbeck.errors import LimbeckError
from limbeck.evaluation.evaluate import evaluate, logits_of
from limbeck.types import Split

CLASSES = 7


def split_of(count: int = 53) -> Split:
    """Images that carry their label in their first pixel."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(0, CLASSES, (count,), generator=draw)
    images = torch.randint(0, 256, (count, 4, 4, 3), dtype=torch.uint8, generator=draw)
    images[:, 0, 0, 0] = labels
    return Split(images.permute(0, 3, 1, 2), labels)


def knows(images: torch.Tensor) -> torch.Tensor:
    return 9.0 * torch.nn.functional.one_hot(images[:, 0, 0, 0].long(), CLASSES)


def errs_on_three(images: torch.Tensor) -> torch.Tensor:
    labels = images[:, 0, 0, 0].long()
    return 9.0 * torch.nn.functional.one_hot(torch.where(labels == 3, 4, labels), CLASSES)


def test_a_function_that_knows() -> None:
    found = evaluate(knows, split_of(), num_classes=CLASSES)
    assert found.top1 == found.top5 == found.balanced_accuracy == 1
    assert found.n == 53
    assert found.agreement is None
    assert json.loads(json.dumps(found.to_dict()))["top1"] == 1


def test_an_error_stands_in_its_class() -> None:
    split = split_of()
    found = evaluate(errs_on_three, split, num_classes=CLASSES, reference=knows)
    threes = int((split.labels == 3).sum())
    assert 0 < threes < len(split)
    assert found.per_class[3] == 0
    assert found.top1 == pytest.approx(1 - threes / len(split))
    assert found.agreement == pytest.approx(found.top1)
    told = evaluate(errs_on_three, split, num_classes=CLASSES, reference=knows(split.images))
    assert told == found, "a reference may be given as its logits"


def test_who_is_taken_for_whom() -> None:
    split = split_of()
    matrix = evaluate(errs_on_three, split, num_classes=CLASSES).to_dict()["confusion"]
    counts = torch.bincount(split.labels, minlength=CLASSES).tolist()
    expected = [[counts[row] * (column == (4 if row == 3 else row)) for column in range(CLASSES)] for row in range(7)]
    assert matrix == expected
    many = evaluate(lambda images: torch.nn.functional.pad(errs_on_three(images), (0, 300)), split, num_classes=307)
    sparse = many.to_dict()["confusion"]
    assert [3, 4, counts[3]] in sparse
    assert sum(count for _, _, count in sparse) == many.n
    silent = evaluate(lambda images: torch.full((len(images), CLASSES), torch.nan), split, num_classes=CLASSES)
    assert silent.confusion == (), "no answer is no class"


@pytest.mark.parametrize("batch_size", [1, 7, 53, 1000])
def test_the_batch_size_changes_nothing(batch_size: int) -> None:
    split = split_of()
    whole = logits_of(errs_on_three, split, 53)
    assert torch.equal(logits_of(errs_on_three, split, batch_size), whole)


def test_few_classes_have_no_top5() -> None:
    split = Split(torch.zeros(4, 3, 2, 2, dtype=torch.uint8), torch.tensor([0, 1, 0, 1]))
    assert evaluate(lambda images: torch.zeros(len(images), 2), split, num_classes=2).top5 is None


@pytest.mark.parametrize(
    ("predict", "words"),
    [
        (lambda images: torch.zeros(len(images), CLASSES + 1), "8"),
        (lambda images: torch.zeros(len(images)), r"\[B, K\]"),
        (lambda images: torch.zeros(1, CLASSES), r"\[1, 7\]"),
        (lambda images: torch.zeros(len(images), CLASSES, dtype=torch.int64), "int64"),
        (lambda images: "seven", "str"),
    ],
)
def test_another_answer_is_refused(predict, words: str) -> None:
    with pytest.raises(LimbeckError, match=words):
        evaluate(predict, split_of(), num_classes=CLASSES)


def test_labels_outside_the_classes_are_refused() -> None:
    with pytest.raises(LimbeckError):
        evaluate(knows, split_of(), num_classes=3)


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(LimbeckError):
        evaluate(knows, Split(torch.zeros(0, 3, 2, 2, dtype=torch.uint8), torch.zeros(0).long()), num_classes=3)
