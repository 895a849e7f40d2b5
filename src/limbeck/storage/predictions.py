"""What learners predict for single images, kept in a run directory for reports; numpy and safetensors only.

Each file carries the SHA-256 of its own content, which is verified before it is used.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from limbeck.errors import LimbeckError, one_line

from .atomic import make_folder, write_file

FORMAT = 1
KEPT_CLASSES = 3
"""How many of the most probable classes are kept for each image."""
NO_PREDICTION = -1
"""The predicted class of an image whose logits were not finite, as in `evaluation/metrics.py`."""


@dataclass(frozen=True)
class Predictions:
    """The predictions of one learner on one split, in the order of the split.

    labels: `[N]`, the true classes. classes: `[N, T]`, the T = min(3, K) most probable classes, best first; among equal
    ones the lower index is first. Both are uint16, or uint32 with more than 65,536 classes. probabilities: `[N, T]`
    float16, those of `classes`; NaN where the logits were not finite: such an image counts as wrong.
    """

    labels: NDArray[Any]
    classes: NDArray[Any]
    probabilities: NDArray[Any]

    @property
    def predicted(self) -> NDArray[np.int64]:
        """`[N]`, the most probable class of each image, or `NO_PREDICTION`."""
        return np.where(np.isnan(self.confidence), NO_PREDICTION, self.classes[:, 0].astype(np.int64))

    @property
    def confidence(self) -> NDArray[np.float16]:
        """`[N]`, the largest probability of each image."""
        return self.probabilities[:, 0]

    @property
    def correct(self) -> NDArray[np.bool_]:
        """`[N]`, whether the predicted class is the true one."""
        return self.predicted == self.labels


@dataclass(frozen=True)
class SampleImages:
    """Images on which students and teachers disagree. split: where they are from. places: `[M]`, their positions in it.

    images: `[M, H, W, C]` uint8, reduced to at most 96 pixels.
    """

    split: str
    places: NDArray[Any]
    images: NDArray[Any]


@dataclass(frozen=True)
class Softened:
    """What temperatures do to the probabilities of one teacher on one split: its softmax at each of T temperatures.

    temperatures: `[T]`. ranked: `[T, R]`, the mean over images of the largest probability, the second largest, and so
    on. entropy: `[T]`, the mean over images in nats. Of E single images that it answers right, the places `[E]` in the
    split, the labels `[E]`, the R most probable classes `[E, R]`, and their probabilities `[E, T, R]`.
    """

    temperatures: NDArray[Any]
    ranked: NDArray[Any]
    entropy: NDArray[Any]
    places: NDArray[Any]
    labels: NDArray[Any]
    classes: NDArray[Any]
    probabilities: NDArray[Any]


def write_softened(path: Path, softened: Softened) -> None:
    """Write what temperatures do to a teacher; equal ones give equal bytes. Raises WriteError."""
    _write(path, {field.name: getattr(softened, field.name) for field in fields(Softened)})


def read_softened(path: Path) -> Softened:
    """What temperatures do to a teacher. Raises LimbeckError if the file is missing or damaged."""
    arrays = _read(path)
    names = [field.name for field in fields(Softened)]
    if set(arrays) != set(names):
        raise LimbeckError(f"{path}: damaged: not the probabilities of a teacher")
    found = Softened(**arrays)
    (t, r), e = found.ranked.shape if found.ranked.ndim == 2 else (-1, -1), found.places.size
    shapes = {"temperatures": (t,), "ranked": (t, r), "entropy": (t,), "places": (e,), "labels": (e,)}
    shapes |= {"classes": (e, r), "probabilities": (e, t, r)}
    if any(getattr(found, name).shape != shape for name, shape in shapes.items()):
        raise LimbeckError(f"{path}: damaged: arrays of different sizes")
    return found


def write_predictions(path: Path, by_split: Mapping[str, Predictions]) -> None:
    """Write the predictions of one learner, by split; equal ones give equal bytes. Raises WriteError."""
    arrays = {
        f"{split}.{field.name}": getattr(predictions, field.name)
        for split, predictions in by_split.items()
        for field in fields(Predictions)
    }
    _write(path, arrays)


def read_predictions(path: Path) -> dict[str, Predictions]:
    """The predictions of one learner by split. Raises LimbeckError if the file is missing or damaged."""
    arrays = _read(path)
    names = [field.name for field in fields(Predictions)]
    found: dict[str, Predictions] = {}
    for split in dict.fromkeys(name.rpartition(".")[0] for name in arrays):
        parts = [arrays.get(f"{split}.{name}") for name in names]
        labels, classes, probabilities = parts
        if labels is None or classes is None or probabilities is None:
            raise LimbeckError(f"{path}: damaged: {split} is not complete")
        if classes.ndim != 2 or classes.shape != probabilities.shape or labels.shape != classes.shape[:1]:
            raise LimbeckError(f"{path}: damaged: {split} has arrays of different sizes")
        found[split] = Predictions(labels, classes, probabilities)
    return found


def write_sample_images(path: Path, sample: SampleImages) -> None:
    """Write sample images; equal ones give equal bytes. Raises WriteError."""
    _write(path, {f"{sample.split}.places": sample.places, f"{sample.split}.images": sample.images})


def read_sample_images(path: Path) -> SampleImages:
    """The sample images of a run. Raises LimbeckError if the file is missing or damaged."""
    arrays = _read(path)
    split = next(iter(arrays), "").rpartition(".")[0]
    places, images = arrays.get(f"{split}.places"), arrays.get(f"{split}.images")
    if places is None or images is None or images.ndim != 4 or places.shape != images.shape[:1]:
        raise LimbeckError(f"{path}: damaged: not sample images")
    return SampleImages(split, places, images)


def _write(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    plain = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    about = {"format": FORMAT, "sha256": _sha256(plain)}
    make_folder(path.parent)
    write_file(path, save(plain, {"limbeck": json.dumps(about)}))  # one key: several have no fixed order


def _read(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with safe_open(path, framework="np") as file:
            about = json.loads((file.metadata() or {}).get("limbeck", "{}"))
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise LimbeckError(f"{path}: is missing") from error
    except (OSError, ValueError, TypeError, AttributeError, RecursionError, SafetensorError) as error:
        raise LimbeckError(f"{path}: damaged: {one_line(error, 100)}") from error
    if not isinstance(about, dict) or about.get("sha256") != _sha256(arrays):
        raise LimbeckError(f"{path}: damaged: its checksum does not match")
    if about.get("format") != FORMAT:
        raise LimbeckError(f"{path}: is of format {about.get('format')}; this version reads {FORMAT}")
    return arrays


def _sha256(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Of the names, types, shapes and content of arrays."""
    return hashlib.sha256(save(dict(arrays))).hexdigest()
