"""Small real inputs: image files by Pillow, parquet by pyarrow, archives in the layouts of CIFAR and Tiny-ImageNet."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import itertools
import json
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from limbeck.data.sources import tinyimagenet
from limbeck.data.sources.cifar_archive import Archive

REAL_IMAGES = Path(os.environ.get("LIMBECK_TEST_IMAGES", Path(__file__).parents[3] / "shared" / "data"))


def real(name: str) -> Path:
    """A file or folder of real images, or a visible skip."""
    path = REAL_IMAGES / name
    if not path.exists():
        pytest.skip(f"no {name} under LIMBECK_TEST_IMAGES ({REAL_IMAGES})")
    return path


def pixels(*key: int, height: int = 12, width: int = 12) -> np.ndarray:
    """Random pixels `[H, W, 3]`, the same for the same key."""
    return np.random.default_rng(key).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(image: np.ndarray | Image.Image, kind: str = "PNG", **options) -> bytes:
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def class_folders(root: Path, classes=("cat", "dog"), count: int = 5, start: int = 0, side: int = 12) -> Path:
    """`count` different PNG, JPEG and WebP files in each class folder."""
    kinds = [("png", "PNG"), ("jpg", "JPEG"), ("webp", "WEBP")]
    for label, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for i in range(count):
            suffix, kind = kinds[i % 3]
            data = encoded(pixels(label, start + i, height=side, width=side), kind)
            (root / name / f"{start + i:03d}.{suffix}").write_bytes(data)
    return root


def parquet_file(path: Path, images: list[bytes | None], columns: dict[str, list], names=None) -> Path:
    """A file as the Hugging Face hub serves it; `names` gives the class names of label columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    features: dict = {"image": {"_type": "Image"}}
    for column, of_column in (names or {}).items():
        features[column] = {"_type": "ClassLabel", "names": list(of_column)}
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    arrays = {"image": pa.array([{"bytes": b, "path": f"{i}.png"} for i, b in enumerate(images)], kind)}
    arrays |= {column: pa.array(values) for column, values in columns.items()}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(arrays).replace_schema_metadata(metadata), path)
    return path


def parquet_folder(root: Path, count: int = 10) -> Path:
    names = {"label": ("cat", "dog")}
    for split, start in (("train", 0), ("test", 1000)):
        images = [encoded(pixels(start, i)) for i in range(count)]
        labels = [i % 2 for i in range(count)]
        parquet_file(root / f"{split}-00000-of-00001.parquet", images, {"label": labels}, names)
    return root


def cifar_files(archive: Archive, records: dict[str, int]) -> dict[str, bytes]:
    """What a small archive of this layout holds, by member name: random pixels, every class in turn."""
    rng = np.random.default_rng(7)
    files = {archive.names: "\n".join(f"class_{i}" for i in range(archive.classes)).encode() + b"\n\n"}
    for split in ("train", "test"):
        for name in getattr(archive, split):
            count = records[split]
            data = rng.integers(0, 256, (count, archive.label_bytes + 3072), dtype=np.uint8)
            data[:, archive.label_bytes - 1] = np.arange(count) % archive.classes
            files[name] = data.tobytes()
    return files


def cifar_tar(path: Path, archive: Archive, files: dict[str, bytes]) -> str:
    """Write the tar.gz; returns its SHA-256."""
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(f"{archive.folder}/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def small(archive: Archive, path: Path) -> tuple[Archive, dict[str, bytes]]:
    """A small archive on disk, and the layout that knows its checksum."""
    records = {"train": archive.classes * 2, "test": archive.classes}
    files = cifar_files(archive, records)
    return dataclasses.replace(archive, records=records, sha256=cifar_tar(path, archive, files)), files


def tinyimagenet_files(archive: tinyimagenet.Archive) -> dict[str, bytes]:
    """What a small archive of this layout holds, by member name: JPEG files, every seventh of them grey."""
    wnids = [f"n{(i * 7919 + 4242) % 10**8:08d}" for i in reversed(range(archive.classes))]  # not in their own order
    files = {
        "wnids.txt": "\n".join(wnids).encode(),
        "words.txt": b"n99999999\tentity\n" + b"".join(f"{w}\tword {w[-3:]}, other\n".encode() for w in sorted(wnids)),
    }
    numbers = itertools.count()

    def photo() -> bytes:
        image = Image.fromarray(pixels(11, number := next(numbers), height=64, width=64))
        return encoded(image if number % 7 else image.convert("L"), "JPEG", quality=50)

    for wnid in wnids:
        files[f"train/{wnid}/{wnid}_boxes.txt"] = b"0.JPEG\t0\t0\t9\t9\n"
        for i in range(archive.train):
            files[f"train/{wnid}/images/{wnid}_{i}.JPEG"] = photo()
    annotations = []
    for i in range(archive.classes * archive.validation):
        files[f"val/images/val_{i}.JPEG"] = photo()
        annotations.append(f"val_{i}.JPEG\t{wnids[(i * 3 + 1) % len(wnids)]}\t0\t1\t62\t63\n")
    files["val/val_annotations.txt"] = "".join(annotations).encode()
    files["test/images/test_0.JPEG"] = photo()
    return files


def zip_file(path: Path, folder: str, files: dict[str, bytes]) -> str:
    """Write the zip, folders as members of their own; returns its SHA-256."""
    above = {"/".join(name.split("/")[:depth]) for name in files for depth in range(1, name.count("/") + 1)}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("", *sorted(f"{name}/" for name in above)):
            archive.writestr(f"{folder}/{name}", b"")
        for name, data in files.items():
            archive.writestr(f"{folder}/{name}", data)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def small_tinyimagenet(path: Path, **known) -> tuple[tinyimagenet.Archive, dict[str, bytes]]:
    """A small archive on disk, and the layout that knows its checksum."""
    known = {"classes": 4, "train": 3, "validation": 2} | known
    archive = dataclasses.replace(tinyimagenet.ARCHIVE, **known)
    files = tinyimagenet_files(archive)
    return dataclasses.replace(archive, sha256=zip_file(path, archive.folder, files)), files
