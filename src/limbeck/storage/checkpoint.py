"""A checkpoint is a folder: files, and a manifest with the size and SHA-256 of each.

It is written atomically, so it is complete or absent. It is verified before it is used: neither safetensors nor torch
notices a flipped bit. Files are written and verified in chunks and are never held in memory whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from limbeck.errors import LimbeckError

from .atomic import (
    Content,
    Digest,
    atomic_folder,
    check_file_name,
    digest,
    explain_os_errors,
    file_digest,
    make_folder,
    remove_leftovers,
    set_aside,
    write_new,
)

MANIFEST = "manifest.json"
FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint.

    path: its folder. files: size and SHA-256 of each file in it. info: what was saved with it.
    skipped: why newer checkpoints were not used, one line each.
    """

    path: Path
    files: Mapping[str, Digest]
    info: Mapping[str, Any]
    skipped: tuple[str, ...] = ()


def write(parent: Path, step: int, files: Mapping[str, Content], info: Mapping[str, Any], *, keep: int = 2) -> Path:
    """Save `files` as the checkpoint of `step`; delete all but the newest `keep` up to it, and those of later steps.

    parent: the folder of all checkpoints of a cohort; created if missing. info: plain data for the reader.
    A checkpoint of the same step and content is left as it is. Raises LimbeckError with the path and the reason;
    the checkpoints that were there before are then untouched.
    """
    path = parent / f"step-{step:012d}"
    if keep < 1 or MANIFEST in map(check_file_name, files):
        raise ValueError(f"keep takes 1 or more, and no file may be called {MANIFEST}")
    with explain_os_errors(path):
        make_folder(parent)
        remove_leftovers(parent)
        if not _is_saved(path, files, info):
            with atomic_folder(path, existing="replace") as folder:
                digests = {name: write_new(folder / name, content)._asdict() for name, content in files.items()}
                body = {"format": FORMAT, "step": step, "info": dict(info), "files": digests}
                write_new(folder / MANIFEST, json.dumps({**body, "sha256": _sha256(body)}).encode())
        present = _newest_first(parent)
        index = present.index(path)
        for old in [*present[:index], *present[index + keep :]]:
            set_aside(old)  # a half-deleted checkpoint would look like a damaged one
        remove_leftovers(parent)
    return path


def _is_saved(path: Path, files: Mapping[str, Content], info: Mapping[str, Any]) -> bool:
    try:
        saved = read(path)
    except LimbeckError:
        return False
    same = saved.files == {name: digest(content) for name, content in files.items()}
    return same and _canonical(saved.info) == _canonical(dict(info))


def read(path: Path) -> Checkpoint:
    """Verify every byte of a checkpoint. Raises LimbeckError that names what is damaged."""
    try:
        if path.is_symlink() or (path / MANIFEST).is_symlink():
            raise LimbeckError(f"{path}: damaged (a link, not a checkpoint)")
        manifest = json.loads((path / MANIFEST).read_bytes())
        body = {key: manifest[key] for key in ("format", "step", "info", "files")}
        if manifest["sha256"] != _sha256(body):
            raise LimbeckError(f"{path / MANIFEST}: damaged (its checksum does not match)")
        if body["format"] != FORMAT:
            raise LimbeckError(f"{path}: is of format {body['format']}; this version reads {FORMAT}")
        present = {entry.name for entry in path.iterdir()}
        if present != {*body["files"], MANIFEST}:
            odd = sorted(present ^ {*body["files"], MANIFEST})
            raise LimbeckError(f"{path}: damaged ({', '.join(odd)}: missing, or not part of it)")
        files = {name: Digest(**expected) for name, expected in body["files"].items()}
        for name, expected in files.items():
            _verify(path / name, expected)
    except OSError as error:
        raise LimbeckError(f"{path}: damaged ({error.filename or path.name}: {error.strerror or error})") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise LimbeckError(f"{path / MANIFEST}: damaged (not a manifest)") from error
    return Checkpoint(path, files, body["info"])


def newest(parent: Path) -> Checkpoint | None:
    """The newest undamaged checkpoint, or None where there is none at all.

    Raises LimbeckError where all checkpoints are damaged.
    """
    complaints: list[str] = []
    try:
        present = _newest_first(parent)
    except OSError as error:
        raise LimbeckError(f"{parent}: cannot be read: {error.strerror or error}") from error
    for path in present:
        try:
            return replace(read(path), skipped=tuple(complaints))
        except LimbeckError as error:
            complaints.append(str(error))
    if complaints:
        raise LimbeckError(f"{parent}: no checkpoint is usable: {'; '.join(complaints)}")
    return None


def _newest_first(parent: Path) -> list[Path]:
    """The checkpoints in a folder. Raises OSError where it exists and cannot be listed: it may not be empty."""
    try:
        names = os.listdir(parent)  # `glob` would ignore the error
    except FileNotFoundError:
        return []
    return sorted((parent / name for name in names if re.fullmatch(r"step-\d{12}", name)), reverse=True)


def _verify(path: Path, expected: Digest) -> None:
    if path.is_symlink() or not path.is_file():
        raise LimbeckError(f"{path}: damaged (not a plain file)")
    if path.stat().st_size != expected.size:
        raise LimbeckError(f"{path}: damaged ({path.stat().st_size} bytes instead of {expected.size})")
    if file_digest(path) != expected:
        raise LimbeckError(f"{path}: damaged (its checksum does not match)")


def _sha256(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical(body)).hexdigest()


def _canonical(value: Any) -> bytes:
    # As it will be read: numeric keys become strings, and are sorted as strings.
    return json.dumps(json.loads(json.dumps(value)), sort_keys=True).encode()
