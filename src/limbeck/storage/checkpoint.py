"""A checkpoint is a directory: files, and a manifest with the size and SHA-256 of each.

It is written beside, flushed, renamed; so it is whole or it is not there. It is verified before it is used:
neither safetensors nor torch notices a flipped bit.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limbeck.errors import LimbeckError

from .atomic import TEMPORARY, flush_folder, make_folder, plain_name, remove_unfinished, saying_where, write_durably

MANIFEST = "manifest.json"
FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint. passed_over: why newer ones were not used, a line each."""

    path: Path
    files: Mapping[str, bytes]
    info: Mapping[str, Any]
    passed_over: tuple[str, ...] = ()


def write(parent: Path, step: int, files: Mapping[str, bytes], info: Mapping[str, Any], *, keep: int = 2) -> Path:
    """Save `files` as the checkpoint of `step` and drop all but the newest `keep`.

    parent: the folder of a stream of checkpoints; made if it is not there. info: what a reader must know first.
    A checkpoint of the same step and content is left as it is; those of later steps, which this run has passed
    over, go. Raises LimbeckError with the path and the reason; what was there before is then untouched.
    """
    final = parent / f"step-{step:012d}"
    contents = {name: {"size": len(data), "sha256": _sha256(data)} for name, data in files.items()}
    if keep < 1 or MANIFEST in map(plain_name, files):
        raise ValueError("keeps at least one checkpoint, and its manifest is not one of the files")
    body = {"format": FORMAT, "step": step, "info": dict(info), "files": contents}
    manifest = json.dumps({**body, "sha256": _sha256(_canonical(body))}).encode()
    with saying_where(final):
        make_folder(parent)
        remove_unfinished(parent)
        if not _is(final, files, info):
            _write_beside(final, {**files, MANIFEST: manifest})
        found = _stream(parent)
        here = found.index(final)
        for old in [*found[:here], *found[here + keep :]]:
            _set_aside(old)  # at once: what is left of a half-removed one would look like a damaged one
        remove_unfinished(parent)
    return final


def _write_beside(final: Path, files: Mapping[str, bytes]) -> None:
    beside = final.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
    try:
        beside.mkdir()
        for name, data in files.items():
            write_durably(beside / name, data)
        flush_folder(beside)
        if final.exists() or final.is_symlink():
            _set_aside(final)
        beside.rename(final)
        flush_folder(final.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _is(path: Path, files: Mapping[str, bytes], info: Mapping[str, Any]) -> bool:
    try:
        found = read(path)
    except LimbeckError:
        return False
    return found.files == files and _canonical(found.info) == _canonical(dict(info))


def read(path: Path) -> Checkpoint:
    """A checkpoint whose every byte is as it was written. Raises LimbeckError naming what is not."""
    try:
        if path.is_symlink() or (path / MANIFEST).is_symlink():
            raise LimbeckError(f"{path}: damaged (a link, not a checkpoint)")
        manifest = json.loads((path / MANIFEST).read_bytes())
        body = {key: manifest[key] for key in ("format", "step", "info", "files")}
        if manifest["sha256"] != _sha256(_canonical(body)):
            raise LimbeckError(f"{path / MANIFEST}: damaged (its checksum does not fit)")
        if body["format"] != FORMAT:
            raise LimbeckError(f"{path}: is of format {body['format']}; this version reads {FORMAT}")
        present = {entry.name for entry in path.iterdir()}
        if present != {*body["files"], MANIFEST}:
            odd = sorted(present ^ {*body["files"], MANIFEST})
            raise LimbeckError(f"{path}: damaged ({', '.join(odd)}: missing, or not part of it)")
        files = {name: _verified(path / name, expected) for name, expected in body["files"].items()}
    except OSError as error:
        raise LimbeckError(f"{path}: damaged ({error.filename or path.name}: {error.strerror or error})") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise LimbeckError(f"{path / MANIFEST}: damaged (not a manifest)") from error
    return Checkpoint(path, files, body["info"])


def newest(parent: Path) -> Checkpoint | None:
    """The newest checkpoint that verifies, or None where there is none.

    Raises LimbeckError where there are some and every one is damaged.
    """
    complaints: list[str] = []
    try:
        stream = _stream(parent)
    except OSError as error:
        raise LimbeckError(f"{parent}: cannot be read: {error.strerror or error}") from error
    for path in stream:
        try:
            found = read(path)
        except LimbeckError as error:
            complaints.append(str(error))
            continue
        return Checkpoint(found.path, found.files, found.info, tuple(complaints))
    if complaints:
        raise LimbeckError(f"{parent}: no checkpoint is usable: {'; '.join(complaints)}")
    return None


def _set_aside(path: Path) -> None:
    path.rename(path.with_name(f"{TEMPORARY}{uuid.uuid4().hex}"))


def _stream(parent: Path) -> list[Path]:
    """Newest first. Raises OSError for a folder that is there and cannot be listed: that is not an empty one."""
    try:
        names = os.listdir(parent)  # `glob` would take an error for nothing found
    except FileNotFoundError:
        return []
    return sorted((parent / name for name in names if re.fullmatch(r"step-\d{12}", name)), reverse=True)


def _verified(path: Path, expected: Mapping[str, Any]) -> bytes:
    if path.is_symlink() or not path.is_file():
        raise LimbeckError(f"{path}: damaged (not a plain file)")
    data = path.read_bytes()
    if len(data) != expected["size"]:
        raise LimbeckError(f"{path}: damaged ({len(data)} bytes, written were {expected['size']})")
    if _sha256(data) != expected["sha256"]:
        raise LimbeckError(f"{path}: damaged (its checksum does not fit)")
    return data


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _canonical(value: Any) -> bytes:
    # As it will be read: keys that are numbers become words, and are sorted as words.
    return json.dumps(json.loads(json.dumps(value)), sort_keys=True).encode()
