"""The images on which a saved model is measured: decoded for it, and parted as they were when it was trained.

The rule. A model keeps the source, the options and the fingerprints of its data.

- Where its own data are asked for (by no name, by the same name or path, or by another path to equal images), they take
  the options that they had in training. They are measured if they have the same fingerprint still, and, for
  `validation` and `train`, are parted the same; else they are refused, because an image of one split may now be in
  another. This holds for the test split too: with `test=0.4` for `test=0.2` it would hold training images.
- Other data may be measured on any of their splits. Nobody knows whether they share images with the training data.
- A model of before this was kept is measured on the test split of its own data only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from limbeck.errors import LimbeckError, did_you_mean
from limbeck.recipes import registry
from limbeck.recipes.recipe import Data
from limbeck.types import Dataset

from .data import Images, load_images, split_dataset
from .saved_model import LoadedModel, whole_source

SPLITS = ("test", "validation", "train")
SHOWN = 12  # characters of a fingerprint that a person is shown


def evaluation_images(model: LoadedModel, data: Data | Dataset | None, split: str, where: str) -> Images:
    """The images of which `split` may be measured with `model`, decoded in its size.

    data: None takes those that the model was trained on. where: what errors call the model.
    Raises LimbeckError where the module's rule says so, and for images of another size than the model's.
    """
    check_split_name(split)
    kept = model.about.get("data")
    if isinstance(data, Dataset):
        alike = isinstance(kept, Mapping) and data.fingerprint == kept["dataset_fingerprint"]
        images = (
            split_dataset(data, kept["validation"], kept["train_images"]) if kept and alike else split_dataset(data)
        )
        same_source = False
    else:
        same_source = data is None or is_training_source(model, data.source)
        images = load_images(_completed(model, data, same_source, where))
    check_images(model, images, split, where, same_source=same_source)
    return images


def check_split_name(split: str) -> None:
    """Raises LimbeckError for what is no split."""
    if split not in SPLITS:
        raise LimbeckError(f"split: takes {', '.join(SPLITS)}; got {split!r}{did_you_mean(split, SPLITS)}")


def check_images(model: LoadedModel, images: Images, split: str, where: str, *, same_source: bool) -> None:
    """Raises LimbeckError where images are of another size, or a split of them may not be measured.

    same_source: whether they come from where the model's training images came from.
    """
    if images.shape != model.image_shape:
        raise LimbeckError(
            f"{where}: takes images of {_size(model.image_shape)}; those of {images.name} are {_size(images.shape)}"
        )
    kept = model.about.get("data")
    if not isinstance(kept, Mapping):
        if split != "test" and images.name == model.about.get("trained_on"):
            raise LimbeckError(
                f"{where}: was saved before models kept how their data were parted, so the {split} split of "
                f"{images.name} may be other images than it was; only --split test is sure"
            )
        return
    if images.dataset_fingerprint == kept["dataset_fingerprint"]:
        if split != "test" and images.fingerprint != kept["fingerprint"]:
            raise LimbeckError(
                f"{where}: {images.name} was parted otherwise when it was trained ({_parts(kept['fingerprint'])}, now "
                f"{_parts(images.fingerprint)}), so its {split} split would hold other images; leave these options out"
            )
    elif same_source:
        raise LimbeckError(
            f"{where}: {images.name} is not what it was trained on (fingerprint {images.dataset_fingerprint[:SHOWN]} "
            f"instead of {kept['dataset_fingerprint'][:SHOWN]}): images or options have changed, and its {split} "
            "split may hold training images"
        )


def seen_in_training(model: LoadedModel, images: Images, split: str) -> str:
    """Whether the images of a split were seen in training, in words."""
    kept = model.about.get("data")
    if isinstance(kept, Mapping) and images.dataset_fingerprint == kept["dataset_fingerprint"]:
        return {
            "test": "no",
            "validation": "no, but choices were made on them",
            "train": "yes: these are its training images",
        }[split]
    if not isinstance(kept, Mapping) and images.name == model.about.get("trained_on") and split == "test":
        return "no, if the data and their options are as they were"
    return "unknown: not the data that it was trained on"


def is_training_source(model: LoadedModel, source: str) -> bool:
    """Whether a source is where the model's training images came from."""
    kept = model.about.get("data")
    return isinstance(kept, Mapping) and whole_source(source) == kept["source"]


def _completed(model: LoadedModel, data: Data | None, same_source: bool, where: str) -> Data:
    """What was asked for, with the model's own options where none are given."""
    kept = model.about.get("data")
    if data is None and not isinstance(kept, Mapping):
        raise LimbeckError(f"{where}: does not say on which data it was trained; name them, as in folder:photos")
    given: dict[str, Any] = {} if data is None else {key: getattr(data, key) for key in data.model_fields_set}
    if isinstance(kept, Mapping) and data is None:
        given["source"] = kept["source"]
    entry = registry.find("data", given["source"])
    own: dict[str, Any] = {}
    if isinstance(kept, Mapping) and _kind(kept["source"]) == _kind(given["source"]):
        # Another path too: moved or copied data are told by their fingerprint, which takes equal options.
        own = {**kept["options"], "validation": kept["validation"], "train_images": kept["train_images"]}
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
