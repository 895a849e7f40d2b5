"""Convert weights from other sources to safetensors. This is the only way in for pickled checkpoints."""

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
MAX_BYTES = 16 * 2**30
MAX_SECONDS = 300
SPARE_MEMORY = 1024 * MEBIBYTE  # allowed in addition to four times the file size
INHERITED_VARIABLES = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "PATH")  # torch may need them to load
PACKAGE = Path(__file__).resolve().parents[1] / "__init__.py"
READER = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("limbeck", sys.argv[1])
sys.modules["limbeck"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["limbeck"])
from limbeck.weights.checkpoint_reader import main
print(json.dumps(main(*sys.argv[2:])))
"""  # an isolated process cannot find the package on its usual path, so it gets the location

FIRST_BYTES = 512
OTHER_FORMATS = (
    (b"\x1f\x8b", "is compressed with gzip; decompress it and import the result"),
    (b"BZh", "is compressed with bzip2; decompress it and import the result"),
    (b"\xfd7zXZ", "is compressed with xz; decompress it and import the result"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd; decompress it and import the result"),
    (b"7z\xbc\xaf", "is a 7z archive; extract it and import the file inside"),
    (b"Rar!", "is a RAR archive; extract it and import the file inside"),
    (b"\x89HDF", "contains Keras or TensorFlow weights (HDF5), not PyTorch weights"),
    (b"\x93NUMPY", "is a NumPy array, not a PyTorch checkpoint"),
    (b"GGUF", "is a GGUF file, not a PyTorch checkpoint"),
)


@dataclass(frozen=True)
class Imported:
    """The result of an import.

    path: the safetensors file.
    tensors, parameters: number of tensors, and of values in them (including buffers).
    left_out: names of entries that are not plain tensors or not weights (such as an accuracy).
    key: location of the weights in the checkpoint ("" is the top level).
    others: keys of other weights in it, such as a moving average.
    prefix: prefix that was removed from all names.
    dropped: unknown classes whose objects were ignored.
    precisions: number of tensors of each precision, for example `{"F32": 62}`.
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
    """Write the weights in `path` (safetensors or a pickled PyTorch checkpoint) to the new file `out`.

    A pickle is read with `weights_only` in a separate process with limits on memory, time and files. Uses the weights
    at `key` (dots separate levels, "." is the top level), or else the only possible ones (see `checkpoint_layout`).
    The precision does not change. `out` appears complete or not at all.

    check: called with the written file before it is renamed to `out`. If it raises, nothing is left behind.
    dry_run: write no permanent file.

    Raises LimbeckError for a file that is missing, damaged, not a checkpoint, larger than 16 GiB or asks to run code,
    for one with several candidate weights, and if `out` exists or cannot be written.
    """
    source, target = Path(path), Path(out)
    kind, size = _kind(source)
    if kind == "safetensors" and key is not None:
        raise LimbeckError(f"{source}: a safetensors file has no keys, so `--key {key}` is invalid")
    if dry_run:
        with tempfile.TemporaryDirectory(prefix="limbeck-import-") as folder:
            return _write(source, target, Path(folder) / "weights.safetensors", kind, size, key, check)
    if target.exists():
        raise LimbeckError(f"{target}: already exists; remove it or choose another file")
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
    """Write the temporary file `written`, which later becomes `target`."""
    answer: dict[str, Any] = {}
    if kind == "safetensors":
        shutil.copyfile(source, written)
    else:
        answer = _read_in_subprocess(source, written, size, key)
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
    """The type of a file by its first bytes, whatever its name, and its size."""
    try:
        status = os.stat(source)
        if not stat.S_ISREG(status.st_mode):  # reading a pipe would block
            raise LimbeckError(f"{source}: not a regular file")
        with open(source, "rb") as file:
            start = file.read(FIRST_BYTES)
    except OSError as error:
        raise LimbeckError(f"{source}: {(error.strerror or str(error)).lower()}") from None
    size = status.st_size
    if size > MAX_BYTES:
        raise LimbeckError(f"{source}: {size / 2**30:.1f} GiB; at most {MAX_BYTES >> 30} GiB are supported")
    try:
        return file_kind(start, size), size
    except LimbeckError as error:
        raise LimbeckError(f"{source}: {printable(str(error))}") from None


def _read_in_subprocess(source: Path, target: Path, size: int, key: str | None) -> dict[str, Any]:
    """Convert `source` to `target` in a separate process with limited resources. Returns its answer."""
    limits = {
        "memory": 4 * size + SPARE_MEMORY,
        "seconds": MAX_SECONDS,
        "file_size": 4 * size + 64 * MEBIBYTE,
    }
    command = [sys.executable, "-I", "-c", READER, str(PACKAGE), str(source.absolute()), str(target.absolute())]
    with tempfile.TemporaryDirectory(prefix="limbeck-import-") as folder:
        environment = {name: os.environ[name] for name in INHERITED_VARIABLES if name in os.environ}
        environment |= {"HOME": folder, "TMPDIR": folder, "OMP_NUM_THREADS": "1"}
        try:
            done = subprocess.run(
                [*command, json.dumps(limits | {"key": key})],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=MAX_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise LimbeckError(f"{source}: refused: not read within {MAX_SECONDS} s") from None
    try:
        answer = json.loads(done.stdout)
        refused = answer.get("refused")
    except (ValueError, AttributeError):
        raise LimbeckError(f"{source}: refused: the reading process crashed (exit status {done.returncode})") from None
    if refused is not None:
        raise LimbeckError(f"{source}: refused: {printable(' '.join(str(refused).split()))}")
    return answer


def _verified(written: Path, source: Path) -> tuple[tuple[str, ...], Mapping[str, int], int]:
    """Names, precisions and number of parameters in the written file."""
    try:
        with safe_open(written, framework="pt", device="cpu") as file:
            headers = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            shapes = [header.get_shape() for header in headers.values()]
            precisions = Counter(header.get_dtype() for header in headers.values())
    except SafetensorError as error:
        raise LimbeckError(f"{source}: damaged safetensors file: {' '.join(str(error).split())[:160]}") from None
    if not shapes:
        raise LimbeckError(f"{source}: contains no tensors")
    return tuple(headers), dict(precisions), sum(math.prod(shape) for shape in shapes)


def file_kind(start: bytes, size: int) -> Literal["safetensors", "pickle"]:
    """Whether a file is safetensors or a pickle, from its first bytes and its size.

    Otherwise raises LimbeckError, which says what the file is and what to do; the caller adds the path.
    """
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= size - 8:
        return "safetensors"
    if start[:4] == b"PK\x03\x04" or start[:1] == b"\x80":
        return "pickle"
    raise LimbeckError(_describe_other(start, size))


def _describe_other(start: bytes, size: int) -> str:
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if size == 0:
        return "is empty (0 bytes), neither safetensors nor a PyTorch checkpoint; download it again"
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<!--")):
        return "is a web page, not weights; download the file itself (the `raw` or `download` link of the page)"
    if text.startswith(b"version https://git-lfs"):
        return (
            "is a Git LFS pointer, not the weights; run `git lfs pull` in its repository, or download the file itself"
        )
    if start[257:262] == b"ustar":
        return "is a tar archive; extract it and import the file inside"
    for magic, description in OTHER_FORMATS:
        if start.startswith(magic):
            return description
    if start[4:8] == b"TFL3":
        return "is a TensorFlow Lite model, not a PyTorch checkpoint"
    if start[:1] == b"\x08" and (b"pytorch" in start or b"onnx" in text):
        return "is an ONNX model, not a PyTorch checkpoint; import the checkpoint from which it was exported"
    if b'"weight_map"' in start or (text.startswith(b"{") and b'"metadata"' in start):
        return "is the index of weights in several files, not the weights; join them into one file first"
    if size <= 8 or all(byte >= 32 or byte in b"\t\r\n" for byte in start):
        begins = " ".join(start[:40].decode(errors="replace").split())
        return f"is text that begins with {begins!r}, not weights; download the file itself"
    return "neither safetensors nor a PyTorch checkpoint (.pth, .pt, .bin)"
