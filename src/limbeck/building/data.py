"""The images of a run, decoded and split into training, validation and test, and the planner of their views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from limbeck.console import progress_bar
from limbeck.data.splits import small_classes_note, stratified_split, stratified_subset
from limbeck.errors import LimbeckError
from limbeck.recipes import registry
from limbeck.recipes.recipe import Data
from limbeck.recipes.views import Views
from limbeck.types import Dataset, Normalisation, Split
from limbeck.views.plan import ViewPlanner


@dataclass(frozen=True)
class Images:
    """The three splits of a data set. All choices are made on validation; test is read once.

    notes: remarks about these images for the report, one per line.
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
        """Of the data set before it was split: `fingerprint` up to what `split_dataset` adds."""
        return self.fingerprint.partition("/")[0]


def load_images(data: Data) -> Images:
    """Load the data set that a recipe names, and split it."""
    return split_dataset(build_dataset(data.source, data.options), data.validation, data.train_images)


def build_dataset(source: str, options: dict[str, object]) -> Dataset:
    """The data set of `cifar10`, `folder:photos/` and the like."""
    entry = registry.find("data", source)
    wrong = registry.check_options(entry, options)
    if wrong:
        raise LimbeckError(f"data.{wrong[0][0]}: {wrong[0][1]}")
    function = registry.load(entry)
    _, argument = registry.split_name(source)
    return function(argument, **options) if argument is not None else function(**options)


def split_dataset(dataset: Dataset, validation: float = 0.1, train_images: int | None = None) -> Images:
    """Hold validation images out of the training split unless the source has a validation split.

    validation: the fraction to hold out; 0 is allowed only if the source has a validation split.
    train_images: reduce training to about this many images, in proportion to the classes, at least one of each.
    Which images are held out depends only on the data.
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
        whole, (train, held_out) = train, stratified_split(train, validation, key)
        for note in _notes_on_small(whole, held_out, dataset.class_names):
            progress_bar.notice(f"{dataset.name}: {note}")
            notes.append(note)
        fingerprint = f"{fingerprint}/validation={validation}"
    if train_images is not None and train_images < len(train):
        train = stratified_subset(train, round(train_images / len(train), 6), f"{key}/subset")
        fingerprint = f"{fingerprint}/train_images={train_images}"
    if dataset.split_key:  # an earlier version held other images out of the same data
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
    """A note that names the classes of which no image is held out."""
    counts, out = (part.labels.bincount(minlength=len(class_names)) for part in (whole, held_out))
    numbers = zip(class_names, counts.tolist(), out.tolist(), strict=True)
    return small_classes_note([name for name, count, held in numbers if count and not held], "validation")


def view_planner(images: Images, views: Views, seed: int) -> ViewPlanner:
    """The planner of all views of the training images. seed: of the views, in place of `views.seed`."""
    _, height, width = images.shape
    views = views.model_copy(update={"seed": None})
    return ViewPlanner(images.fingerprint, len(images.train), views, seed, (height, width), images.normalisation)
