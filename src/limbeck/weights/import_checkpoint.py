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
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open

from limbeck.errors import LimbeckError, printable
from limbeck.storage.atomic import atomic_file

MEBIBYTE = 2**20
MOST_BYTES = 16 * 2**30
MOST_SECONDS = 300
SPARE_MEMORY = 1024 * MEBIBYTE  # what reading may take beside four times the file
PASSED_ON = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "PATH")  # what loading torch may need
PACKAGE = Path(__file__).resolve().parents[1] / "__init__.py"
READER = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("limbeck", sys.argv[1])
sys.modules["limbeck"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["limbeck"])
from limbeck.weights.checkpoint_reader import main
print(json.dumps(main(*sys.argv[2:])))
"""  # isolated, a process finds no package by its usual ways: it is told where this one is

FIRST_BYTES = 512
OTHER_FORMATS = (
    (b"\x1f\x8b", "is compressed by gzip: unpack it and import what is in it"),
    (b"BZh", "is compressed by bzip2: unpack it and import what is in it"),
    (b"\xfd7zXZ", "is compressed by xz: unpack it and import what is in it"),
    (b"\x28\xb5\x2f\xfd", "is compressed by zstd: unpack it and import what is in it"),
    (b"7z\xbc\xaf", "is a 7z archive: unpack it and import what is in it"),
    (b"Rar!", "is a RAR archive: unpack it and import what is in it"),
    (b"\x89HDF", "holds weights of Keras or TensorFlow (HDF5), not of torch"),
    (b"\x93NUMPY", "is a NumPy array, not a checkpoint of torch"),
    (b"GGUF", "is a GGUF file, not a checkpoint of torch"),
)


@dataclass(frozen=True)
class Imported:
    """What was written.

    path: the safetensors file.
    tensors, parameters: how many, and how many numbers in them (buffers included).
    left_out: names of entries that were no plain tensors, or none of the weights (a loss's, an accuracy).
    key: where in the checkpoint the weights were ("" is the top).
    others: other weights in it, such as a moving average, each a `key`.
    prefix: what was taken off the beginning of all names.
    dropped: classes that are not known, whose objects were passed over.
    precisions: how many tensors there are of each precision, as in `{"F32": 62}`.
    names: the names of all tensors.
    """

    path: Path
    tensors: int
    parameters: int
    left_out: tuple[str, ...] = ()
    key: str = ""
    others: tuple[str, ...] = ()
    prefix: str = ""
    dropped: tuple[str, ...] = ()
    precisions: Mapping[str, int] = field(default_factory=dict)
    names: tuple[str, ...] = ()


def import_weights(
    path: str | Path,
    out: str | Path,
    *,
    key: str | None = None,
    check: Callable[[Path], None] | None = None,
    dry_run: bool = False,
) -> Imported:
    """Write the weights in `path` (safetensors, or torch's pickled checkpoint) to the new file `out`.

    A pickle is read with `weights_only` in a process of its own, with limits on memory, time and files. The one place
    in it that is surely meant is taken (checkpoint_layout.py), or `key` (dots lead inwards, "." is the top). Numbers
    keep their precision. `out` appears whole or not at all.

    check: called with the written file before it gets its name; what it raises is passed on, and nothing is left.
    dry_run: write nothing that stays.

    Raises LimbeckError for a file that is missing, damaged, no checkpoint, larger than 16 GiB, or that asks
    to run code; for one in which several weights may be meant; and where `out` exists or cannot be written.
    """
    source, target = Path(path), Path(out)
    kind, size = _kind(source)
    if kind == "safetensors" and key is not None:
        raise LimbeckError(f"{source}: a safetensors file has no places within it, so no key {key!r}")
    if dry_run:
        with tempfile.TemporaryDirectory(prefix="limbeck-import-") as folder:
            return _write(source, target, Path(folder) / "weights.safetensors", kind, size, key, check)
    if target.exists():
        raise LimbeckError(f"{target}: exists already; remove it or name another file")
    if not target.parent.is_dir():
        raise LimbeckError(f"{target}: no such folder: {target.parent}")
    with atomic_file(target) as temporary:
        return _write(source, target, temporary, kind, size, key, check)


def _write(
    source: Path,
    target: Path,
    written: Path,
    kind: str,
    size: int,
    key: str | None,
    check: Callable[[Path], None] | None,
) -> Imported:
    """Write `written`, which is to become `target`."""
    answer: dict[str, Any] = {}
    if kind == "safetensors":
        shutil.copyfile(source, written)
    else:
        answer = _read_apart(source, written, size, key)
    names, precisions, parameters = _verified(written, source)
    if check is not None:
        check(written)
    return Imported(
        target,
        len(names),
        parameters,
        left_out=tuple(answer.get("left_out", ())),
        key=answer.get("key", ""),
        others=tuple(answer.get("others", ())),
        prefix=answer.get("prefix", ""),
        dropped=tuple(answer.get("dropped", ())),
        precisions=precisions,
        names=names,
    )


def _kind(source: Path) -> tuple[Literal["safetensors", "pickle"], int]:
    """What the file is by its first bytes, whatever it is called, and its size."""
    try:
        status = os.stat(source)
        if not stat.S_ISREG(status.st_mode):  # a pipe would block the read, a folder has none
            raise LimbeckError(f"{source}: is no ordinary file")
        with open(source, "rb") as file:
            start = file.read(FIRST_BYTES)
    except OSError as error:
        raise LimbeckError(f"{source}: {(error.strerror or str(error)).lower()}") from None
    size = status.st_size
    if size > MOST_BYTES:
        raise LimbeckError(f"{source}: {size / 2**30:.1f} GiB is more than the {MOST_BYTES >> 30} GiB taken")
    try:
        return file_kind(start, size), size
    except LimbeckError as error:
        raise LimbeckError(f"{source}: {printable(str(error))}") from None


def _read_apart(source: Path, target: Path, size: int, key: str | None) -> dict[str, Any]:
    """Have the reader turn `source` into `target` in a process that gives up what it does not need; its answer."""
    limits = {
        "memory": 4 * size + SPARE_MEMORY,
        "seconds": MOST_SECONDS,
        "file_size": 4 * size + 64 * MEBIBYTE,
    }
    command = [sys.executable, "-I", "-c", READER, str(PACKAGE), str(source.absolute()), str(target.absolute())]
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
        refused = answer.get("refused")
    except (ValueError, AttributeError):
        raise LimbeckError(f"{source}: refused: its reader broke off (exit status {done.returncode})") from None
    if refused is not None:
        raise LimbeckError(f"{source}: refused: {printable(' '.join(str(refused).split()))}")
    return answer


def _verified(written: Path, source: Path) -> tuple[tuple[str, ...], Mapping[str, int], int]:
    """Names, precisions and number of parameters in what was written."""
    try:
        with safe_open(written, framework="pt", device="cpu") as file:
            headers = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            shapes = [header.get_shape() for header in headers.values()]
            precisions = Counter(header.get_dtype() for header in headers.values())
    except SafetensorError as error:
        raise LimbeckError(f"{source}: damaged safetensors file: {' '.join(str(error).split())[:160]}") from None
    if not shapes:
        raise LimbeckError(f"{source}: holds no tensors")
    return tuple(headers), dict(precisions), sum(math.prod(shape) for shape in shapes)


def file_kind(start: bytes, size: int) -> Literal["safetensors", "pickle"]:
    """safetensors or torch's pickle, from the first bytes of a file and its size.

    Raises LimbeckError, for which the caller gives the path, that says what else it is and what to do.
    """
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= size - 8:
        return "safetensors"
    if start[:4] == b"PK\x03\x04" or start[:1] == b"\x80":
        return "pickle"
    raise LimbeckError(_describe_other(start, size))


def _describe_other(start: bytes, size: int) -> str:
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if size == 0:
        return "is empty (0 bytes), neither safetensors nor a checkpoint of torch: download it again"
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<!--")):
        return "is a web page, not weights: download the file itself (the `raw` or `download` link of its page)"
    if text.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the weights: run `git lfs pull` where it is from, or download the file itself"
    if start[257:262] == b"ustar":
        return "is a tar archive: unpack it and import what is in it"
    for magic, said in OTHER_FORMATS:
        if start.startswith(magic):
            return said
    if start[4:8] == b"TFL3":
        return "is a TensorFlow Lite model, not a checkpoint of torch"
    if start[:1] == b"\x08" and (b"pytorch" in start or b"onnx" in text):
        return "is an ONNX model, not a checkpoint of torch: import the checkpoint that it was made from"
    if b'"weight_map"' in start or (text.startswith(b"{") and b'"metadata"' in start):
        return "is the index of weights in several files, not the weights: join them into one file first"
    if size <= 8 or all(byte >= 32 or byte in b"\t\r\n" for byte in start):
        begins = " ".join(start[:40].decode(errors="replace").split())
        return f"is text that begins {begins!r}, not weights: download the file itself"
    return "neither safetensors nor a checkpoint of torch (.pth, .pt, .bin)"
