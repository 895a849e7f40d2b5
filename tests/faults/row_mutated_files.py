"""Images, parquet files and archives with something wrong inside: read, or refused with their path; soon, and small."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import random
import shutil
import struct
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

from processes import in_a_process
from rows import Trials

NAME = "mutated-files"
HOLDS = "mutated images of six formats, parquet, archives: read, or refused with their path; < 2 s, < 200 MB each"
CI, CHAOS = 2_000, 50_000
SECONDS, MEGABYTES = 2.0, 200.0
IMAGES = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "tif": "TIFF", "avif": "AVIF", "ppm": "PPM"}
KINDS = ("png", "jpg", "webp", "tif", "avif", "ppm", "png", "jpg", "webp", "parquet", "tar.gz", "tar")


def prepare(place: Path) -> Trials:
    """Whole files to spoil: a real photo in six formats, a parquet file and an archive in CIFAR's layout."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
    import pyarrow.parquet  # noqa: F401
    from PIL import Image

    Image.init()
    samples = place / "samples"
    samples.mkdir()
    in_a_process(lambda: _write_samples(samples), seconds=60.0)
    whole = {kind: (samples / f"sample.{kind}").read_bytes() for kind in set(KINDS)}

    def trial(number: int, chance: random.Random) -> str:
        kind = KINDS[number % len(KINDS)]
        content = _mutated(kind, whole[kind], chance)
        found = in_a_process(lambda: _read(kind, content, place / "read", samples), seconds=10.0)
        assert found["seconds"] < SECONDS, f"{kind}: took {found['seconds']:.1f} s"
        assert found["megabytes"] < MEGABYTES, f"{kind}: took {found['megabytes']:.0f} MB"
        assert not found["wrong"], f"{kind}: {found['wrong']}"
        return f"{kind}: {found['outcome']}"

    return Trials(trial, ci=CI, chaos=CHAOS)


def _write_samples(folder: Path) -> dict[str, object]:
    from data_samples import encoded, parquet_file, small
    from PIL import Image
    from sklearn.datasets import load_sample_image

    from limbeck.data.sources import cifar10

    photo = Image.fromarray(load_sample_image("flower.jpg")).crop((200, 100, 296, 196))
    for kind, name in IMAGES.items():
        (folder / f"sample.{kind}").write_bytes(encoded(photo, name))
    images = [encoded(photo.rotate(10 * turn), "PNG") for turn in range(10)]
    labels = {"label": [i % 2 for i in range(10)]}
    parquet_file(folder / "sample.parquet", images, labels, {"label": ("cat", "dog")})
    small(cifar10.ARCHIVE, folder / "sample.tar.gz")
    import gzip

    (folder / "sample.tar").write_bytes(gzip.decompress((folder / "sample.tar.gz").read_bytes()))
    return {}


def _mutated(kind: str, whole: bytes, chance: random.Random) -> bytes:
    content = bytearray(whole)
    for _ in range(chance.choice([1, 1, 1, 2, 4, 16])):
        if not content:
            break
        head = chance.random() < 0.4
        at = chance.randrange(min(len(content), 200) if head else len(content))
        match chance.choice(["flip", "flip", "byte", "cut", "drop", "insert", "double", "number", "zero", "tail"]):
            case "flip":
                content[at] ^= 1 << chance.randrange(8)
            case "byte":
                content[at] = chance.randrange(256)
            case "cut":
                del content[at:]
            case "drop":
                del content[at : at + chance.randrange(1, 200)]
            case "insert":
                content[at:at] = chance.randbytes(chance.randrange(1, 200))
            case "double":
                content[at:at] = content[at : at + chance.randrange(1, 2000)]
            case "number":  # where a size may be
                value = chance.choice([0, 1, 0x7FFF, 0xFFFF, 50_000, 0x7FFFFFFF, 0xFFFFFFFF])
                content[at : at + 4] = struct.pack(chance.choice("<>") + "I", value)
            case "zero":
                content[at : at + 64] = bytes(len(content[at : at + 64]))
            case "tail":
                content[-min(len(content), chance.randrange(1, 64)) :] = chance.randbytes(8)
    if kind == "png" and chance.random() < 0.5:
        content = _with_checksums(content)
    return bytes(content)


def _with_checksums(content: bytearray) -> bytearray:
    """A PNG whose chunks' checksums fit again, so that what is wrong is met behind them."""
    at = 8
    while at + 12 <= len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        end = at + 8 + length
        if end + 4 > len(content):
            break
        content[end : end + 4] = struct.pack(">I", zlib.crc32(content[at + 4 : end]))
        at = end + 4
    return content


def _read(kind: str, content: bytes, place: Path, samples: Path) -> dict[str, object]:
    """What comes of reading it, in a process that measures itself."""
    from limbeck.errors import LimbeckError

    shutil.rmtree(place, ignore_errors=True)
    os.environ["LIMBECK_CACHE"] = str(place / "cache")
    sys.stderr = io.StringIO()
    path, read = _placed(kind, content, place, samples)
    before = _kilobytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    began = time.monotonic()
    outcome, wrong = "read", ""
    try:
        read()
    except LimbeckError as error:
        outcome = str(error)
        # One spoilt image is one line; several are a heading and a line each, every one with the path.
        heading, *each = outcome.split("\n")
        if not all(str(path) in line for line in each or [heading]) or len(each) == 1:
            wrong = f"not told with its path on one line: {outcome}"
        if list(place.glob("cache/**/*.npy")) or list(place.glob("cache/**/meta.json")):
            wrong = f"refused, and cached: {sorted(place.glob('cache/**/*'))[:3]}"
    except BaseException as error:
        wrong = f"{type(error).__name__}: {error}"
    return {
        "outcome": outcome[:200].replace(str(place), ""),
        "wrong": wrong,
        "seconds": time.monotonic() - began,
        "megabytes": (_kilobytes("VmHWM") - before) / 1024,
    }


def _placed(kind: str, content: bytes, place: Path, samples: Path) -> tuple[Path, Callable[[], object]]:
    from limbeck.data.sources import cifar10, folder, parquet
    from limbeck.data.sources.cifar_archive import dataset

    if kind in IMAGES:
        for name in ("cat", "dog"):
            (place / "photos" / name).mkdir(parents=True)
            for i in range(2):
                shutil.copy(samples / "sample.png", place / "photos" / name / f"{i}.png")
        path = place / "photos" / "cat" / f"spoilt.{kind}"
        path.write_bytes(content)
        return path, lambda: folder.build(str(place / "photos"), image_size=32, test=0.5)
    if kind == "parquet":
        (place / "tables").mkdir(parents=True)
        path = place / "tables" / "train-00000-of-00001.parquet"
        path.write_bytes(content)
        shutil.copy(samples / "sample.parquet", place / "tables" / "test-00000-of-00001.parquet")
        return path, lambda: parquet.build(str(place / "tables"))
    import gzip

    place.mkdir(parents=True)
    path = place / "spoilt.tar.gz"
    # An archive whose bytes inside the compression are spoilt, with a checksum that fits: its reader must cope alone.
    path.write_bytes(content if kind == "tar.gz" else gzip.compress(content, 1))
    classes = cifar10.ARCHIVE.classes
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    records = {"train": classes * 2, "test": classes}
    archive = dataclasses.replace(cifar10.ARCHIVE, records=records, sha256=checksum)
    return path, lambda: dataset(archive, str(path))


def _kilobytes(what: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1])
    raise AssertionError(f"/proc/self/status has no {what}")
