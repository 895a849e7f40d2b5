"""A checkpoint is a directory: files, and a manifest with the size and SHA-256 of each.

It is written beside, flushed, renamed; so it is whole or it is not there. It is verified before it is used:
neither safetensors nor torch notices a flipped bit.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import LimbeckError
from .files import TEMPORARY, flush_folder, saying_where, write_durably

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
    Raises LimbeckError with the path and the reason; what was there before is then untouched.
    """
    final = parent / f"step-{step:012d}"
    beside = parent / f"{TEMPORARY}{uuid.uuid4().hex}"
    contents = {name: {"size": len(data), "sha256": _sha256(data)} for name, data in files.items()}
    body = {"format": FORMAT, "step": step, "info": dict(info), "files": contents}
    manifest = json.dumps({**body, "sha256": _sha256(_canonical(body))}).encode()
    with saying_where(final):
        parent.mkdir(parents=True, exist_ok=True)
        try:
            beside.mkdir()
            for name, data in {**files, MANIFEST: manifest}.items():
                write_durably(beside / name, data)
            flush_folder(beside)
            if final.exists():  # only a damaged one: a good one would have been resumed from
                final.rename(parent / f"{TEMPORARY}{uuid.uuid4().hex}")
            beside.rename(final)
            flush_folder(parent)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    for old in _streams(parent)[keep:]:
        shutil.rmtree(old, ignore_errors=True)
    remove_unfinished(parent)
    return final


def read(path: Path) -> Checkpoint:
    """A checkpoint whose every byte is as it was written. Raises LimbeckError naming what is not."""
    try:
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
        raise LimbeckError(f"{path}: damaged ({error})") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise LimbeckError(f"{path / MANIFEST}: damaged (not a manifest)") from error
    return Checkpoint(path, files, body["info"])


def newest(parent: Path) -> Checkpoint | None:
    """The newest checkpoint that verifies, or None where there is none.

    Raises LimbeckError where there are some and every one is damaged.
    """
    complaints: list[str] = []
    for path in _streams(parent):
        try:
            found = read(path)
        except LimbeckError as error:
            complaints.append(str(error))
            continue
        return Checkpoint(found.path, found.files, found.info, tuple(complaints))
    if complaints:
        raise LimbeckError(f"{parent}: no checkpoint is usable: {'; '.join(complaints)}")
    return None


def remove_unfinished(parent: Path) -> None:
    """Remove what a killed writer left beside."""
    for path in parent.glob(f"{TEMPORARY}*"):
        shutil.rmtree(path, ignore_errors=True)


def _streams(parent: Path) -> list[Path]:
    return sorted(parent.glob("step-*"), reverse=True)


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
    return json.dumps(value, sort_keys=True).encode()
