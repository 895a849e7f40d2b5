"""`limbeck views`: a sheet of training images, original, augmented and mixed."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from limbeck.building.data import Images, load_images, view_planner
from limbeck.errors import LimbeckError, did_you_mean
from limbeck.recipes.recipe import Recipe
from limbeck.report.figures.style import shorten
from limbeck.storage.atomic import write_file
from limbeck.types import Targets
from limbeck.views.apply import View, make_view

MAX_STEPS_SEARCHED = 200  # for a mixed batch, if only some batches are mixed
Row = tuple[str, Sequence[NDArray[np.uint8]], Sequence[str]]
"""A row of the sheet: its name, its images `[H, W, 3]` and their captions."""
IMAGE_INCHES = 1.15
CAPTION_WIDTH = 22  # characters of a caption line


def write_view_sheet(
    recipe: Recipe, out: Path, *, arm: str | None = None, count: int = 10, epoch: int = 0, step: int = 0
) -> list[str]:
    """Write a PNG of the first `count` images of a view, exactly as training sees them; returns a description.

    arm: the arm whose views are shown (None: those of the recipe). epoch, step: counted from 0; if only some batches
    are mixed, the next mixed batch is shown.
    Raises LimbeckError if there is no such arm or the file cannot be written.
    """
    views = recipe.views
    if arm is not None:
        arms = recipe.arms()
        if arm not in arms:
            raise LimbeckError(f"{recipe.name}: no arm called {arm!r}{did_you_mean(arm, arms)}")
        views = arms[arm].views or views
    images = load_images(recipe.data)
    planner = view_planner(images, views, recipe.seeds[0] if views.seed is None else views.seed)
    steps = planner.steps_per_epoch
    plan = planner.plan(epoch, step % steps)
    if views.mixing is not None and views.mixing.probability > 0:
        plans = (planner.plan(epoch, (step + ahead) % steps) for ahead in range(min(steps, MAX_STEPS_SEARCHED)))
        plan = next((mixed for mixed in plans if mixed.mix is not None), plan)
    originals = images.train.take(plan.indices)
    augmented = make_view(images.train, replace(plan, mix=None), views, images.normalisation)
    names = [images.class_names[label] for label in images.train.labels[plan.indices].tolist()]
    rows: list[Row] = [
        ("original", _pixels(originals, count), names[:count]),
        ("augmented", _pixels(augmented.images, count), names[:count]),
    ]
    if plan.mix is not None:
        mixed = make_view(images.train, plan, views, images.normalisation)
        rows.append(("mixed", _pixels(mixed.images, count), _shares(mixed, images)[:count]))
    drawn = planner.drawn_epoch(plan.epoch)
    reused = f" (reuses the views of epoch {drawn + 1})" if drawn != plan.epoch else ""
    title = f"{recipe.name}{f', {arm}' if arm else ''}: epoch {plan.epoch + 1}{reused}, step {plan.step + 1}"
    write_file(out, draw_sheet(title, rows))
    return [f"{out}: {len(rows[0][1])} of {len(originals)} images of {title}"]


def _pixels(images: Tensor, count: int) -> list[NDArray[np.uint8]]:
    return list(images[:count].permute(0, 2, 3, 1).cpu().numpy())


def _shares(view: View, images: Images) -> list[str]:
    targets: Targets = view.targets
    triples = zip(targets.labels.tolist(), targets.partner_labels.tolist(), targets.share.tolist(), strict=True)
    return [
        f"{share:.2f} {images.class_names[label]}\n{1 - share:.2f} {images.class_names[partner]}"
        for label, partner, share in triples
    ]


def draw_sheet(title: str, rows: Sequence[Row]) -> bytes:
    """Draw a grid of images with captions, without interpolation; returns a PNG. All rows have the same length."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    columns = len(rows[0][1])
    with mpl.rc_context({"font.size": 6.5, "font.family": "sans-serif"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        size = (IMAGE_INCHES * columns + 0.4, (IMAGE_INCHES + 0.28) * len(rows) + 0.3)
        figure = Figure(figsize=size, layout="constrained")
        figure.suptitle(title, fontsize=9, x=0.01, ha="left")
        grid: Any = figure.subplots(len(rows), columns, squeeze=False)
        for line, (name, images, captions) in zip(grid, rows, strict=True):
            for axes, image, caption in zip(line, images, captions, strict=True):
                axes.imshow(image, interpolation="nearest")
                axes.set(xticks=[], yticks=[])
                axes.set_xlabel("\n".join(shorten(part, CAPTION_WIDTH) for part in caption.split("\n")), labelpad=2)
                for spine in axes.spines.values():
                    spine.set_visible(False)
            line[0].set_ylabel(name, fontsize=8)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=160)
    return buffer.getvalue()
