"""The images on which a saved model is evaluated: decoded for it, and split as they were when it was trained.

A saved model records the source, the options and the fingerprints of its data.

- Its own data (no source given, the same source, or another path to the same images) get the options of training.
  They must still have the same fingerprint and, for `validation` and `train`, the same splits. Otherwise they are
  refused, because a training image may now be in another split. This holds for the test split too: with `test=0.4`
  instead of `test=0.2` it would contain training images.
- Of other data, any split may be used. Whether they share images with the training data is unknown.
- A model that was saved before these records existed is evaluated only on the test split of its own data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from limbeck.errors import LimbeckError, did_you_mean
from limbeck.recipes import registry
from limbeck.recipes.recipe import Data
from limbeck.types import Dataset

from .data import Images, load_images, split_dataset
from .saved_model import LoadedModel, absolute_source

SPLITS = ("test", "validation", "train")
SHOWN = 12  # characters of a fingerprint in messages


def evaluation_images(model: LoadedModel, data: Data | Dataset | None, split: str, where: str) -> Images:
    """Images on whose `split` the model may be evaluated, decoded in its size.

    data: None for those that the model was trained on. where: the model's name in messages.
    Raises LimbeckError if the module's rules forbid it, or if the images differ in size from the model's.
    """
    check_split_name(split)
    recorded = model.about.get("data")
    if isinstance(data, Dataset):
        alike = isinstance(recorded, Mapping) and data.fingerprint == recorded["dataset_fingerprint"]
        images = (
            split_dataset(data, recorded["validation"], recorded["train_images"])
            if recorded and alike
            else split_dataset(data)
        )
        same_source = False
    else:
        same_source = data is None or is_training_source(model, data.source)
        images = load_images(_completed(model, data, same_source, where))
    check_images(model, images, split, where, same_source=same_source)
    return images


def check_split_name(split: str) -> None:
    """Raises LimbeckError for an unknown split."""
    if split not in SPLITS:
        raise LimbeckError(f"split: takes {', '.join(SPLITS)}; got {split!r}{did_you_mean(split, SPLITS)}")


def check_images(model: LoadedModel, images: Images, split: str, where: str, *, same_source: bool) -> None:
    """Raises LimbeckError if the images have another size, or if the model may not be evaluated on their split.

    same_source: whether they have the source of the model's training images.
    """
    if images.shape != model.image_shape:
        raise LimbeckError(
            f"{where}: takes images of {_size(model.image_shape)}; {images.name} has {_size(images.shape)}"
        )
    recorded = model.about.get("data")
    if not isinstance(recorded, Mapping):
        if split != "test" and images.name == model.about.get("trained_on"):
            raise LimbeckError(
                f"{where}: was saved before models recorded how their data were split, so the {split} split of "
                f"{images.name} may contain other images than in training; only --split test is safe"
            )
        return
    if images.dataset_fingerprint == recorded["dataset_fingerprint"]:
        if split != "test" and images.fingerprint != recorded["fingerprint"]:
            raise LimbeckError(
                f"{where}: {images.name} was split differently in training ({_parts(recorded['fingerprint'])}, now "
                f"{_parts(images.fingerprint)}), so its {split} split would hold other images; leave these options out"
            )
    elif same_source:
        raise LimbeckError(
            f"{where}: {images.name} is not what it was trained on (fingerprint {images.dataset_fingerprint[:SHOWN]} "
            f"instead of {recorded['dataset_fingerprint'][:SHOWN]}): images or options have changed, and its {split} "
            "split may contain training images"
        )


def seen_in_training(model: LoadedModel, images: Images, split: str) -> str:
    """Whether the images of a split were used in training, in words."""
    recorded = model.about.get("data")
    if isinstance(recorded, Mapping) and images.dataset_fingerprint == recorded["dataset_fingerprint"]:
        return {
            "test": "no",
            "validation": "no, but choices were made on them",
            "train": "yes: these are its training images",
        }[split]
    if not isinstance(recorded, Mapping) and images.name == model.about.get("trained_on") and split == "test":
        return "no, if the data and their options are unchanged"
    return "unknown: not the data that it was trained on"


def is_training_source(model: LoadedModel, source: str) -> bool:
    """Whether a source is that of the model's training images."""
    recorded = model.about.get("data")
    return isinstance(recorded, Mapping) and absolute_source(source) == recorded["source"]


def _completed(model: LoadedModel, data: Data | None, same_source: bool, where: str) -> Data:
    """The given data, completed by the options with which the model's own data were loaded."""
    recorded = model.about.get("data")
    if data is None and not isinstance(recorded, Mapping):
        raise LimbeckError(f"{where}: does not record its training data; add a source, as in folder:photos")
    given: dict[str, Any] = {} if data is None else {key: getattr(data, key) for key in data.model_fields_set}
    if isinstance(recorded, Mapping) and data is None:
        given["source"] = recorded["source"]
    entry = registry.find("data", given["source"])
    own: dict[str, Any] = {}
    if isinstance(recorded, Mapping) and _kind(recorded["source"]) == _kind(given["source"]):
        # Another path as well: moved or copied data have the same fingerprint, if loaded with the same options.
        own = {
            **recorded["options"],
            "validation": recorded["validation"],
            "train_images": recorded["train_images"],
        }
        if not same_source:
            own.pop("path", None)
    _, height, width = model.image_shape
    if "image_size" in entry.options and height == width:
        if given.get("image_size") not in (None, height):
            raise LimbeckError(
                f"{where}: takes images of {_size(model.image_shape)}; got image_size={given['image_size']}; leave it "
                "out, images are decoded for the model"
            )
        if not same_source:
            own["image_size"] = height
    return Data(**{**own, **given})


def _kind(source: str) -> str:
    return registry.split_name(source)[0]


def _size(shape: tuple[int, ...]) -> str:
    channels, height, width = shape
    return f"{height} x {width} px in {channels} channel{'s' * (channels != 1)}"


def _parts(fingerprint: str) -> str:
    whole, _, parts = fingerprint.partition("/")
    return f"{whole[:SHOWN]}/{parts}" if parts else whole[:SHOWN]
