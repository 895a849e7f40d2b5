"""All arms side by side: accuracy, and retention of the teacher's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from limbeck.report.arms import Arm
from limbeck.report.comparisons import standing
from limbeck.report.ensembles import with_ensembles
from limbeck.report.statistics import format_number, mean, standard_deviation

from .style import Look, drawn, looks, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TEACHERS_HATCH = "////"


def draw_bars(arms: Sequence[Arm], title: str) -> dict[str, bytes]:
    """`arms.png` and `arms.svg`: a bar for each arm's mean top-1, and one for each student's retention.

    A dot stands for each seed, a line for the standard deviation. Axes begin at 0. Empty where nothing was measured.
    """
    measured = [arm for arm in with_ensembles(arms) if arm.values("test", "top1")]
    return drawn("arms", lambda: _figure(measured, arms, title)) if measured else {}


def _figure(measured: Sequence[Arm], arms: Sequence[Arm], title: str) -> Figure:
    from matplotlib.figure import Figure

    retention = {arm.name: standing(arm, arms).retention for arm in arms}
    taught = [arm for arm in measured if retention.get(arm.name)]
    look_of = looks([*arms, *(arm for arm in measured if arm not in arms)])
    rows = len(measured)
    figure = Figure(figsize=(9.6 if taught else 5.6, 1.1 + 0.27 * rows), layout="constrained")
    panels = figure.subplots(1, 2 if taught else 1, squeeze=False)[0]
    split = measured[0].split
    _bars(panels[0], measured, [arm.values("test", "top1", 100) for arm in measured], f"{split} top-1, %", look_of)
    if taught:
        _bars(panels[1], taught, [retention[arm.name] for arm in taught], "retention: % of the teacher's", look_of)
    figure.suptitle(shortened(title, 60), x=0.01, ha="left", parse_math=False)
    said = ["hatched: teacher"] if any(arm.role != "student" for arm in measured) else []
    said.append("dot: a seed, line: standard deviation" if any(len(a.learners) > 1 for a in arms) else "n = 1")
    figure.text(0.01, -0.01, "   ·   ".join(said), ha="left", va="top", fontsize=8, color="#444444")
    return figure


def _bars(
    panel: Axes, arms: Sequence[Arm], values: Sequence[Sequence[float]], title: str, look_of: Mapping[str, Look]
) -> None:
    middles = [mean(of_arm) for of_arm in values]
    reach = 1.16 * max(max(of_arm) for of_arm in values) or 1.0
    for place, (arm, of_arm, middle) in enumerate(zip(arms, values, middles, strict=True)):
        hatch = None if arm.role == "student" else TEACHERS_HATCH
        colour = look_of[arm.name].colour
        panel.barh(place, middle, height=0.62, color=colour, alpha=0.85, zorder=2, hatch=hatch, edgecolor="white")
        spread = standard_deviation(of_arm)
        if spread is not None:
            panel.plot([middle - spread, middle + spread], [place, place], color="#666666", linewidth=1.4, zorder=3)
            panel.plot(of_arm, [place] * len(of_arm), "o", color="white", markeredgecolor="#444444", ms=3.2, zorder=4)
        end = max(middle + (spread or 0.0), *of_arm)
        panel.text(end + 0.012 * reach, place, format_number(middle), va="center", fontsize=8, color="#222222")
    panel.set_yticks(range(len(arms)), [shortened(arm.name, 28) for arm in arms], parse_math=False)
    panel.set_ylim(len(arms) - 0.4, -0.6)  # the first one on top
    panel.set_xlim(0, reach)
    panel.grid(visible=False, axis="y")
    panel.tick_params(length=0)
    panel.set_title(title)
