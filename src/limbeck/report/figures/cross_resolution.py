"""Teachers by resolution, students that differ in the resolution of their teacher, and how such a pair is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from limbeck.report.arms import Arm, teacher_of
from limbeck.report.comparisons import compare
from limbeck.report.formatting import format_number, format_signed
from limbeck.report.options import one_option_apart
from limbeck.report.run_data import RunRecord

from .curves import draw_arm, finish_epochs, legend, with_curves
from .drawing import Drawing, Missing, name_part
from .intervals import Point, accuracy_point
from .option_effect import comparable
from .style import (
    COLOURS,
    FAINT,
    SMALL,
    TEXT,
    TWO_COLUMNS,
    ArmStyle,
    add_note,
    arm_styles,
    fill,
    new_figure,
    shorten,
    text_colour,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_DIAGRAMS = 2


@dataclass(frozen=True)
class _Pair:
    """Two students that differ in their teacher alone, which sees images of another resolution."""

    usual: Arm
    other: Arm


def resolution_of(record: RunRecord, arm: Arm) -> int | None:
    """The side in pixels of the images that an arm sees; None if the run does not tell."""
    own = record.options.get(arm.name, {}).get("resolution")
    if isinstance(own, int):
        return own
    shapes = [shape for row in arm.learners if (shape := (row.get("efficiency") or {}).get("image_shape"))]
    return int(shapes[0][-1]) if shapes else None


def draw_resolution(record: RunRecord) -> list[Drawing] | Missing:
    """The accuracy of teachers by the resolution that they see, and of the students by that of their teacher."""
    teachers = _by_resolution(record, [arm for arm in record.arms if arm.role == "teacher"])
    if len({side for side, *_ in teachers}) < 2:
        return Missing("no two teachers see images of different resolutions")
    pairs = _pairs(record)
    told = ", ".join(f"{arm.name} at {side} px {format_number(p.mean)} %" for side, arm, p in teachers)
    alt = f"Teachers by resolution: {told}."
    for pair in pairs:
        gain = f"{format_signed(_gain(pair))} points{_efficiency(record, pair)}"
        alt += f" {pair.other.name} against {pair.usual.name}: {gain}."
    return [Drawing("resolution", "Resolution", alt, lambda: _resolution(record, teachers, pairs))]


def _by_resolution(record: RunRecord, arms: Sequence[Arm]) -> list[tuple[int, Arm, Point]]:
    found = [(side, arm, p) for arm in arms if (side := resolution_of(record, arm)) and (p := accuracy_point(arm))]
    return sorted(found, key=lambda row: row[0])


def _pairs(record: RunRecord) -> list[_Pair]:
    """The pairs of each two students, the one whose teacher sees fewer pixels first."""
    measured = {arm.name: arm for arm in record.arms if arm.role == "student" and accuracy_point(arm)}
    options = comparable({name: record.options[name] for name in measured if name in record.options})
    found: list[_Pair] = []
    for group in one_option_apart(options):
        if group.name != "teacher":
            continue
        taught = {name: teacher_of(measured[name], record.arms) for name in group.arms}
        sides = {name: side for name, one in taught.items() if one and (side := resolution_of(record, one))}
        in_order = sorted(sides, key=lambda name: sides[name])
        found += [
            _Pair(measured[in_order[0]], measured[name]) for name in in_order[1:] if sides[name] > sides[in_order[0]]
        ]
    return found


def _gain(pair: _Pair) -> float:
    return (pair.other.average("test", "top1", 100) or 0.0) - (pair.usual.average("test", "top1", 100) or 0.0)


def _efficiency(record: RunRecord, pair: _Pair) -> str:
    """The share of the better teacher's advantage that reaches the student; none where that teacher is not better."""
    comparison = compare(pair.other, record.arms)
    usual, other = (teacher_of(arm, record.arms) for arm in (pair.usual, pair.other))
    is_better = usual and other and (other.average("test", "top1") or 0.0) > (usual.average("test", "top1") or 0.0)
    transfer = comparison.transfer if is_better and pair.other.baseline == pair.usual.name else None
    return f", {format_number(transfer, 1)} % of the teachers' difference" if transfer is not None else ""


def _resolution(record: RunRecord, teachers: Sequence[tuple[int, Arm, Point]], pairs: Sequence[_Pair]) -> Figure:
    styles = arm_styles(record.arms)
    figure = new_figure(TWO_COLUMNS if pairs else 3.6, 2.2)
    panels: Sequence[Axes] = figure.subplots(1, 2 if pairs else 1, squeeze=False)[0]
    _points(panels[0], teachers, styles)
    panels[0].set_title(f"Teachers, {record.split} top-1 (%)")
    panels[0].set_xlabel("Resolution of the teacher (px)")
    if pairs:
        students = {arm.name: arm for pair in pairs for arm in (pair.usual, pair.other)}
        rows: list[tuple[int, Arm, Point]] = []
        for arm in students.values():
            teacher, p = teacher_of(arm, record.arms), accuracy_point(arm)
            side = resolution_of(record, teacher) if teacher else None
            if p and side:
                rows.append((side, arm, p))
        rows.sort(key=lambda row: row[0])
        _points(panels[1], rows, styles, pairs)
        own = {side for _, arm, _ in rows if (side := resolution_of(record, arm))}
        panels[1].set_title(f"Students{f' at {min(own)} px' if len(own) == 1 else ''}, {record.split} top-1 (%)")
        panels[1].set_xlabel("Resolution of the teacher (px)")
    add_note(figure, [*dict.fromkeys(p.kind for _, _, p in teachers if p.kind)])
    return figure


def _points(
    panel: Axes,
    rows: Sequence[tuple[int, Arm, Point]],
    styles: Mapping[str, ArmStyle],
    pairs: Sequence[_Pair] = (),
) -> None:
    sides = sorted({side for side, *_ in rows})
    drawn: dict[str, tuple[float, float]] = {}
    for side in sides:
        of_side = [(arm, p) for other, arm, p in rows if other == side]
        for number, (arm, p) in enumerate(of_side):
            place = sides.index(side) + 0.3 * (number - (len(of_side) - 1) / 2) / max(len(of_side) - 1, 1)
            colour, _, marker = styles[arm.name]
            panel.plot([place, place], [p.low, p.high], color=colour, linestyle=p.line, linewidth=1.2)
            panel.plot(
                [place], [p.mean], marker, color=colour, markerfacecolor=fill(arm, colour), markersize=5, zorder=4
            )
            text, at_left = f"{shorten(arm.name, 16)}\n{format_number(p.mean)}", side == sides[0] and bool(pairs)
            panel.annotate(
                text, (place, p.mean), (-6 if at_left else 6, 0), textcoords="offset points", va="center",
                ha="right" if at_left else "left", color=text_colour(colour),
            )  # fmt: skip
            drawn[arm.name] = (place, p.mean)
    for pair in pairs:
        if pair.usual.name in drawn and pair.other.name in drawn:
            (x0, y0), (x1, y1) = drawn[pair.usual.name], drawn[pair.other.name]
            panel.plot([x0, x1], [y0, y1], color=FAINT, linewidth=0.8, zorder=1)
            said = f"{format_signed(_gain(pair))} points"
            panel.annotate(
                said, ((x0 + x1) / 2, (y0 + y1) / 2), (0, 0), textcoords="offset points", ha="center", va="center",
                color=TEXT, fontsize=7, fontweight="bold", backgroundcolor="white",
            )  # fmt: skip
    panel.set_xticks(range(len(sides)), [str(side) for side in sides])
    panel.set_xlim(-0.5, len(sides) - 0.4)
    panel.grid(visible=False, axis="x")


def draw_cross_resolution(record: RunRecord) -> list[Drawing] | Missing:
    """Loss and accuracy by epoch of students that differ in the resolution of their teacher alone."""
    logged = {arm.name for arm in with_curves(record)}
    pairs = [pair for pair in _pairs(record) if {pair.usual.name, pair.other.name} <= logged]
    if not pairs:
        return Missing("no two students differ in the resolution of their teacher alone")
    arms = list({arm.name: arm for pair in pairs for arm in (pair.usual, pair.other)}.values())
    alt = " ".join(
        f"{pair.other.name} ends {format_signed(_gain(pair))} points from {pair.usual.name} on the {record.split} set."
        for pair in pairs
    )
    return [Drawing("cross-resolution", "Teachers of other resolutions, by epoch", alt, lambda: _curves(record, arms))]


def _curves(record: RunRecord, arms: Sequence[Arm]) -> Figure:
    styles, keys = arm_styles(record.arms), ("train_loss", "validation_loss", "validation_accuracy")
    figure = new_figure(TWO_COLUMNS, 2.2)
    panels: Sequence[Axes] = figure.subplots(1, 3)
    names = {arm.name for arm in arms}
    last = max(len(rows) for (name, _), rows in record.curves.items() if name in names)
    for panel, key in zip(panels, keys, strict=True):
        for arm in arms:
            draw_arm(panel, arm, record.curves, key, styles[arm.name]._replace(line="solid"))
        finish_epochs(panel, key, 1, last, from_zero=False)
    handles = {str(line.get_label()): line for line in panels[2].get_lines()}
    said = [f"{shorten(name, 16)}, teacher at {_teacher_side(record, name)} px" for name in handles if name in names]
    panels[2].legend([handles[name] for name in handles if name in names], said, loc="lower right", fontsize=6)
    add_note(figure, legend(arms, keys, record.curves))
    return figure


def _teacher_side(record: RunRecord, name: str) -> str:
    arm = record.arm(name)
    teacher = teacher_of(arm, record.arms) if arm else None
    return str((resolution_of(record, teacher) if teacher else None) or "?")


def draw_mechanism(record: RunRecord) -> list[Drawing] | Missing:
    """How a student learns from a teacher that sees the same images at another resolution, with the run's numbers."""
    found: list[tuple[Arm, Arm, int, int]] = []
    for arm in record.arms:
        teacher = teacher_of(arm, record.arms) if len(arm.teachers) == 1 and arm.role == "student" else None
        own, theirs = resolution_of(record, arm), resolution_of(record, teacher) if teacher else None
        if teacher and own and theirs and own != theirs:
            found.append((arm, teacher, own, theirs))
    if not found:
        return Missing("no student has a teacher that sees images of another resolution")
    drawings: list[Drawing] = []
    for arm, teacher, own, theirs in found[:MAX_DIAGRAMS]:
        terms = ", ".join(_terms(record, arm))
        alt = (
            f"Each batch of augmented images goes to {arm.name} at {own} px and, resized to {theirs} px, to its "
            f"teacher {teacher.name}. The student's loss: {terms or 'as in its recipe'}."
        )
        name = f"mechanism-{name_part(arm.name)}"
        title = f"How {arm.name} is taught at {theirs} px"
        drawings.append(Drawing(name, title, alt, lambda of=(arm, teacher, own, theirs): _mechanism(record, *of)))
    return drawings


def _terms(record: RunRecord, arm: Arm) -> list[str]:
    """The terms of the loss as `0.7 soft_targets (temperature 4)`."""
    options = record.options.get(arm.name, {})
    names = options.get("loss")
    seen: list[str] = []
    terms: list[str] = []
    for name in names if isinstance(names, list) else ():
        seen.append(name)
        at = name if seen.count(name) == 1 else f"{name}({seen.count(name)})"
        weight, temperature = (options.get(f"loss.{at}.{key}") for key in ("weight", "temperature"))
        said = f" (temperature {temperature:g})" if isinstance(temperature, int | float) else ""
        terms.append(f"{weight if isinstance(weight, int | float) else 1:g} {name}{said}")
    return terms


def _mechanism(record: RunRecord, arm: Arm, teacher: Arm, own: int, theirs: int) -> Figure:
    styles = arm_styles(record.arms)
    figure = new_figure(TWO_COLUMNS, 2.55)
    panel: Axes = figure.subplots()
    panel.set_axis_off()
    panel.set_xlim(0, 100)
    panel.set_ylim(-3, 36)
    interpolation = record.options.get(teacher.name, {}).get("interpolation") or "resized"
    small, large = 7.0, min(13.0, max(8.5, 7.0 * theirs / own)) if theirs > own else 5.0
    _image(panel, record, 5.5, 18, 8, f"one view of a batch\nshared by both, {own} px", own)
    _image(panel, record, 27, 27, large, f"{theirs} px, {interpolation}", theirs)
    _image(panel, record, 27, 7.5, small, f"{own} px, as it is", own)
    _arrow(panel, (10.5, 20), (26 - large / 2, 26))
    _arrow(panel, (10.5, 16), (26 - small / 2, 8.5))
    _box(
        panel, 47, 27, f"teacher {shorten(teacher.name, 18)}\n{shorten(teacher.model, 22)}", styles[teacher.name].colour
    )
    _box(panel, 47, 7.5, f"student {shorten(arm.name, 18)}\n{shorten(arm.model, 22)}", styles[arm.name].colour)
    _arrow(panel, (28.5 + large / 2, 27), (38, 27))
    _arrow(panel, (28.5 + small / 2, 7.5), (38, 7.5))
    _box(panel, 67, 27, "logits, without\ngradient", styles[teacher.name].colour, width=13)
    _box(panel, 67, 7.5, "logits", styles[arm.name].colour, width=13)
    _arrow(panel, (56, 27), (60.5, 27))
    _arrow(panel, (56, 7.5), (60.5, 7.5))
    terms = "\n".join(f"{'  ' if place == 0 else '+ '}{term}" for place, term in enumerate(_terms(record, arm)))
    _box(panel, 87, 17, f"loss of the student\n{terms}", TEXT, width=25, height=11)
    _arrow(panel, (73.5, 27), (79, 22.6))
    _arrow(panel, (73.5, 7.5), (79, 11.4))
    panel.plot([87, 87, 47], [11.4, -1, -1], color=FAINT, linewidth=0.9, linestyle="--", zorder=1)
    _arrow(panel, (47, -1), (47, 3.6))
    panel.text(67, -0.5, "gradient, to the student alone", ha="center", va="bottom", fontsize=SMALL, color=FAINT)
    panel.text(87, 26.2, "labels", ha="center", fontsize=7)
    _arrow(panel, (87, 25.6), (87, 22.7))
    return figure


def _image(panel: Axes, record: RunRecord, x: float, y: float, side: float, said: str, pixels: int) -> None:
    """An image of the run if some are kept, else a grid of pixels; side: in units of the panel."""
    from matplotlib.patches import Rectangle

    height = side * 0.98  # a unit is about as wide as it is high
    box = (x - side / 2, x + side / 2, y - height / 2, y + height / 2)
    kept = record.sample_images
    if kept is not None and len(kept.images) and kept.images.shape[3] in (1, 3):
        picture = kept.images[0]
        panel.imshow(
            picture if picture.shape[2] == 3 else picture[..., 0], extent=box, aspect="auto", cmap="gray", zorder=2,
            interpolation="nearest" if pixels <= picture.shape[0] else "bilinear",
        )  # fmt: skip
    else:
        lines = 4 if pixels < 48 else 8
        for number in range(lines + 1):
            share = number / lines
            panel.plot([box[0] + share * side] * 2, box[2:], color=COLOURS[2], linewidth=0.5)
            panel.plot(box[:2], [box[2] + share * height] * 2, color=COLOURS[2], linewidth=0.5)
    panel.add_patch(Rectangle((box[0], box[2]), side, height, fill=False, edgecolor=TEXT, linewidth=0.8, zorder=3))
    panel.text(x, box[2] - 0.8, said, ha="center", va="top", fontsize=SMALL)
    panel.set_xlim(0, 100)
    panel.set_ylim(-3, 36)


def _box(panel: Axes, x: float, y: float, said: str, colour: str, *, width: float = 18, height: float = 7.6) -> None:
    from matplotlib.patches import FancyBboxPatch

    corner = (x - width / 2, y - height / 2)
    box = FancyBboxPatch(
        corner, width, height, boxstyle="round,pad=0,rounding_size=1", facecolor="white", edgecolor=colour, zorder=2
    )
    panel.add_patch(box)
    panel.text(x, y, said, ha="center", va="center", fontsize=6.8, linespacing=1.35, zorder=3)


def _arrow(panel: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    style = {"arrowstyle": "-|>", "color": "#444444", "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0}
    panel.annotate("", end, start, arrowprops=style, zorder=1)
