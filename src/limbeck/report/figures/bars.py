"""A bar chart of all arms: accuracy and retention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from limbeck.report.arms import Arm, with_ensembles
from limbeck.report.comparisons import compare
from limbeck.report.formatting import format_number
from limbeck.report.statistics import mean, standard_deviation

from .style import ArmStyle, arm_styles, render_figure, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TEACHER_HATCH = "////"


def draw_bars(arms: Sequence[Arm], title: str) -> dict[str, bytes]:
    """`arms.png` and `arms.svg`: a bar for the mean top-1 of each arm, and one for the retention of each student.

    Dots are seeds, lines standard deviations; axes begin at 0. Empty if nothing was measured.
    """
    measured = [arm for arm in with_ensembles(arms) if arm.values("test", "top1")]
    return render_figure("arms", lambda: _figure(measured, arms, title)) if measured else {}


def _figure(measured: Sequence[Arm], arms: Sequence[Arm], title: str) -> Figure:
    from matplotlib.figure import Figure

    retention = {arm.name: compare(arm, arms).retention for arm in arms}
    students = [arm for arm in measured if retention.get(arm.name)]
    styles = arm_styles([*arms, *(arm for arm in measured if arm not in arms)])
    rows = len(measured)
    figure = Figure(figsize=(9.6 if students else 5.6, 1.1 + 0.27 * rows), layout="constrained")
    panels = figure.subplots(1, 2 if students else 1, squeeze=False)[0]
    split = measured[0].split
    _bars(
        panels[0],
        measured,
        [arm.values("test", "top1", 100) for arm in measured],
        f"{split.capitalize()} top-1 accuracy (%)",
        styles,
    )
    if students:
        _bars(
            panels[1], students, [retention[arm.name] for arm in students], "Retention (% of teacher accuracy)", styles
        )
    figure.suptitle(shorten(title, 60), x=0.01, ha="left", parse_math=False)
    legend = ["hatched: teacher"] if any(arm.role != "student" for arm in measured) else []
    legend.append("dots: seeds, line: standard deviation" if any(len(a.learners) > 1 for a in arms) else "n = 1")
    figure.text(0.01, -0.01, "   ·   ".join(legend), ha="left", va="top", fontsize=8, color="#444444")
    return figure


def _bars(
    panel: Axes, arms: Sequence[Arm], values: Sequence[Sequence[float]], title: str, styles: Mapping[str, ArmStyle]
) -> None:
    means = [mean(of_arm) for of_arm in values]
    right = 1.16 * max(max(of_arm) for of_arm in values) or 1.0
    for place, (arm, of_arm, average) in enumerate(zip(arms, values, means, strict=True)):
        hatch = None if arm.role == "student" else TEACHER_HATCH
        colour = styles[arm.name].colour
        panel.barh(place, average, height=0.62, color=colour, alpha=0.85, zorder=2, hatch=hatch, edgecolor="white")
        spread = standard_deviation(of_arm)
        if spread is not None:
            panel.plot([average - spread, average + spread], [place, place], color="#666666", linewidth=1.4, zorder=3)
            panel.plot(of_arm, [place] * len(of_arm), "o", color="white", markeredgecolor="#444444", ms=3.2, zorder=4)
        end = max(average + (spread or 0.0), *of_arm)
        panel.text(end + 0.012 * right, place, format_number(average), va="center", fontsize=8, color="#222222")
    panel.set_yticks(range(len(arms)), [shorten(arm.name, 28) for arm in arms], parse_math=False)
    panel.set_ylim(len(arms) - 0.4, -0.6)  # the first arm on top
    panel.set_xlim(0, right)
    panel.grid(visible=False, axis="y")
    panel.tick_params(length=0)
    panel.set_title(title)
