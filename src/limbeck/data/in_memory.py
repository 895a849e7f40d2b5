"""A data set from images in memory, for the Python API."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from limbeck import types
from limbeck.console import progress_bar
from limbeck.errors import LimbeckError, short_repr
from limbeck.types import Normalisation, Split

from . import map_style
from .cache_writer import SMALLEST_SD, SPLITS, fingerprint, leak_note
from .splits import stratified_split

TEST_FRACTION = 0.2
CHANNEL_COUNTS = (1, 3)
MAX_CLASSES = 1_000_000


class Dataset(types.Dataset):
    """A labelled set of images, made with `limbeck.Dataset.from_arrays(...)`."""

    @classmethod
    def from_arrays(
        cls,
        train: Any,
        test: Any = None,
        validation: Any = None,
        *,
        class_names: Sequence[str] | None = None,
        channels: str | None = None,
        name: str = "arrays",
    ) -> Dataset:
        """Make a data set from images in memory. Computes fingerprint and normalisation, and class names if needed.

        train, test, validation: each `(images, labels)`, or a map-style dataset (`len(d)`, `d[i]`) of `(image, label)`
        whose images are Pillow images, arrays or tensors of one size. Without `test`, 20 % of each class of `train` are
        held out as the test split; the choice depends only on the data.
        images: arrays or tensors `[N, H, W]`, `[N, H, W, C]` or `[N, C, H, W]`, with C = 1 or 3. uint8, or other
        integers from 0 to 255, or floats in [0, 1] that are multiples of 1 / 255 and are converted back to uint8.
        Images must not be normalised, because Limbeck normalises them itself.
        labels: `[N]`, integers from 0, or strings, whose sorted list then becomes `class_names`.
        channels: `first` or `last`, if the shape is ambiguous; C may then be any number.
        Raises LimbeckError for all other input.
        """
        if channels is not None and (not isinstance(channels, str) or channels not in ("first", "last")):
            raise LimbeckError(f"channels must be 'first' or 'last'; got {short_repr(channels)}")
        given = {"train": train, "validation": validation, "test": test}
        read = {split: _raw_split(value, split) for split, value in given.items() if value is not None}
        if "train" not in read:
            raise LimbeckError("data: no training images; expected (images, labels)")
        found = [raw.class_names for raw in read.values() if raw.class_names is not None]
        pixels = {s: _pixels(raw.images, raw.channels or channels, f"{s} images") for s, raw in read.items()}
        names, labels = _encode_labels({s: raw.labels for s, raw in read.items()}, class_names, found)
        splits = {split: _split(pixels[split], labels[split], split) for split in read}
        shapes = {split: tuple(part.images.shape[1:]) for split, part in splits.items()}
        for split, shape in shapes.items():
            if shape != shapes["train"]:
                raise LimbeckError(
                    f"{split} images have shape {shape} (C, H, W), but train images have {shapes['train']}"
                )
        _check_classes(splits["train"], names)
        identity = _fingerprint(splits, names)
        if "test" not in splits:
            splits["train"], splits["test"] = stratified_split(splits["train"], TEST_FRACTION, identity)
            identity = f"{identity}-test={TEST_FRACTION}"
        else:
            _report_leaks(splits, name)
        return cls(
            name=str(name),
            class_names=names,
            train=splits["train"],
            validation=splits.get("validation"),
            test=splits["test"],
            fingerprint=identity,
            normalisation=normalisation_of(splits["train"]),
        )


class _RawSplit(NamedTuple):
    """One split as the caller passes it, with the position of its channels and its class names if known."""

    images: Any
    labels: Any
    channels: str | None = None
    class_names: Sequence[str] | None = None


def _raw_split(value: Any, split: str) -> _RawSplit:
    if isinstance(value, Split):
        return _RawSplit(value.images, value.labels, "first")
    if isinstance(value, tuple | list) and len(value) == 2:
        return _RawSplit(*value)
    if map_style.is_map_style(value):
        images, labels, names = map_style.read(value, split)
        return _RawSplit(images, labels, "last", names)
    raise LimbeckError(
        f"data: {split} must be (images, labels) as arrays or tensors, or a map-style dataset; got {_describe(value)}"
    )


def _pixels(images: Any, channels: str | None, where: str) -> Tensor:
    """`[N, C, H, W]` uint8 whose memory is laid out `N, H, W, C`."""
    array = _array(images, where)
    if array.ndim == 3:
        array = array[..., None]
    elif array.ndim == 4 and (channels or _channels(array.shape, where)) == "first":
        array = array.transpose(0, 2, 3, 1)
    elif array.ndim != 4:
        raise LimbeckError(f"{where}: expected [N, H, W], [N, H, W, C] or [N, C, H, W]; got {list(array.shape)}")
    if not all(array.shape):
        raise LimbeckError(f"{where}: shape {list(array.shape)} is empty")
    return torch.from_numpy(np.ascontiguousarray(_to_uint8(array, where))).permute(0, 3, 1, 2)


def _channels(shape: tuple[int, ...], where: str) -> str:
    first, last = shape[1] in CHANNEL_COUNTS, shape[-1] in CHANNEL_COUNTS
    if first == last:
        which = "both the second and the last" if first else "neither the second nor the last"
        raise LimbeckError(
            f"{where}: in shape {list(shape)}, {which} dimension can be 1 or 3 channels; pass channels='first' or "
            "'last' to limbeck.Dataset.from_arrays"
        )
    return "first" if first else "last"


def _to_uint8(array: np.ndarray, where: str) -> np.ndarray:
    """Convert an array to uint8 without loss. Raises LimbeckError if that is impossible."""
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind not in "iuf":
        raise LimbeckError(f"{where}: expected uint8 values from 0 to 255; got {array.dtype}")
    low, high = array.min(), array.max()
    if array.dtype.kind == "f":
        scaled = array.astype(np.float64) * 255
        whole = np.rint(scaled)
        # A level divided by 255 in float16 is off by at most 0.06.
        if not 0 <= low <= high <= 1 or np.abs(scaled - whole).max() > 0.07:
            raise LimbeckError(
                f"{where}: floats must be multiples of 1 / 255 in [0, 1]; got {low:.6g} to {high:.6g}; pass uint8 from "
                "0 to 255, not normalised (Limbeck normalises images itself)"
            )
        return whole.astype(np.uint8)
    if low < 0 or high > 255:
        raise LimbeckError(f"{where}: expected values from 0 to 255; got {low} to {high}")
    return array.astype(np.uint8)


def _encode_labels(
    given: dict[str, Any], class_names: Sequence[str] | None, found: Sequence[Sequence[str]]
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Class names, and integer labels `[N]` of each split."""
    arrays = {split: _array(labels, f"{split} labels") for split, labels in given.items()}
    for split, array in arrays.items():
        if array.ndim != 1 or array.dtype.kind not in "iubU":
            raise LimbeckError(
                f"{split} labels: expected [N] integers from 0, or strings; got {list(array.shape)} {array.dtype}"
            )
    words = [array.dtype.kind == "U" for array in arrays.values()]
    if any(words) and not all(words):
        raise LimbeckError("labels: some splits have strings and others integers; use one kind for all")
    names = class_names if class_names is not None else found[0] if found else None
    if names is not None and (
        isinstance(names, str)
        or not isinstance(names, Sequence)
        or not names
        or not all(isinstance(name, str) for name in names)
        or len(set(names)) != len(names)
    ):
        raise LimbeckError(
            f"class_names: expected a list of distinct strings, one for each class; got {short_repr(names)}"
        )
    if any(words):
        names = list(names) if names is not None else sorted({str(word) for a in arrays.values() for word in a})
        label_of = {name: label for label, name in enumerate(names)}
        for split, array in arrays.items():
            if unknown := next((str(word) for word in array if str(word) not in label_of), None):
                raise LimbeckError(f"{split} labels: {short_repr(unknown)} is not one of the class names")
        arrays = {split: np.array([label_of[str(word)] for word in a], np.int64) for split, a in arrays.items()}
    count = len(names) if names is not None else MAX_CLASSES
    for split, array in arrays.items():
        low, high = int(array.min(initial=0)), int(array.max(initial=0))
        if not 0 <= low <= high < count:
            wrong = low if low < 0 else high
            raise LimbeckError(f"{split} labels: {wrong} is outside the {count:,} classes (0 to {count - 1:,})")
    if names is None:
        names = [str(label) for label in range(max(int(array.max(initial=0)) for array in arrays.values()) + 1)]
    return tuple(names), {split: array.astype(np.int64) for split, array in arrays.items()}


def _split(pixels: Tensor, labels: np.ndarray, split: str) -> Split:
    if len(pixels) != len(labels):
        raise LimbeckError(f"{split}: {len(pixels)} images but {len(labels)} labels")
    return Split(pixels, torch.from_numpy(labels))


def _check_classes(train: Split, names: Sequence[str]) -> None:
    counts = torch.bincount(train.labels, minlength=len(names))
    if not bool(counts.all()):
        raise LimbeckError(f"data: class {names[int(counts.argmin())]!r} has no training images")


def _array(value: Any, where: str) -> np.ndarray:
    """Convert an array, a tensor or a list of equally shaped ones to a numpy array."""
    try:
        if isinstance(value, Tensor):
            return value.detach().cpu().numpy()
        if isinstance(value, list | tuple) and value and isinstance(value[0], Tensor):
            value = [part.detach().cpu().numpy() for part in value]
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise LimbeckError(f"{where}: expected an array or a tensor; got {_describe(value)}") from error
    if array.dtype == object or array.ndim == 0:
        raise LimbeckError(f"{where}: expected an array or a tensor; got {_describe(value)}")
    return array


def _fingerprint(splits: dict[str, Split], names: tuple[str, ...]) -> str:
    ordered = [splits[split] for split in SPLITS if split in splits]
    pixels = hashlib.sha256()
    for part in ordered:
        pixels.update(_rows(part).data)
    meta = {
        "class_names": list(names),
        "sizes": {split: len(splits[split]) if split in splits else 0 for split in SPLITS},
        "shape": [sum(map(len, ordered)), *_rows(ordered[0]).shape[1:]],
    }
    return fingerprint(pixels, torch.cat([part.labels for part in ordered]).numpy(), meta)


def normalisation_of(train: Split) -> Normalisation:
    """Mean and standard deviation of each channel, computed exactly from the counts of each pixel value."""
    rows = _rows(train)
    counts = np.stack([np.bincount(rows[..., c].ravel(), minlength=256) for c in range(rows.shape[-1])])
    share, values = counts / counts.sum(axis=1, keepdims=True), np.arange(256) / 255
    mean = share @ values
    sd = np.maximum(np.sqrt((share * (values - mean[:, None]) ** 2).sum(axis=1)), SMALLEST_SD)
    return Normalisation(tuple(mean.tolist()), tuple(sd.tolist()))


def _report_leaks(splits: dict[str, Split], name: str) -> None:
    def digests(split: str) -> list[bytes]:
        rows = _rows(splits[split]) if split in splits else ()
        return [hashlib.blake2b(np.ascontiguousarray(row).data, digest_size=16).digest() for row in rows]

    seen = {*digests("train"), *digests("validation")}
    leaks = sum(digest in seen for digest in digests("test"))
    if leaks:
        progress_bar.notice(f"{name}: {leak_note(leaks, len(splits['test']))}")


def _rows(split: Split) -> np.ndarray:
    """`[N, H, W, C]`."""
    return np.ascontiguousarray(split.images.permute(0, 2, 3, 1).cpu().numpy())


def _describe(value: Any) -> str:
    shape = getattr(value, "shape", None)
    kind = type(value).__name__
    return kind if shape is None else f"{kind} {list(shape) if isinstance(shape, tuple) else shape}"
