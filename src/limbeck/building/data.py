"""The images of a run: found, decoded, and parted once and for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from limbeck.console import progress_bar
from limbeck.data.splits import hold_out, note_on_small, subset
from limbeck.errors import LimbeckError
from limbeck.recipes import registry
from limbeck.recipes.recipe import Data
from limbeck.recipes.views import Views
from limbeck.types import Dataset, Normalisation, Split
from limbeck.views.plan import ViewPlanner


@dataclass(frozen=True)
class Images:
    """Three splits and what is known of them. Validation is where choices are made; test is read once.

    notes: what a reader of a report should know of these images, a line each.
    """

    name: str
    class_names: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    fingerprint: str
    normalisation: Normalisation
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width of the stored images."""
        return self.train.image_shape

    @property
    def dataset_fingerprint(self) -> str:
        """Of the data set before it was parted: `fingerprint` up to what `part` adds."""
        return self.fingerprint.partition("/")[0]


def load_images(data: Data) -> Images:
    """Build the source that a recipe names and part it."""
    return part(build(data.source, data.options), data.validation, data.train_images)


def build(source: str, options: dict[str, object]) -> Dataset:
    """The data set of `cifar10`, `folder:photos/` and the like."""
    entry = registry.find("data", source)
    wrong = registry.check_options(entry, options)
    if wrong:
        raise LimbeckError(f"data.{wrong[0][0]}: {wrong[0][1]}")
    function = registry.load(entry)
    _, argument = registry.split_name(source)
    return function(argument, **options) if argument is not None else function(**options)


def part(dataset: Dataset, validation: float = 0.1, train_images: int | None = None) -> Images:
    """Hold validation images out of the training split where the source brings none of its own.

    validation: the share to hold out; 0 where the source brings validation images of its own.
    train_images: keep about that many training images, as many of each class in proportion, one at least.
    Which images are held out depends on the data alone.
    """
    train, held_out = dataset.train, dataset.validation
    fingerprint, key = dataset.fingerprint, dataset.split_key or dataset.fingerprint
    notes = list(dataset.notes)
    if held_out is None:
        if validation == 0:
            raise LimbeckError(
                f"data.validation: 0 holds nothing out, and {dataset.name} brings no validation images of its own; "
                "choices are made on them, so it takes a share, as small as 0.001: one image at least of each class "
                "that has three"
            )
        whole, (train, held_out) = train, hold_out(train, validation, key)
        for note in _notes_on_small(whole, held_out, dataset.class_names):
            progress_bar.notice(f"{dataset.name}: {note}")
            notes.append(note)
        fingerprint = f"{fingerprint}/validation={validation}"
    if train_images is not None and train_images < len(train):
        train = subset(train, round(train_images / len(train), 6), f"{key}/subset")
        fingerprint = f"{fingerprint}/train_images={train_images}"
    if dataset.split_key:  # what an earlier version held out of these very images was another part
        fingerprint = f"{fingerprint}/split={key[:16]}"
    return Images(
        dataset.name,
        dataset.class_names,
        train,
        held_out,
        dataset.test,
        fingerprint,
        dataset.normalisation,
        tuple(notes),
    )


def _notes_on_small(whole: Split, held_out: Split, class_names: Sequence[str]) -> list[str]:
    """A line of the classes of which no image is held out."""
    counts, out = (part.labels.bincount(minlength=len(class_names)) for part in (whole, held_out))
    numbers = zip(class_names, counts.tolist(), out.tolist(), strict=True)
    return note_on_small([name for name, count, held in numbers if count and not held], "validation")


def view_planner(images: Images, views: Views, seed: int) -> ViewPlanner:
    """The planner of all views of the training images. seed: of the views, in place of `views.seed`."""
    _, height, width = images.shape
    views = views.model_copy(update={"seed": None})
    return ViewPlanner(images.fingerprint, len(images.train), views, seed, (height, width), images.normalisation)
