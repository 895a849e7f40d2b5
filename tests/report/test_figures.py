"""What is drawn is what was measured; what a run cannot show is left out with a reason; and it can be read."""

from __future__ import annotations

import io
import itertools
import math
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from drawn import Curves, drawings, drawn, figure_of, found, has_line, lines, record_of, words
from PIL import Image
from sample_results import BASELINE, DISTILLED, TEACHER, curve, learner, result_of, three_arms

from limbeck.report.arms import arms_of
from limbeck.report.figures import style
from limbeck.report.figures.catalogue import FIGURES, MAIN, draw_figures
from limbeck.report.figures.drawing import Missing
from limbeck.report.figures.intervals import accuracy_point, wilson
from limbeck.report.run_data import SweepRecord, read_run
from limbeck.report.statistics import mean, paired_interval


def with_loss(result: dict[str, Any]) -> dict[str, Any]:
    """A recipe in which every arm learns from labels with weight 0.5."""
    arm = {"model": {"name": "lightweight_cnn"}, "loss": [{"name": "cross_entropy", "weight": 0.5}], "epochs": 15}
    names = dict.fromkeys(row["arm"] for row in result["arms"])
    result["recipe"] |= {"teachers": {"resnet": arm}, "students": {n: arm for n in names if n != "resnet"}}
    return result


def test_accuracy_is_a_point_with_its_interval_on_an_axis_that_shows_the_differences() -> None:
    figure = drawn("arms", record_of(result_of(three_arms())))
    panel, gains = figure.axes
    for place, values in enumerate((TEACHER, BASELINE, DISTILLED)):
        interval = paired_interval([100 * value for value in values])
        assert interval.low and interval.high
        assert has_line(panel, [interval.mean], [place])
        assert has_line(panel, [interval.low, interval.high], [place, place])
        assert has_line(panel, [100 * value for value in values], [place] * 3), "one mark for each seed"
    low, high = panel.get_xlim()
    assert high - low < 10, "the axis does not begin at zero"
    difference = [100 * (d - b) for d, b in zip(DISTILLED, BASELINE, strict=True)]
    assert has_line(gains, [mean(difference)], [2])
    assert gains.get_xlim()[0] < 0 < gains.get_xlim()[1], "whether it gains can be seen"
    assert {"resnet", "baseline", "distilled", "86.22", "82.21", "83.41", "+1.20"} <= set(words(figure))


def test_one_seed_has_the_interval_over_images_and_says_so() -> None:
    record = record_of(result_of(three_arms(seeds=1)))
    figure = drawn("arms", record)
    low, high = wilson(BASELINE[0], 1000)
    assert has_line(figure.axes[0], [100 * low, 100 * high], [1, 1])
    assert any("n = 1: 95 % over images" in text for text in words(figure))


def test_wilson_is_the_interval_of_its_equation() -> None:
    for share, n in ((0.0, 10), (0.5, 10), (0.83, 1000), (1.0, 7)):
        low, high = wilson(share, n)
        for bound in (low, high):
            assert abs(bound - share) == pytest.approx(1.959964 * math.sqrt(bound * (1 - bound) / n), abs=1e-12)


def test_two_seeds_span_a_range_without_an_interval() -> None:
    point = accuracy_point(arms_of(result_of(three_arms(seeds=2)))[1])
    assert point and (point.low, point.high) == (100 * BASELINE[0], 100 * BASELINE[1])
    assert "n = 2" in point.kind


def test_retention_is_that_of_the_table() -> None:
    figure = drawn("retention", record_of(result_of(three_arms())))
    kept = [100 * d / t for d, t in zip(DISTILLED, TEACHER, strict=True)]
    assert has_line(figure.axes[0], [mean(kept)], [0])
    assert "96.7" in words(figure)


@pytest.mark.parametrize(("name", "keys"), [("accuracy", "accuracy"), ("loss", "loss")])
def test_curves_are_the_means_of_the_log(name: str, keys: str, curves: Curves) -> None:
    figure = drawn(name, record_of(result_of(three_arms()), curves))
    scale = 100 if keys == "accuracy" else 1
    for panel, split in zip(figure.axes, ("train", "validation"), strict=True):
        for arm in ("resnet", "baseline", "distilled"):
            rows = [[scale * row[f"{split}_{keys}"] for row in curves[arm, seed]] for seed in range(3)]
            assert has_line(panel, list(range(1, 16)), np.mean(rows, axis=0).tolist()), (arm, split)


def test_the_last_epochs_begin_in_the_shortest_arms_last_quarter() -> None:
    result = result_of([learner("short", 0, 0.8), learner("long", 0, 0.8)])
    both = {("short", 0): curve(0.8, epochs=20), ("long", 0): curve(0.8, epochs=30)}
    panel = drawn("last-epochs", record_of(result, both)).axes[0]
    assert sorted((min(x), max(x)) for x, _ in lines(panel, labelled=True)) == [(16, 20), (16, 30)]
    short = record_of(result, {key: rows[:7] for key, rows in both.items()})
    assert isinstance(found("last-epochs", short), Missing)


def test_the_last_epochs_show_students_that_train_half_as_long_as_their_teacher() -> None:
    result = result_of([learner("short", 0, 0.8), learner("long", 0, 0.8)])
    both = {("short", 0): curve(0.8, epochs=6), ("long", 0): curve(0.8, epochs=12)}
    assert {"short", "long"} <= set(words(drawn("last-epochs", record_of(result, both))))


def test_the_gap_is_validation_minus_training_loss_with_the_labels(curves: Curves) -> None:
    for rows in curves.values():
        for row in rows:
            row["train_cross_entropy"] = 0.4 * row["validation_loss"]  # of weight 0.5: the loss itself is 0.8 of it
    record = record_of(with_loss(result_of(three_arms())), curves)
    figure = drawn("generalisation", record)
    for panel, arm in zip(figure.axes, ("resnet", "baseline", "distilled"), strict=True):
        at_14 = mean([curves[arm, seed][13]["validation_loss"] for seed in range(3)])
        assert has_line(panel, [14, 14], [0.8 * at_14, at_14]), "at the selected epoch"
        assert panel.get_title(loc="right") == f"gap +{0.2 * at_14:.2f}"


def test_without_labels_there_is_no_gap(curves: Curves) -> None:
    reason = found("generalisation", record_of(result_of(three_arms()), curves))
    assert isinstance(reason, Missing) and "learns from labels" in reason


def sweep_record(**more: Any) -> SweepRecord:
    settings = [{"students.*.loss.0.temperature": t, "optimizer.lr": lr} for t in (1, 4.0) for lr in (0.1, 0.01)]
    standard = {
        "axes": tuple(settings[0]),
        "settings": tuple(settings),
        "validation": {"kd": [[0.5], [0.6, 0.62], [0.7], []]},
        "ended": {},
        "swept": ("kd",),
        "best": {"kd": 2},
        "standard": 1,
    }
    return SweepRecord(**(standard | more))


def with_sweep(sweep: SweepRecord) -> Any:
    import dataclasses

    return dataclasses.replace(record_of(result_of(three_arms())), sweep=sweep)


def test_a_heat_map_has_the_accuracy_of_every_trial() -> None:
    for best in ({"kd": 2}, {}):  # without: a sweep in progress
        figure = drawn("trials", with_sweep(sweep_record(best=best)))
        cells = np.ma.filled(figure.axes[0].images[0].get_array(), np.nan)  # pyright: ignore
        assert np.allclose(cells, [[61, 50], [np.nan, 70]], equal_nan=True)
        assert {"61.00", "50.00", "70.00", "–"} <= set(words(figure))


def test_a_heat_map_named_like_another_figure_does_not_replace_it() -> None:
    sweep = sweep_record(validation={"loss": [[0.5], [0.6], [0.7], []]}, swept=("loss",), best={})
    assert [one.name for one in drawings("trials", with_sweep(sweep))] == ["loss-trials"]


def test_what_cannot_be_drawn_is_left_out_with_a_reason() -> None:
    drawn_ = draw_figures(record_of(result_of([])), formats=("png",))
    assert drawn_.files == {} and set(drawn_.missing) == {kind.name for kind in FIGURES}
    for reason in drawn_.missing.values():
        assert reason and not reason.endswith(".") and "\n" not in reason


def test_equal_runs_give_equal_bytes_in_three_formats(curves: Curves) -> None:
    record = record_of(result_of(three_arms()), curves)
    first, second = (draw_figures(record, kinds=MAIN[:2]) for _ in range(2))
    assert first.files == second.files
    assert {name.partition(".")[0] for name in first.files} == set(first.alts) == {one.name for one in first.drawings}
    for name, content in first.files.items():
        if name.endswith(".png"):
            picture = Image.open(io.BytesIO(content))
            assert round(picture.info["dpi"][0]) == 300
            assert picture.width <= 300 * style.TWO_COLUMNS + 1, "fits a two-column page"
        elif name.endswith(".svg"):
            assert ElementTree.fromstring(content).tag.endswith("svg")
        else:
            assert content.startswith(b"%PDF-")


def test_alt_texts_say_the_numbers(curves: Curves) -> None:
    alts = draw_figures(record_of(result_of(three_arms()), curves), kinds=MAIN, formats=()).alts
    assert "distilled 83.41 ± 0.11 (n = 3) %" in alts["arms"] and "+1.20" in alts["arms"]
    assert all(len(alt) > 40 and alt.endswith(".") for alt in alts.values())


def test_an_arm_has_one_colour_and_one_marker_in_all_figures(curves: Curves) -> None:
    record = record_of(result_of(three_arms()), curves)
    styles = style.arm_styles(record.arms)
    assert len({one.colour for one in styles.values()}) == len({one.marker for one in styles.values()}) == 3
    for name in ("accuracy", "loss", "last-epochs"):
        for panel in drawn(name, record).axes:
            for line in panel.get_lines():
                if str(line.get_label()) in styles:
                    assert line.get_color() == styles[str(line.get_label())].colour
    points = [line.get_color() for line in drawn("arms", record).axes[0].get_lines() if line.get_marker() in "os^"]
    assert points == [one.colour for one in styles.values()]


def linear(colour: str) -> np.ndarray:
    channels = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* (D65) of linear sRGB."""
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ rgb.clip(0, 1)
    x, y, z = (np.cbrt(v) if v > 0.008856 else 7.787 * v + 16 / 116 for v in xyz / [0.9505, 1.0, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


# Machado, Oliveira & Fernandes 2009, "A Physiologically-based Model for Simulation of Color Vision Deficiency",
# at severity 1
SEEN_BY = {
    "everyone": np.eye(3),
    "protanopia": np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]),
    "deuteranopia": np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]),
    "tritanopia": np.array([[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]]),
}


@pytest.mark.parametrize("reader", SEEN_BY)
def test_colours_differ_for_every_reader(reader: str) -> None:
    seen = [lab(SEEN_BY[reader] @ linear(colour)) for colour in style.COLOURS]
    for one, other in itertools.combinations(seen, 2):
        assert np.linalg.norm(one - other) >= 20


def test_colours_differ_in_grey_and_contrast_with_white() -> None:
    in_grey = sorted(style.lightness(colour) for colour in style.COLOURS)
    assert min(b - a for a, b in itertools.pairwise(in_grey)) >= 7
    for colour in (*style.COLOURS, style.ENSEMBLE_COLOUR):
        luminance = float(np.array([0.2126, 0.7152, 0.0722]) @ linear(colour))
        assert 1.05 / (luminance + 0.05) >= 2.2, "lines can be seen on white"
    for colour in (*map(style.text_colour, style.COLOURS), style.TEXT, style.FAINT):
        luminance = float(np.array([0.2126, 0.7152, 0.0722]) @ linear(colour))
        assert 1.05 / (luminance + 0.05) >= 4.5, "text in colour can be read on white"


def test_names_are_never_formulas_and_never_leave_the_page(curves: Curves) -> None:
    evil = r"$\frac{x}{0}$ and a name that is longer than any place for it, by far"
    arms = [{**row, "arm": evil} if row["arm"] == "distilled" else row for row in three_arms()]
    named = {(evil if arm == "distilled" else arm, seed): rows for (arm, seed), rows in curves.items()}
    for one in draw_figures(record_of(result_of(arms), named), formats=()).drawings:
        figure = figure_of(one)
        size = figure.get_size_inches() * figure.dpi
        for text in figure.findobj(lambda artist: hasattr(artist, "get_text") and artist.get_visible()):  # pyright: ignore
            if text.get_text().startswith("$"):  # pyright: ignore
                box = text.get_window_extent()
                assert box.x0 >= -1 and box.x1 <= size[0] + 1, (one.name, text.get_text())  # pyright: ignore


@pytest.mark.parametrize(
    ("text", "length", "short"),
    [
        ("distilled", 9, "distilled"),
        ("two\n lines", 20, "two lines"),
        ("kd-temperature-4", 9, "kd-t…re-4"),
        ("a-long-run: distilled", 16, "a-lo…: distilled"),
        ("run: a-name-that-is-too-long", 10, "run: …long"),
    ],
)
def test_names_are_shortened_where_they_do_not_differ(text: str, length: int, short: str) -> None:
    assert style.shorten(text, length) == short and len(short) <= length


def test_several_runs_are_one_comparison(tmp_path: Path, finished: Any) -> None:
    import shutil

    copies = [tmp_path / name for name in ("first", "second")]
    for copy in copies:
        shutil.copytree(finished.folder, copy, ignore=shutil.ignore_patterns("models", "checkpoints"))
    records = [read_run(copy) for copy in copies]
    both = draw_figures(records, kinds=MAIN, formats=())
    assert set(both.alts) == {"arms", "accuracy", "loss"}, "pictures are of one run"
    for name in ("first: baseline", "second: baseline"):
        assert name in both.alts["arms"]
    gains = re.findall(r"second: \w+ ([+−]\d+\.\d\d)", both.alts["arms"])
    assert gains == re.findall(r"first: \w+ ([+−]\d+\.\d\d)", both.alts["arms"]), "each is compared within its run"


def test_every_figure_has_its_place_in_the_documentation() -> None:
    docs = Path(__file__).parents[2] / "docs"
    page = (docs / "figures.md").read_text(encoding="utf-8")
    for kind in FIGURES:
        assert f"(fig-{kind.name})=" in page, kind.name
        picture = docs / "figures" / f"{kind.name}.png"
        assert f"](figures/{kind.name}.png)" in page and picture.stat().st_size <= 60_000
