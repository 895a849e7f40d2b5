"""Which parquet files belong to which split, by their names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from limbeck.data.split_names import split_of
from limbeck.errors import LimbeckError

SHARD = re.compile(r"(?P<stem>.*)-(?P<place>\d{5})-of-(?P<count>\d{5})$")


def find(path: Path) -> Mapping[str, list[Path]]:
    """Files by split, in the order of their names; the one split `"all"` where no name tells.

    path: one parquet file, or a folder of them (or of a folder `data` that holds them).
    Where there is a validation part but no test, it is the test: data sets with secret test labels publish
    their results on it (Tiny-ImageNet does). Choices are then made on what is held out of train.
    Raises LimbeckError for a missing shard, a name that tells no split beside others that do, and where
    train is missing.
    """
    if not path.exists():
        raise LimbeckError(f"{path}: no such file or folder; it takes a parquet file or a folder of them")
    files = [path] if path.is_file() else _in_folder(path)
    if not files:
        raise LimbeckError(f"{path}: holds no .parquet file")
    _check_shards(files)
    by_split: dict[str, list[Path]] = {}
    for file in files:
        by_split.setdefault(split_of(file.name) or "all", []).append(file)
    if "all" in by_split:
        if len(by_split) > 1:
            raise LimbeckError(
                f"{by_split['all'][0]}: its name tells no split beside others that do; "
                "it takes train-…, validation-… or test-…"
            )
        return by_split
    if len(by_split) == 1:
        return {"all": files}  # a part that was named alone is the whole that there is
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
