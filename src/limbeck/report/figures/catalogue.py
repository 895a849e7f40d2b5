"""The table of figures, and the drawing of those that a run has data for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from limbeck.report.run_data import RunRecord

from .costs import draw_size, draw_trade_off
from .cross_resolution import draw_cross_resolution, draw_mechanism, draw_resolution
from .curves import draw_accuracy, draw_last_epochs, draw_loss
from .drawing import Drawing, FigureKind, Missing
from .generalisation import draw_generalisation
from .heat_map import draw_heat_maps
from .option_effect import draw_effects
from .points import draw_arms, draw_retention
from .predictions.classes import draw_confusions, draw_per_class
from .predictions.picture_sheet import draw_pictures
from .predictions.reliability import draw_reliability
from .predictions.temperature import draw_temperature
from .several_runs import as_one_run
from .style import FORMATS, render

FIGURES: tuple[FigureKind, ...] = (
    FigureKind("arms", "Accuracy, and gain over the baseline", draw_arms, main=True),
    FigureKind("retention", "Retention of the teacher's accuracy", draw_retention),
    FigureKind("accuracy", "Accuracy by epoch", draw_accuracy, main=True),
    FigureKind("loss", "Loss by epoch", draw_loss, main=True),
    FigureKind("last-epochs", "The last epochs", draw_last_epochs, main=True),
    FigureKind("generalisation", "Training and validation loss", draw_generalisation),
    FigureKind("size", "Size of each model", draw_size),
    FigureKind("trade-off", "Accuracy against parameters, multiply-adds and latency", draw_trade_off),
    FigureKind("effect", "Effect of one option over its values", draw_effects),
    FigureKind("resolution", "Teachers by resolution, and students by that of their teacher", draw_resolution),
    FigureKind("cross-resolution", "Students of teachers of other resolutions, by epoch", draw_cross_resolution),
    FigureKind("mechanism", "How a teacher of another resolution teaches", draw_mechanism),
    FigureKind("temperature", "Effect of temperature on a teacher's probabilities", draw_temperature),
    FigureKind("reliability", "Reliability diagrams", draw_reliability),
    FigureKind("per-class", "Gain and loss of a student, class by class", draw_per_class),
    FigureKind("confusions", "Most frequent confusions", draw_confusions),
    FigureKind("pictures", "Images on which student and teacher disagree", draw_pictures, main=True),
    FigureKind("trials", "Trials of a sweep as a heat map", draw_heat_maps),
)
MAIN = tuple(kind for kind in FIGURES if kind.main)
"""The figures that are drawn at the end of a run."""
OF_A_SWEEP = tuple(kind for kind in FIGURES if kind.name == "trials")
"""The figures that are drawn at the end of a sweep."""


@dataclass(frozen=True)
class Drawn:
    """Figures as files.

    drawings: what they show, in the order of `FIGURES`. files: their content by file name, such as `accuracy.png`.
    missing: for each kind of which a run has none, by name, the reason.
    """

    drawings: tuple[Drawing, ...]
    files: dict[str, bytes] = field(repr=False)
    missing: dict[str, str]

    @property
    def alts(self) -> dict[str, str]:
        """What each figure shows in words, by the stem of its files."""
        return {drawing.name: drawing.alt for drawing in self.drawings}


def draw_figures(
    records: RunRecord | Sequence[RunRecord],
    *,
    kinds: Sequence[FigureKind] = FIGURES,
    formats: Sequence[str] = FORMATS,
    say: Callable[[str], None] | None = None,
) -> Drawn:
    """Draw the figures that one run has data for, or several runs as one comparison; equal runs give equal bytes.

    kinds: entries of `FIGURES`, or `MAIN`. formats: of `png` (300 dpi), `svg` and `pdf`. say: is called with the name
    of each figure before it is rendered. Nothing is written: `Drawn.files` holds the content by file name.
    """
    record = records if isinstance(records, RunRecord) else as_one_run(records)
    drawings: list[Drawing] = []
    files: dict[str, bytes] = {}
    missing: dict[str, str] = {}
    for kind in kinds:
        found = kind.draw(record)
        if isinstance(found, Missing):
            missing[kind.name] = str(found)
            continue
        for drawing in found:
            if say:
                say(drawing.name)
            drawings.append(drawing)
            files |= {f"{drawing.name}.{form}": content for form, content in render(drawing.make, formats).items()}
    return Drawn(tuple(drawings), files, missing)
