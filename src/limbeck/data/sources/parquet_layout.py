"""Layout of a Hugging Face data set in Parquet: files of each split, columns of images and labels, class names."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limbeck.data.splits import split_of_name
from limbeck.errors import LimbeckError, did_you_mean

PREFERRED_LABELS = ("label", "fine_label")
SHARD = re.compile(r"(?P<stem>.*)-(?P<place>\d{5})-of-(?P<count>\d{5})$")


def find_files(path: Path) -> Mapping[str, list[Path]]:
    """Files by split, sorted by name; a single split `"all"` if the names contain no split.

    path: a Parquet file, a folder of them, or a folder whose subfolder `data` contains them.
    A validation split without a test split becomes the test split: on data sets with secret test labels, such as
    Tiny-ImageNet, results are published on it. Models are then selected on images held out of train.
    Raises LimbeckError for a missing shard, a missing train split, and a name without a split among names with one.
    """
    if not path.exists():
        raise LimbeckError(f"{path}: no such file or folder; expected a Parquet file or a folder of them")
    files = [path] if path.is_file() else _in_folder(path)
    if not files:
        raise LimbeckError(f"{path}: contains no .parquet files")
    _check_shards(files)
    by_split: dict[str, list[Path]] = {}
    for file in files:
        by_split.setdefault(split_of_name(file.name) or "all", []).append(file)
    if "all" in by_split:
        if len(by_split) > 1:
            raise LimbeckError(
                f"{by_split['all'][0]}: the name contains no split, unlike the other files; "
                "expected train-…, validation-… or test-…"
            )
        return by_split
    if len(by_split) == 1:
        return {"all": files}  # the only split
    if "train" not in by_split:
        raise LimbeckError(f"{path}: no train-….parquet beside {', '.join(by_split)}")
    if "test" not in by_split and "validation" in by_split:
        by_split["test"] = by_split.pop("validation")
    return by_split if "test" in by_split else {"all": files}


def _in_folder(folder: Path) -> list[Path]:
    for place in (folder, folder / "data"):
        files = sorted(f for f in place.glob("*.parquet") if f.is_file() and not f.name.startswith("."))
        if files:
            return files
    return []


def _check_shards(files: list[Path]) -> None:
    for file in files:
        if shard := SHARD.match(file.stem):
            for place in range(int(shard["count"])):
                other = file.with_name(f"{shard['stem']}-{place:05d}-of-{shard['count']}.parquet")
                if not other.is_file():
                    raise LimbeckError(f"{other}: missing beside {file.name}")


@dataclass(frozen=True)
class Columns:
    """The columns to read.

    image, label: column names. class_names: from the metadata, or None.
    """

    image: str
    label: str
    class_names: tuple[str, ...] | None


def choose_columns(schema: Any, where: str, image: str | None, label: str | None) -> Columns:
    """The columns that the user names, or the only possible ones.

    schema: a `pyarrow.Schema`. where: the file.
    Raises LimbeckError that lists the columns if the choice is ambiguous.
    """
    features = _features(schema, where)
    images = [n for n in schema.names if features.get(n, {}).get("_type") == "Image" or _holds_bytes(schema.field(n))]
    labels = [n for n in schema.names if n not in images and _holds_labels(schema.field(n).type)]
    declared = [n for n in labels if features.get(n, {}).get("_type") == "ClassLabel"]
    chosen_image = _choose(image, images, (), where, "image", schema.names)
    chosen_label = _choose(
        label, declared if label is None and declared else labels, PREFERRED_LABELS, where, "label", labels
    )
    names = features.get(chosen_label, {}).get("names")
    if isinstance(names, Mapping):  # {"0": "cat", …}
        names = [names[str(place)] for place in range(len(names)) if str(place) in names]
    if names is not None and len({str(name) for name in names}) != len(names):
        raise LimbeckError(f"{where}: column {chosen_label!r} has two classes with the same name")
    return Columns(chosen_image, chosen_label, tuple(str(name) for name in names) if names else None)


def _choose(
    named: str | None,
    possible: list[str],
    preferred: tuple[str, ...],
    where: str,
    kind: str,
    listed: list[str],
) -> str:
    if named is not None:
        if named not in possible:
            raise LimbeckError(f"{where}: no {kind} column {named!r}{did_you_mean(named, possible or listed)}")
        return named
    for name in preferred:
        if name in possible:
            return name
    if len(possible) == 1:
        return possible[0]
    if not possible:
        raise LimbeckError(f"{where}: no column contains {kind}s; the columns are {', '.join(listed) or 'none'}")
    raise LimbeckError(
        f"{where}: several columns may contain {kind}s: {', '.join(possible)}; choose one with {kind}: …"
    )


def _features(schema: Any, where: str) -> Mapping[str, Any]:
    text = (schema.metadata or {}).get(b"huggingface")
    if text is None:
        return {}
    try:
        features = json.loads(text)["info"]["features"]
        return {name: feature for name, feature in features.items() if isinstance(feature, dict)}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LimbeckError(f"{where}: the schema's 'huggingface' metadata cannot be read: {error}") from error


def _holds_bytes(field: Any) -> bool:
    import pyarrow.types as types

    kind = field.type
    if types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0
    return types.is_binary(kind) or types.is_large_binary(kind)


def _holds_labels(kind: Any) -> bool:
    import pyarrow.types as types

    if types.is_dictionary(kind):
        kind = kind.value_type
    return types.is_integer(kind) or types.is_boolean(kind) or types.is_string(kind) or types.is_large_string(kind)
