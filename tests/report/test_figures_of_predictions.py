"""Figures of single images and classes: what is drawn is what was predicted."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from drawn import drawings, drawn, figure_of, found, has_line, record_of, words
from matplotlib.patches import Rectangle
from sample_results import evaluation, learner, result_of, three_arms

from limbeck.evaluation import metrics
from limbeck.evaluation.kept_predictions import kept_predictions
from limbeck.evaluation.softened import softened
from limbeck.experiment.run import Run
from limbeck.report.figures.drawing import Missing
from limbeck.report.figures.predictions.classes import class_accuracies, confused, differences_by_class
from limbeck.report.figures.predictions.picture_sheet import disagreements
from limbeck.report.figures.predictions.reliability import bins_of
from limbeck.report.run_data import RunRecord, read_run
from limbeck.storage.predictions import SampleImages


def some_logits(seed: int, n: int = 300) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 10
    logits = torch.randn(n, 10, generator=generator) * 2
    logits[torch.arange(n), labels] += 2
    return logits, labels


def with_predictions(record: RunRecord, **more: Any) -> RunRecord:
    kept = {}
    for place, arm in enumerate(record.arms):
        for row in arm.learners:
            kept[arm.name, row["seed"]] = {"test": kept_predictions(*some_logits(10 * place + row["seed"]))}
    return dataclasses.replace(record, predictions=kept, **more)


@pytest.fixture
def kept() -> RunRecord:
    return with_predictions(record_of(result_of(three_arms(seeds=1))))


def test_bins_are_those_of_the_calibration_error(kept: RunRecord) -> None:
    for place, arm in enumerate(kept.arms):
        bins, (logits, labels) = bins_of(kept, arm), some_logits(10 * place)
        assert bins is not None and bins.images.sum() == 300
        assert bins.error == pytest.approx(metrics.expected_calibration_error(logits, labels), abs=2e-3)
        total = (bins.images * np.nan_to_num(bins.accuracy)).sum() / 300
        assert total == pytest.approx(metrics.accuracy(logits, labels)), "every image is in one bin"


def test_reliability_is_drawn_from_the_bins(kept: RunRecord) -> None:
    figure = drawn("reliability", kept)
    for panel, arm in zip(figure.axes, kept.arms, strict=True):
        bins = bins_of(kept, arm)
        assert bins is not None
        known = bins.images > 0
        assert has_line(panel, bins.confidence[known].tolist(), bins.accuracy[known].tolist())
        shares = [bar.get_height() for bar in panel.patches if isinstance(bar, Rectangle)]
        assert sum(shares) == pytest.approx(1)


def test_images_without_an_answer_have_no_confidence() -> None:
    logits, labels = some_logits(0)
    logits[:7] = torch.nan
    record = record_of(result_of([learner("only", 0, 0.8)]))
    record = dataclasses.replace(record, predictions={("only", 0): {"test": kept_predictions(logits, labels)}})
    bins = bins_of(record, record.arms[0])
    assert bins is not None and bins.images.sum() == 293


def test_classes_are_those_of_the_table() -> None:
    record = record_of(result_of(three_arms()))
    resnet, baseline, distilled = record.arms
    against = differences_by_class(distilled, baseline)
    own, theirs = class_accuracies(distilled), class_accuracies(baseline)
    assert set(against) == set(range(10))
    for number, difference in against.items():
        assert difference.points == pytest.approx(own[number] - theirs[number])
        p, q = own[number] / 100, theirs[number] / 100
        assert difference.error == pytest.approx(100 * np.sqrt((p * (1 - p) + q * (1 - q)) / 100))
    figure = drawn("per-class", record)
    for panel, other in zip(figure.axes, (resnet, baseline), strict=True):
        drawn_points = sorted(x[0] for line in panel.get_lines() if len(x := line.get_xdata()) == 1)  # pyright: ignore
        expected = sorted(one.points for one in differences_by_class(distilled, other).values())
        assert drawn_points == pytest.approx(expected)
    assert f"class-{0}" in words(figure)


def test_of_many_classes_the_extremes_are_drawn_and_the_rest_is_counted() -> None:
    rows = three_arms(seeds=1, classes=100)
    rng = np.random.default_rng(0)
    for row in rows:
        row["test"]["per_class"] = rng.random(100).tolist()
    figure = drawn("per-class", record_of(result_of(rows, 100)))
    differences = differences_by_class(*reversed(record_of(result_of(rows, 100)).arms[1:]))
    best = max(differences, key=lambda number: differences[number].points)
    worst = min(differences, key=lambda number: differences[number].points)
    assert {f"class-{best}", f"class-{worst}"} <= set(words(figure))
    assert any("76 between them left out" in text for text in words(figure))


def test_confusions_are_shares_of_the_class() -> None:
    rows = three_arms(seeds=2)
    for row in rows:
        if row["arm"] == "distilled":
            confusion = [[100 * (i == j) for j in range(10)] for i in range(10)]
            confusion[3] = [0, 0, 0, 60, 0, 40, 0, 0, 0, 0]
            row["test"] = evaluation(0.8, confusion=confusion)
    record = record_of(result_of(rows))
    assert confused(record.arms[2]) == {(3, 5): 40.0}
    (drawing,) = drawings("confusions", record)
    figure = figure_of(drawing)
    assert drawing.name == "confusions-distilled" and "class-3 as class-5 40.0 %" in drawing.alt
    assert has_line(figure.axes[0], [40.0], [0]) and "class-3 → class-5" in words(figure)


def test_temperatures_are_drawn_as_kept() -> None:
    record = record_of(result_of(three_arms(seeds=1)))
    kept = softened(*some_logits(3))
    assert kept is not None
    record = dataclasses.replace(record, softened={("resnet", 0): kept})
    figure = drawn("temperature", record)
    for place in range(len(kept.temperatures)):
        assert has_line(figure.axes[0], list(range(1, 11)), (100 * kept.ranked[place]).tolist())
    widths = [bar.get_width() for bar in figure.axes[1].patches if isinstance(bar, Rectangle)]
    assert widths == pytest.approx((100 * kept.probabilities[0, :, :5]).ravel().tolist())
    assert isinstance(found("temperature", record_of(result_of(three_arms()))), Missing)


def sample(places: list[int], channels: int = 3) -> SampleImages:
    pixels = np.random.default_rng(0).integers(0, 256, (len(places), 8, 8, channels), dtype=np.uint8)
    return SampleImages("test", np.array(places, dtype=np.uint32), pixels)


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_show_who_is_right_and_what_both_say(kept: RunRecord, channels: int) -> None:
    record = dataclasses.replace(kept, sample_images=sample(list(range(0, 300, 3)), channels))
    (drawing,) = drawings("pictures", record)
    student, teacher = (record.predictions[name, 0]["test"] for name in ("distilled", "resnet"))
    assert record.sample_images
    kinds = disagreements(record.sample_images, student, teacher)
    assert all(kinds.values())
    for kind, rows in kinds.items():
        for one in rows:
            assert student.predicted[one.place] != teacher.predicted[one.place]
            right = (bool(student.correct[one.place]), bool(teacher.correct[one.place]))
            assert right == {"student": (True, False), "teacher": (False, True), "neither": (False, False)}[kind]
    figure = figure_of(drawing)
    images = [image.get_array() for panel in figure.axes for image in panel.images]
    shown = [one for rows in kinds.values() for one in rows[:4]]
    assert len(images) == len(shown)
    for drawn_pixels, one in zip(images, shown, strict=True):
        pixels = record.sample_images.images[one.row]
        assert np.array_equal(np.asarray(drawn_pixels), pixels if channels == 3 else pixels[..., 0])
    said = words(figure)
    assert {"Only distilled is right", "Only resnet is right", "Neither is right"} <= set(said)
    first = shown[0].place
    assert f"class-{student.labels[first]} ✓" in said, "what the student gets right"
    assert f"{100 * float(student.probabilities[first, 0]):.0f} %" in said


def test_images_beyond_what_was_predicted_are_no_figure(kept: RunRecord) -> None:
    record = dataclasses.replace(kept, sample_images=sample([5, 900]))
    assert isinstance(found("pictures", record), Missing)


def test_a_real_run_keeps_what_its_figures_need(finished: Run) -> None:
    record = read_run(finished.folder)
    taught = {name for arm in record.arms for name in arm.teachers}
    assert {name for name, _ in record.softened} == taught, "the teachers, a student that teaches too"
    size = sum(path.stat().st_size for path in (finished.folder / "softened").iterdir())
    assert size < 3_000 * len(record.softened)
    for name in ("reliability", "temperature", "pictures", "confusions", "per-class", "size", "trade-off"):
        assert not isinstance(found(name, record), Missing), name
    assert "figures/pictures-" in (finished.folder / "report.md").read_text()


def test_a_damaged_file_of_temperatures_is_named_and_left_out(finished: Run, tmp_path: Any) -> None:
    import shutil

    shutil.copytree(finished.folder, tmp_path / "run", ignore=shutil.ignore_patterns("models", "checkpoints"))
    path = sorted((tmp_path / "run" / "softened").iterdir())[0]
    path.write_bytes(path.read_bytes()[:-1])
    record = read_run(tmp_path / "run")
    assert len(record.softened) == len(read_run(finished.folder).softened) - 1
    assert any(path.name in problem and "damaged" in problem for problem in record.problems)
