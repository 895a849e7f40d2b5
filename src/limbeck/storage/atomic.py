"""Writing that is whole or not there: beside, flushed to the disk, renamed."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from limbeck.errors import LimbeckError

TEMPORARY = ".tmp-"


@contextlib.contextmanager
def saying_where(path: Path) -> Iterator[None]:
    """Turn an operating-system error into one line with the path and the reason.

    Nothing is tried again: after a failed flush the kernel may call lost pages clean.
    """
    try:
        yield
    except OSError as error:
        raise LimbeckError(f"{path}: cannot be written: {error.strerror or error}") from error


def write_durably(path: Path, content: bytes) -> None:
    """Write a new file and wait until it is on the disk."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def make_folder(path: Path) -> None:
    """Make a folder, with those above it, and wait until they are on the disk."""
    missing = [path, *path.parents]
    missing = missing[: next(i for i, folder in enumerate(missing) if folder.exists())]
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        flush_folder(folder.parent)
    if not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))


def plain_name(name: str) -> str:
    """`name`, if it names something in a folder and not elsewhere.

    Raises LimbeckError for separators, `..`, hidden names and what no file can be called.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,199}", name):
        raise LimbeckError(f"{name!r}: takes a plain name of a file, of letters, digits, '.', '_', '+' and '-'")
    return name


def flush_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace(path: Path, content: bytes) -> None:
    """Put a file in place at once: readers see the old content or the new, and a power cut keeps one of them.

    Raises LimbeckError with the path and the reason.
    """
    beside = path.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
    with saying_where(path):
        try:
            write_durably(beside, content)
            beside.replace(path)
            flush_folder(path.parent)
        finally:
            beside.unlink(missing_ok=True)


def files_below(folder: Path) -> Iterator[Path]:
    """Every file below a folder in which others may be at work: what goes in the meantime is passed over.

    Path.glob raises where a folder goes between being listed and being looked into (seen with Python 3.11).
    """
    for here, _, names in os.walk(folder):
        for name in names:
            yield Path(here, name)


def remove_unfinished(folder: Path) -> None:
    """Remove what killed writers left in a folder. To be called where no other may be writing."""
    for path in folder.glob(f"{TEMPORARY}*"):
        if path.is_symlink() or path.is_file():
            path.unlink(missing_ok=True)
        else:
            shutil.rmtree(path, ignore_errors=True)


def copy_folder(folder: Path, to: Path) -> None:
    """Copy a folder to a place where none is: whole or not there, and on the disk when this returns.

    Raises LimbeckError with the path and the reason.
    """
    beside = to.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
    with saying_where(to):
        try:
            _copy_durably(folder, beside)
            beside.rename(to)
            flush_folder(to.parent)
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def _copy_durably(folder: Path, to: Path) -> None:
    to.mkdir()
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            _copy_durably(path, to / path.name)
        else:
            write_durably(to / path.name, path.read_bytes())
    flush_folder(to)


def write_json(path: Path, value: Any) -> None:
    """`replace` with readable JSON, a list of numbers on one line; a number that is not finite becomes null."""
    text = json.dumps(finite(value), indent=2, ensure_ascii=False)
    replace(path, (_LIST_OF_NUMBERS.sub(_on_one_line, text) + "\n").encode())


_LIST_OF_NUMBERS = re.compile(r"\[\n *(?:(?:null|[-\d][-+.\deE]*),?\n *)+\]")  # a line break is never inside a string


def _on_one_line(found: re.Match[str]) -> str:
    return re.sub(r"\n *", " ", found[0]).replace("[ ", "[").replace(" ]", "]")


def read_json(path: Path) -> Any:
    """What `write_json` wrote. Raises LimbeckError where it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LimbeckError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise LimbeckError(f"{path}: damaged, not readable as JSON: {error}") from error


def finite(value: Any) -> Any:
    """What JSON can hold: a number that is not finite becomes null."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
