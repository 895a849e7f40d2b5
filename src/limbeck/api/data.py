"""The `data` argument of `distill` and `evaluate`: a source, or images in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from limbeck import types
from limbeck.building.data import Images, load_images, split_dataset
from limbeck.data.in_memory import Dataset
from limbeck.data.map_style import is_map_style
from limbeck.errors import LimbeckError
from limbeck.recipes.calls import NamedData
from limbeck.recipes.load import check, plain
from limbeck.recipes.recipe import Data
from limbeck.types import Split

TAKES = (
    "a source ('cifar10', 'folder:photos/'), a mapping as under `data:` in a recipe, a limbeck.Dataset, "
    "(images, labels), (train_images, train_labels, test_images, test_labels), a map-style dataset, or a mapping of "
    "splits {'train': …, 'validation': …, 'test': …}"
)


def images_of(data: Data | types.Dataset) -> Images:
    """The training, validation and test split of a source or a data set."""
    return load_images(data) if isinstance(data, Data) else split_dataset(data)


def named_source(data: Any) -> Mapping[str, Any] | None:
    """The source as under `data:` in a recipe, not yet checked; None for data in memory."""
    if isinstance(data, str):
        return {"source": data}
    return data if isinstance(data, Mapping) and not _are_splits(data) else None


def data_or_dataset(data: Any, caller: str) -> Data | types.Dataset:
    """A checked source, or a data set of the images in memory. caller: for messages. Raises LimbeckError."""
    if (source := named_source(data)) is None:
        return dataset_in_memory(data)
    return check(plain({"data": source}, source=caller), caller, {}, NamedData).data


def dataset_in_memory(data: Any) -> types.Dataset:
    """A data set of arrays, tensors, splits or map-style datasets. Raises LimbeckError for anything else."""
    if isinstance(data, types.Dataset):
        return data
    if isinstance(data, Mapping):
        return Dataset.from_arrays(**data)
    if is_map_style(data) or isinstance(data, Split):
        return Dataset.from_arrays(data)
    if isinstance(data, tuple | list):
        if len(data) == 4:
            return Dataset.from_arrays(tuple(data[:2]), tuple(data[2:]))
        if len(data) == 2:
            nested = all(isinstance(d, Split) or is_map_style(d) or _is_pair(d) for d in data)
            return Dataset.from_arrays(*data) if nested else Dataset.from_arrays(tuple(data))
        raise LimbeckError(f"data takes {TAKES}; got {len(data)} values")
    raise LimbeckError(f"data takes {TAKES}; got {type(data).__name__}")


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2


def _are_splits(data: Mapping[Any, Any]) -> bool:
    return "train" in data and set(data) <= {"train", "validation", "test"}
