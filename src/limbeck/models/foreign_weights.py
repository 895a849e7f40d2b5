"""The one door for weights that others made: in comes a checkpoint of theirs, out comes safetensors."""

from __future__ import annotations

import json
import math
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from safetensors import SafetensorError, safe_open

from limbeck.runs.errors import LimbeckError

MEBIBYTE = 2**20
MOST_BYTES = 16 * 2**30
MOST_SECONDS = 300
SPARE_MEMORY = 1024 * MEBIBYTE  # what reading may take beside four times the file
READER = str(Path(__file__).with_name("foreign_weights_reader.py"))
PASSED_ON = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "PATH")  # what loading torch may need


@dataclass(frozen=True)
class Imported:
    """What was written.

    path: the safetensors file.
    tensors, parameters: how many, and how many numbers in them (buffers included).
    left_out: names of entries that were no plain tensors.
    """

    path: Path
    tensors: int
    parameters: int
    left_out: tuple[str, ...] = ()


def import_weights(path: str | Path, out: str | Path, *, key: str | None = None) -> Imported:
    """Write the weights in `path` (safetensors, or torch's pickled checkpoint) to the new file `out`.

    A pickle is read with `weights_only` in a process of its own, with limits on memory, time and files. The
    weights are found at the top or in a usual place (`state_dict`, `model`, …), or at `key` (dots lead
    inwards). `out` appears whole or not at all.

    Raises LimbeckError for a file that is missing, damaged, no checkpoint, larger than 16 GiB, or that asks
    to run code; and where `out` exists or cannot be written.
    """
    source, target = Path(path), Path(out)
    kind, size = _kind(source)
    if target.exists():
        raise LimbeckError(f"{target}: exists already; remove it or name another file")
    if not target.parent.is_dir():
        raise LimbeckError(f"{target}: no such folder: {target.parent}")
    if kind == "safetensors" and key is not None:
        raise LimbeckError(f"{source}: a safetensors file has no places within it, so no key {key!r}")
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        if kind == "safetensors":
            shutil.copyfile(source, temporary)
            left_out: tuple[str, ...] = ()
        else:
            left_out = _read_apart(source, temporary, size, key)
        tensors, parameters = _verified(temporary, source)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        raise LimbeckError(f"{target}: cannot be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return Imported(target, tensors, parameters, left_out)


def _kind(source: Path) -> tuple[Literal["safetensors", "pickle"], int]:
    """What the file is by its first bytes, whatever it is called, and its size."""
    try:
        status = os.stat(source)
        if not stat.S_ISREG(status.st_mode):  # a pipe would block the read, a folder has none
            raise LimbeckError(f"{source}: is no ordinary file")
        with open(source, "rb") as file:
            start = file.read(16)
    except OSError as error:
        raise LimbeckError(f"{source}: {(error.strerror or str(error)).lower()}") from None
    size = status.st_size
    if size > MOST_BYTES:
        raise LimbeckError(f"{source}: {size / 2**30:.1f} GiB is more than the {MOST_BYTES >> 30} GiB taken")
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= size - 8:
        return "safetensors", size
    if start[:4] == b"PK\x03\x04" or start[:1] == b"\x80":
        return "pickle", size
    raise LimbeckError(f"{source}: neither safetensors nor a checkpoint of torch (.pth, .pt, .bin)")


def _read_apart(source: Path, target: Path, size: int, key: str | None) -> tuple[str, ...]:
    """Have the reader turn `source` into `target` in a process that gives up what it does not need."""
    limits = {
        "memory": 4 * size + SPARE_MEMORY,
        "seconds": MOST_SECONDS,
        "file_size": 4 * size + 64 * MEBIBYTE,
    }
    command = [sys.executable, "-I", READER, str(source.absolute()), str(target.absolute())]
    with tempfile.TemporaryDirectory(prefix="limbeck-import-") as folder:
        environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        environment |= {"HOME": folder, "TMPDIR": folder, "OMP_NUM_THREADS": "1"}
        try:
            done = subprocess.run(
                [*command, json.dumps(limits | {"key": key})],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=MOST_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise LimbeckError(f"{source}: refused: not read within {MOST_SECONDS} s") from None
    try:
        answer = json.loads(done.stdout)
        refused, left_out = answer.get("refused"), answer.get("left_out", [])
    except (ValueError, AttributeError):
        raise LimbeckError(f"{source}: refused: its reader broke off (exit status {done.returncode})") from None
    if refused is not None:
        raise LimbeckError(f"{source}: refused: {' '.join(str(refused).split())}")
    return tuple(map(str, left_out))


def _verified(written: Path, source: Path) -> tuple[int, int]:
    """Numbers of tensors and of parameters in what was written."""
    try:
        with safe_open(written, framework="pt", device="cpu") as file:
            shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        raise LimbeckError(f"{source}: damaged safetensors file: {' '.join(str(error).split())[:160]}") from None
    if not shapes:
        raise LimbeckError(f"{source}: holds no tensors")
    return len(shapes), sum(math.prod(shape) for shape in shapes)
