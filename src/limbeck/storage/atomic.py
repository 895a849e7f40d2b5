"""Files and folders that are written whole or not at all.

Content is written under a temporary name beside its final place, flushed to the disk and renamed. A reader sees the
old content or the new, and a power cut leaves one of the two. What a killed writer leaves behind has a name that begins
with `.tmp-`; `remove_leftovers` removes it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from limbeck.errors import LimbeckError

TEMPORARY = ".tmp-"
BUFFER = 2**16
"""Bytes. Small tensors are gathered in a buffer of this size before they are written."""
ABANDONED_AFTER = 24 * 3600.0
"""Seconds after which a temporary folder counts as abandoned, on a drive without file locks."""

Content = bytes | Callable[[], Iterable[bytes | memoryview]]
"""What a file is to hold: its bytes, or a function that returns them in chunks, so that they are never all in memory.
The function returns the same chunks each time it is called. A memoryview is of bytes (format `B`)."""

Existing = Literal["refuse", "replace", "keep"]


class WriteError(LimbeckError):
    """The operating system refused to write; its OSError is the `__cause__`."""


class Digest(NamedTuple):
    """The size of a file in bytes, and its SHA-256."""

    size: int
    sha256: str


@contextlib.contextmanager
def explain_os_errors(path: Path) -> Iterator[None]:
    """Turn an OSError into a WriteError of one line, with the path and the reason.

    Nothing is retried: after a failed flush the kernel may mark the lost pages as clean.
    """
    try:
        yield
    except OSError as error:
        raise WriteError(f"{path}: cannot be written: {error.strerror or error}") from error


def make_folder(path: Path) -> None:
    """Create a folder and its missing parents, and flush them to the disk. An existing folder is left as it is.

    Raises WriteError.
    """
    with explain_os_errors(path):
        missing = [path, *path.parents]
        missing = missing[: next(i for i, folder in enumerate(missing) if folder.exists())]
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)
            flush(folder.parent)
        if not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))


def check_file_name(name: str) -> str:
    """Return `name`. Raises LimbeckError unless it is a plain file name: no separators, no `..`, not hidden."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,199}", name):
        raise LimbeckError(f"{name!r}: expected a plain file name of letters, digits, '.', '_', '+' and '-'")
    return name


def flush(path: Path) -> None:
    """Force the content of a file, or the entries of a folder, to the disk. After an OSError the content is lost."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: Path, content: Content) -> Digest:
    """Write a file atomically, in place of the file that may be there. Raises WriteError."""
    with atomic_file(path) as temporary:
        return write_new(temporary, content)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path; the file written there takes its place at `path` when the block ends without an error.

    Raises WriteError for any OSError, also of the block.
    """
    temporary = _temporary_path(path.parent)
    with explain_os_errors(path):
        try:
            yield temporary
            publish(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def write_new(path: Path, content: Content) -> Digest:
    """Write a file that does not exist yet, without flushing it to the disk. Raises OSError."""
    with path.open("xb", buffering=BUFFER) as file:
        return _consume(content, file.write)


def digest(content: Content) -> Digest:
    """Size and SHA-256 of what a file would hold."""
    return _consume(content, lambda chunk: None)


def file_digest(path: Path) -> Digest:
    """Size and SHA-256 of a file, read in chunks. Raises OSError."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()  # pyright: ignore[reportArgumentType]
        return Digest(file.tell(), sha256)


def path_digest(path: Path) -> Digest:
    """Size and SHA-256 of a file, or of a folder with the names and contents of all its files. Raises OSError."""
    if not path.is_dir():
        return file_digest(path)
    parts = [(file.relative_to(path).as_posix(), file_digest(file)) for file in sorted(files_below(path))]
    listing = "".join(f"{part.sha256}  {name}\n" for name, part in parts)
    return Digest(sum(part.size for _, part in parts), hashlib.sha256(listing.encode()).hexdigest())


def _consume(content: Content, use: Callable[[bytes | memoryview], object]) -> Digest:
    size, sha256 = 0, hashlib.sha256()
    for chunk in (content,) if isinstance(content, bytes) else content():
        use(chunk)
        sha256.update(chunk)
        size += len(chunk)
    return Digest(size, sha256.hexdigest())


@contextlib.contextmanager
def atomic_folder(path: Path, *, existing: Existing = "refuse") -> Iterator[Path]:
    """Yield a temporary folder; it takes its place at `path` when the block ends without an error.

    existing: what to do with a folder that is at `path` by then. "keep" is for folders that several processes may
    write alike: the first one stays. Raises WriteError for any OSError, also of the block.
    """
    with explain_os_errors(path), temporary_folder(path.parent) as temporary:
        yield temporary
        publish(temporary, path, existing=existing)


@contextlib.contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """Yield a new folder that other processes leave alone; it is deleted at the end unless `publish` moved it.

    The folder is locked (`flock`) as long as this process lives, so others can tell it from an abandoned one.
    Raises OSError where `parent` cannot be written.
    """
    path, lock = _new_locked_folder(parent)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def publish(temporary: Path, path: Path, *, existing: Existing = "refuse") -> None:
    """Flush a temporary file or folder with all it holds, move it to `path`, and flush the move. Raises OSError.

    existing: see `atomic_folder`; a file always replaces a file.
    """
    if temporary.is_dir():
        _flush_below(temporary)
    flush(temporary)
    # A file takes the place of a file in one step; only a folder has to make room first.
    makes_room = existing == "replace" and path.is_dir()
    old = set_aside(path) if makes_room else None
    try:
        temporary.replace(path)
    except OSError as error:
        if existing != "keep" or error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
    flush(path.parent)
    if old is not None:
        _remove(old)


def _flush_below(folder: Path) -> None:
    with os.scandir(folder) as entries:  # it knows what is a folder without a system call for each
        for entry in entries:
            if entry.is_dir():
                _flush_below(Path(entry.path))
            flush(Path(entry.path))


def set_aside(path: Path) -> Path:
    """Give a file or folder a temporary name, so that nobody ever sees it half deleted. Raises OSError."""
    return path.replace(_temporary_path(path.parent))


def discard(path: Path) -> None:
    """Delete a folder in such a way that nobody sees a part of it. Does nothing where that is not permitted."""
    with contextlib.suppress(OSError):
        shutil.rmtree(set_aside(path), ignore_errors=True)


def remove_leftovers(folder: Path, *, shared: bool = False) -> None:
    """Remove what killed writers left in a folder.

    shared: other processes may be writing in the folder. Only temporary folders are removed then, and only those whose
    writer is dead. Otherwise the caller must be the only one who writes there.
    """
    for path in folder.glob(f"{TEMPORARY}*"):
        if not shared:
            _remove(path)
            continue
        try:
            lock = _lock(path, wait=False)
        except OSError:
            continue  # its writer lives, another process has removed it, or it is none of ours
        with contextlib.suppress(FileNotFoundError):  # another process may be removing it too
            if lock is not None or time.time() - path.stat().st_mtime > ABANDONED_AFTER:
                _remove(path)
        if lock is not None:
            os.close(lock)


def copy_folder(folder: Path, to: Path) -> None:
    """Copy a folder atomically to a path where nothing is. Raises WriteError."""
    with atomic_folder(to) as temporary:
        _copy_into(folder, temporary)


def _copy_into(folder: Path, to: Path) -> None:
    for path in sorted(folder.iterdir()):  # shutil.copytree hides the reason of an error in a list
        if path.is_dir():
            (to / path.name).mkdir()
            _copy_into(path, to / path.name)
        else:
            shutil.copyfile(path, to / path.name)


def files_below(folder: Path) -> Iterator[Path]:
    """Every file below a folder; what other processes remove meanwhile is skipped.

    Path.rglob raises where a folder vanishes between being listed and being entered (seen with Python 3.11).
    """
    for here, _, names in os.walk(folder):
        for name in names:
            yield Path(here, name)


def bytes_below(folder: Path) -> int:
    """Bytes of all files below a folder; what other processes remove meanwhile counts nothing."""
    total = 0
    for file in files_below(folder):
        with contextlib.suppress(FileNotFoundError):
            total += file.lstat().st_size
    return total


def _temporary_path(parent: Path) -> Path:
    return parent / f"{TEMPORARY}{uuid.uuid4().hex}"


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)


def _new_locked_folder(parent: Path) -> tuple[Path, int | None]:
    while True:
        path = _temporary_path(parent)
        path.mkdir()
        # Between mkdir and lock another process may take the folder for an abandoned one and remove it.
        with contextlib.suppress(FileNotFoundError):
            lock = _lock(path, wait=True)
            if lock is None or is_at(path, lock):
                return path, lock
            os.close(lock)


def is_at(path: Path, descriptor: int) -> bool:
    """Whether the open file or folder is still the one at `path`."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _lock(folder: Path, *, wait: bool) -> int | None:
    """The descriptor of the locked folder; None where the drive has no locks, as some network drives.

    Raises BlockingIOError if another process holds it, FileNotFoundError if it is gone, OSError if it cannot be opened.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError:  # the folder could be opened, so it is the drive that has no locks
        os.close(descriptor)
        return None
    return descriptor


def write_json(path: Path, value: Any) -> None:
    """Write readable JSON atomically: a list of numbers takes one line, a number that is not finite becomes null.

    Raises WriteError.
    """
    write_file(path, readable_json(value))


def readable_json(value: Any) -> bytes:
    """What `write_json` writes."""
    text = json.dumps(finite(value), indent=2, ensure_ascii=False)
    return (_LIST_OF_NUMBERS.sub(_on_one_line, text) + "\n").encode()


_LIST_OF_NUMBERS = re.compile(r"\[\n *(?:(?:null|[-\d][-+.\deE]*),?\n *)+\]")  # a line break is never inside a string


def _on_one_line(match: re.Match[str]) -> str:
    return re.sub(r"\n *", " ", match[0]).replace("[ ", "[").replace(" ]", "]")


def read_json(path: Path) -> Any:
    """Read what `write_json` wrote. Raises LimbeckError where the file cannot be read or is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LimbeckError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise LimbeckError(f"{path}: damaged, not readable as JSON: {error}") from error


def finite(value: Any) -> Any:
    """The same value with null for numbers that are not finite, lists for tuples and strings for keys."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
