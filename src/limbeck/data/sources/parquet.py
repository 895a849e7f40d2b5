"""Images in Parquet files of the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.data import cache
from limbeck.data.decode_parallel import EncodedImage, check_image_size
from limbeck.data.inventory import Inventory, cached_dataset, missing_classes_notes, untested_classes_notes
from limbeck.data.splits import check_fraction, stratified_mask
from limbeck.data.unreadable import ReadOptions, advice, check_spoilt_option
from limbeck.errors import LimbeckError
from limbeck.types import Dataset

from .parquet_layout import Columns, choose_columns, find_files

ROWS_PER_BATCH = 128


def build(
    path: str,
    *,
    image: str | None = None,
    label: str | None = None,
    image_size: int | None = None,
    test: float = 0.2,
    spoilt: str = "refuse",
) -> Dataset:
    """Parquet files of the Hugging Face Hub with image and label columns: one file or a folder.

    path: a folder with train-….parquet, test-….parquet and optionally validation-….parquet, or one file.
    Without labelled test images (labels missing or all -1), validation is the test split. Without either, a stratified
    fraction `test` is held out, chosen by row number.
    image, label: columns, if several are possible (`label` and `fine_label` are preferred).
    image_size: stored side in pixels; by default small images of one size are unchanged and photos become 224.
    spoilt: refuse or skip unreadable images; the report counts skipped ones.
    Raises LimbeckError, with file and row, for files, columns or images that cannot be read.
    """
    where = Path(path).expanduser()
    check_image_size(image_size)
    check_fraction(test)
    check_spoilt_option(spoilt)
    files = find_files(where)
    options = {"image": image, "label": label, "image_size": image_size, "test": test, "spoilt": spoilt}
    entry = cache.key("parquet", options, [file for split in files.values() for file in split])
    name = f"parquet:{where.name}"
    return cached_dataset(
        name,
        entry,
        lambda reading: _inventory(where, files, image, label, test, reading),
        image_size=image_size,
        spoilt=spoilt,
        advice=advice("parquet", path),
    )


def inventory(path: str, *, image: str | None = None, label: str | None = None, test: float = 0.2) -> Inventory:
    """List the images of the files. Raises LimbeckError for files or columns that cannot be read."""
    where = Path(path).expanduser()
    check_fraction(test)
    return _inventory(where, find_files(where), image, label, test, ReadOptions())


def _inventory(
    where: Path,
    files: Mapping[str, list[Path]],
    image: str | None,
    label: str | None,
    test: float,
    reading: ReadOptions,
) -> Inventory:
    files, notes = _with_labels(files, image, label)
    columns = _columns(files, image, label)
    raw = {split: _labels(of_split, columns) for split, of_split in files.items()}
    class_names, classes = _classes(columns, raw)
    labels = {split: _numbers(of_split, classes, files[split][0]) for split, of_split in raw.items()}
    included = {split: _included_rows(files[split], len(of_split), reading) for split, of_split in labels.items()}
    source = {split: split for split in labels}
    if "all" in files:
        places = np.flatnonzero(included["all"])
        held = stratified_mask(labels["all"][places], test, [str(row) for row in places])
        notes += untested_classes_notes(labels["all"][places], held, class_names)
        included = {"train": _mask(included["all"], places[~held]), "test": _mask(included["all"], places[held])}
        source = {"train": "all", "test": "all"}
    else:
        notes += missing_classes_notes(labels, class_names)
    return Inventory(
        str(where),
        class_names,
        {split: partial(_items, files[of], columns, labels[of], included[split]) for split, of in source.items()},
        {split: labels[of][included[split]] for split, of in source.items()},
        [str(row) for row in np.flatnonzero(included["train"])],
        notes=notes,
    )


def _mask(like: np.ndarray, places: np.ndarray) -> np.ndarray:
    mask = np.zeros_like(like)
    mask[places] = True
    return mask


def _included_rows(files: list[Path], count: int, reading: ReadOptions) -> np.ndarray:
    """The mask of the rows of a split that are not skipped, `[N]` bool."""
    if not reading.skipped:
        return np.ones(count, bool)
    return np.array([_where(file, row) not in reading.skipped for file in files for row in range(_rows(file))], bool)


def _where(file: Path, row: int) -> str:
    return f"{file}: row {row}"


def _rows(file: Path) -> int:
    with _open(file) as opened:
        return opened.metadata.num_rows


def _with_labels(
    files: Mapping[str, list[Path]], image: str | None, label: str | None
) -> tuple[Mapping[str, list[Path]], list[str]]:
    """The splits without an unlabelled test split, and a note about it.

    On the Hub, secret labels are -1, null or a missing column. The validation split then becomes the test split.
    """
    if "test" not in files or "train" not in files or _has_labels(files["test"], files["train"][0], image, label):
        return files, []
    others = {split: of_split for split, of_split in files.items() if split != "test"}
    if "validation" in others:
        others["test"] = others.pop("validation")
        return others, ["the test split has no labels; the validation split is used as test split"]
    return {"all": others["train"]}, ["the test split has no labels; a test split is held out of train"]


def _has_labels(files: list[Path], train: Path, image: str | None, label: str | None) -> bool:
    with _open(train) as opened:
        columns = choose_columns(opened.schema_arrow, str(train), image, label)
    for file in files:
        with _open(file) as opened:
            if columns.label not in opened.schema_arrow.names:
                continue
        for batch in _batches(file, [columns.label]):
            if not {None, -1, ""}.issuperset(batch.column(0).to_pylist()):
                return True
    return False


def _open(file: Path) -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise LimbeckError(f"{file}: Parquet files need pyarrow: pip install 'limbeck[parquet]'") from error
    try:
        return pyarrow.parquet.ParquetFile(file)
    except (pyarrow.ArrowException, OSError) as error:
        raise LimbeckError(f"{file}: not a readable Parquet file: {_first_line(error)}") from error


def _columns(files: Mapping[str, list[Path]], image: str | None, label: str | None) -> Columns:
    first: tuple[Path, Columns] | None = None
    for file in (file for split in files.values() for file in split):
        with _open(file) as opened:
            columns = choose_columns(opened.schema_arrow, str(file), image, label)
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
    only_here, only_there = ", ".join(sorted(one - other)), ", ".join(sorted(other - one))
    if not only_here and not only_there:
        return "the order of the classes differs from"
    return f"classes (only here: {only_here or 'none'}; only there: {only_there or 'none'}) differ from"


def _batches(file: Path, columns: list[str]) -> Iterator[Any]:
    import pyarrow

    with _open(file) as opened:
        try:
            yield from opened.iter_batches(batch_size=ROWS_PER_BATCH, columns=columns, use_threads=False)
        except (pyarrow.ArrowException, OSError) as error:
            raise LimbeckError(f"{file}: damaged: {_first_line(error)}") from error


def _labels(files: list[Path], columns: Columns) -> list[Any]:
    """Labels as stored in the files, numbers or names."""
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
    """Class names, and the class index of each stored label."""
    present = {label for split in labels.values() for label in split}
    if columns.class_names is not None:
        names = columns.class_names
        by_name = any(isinstance(label, str) for label in present)
        return names, {name if by_name else place: place for place, name in enumerate(names)}
    ordered = sorted(present)
    names = tuple(str(label).lower() if isinstance(label, bool) else str(label) for label in ordered)
    return names, {label: place for place, label in enumerate(ordered)}


def _numbers(labels: list[Any], classes: Mapping[Any, int], file: Path) -> np.ndarray:
    try:
        return np.array([classes[label] for label in labels], np.int64)
    except KeyError as error:
        hint = "; -1 marks images whose labels are secret" if error.args[0] == -1 else ""
        raise LimbeckError(
            f"{file}: label {error.args[0]!r} is invalid; the metadata has {len(classes)} classes{hint}"
        ) from None


def _items(files: list[Path], columns: Columns, labels: np.ndarray, include: np.ndarray) -> Iterator[EncodedImage]:
    """The rows selected by the mask `include` `[N]`, in order."""
    place = 0
    for file in files:
        row = 0
        for batch in _batches(file, [columns.image]):
            column = batch.column(0)
            for value in column.field("bytes") if hasattr(column, "field") else column:
                if include[place]:
                    yield EncodedImage(value.as_py(), _where(file, row), int(labels[place]))
                place, row = place + 1, row + 1


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
