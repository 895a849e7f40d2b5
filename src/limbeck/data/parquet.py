"""Images in parquet files as the Hugging Face hub serves them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.runs.errors import LimbeckError
from limbeck.types import Dataset

from . import parquet_files, store
from .decoding import Item, check_image_size, decoded, stored_shape
from .parquet_schema import Columns, choose
from .split import check_fraction, stratify
from .writing import SPLITS, Contents

ROWS = 128  # read at a time


def build(
    path: str,
    *,
    image: str | None = None,
    label: str | None = None,
    image_size: int | None = None,
    test: float = 0.2,
) -> Dataset:
    """Parquet files of the Hugging Face hub (image and label columns): one file or a folder.

    path: a folder with train-….parquet, test-….parquet and perhaps validation-….parquet, or one file.
    Without a test part the validation part is the test; without either, `test` is split off, stratified, by
    the rows' places.
    image, label: columns, where there are several (`label` and `fine_label` are taken first).
    image_size: pixels a side to store; small images of one size are kept as they are, photos become 224.
    Raises LimbeckError for files, columns or images that cannot be read, naming file and row.
    """
    where = Path(path).expanduser()
    check_image_size(image_size)
    check_fraction(test)
    files = parquet_files.find(where)
    options = {"image": image, "label": label, "image_size": image_size, "test": test}
    entry = store.key("parquet", options, [file for split in files.values() for file in split])
    name = f"parquet:{where.name}"
    return store.dataset(name, entry, lambda: _contents(name, where, files, image, label, image_size, test))


def _contents(
    name: str,
    where: Path,
    files: Mapping[str, list[Path]],
    image: str | None,
    label: str | None,
    image_size: int | None,
    test: float,
) -> Contents:
    columns = _columns(files, image, label)
    raw = {split: _labels(of_split, columns) for split, of_split in files.items()}
    class_names, classes = _classes(columns, raw)
    labels = {split: _numbers(of_split, classes, files[split][0]) for split, of_split in raw.items()}
    parts: dict[str, Callable[[], Iterator[Item]]]
    if "all" in files:
        held = stratify(labels["all"], test, [str(row) for row in range(len(labels["all"]))], class_names)
        rows = partial(_items, files["all"], columns, labels["all"])
        parts = {"train": partial(rows, ~held), "test": partial(rows, held)}
        sizes = {"train": int((~held).sum()), "test": int(held.sum())}
    else:
        parts = {
            split: partial(_items, files[split], columns, labels[split], None) for split in SPLITS if split in files
        }
        sizes = {split: len(labels[split]) for split in parts}

    def items() -> Iterator[Item]:
        for part in parts.values():
            yield from part()

    shape = stored_shape(name, items(), image_size)
    return Contents(class_names, sizes, shape, decoded(items(), shape), str(where))


def _open(file: Path) -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise LimbeckError(f"{file}: parquet needs pyarrow: pip install 'limbeck[parquet]'") from error
    try:
        return pyarrow.parquet.ParquetFile(file)
    except (pyarrow.ArrowException, OSError) as error:
        raise LimbeckError(f"{file}: not a readable parquet file: {_first_line(error)}") from error


def _columns(files: Mapping[str, list[Path]], image: str | None, label: str | None) -> Columns:
    first: tuple[Path, Columns] | None = None
    for file in (file for split in files.values() for file in split):
        with _open(file) as opened:
            columns = choose(opened.schema_arrow, str(file), image, label)
        if first is None:
            first = file, columns
        elif columns != first[1]:
            raise LimbeckError(f"{file}: {_difference(columns, first[1])} {first[0]}")
    assert first is not None
    return first[1]


def _difference(ours: Columns, others: Columns) -> str:
    if (ours.image, ours.label) != (others.image, others.label):
        return f"columns {ours.image}, {ours.label} differ from {others.image}, {others.label} of"
    one, other = set(ours.class_names or ()), set(others.class_names or ())
    only = ", ".join(sorted(one - other)) or "none", ", ".join(sorted(other - one)) or "none"
    return f"classes (only here: {only[0]}; only there: {only[1]}, or another order) differ from"


def _batches(file: Path, columns: list[str]) -> Iterator[Any]:
    import pyarrow

    with _open(file) as opened:
        try:
            yield from opened.iter_batches(batch_size=ROWS, columns=columns, use_threads=False)
        except (pyarrow.ArrowException, OSError) as error:
            raise LimbeckError(f"{file}: damaged: {_first_line(error)}") from error


def _labels(files: list[Path], columns: Columns) -> list[Any]:
    """Labels as they stand in the files, numbers or names."""
    found: list[Any] = []
    for file in files:
        start = len(found)
        for batch in _batches(file, [columns.label]):
            found += batch.column(0).to_pylist()
        if None in found[start:]:
            row = found.index(None, start) - start
            raise LimbeckError(f"{file}: row {row} has no {columns.label}")
    return found


def _classes(columns: Columns, labels: Mapping[str, list[Any]]) -> tuple[tuple[str, ...], Mapping[Any, int]]:
    """Class names, and the number of each label as it stands in the files."""
    present = {label for split in labels.values() for label in split}
    if columns.class_names is not None:
        names = columns.class_names
        by_name = any(isinstance(label, str) for label in present)
        return names, {name if by_name else place: place for place, name in enumerate(names)}
    ordered = sorted(present)
    return tuple(str(label) for label in ordered), {label: place for place, label in enumerate(ordered)}


def _numbers(labels: list[Any], classes: Mapping[Any, int], file: Path) -> np.ndarray:
    try:
        return np.array([classes[label] for label in labels], np.int64)
    except KeyError as error:
        hint = "; -1 marks images whose labels are secret" if error.args[0] == -1 else ""
        raise LimbeckError(
            f"{file}: label {error.args[0]!r}, but there are {len(classes)} classes in the metadata{hint}"
        ) from None


def _items(files: list[Path], columns: Columns, labels: np.ndarray, keep: np.ndarray | None) -> Iterator[Item]:
    """Rows in their order; those that `keep` `[N]` leaves out are passed over."""
    place = 0
    for file in files:
        row = 0
        for batch in _batches(file, [columns.image]):
            column = batch.column(0)
            for value in column.field("bytes") if hasattr(column, "field") else column:
                if keep is None or keep[place]:
                    data = value.as_py()
                    if data is None:
                        raise LimbeckError(f"{file}: row {row} holds no image bytes; a path alone cannot be followed")
                    yield Item(data, f"{file}: row {row}", int(labels[place]))
                place, row = place + 1, row + 1


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
