"""The images of a run: found, decoded, and parted once and for all."""

from __future__ import annotations

from dataclasses import dataclass

from limbeck.data.split import hold_out
from limbeck.runs import lookup
from limbeck.runs.errors import LimbeckError
from limbeck.runs.recipe import Data
from limbeck.types import Dataset, Normalisation, Split


@dataclass(frozen=True)
class Images:
    """Three splits and what is known of them. Validation is where choices are made; test is read once."""

    name: str
    class_names: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    fingerprint: str
    normalisation: Normalisation

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
    entry = lookup.find("data", source)
    wrong = lookup.check_options(entry, options)
    if wrong:
        raise LimbeckError(f"data.{wrong[0][0]}: {wrong[0][1]}")
    function = lookup.load(entry)
    _, argument = lookup.split_name(source)
    return function(argument, **options) if argument is not None else function(**options)


def part(dataset: Dataset, validation: float = 0.1, train_images: int | None = None) -> Images:
    """Hold validation images out of the training split where the source brings none of its own.

    train_images: keep about that many training images, as many of each class in proportion.
    Which images are held out depends on the data alone.
    """
    train, held_out = dataset.train, dataset.validation
    fingerprint = dataset.fingerprint
    if held_out is None:
        train, held_out = hold_out(train, validation, fingerprint)
        fingerprint = f"{fingerprint}/validation={validation}"
    if train_images is not None and train_images < len(train):
        _, train = hold_out(train, round(train_images / len(train), 6), f"{dataset.fingerprint}/subset")
        fingerprint = f"{fingerprint}/train_images={train_images}"
    return Images(dataset.name, dataset.class_names, train, held_out, dataset.test, fingerprint, dataset.normalisation)
