"""What the views of a recipe look like: the images, what augmentation makes of them, and how they are mixed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from limbeck.building.assemble import view_planner, view_recipe
from limbeck.building.data import Images, load_images
from limbeck.errors import LimbeckError, did_you_mean
from limbeck.recipes.recipe import Recipe
from limbeck.report.figures.image_grid import Row, draw_sheet
from limbeck.storage.atomic import replace as write_whole
from limbeck.types import Targets
from limbeck.views.apply import View, make_view

STEPS_TO_SEARCH = 200  # for a batch that is mixed, where not all are


def write_view_sheet(
    recipe: Recipe, out: Path, *, arm: str | None = None, count: int = 10, epoch: int = 0, step: int = 0
) -> list[str]:
    """Write a PNG of the first `count` images of one view, exactly as training sees it; says what it shows.

    arm: whose views (None: the run's). Epoch and step count from 0; with mixing of some batches, the next
    mixed batch is shown. Raises LimbeckError where there is no such arm or the file cannot be written.
    """
    views = recipe.views
    if arm is not None:
        arms = recipe.arms()
        if arm not in arms:
            raise LimbeckError(f"{recipe.name}: no arm called {arm!r}{did_you_mean(arm, arms)}")
        views = arms[arm].views or views
    images = load_images(recipe.data)
    wanted = view_recipe(views)
    planner = view_planner(images, wanted, recipe.seeds[0] if views.seed is None else views.seed)
    steps = planner.steps_per_epoch
    plan = planner.plan(epoch, step % steps)
    if wanted.mixing is not None and wanted.mixing.probability > 0:
        searched = (planner.plan(epoch, (step + ahead) % steps) for ahead in range(min(steps, STEPS_TO_SEARCH)))
        plan = next((found for found in searched if found.mix is not None), plan)
    originals = images.train.take(plan.indices)
    augmented = make_view(images.train, replace(plan, mix=None), wanted, images.normalisation)
    names = [images.class_names[label] for label in images.train.labels[plan.indices].tolist()]
    rows: list[Row] = [
        ("original", _pixels(originals, count), names[:count]),
        ("augmented", _pixels(augmented.images, count), names[:count]),
    ]
    if plan.mix is not None:
        mixed = make_view(images.train, plan, wanted, images.normalisation)
        rows.append(("mixed", _pixels(mixed.images, count), _shares(mixed, images)[:count]))
    drawn = planner.drawn_epoch(plan.epoch)
    again = f" (the views of epoch {drawn + 1} again)" if drawn != plan.epoch else ""
    title = f"{recipe.name}{f', {arm}' if arm else ''}: epoch {plan.epoch + 1}{again}, step {plan.step + 1}"
    write_whole(out, draw_sheet(title, rows))
    return [f"{out}: {len(rows[0][1])} of {len(originals)} images of {title}"]


def _pixels(images: Tensor, count: int) -> list[NDArray[np.uint8]]:
    return list(images[:count].permute(0, 2, 3, 1).cpu().numpy())


def _shares(view: View, images: Images) -> list[str]:
    targets: Targets = view.targets
    triples = zip(targets.labels.tolist(), targets.partner_labels.tolist(), targets.share.tolist(), strict=True)
    return [
        f"{share:.2f} {images.class_names[own]}\n{1 - share:.2f} {images.class_names[partner]}"
        for own, partner, share in triples
    ]
