"""Read a map-style PyTorch dataset, which has `len(dataset)` and `dataset[i]`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from limbeck.console import progress_bar
from limbeck.errors import LimbeckError, one_line, short_repr

IMAGES_READ_TWICE = 3
"""Number of images that are read twice, to detect random transforms."""


def is_map_style(value: Any) -> bool:
    """Whether a value has `len()` and indexing, but is not an array, tensor, mapping or built-in sequence."""
    if isinstance(value, np.ndarray | Tensor | str | bytes | dict | list | tuple | range | type):
        return False
    return hasattr(value, "__len__") and hasattr(value, "__getitem__")


def read(dataset: Any, where: str) -> tuple[np.ndarray, np.ndarray, Sequence[str] | None]:
    """Images `[N, H, W, C]` of any dtype, labels `[N]`, and class names if the dataset has `classes`.

    Items are `(image, label)`. An image is a Pillow image, an array `[H, W]` or `[H, W, C]`, or a tensor `[C, H, W]` or
    `[H, W]`. Raises LimbeckError for anything else, for images of several sizes, and for images that change from one
    read to the next: augmentation belongs in `views`.
    """
    try:
        count = len(dataset)
    except Exception as error:
        raise LimbeckError(f"{where}: the dataset has no length ({one_line(error)})") from error
    if count == 0:
        raise LimbeckError(f"{where}: the dataset is empty")
    images: np.ndarray | None = None
    labels: list[Any] = []
    with progress_bar.bar(f"reading {where}", count) as advance:
        for place in range(count):
            image, label = _item(dataset, place, where)
            if images is None:
                images = np.empty((count, *image.shape), image.dtype)
            if image.shape != images.shape[1:] or image.dtype != images.dtype:
                raise LimbeckError(
                    f"{where}: image {place} is {list(image.shape)} {image.dtype}, but image 0 is "
                    f"{list(images.shape[1:])} {images.dtype} (H, W, C); resize all images to one size"
                )
            if place < IMAGES_READ_TWICE and not np.array_equal(_item(dataset, place, where)[0], image):
                raise LimbeckError(
                    f"{where}: image {place} changes each time it is read; remove the dataset's random transforms, "
                    "because Limbeck augments images itself (`views=`)"
                )
            images[place] = image
            labels.append(label)
            advance(1)
    assert images is not None
    names = getattr(dataset, "classes", None)
    known = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
    return images, np.array(labels, np.int64), list(names) if known and names else None  # type: ignore[arg-type]


def _item(dataset: Any, place: int, where: str) -> tuple[np.ndarray, int]:
    try:
        item = dataset[place]
    except Exception as error:
        raise LimbeckError(
            f"{where}: item {place} of {type(dataset).__name__} raised {type(error).__name__}: {one_line(error)}"
        ) from error
    if not isinstance(item, tuple | list) or len(item) < 2:
        raise LimbeckError(f"{where}: items must be (image, label); item {place} is a {type(item).__name__}")
    label = item[1]
    try:
        number = int(label)
        whole = float(label) == number
    except (TypeError, ValueError, RuntimeError, OverflowError):
        number, whole = 0, False
    if not whole:
        raise LimbeckError(f"{where}: labels must be integers from 0; item {place} has {short_repr(label)}")
    return _image(item[0], place, where), number


def _image(image: Any, place: int, where: str) -> np.ndarray:
    """`[H, W, C]`."""
    if isinstance(image, Image.Image):
        array = np.asarray(image if image.mode in ("L", "RGB") else image.convert("L" if image.mode == "1" else "RGB"))
    elif isinstance(image, Tensor):
        array = image.detach().cpu().numpy()
        array = array.transpose(1, 2, 0) if array.ndim == 3 else array
    elif isinstance(image, np.ndarray):
        array = image
    else:
        raise LimbeckError(
            f"{where}: images must be Pillow images, arrays or tensors; item {place} has a {type(image).__name__}"
        )
    array = array[..., None] if array.ndim == 2 else array
    if array.ndim != 3 or array.dtype == object:
        raise LimbeckError(
            f"{where}: images must be [H, W, C], or tensors [C, H, W]; item {place} is {list(array.shape)}"
        )
    return array
