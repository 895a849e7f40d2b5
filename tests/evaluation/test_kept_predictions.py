"""What is kept of logits is what the metrics count, and the images that are kept show where models disagree."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from limbeck.evaluation import metrics
from limbeck.evaluation.kept_predictions import disagreements, kept_predictions, sample_images
from limbeck.storage.predictions import Predictions
from limbeck.types import Split

VALUES = st.sampled_from([0.0, 1.0, 1.0, -2.5, 30.0, float("inf"), float("-inf"), float("nan")])


@settings(max_examples=300, deadline=None)
@given(data=st.data(), classes=st.integers(1, 6), images=st.integers(1, 8))
def test_predicted_classes_are_those_of_the_metrics(data: st.DataObject, classes: int, images: int) -> None:
    logits = torch.from_numpy(data.draw(arrays(np.float32, (images, classes), elements=VALUES)))
    labels = torch.from_numpy(data.draw(arrays(np.int64, images, elements=st.integers(0, classes - 1))))
    kept = kept_predictions(logits, labels)
    assert kept.classes.shape == kept.probabilities.shape == (images, min(3, classes))
    assert kept.predicted.tolist() == metrics.predictions(logits).tolist()
    assert kept.correct.tolist() == metrics.correct(logits, labels).tolist()
    assert kept.labels.tolist() == labels.tolist()
    for row in kept.classes.tolist():
        assert len(set(row)) == len(row) and max(row) < classes, "distinct classes"
    reference = logits.double().softmax(dim=1)
    for row, answered in enumerate(metrics.answered(logits).tolist()):
        if not answered:
            assert np.isnan(kept.probabilities[row]).all()
            continue
        order = sorted(range(classes), key=lambda c: (-reference[row, c].item(), c))[:3]
        expected = [reference[row, c].item() for c in order]
        assert kept.probabilities[row].tolist() == pytest.approx(expected, rel=2**-10, abs=2**-24)
        assert [reference[row, c].item() for c in kept.classes[row].tolist()] == expected


def test_many_classes_need_wider_numbers() -> None:
    logits = torch.zeros(2, 70_000)
    logits[0, 69_999] = 5.0
    kept = kept_predictions(logits, torch.tensor([69_999, 0]))
    assert kept.classes.dtype == kept.labels.dtype == np.uint32
    assert kept.predicted.tolist() == [69_999, 0]
    assert kept_predictions(torch.zeros(1, 9), torch.tensor([0])).classes.dtype == np.uint16


def predictions(labels: list[int], predicted: list[int], confidence: list[float]) -> Predictions:
    columns = [np.array(values)[:, None] for values in (predicted, confidence)]
    return Predictions(np.array(labels), columns[0], columns[1].astype(np.float16))


def test_all_kinds_of_disagreement_take_turns_surest_first() -> None:
    labels = [0, 0, 0, 0, 0, 0]
    student = predictions(labels, [0, 0, 0, 1, 2, 0], [0.5, 0.9, 0.7, 0.6, 0.6, 0.9])
    teacher = predictions(labels, [1, 1, 1, 0, 1, 0], [0.5, 0.9, 0.7, 0.6, 0.6, 0.9])
    assert disagreements([(student, teacher)]).tolist() == [0, 1, 2, 3, 4], "and not where they agree"
    assert disagreements([(student, teacher)], 3).tolist() == [1, 3, 4], "one of each kind, the surest"
    assert disagreements([(student, teacher)], 4).tolist() == [1, 2, 3, 4]
    assert disagreements([(student, student)]).tolist() == []
    assert disagreements([]).tolist() == []


@pytest.mark.parametrize("channels", [1, 3])
def test_large_images_are_reduced_and_small_ones_kept(channels: int) -> None:
    small = torch.randint(0, 256, (5, 8, 12, channels), dtype=torch.uint8).permute(0, 3, 1, 2)
    kept = sample_images(Split(small, torch.zeros(5, dtype=torch.long)), "test", np.array([1, 4]))
    assert (kept.split, kept.places.tolist(), kept.images.shape) == ("test", [1, 4], (2, 8, 12, channels))
    assert (kept.images == small.permute(0, 2, 3, 1)[[1, 4]].numpy()).all()
    large = torch.full((1, 192, 384, channels), 7, dtype=torch.uint8).permute(0, 3, 1, 2)
    reduced = sample_images(Split(large, torch.zeros(1, dtype=torch.long)), "test", np.array([0]))
    assert reduced.images.shape == (1, 48, 96, channels)
    assert (reduced.images == 7).all()
