from __future__ import annotations

import dataclasses
import io
import tarfile

import numpy as np
import pytest
import torch
from data_samples import cifar_files, cifar_tar, small

from limbeck.data import cache
from limbeck.data.sources import cifar10, cifar100
from limbeck.data.sources.cifar_archive import dataset
from limbeck.errors import LimbeckError

BOTH = [cifar10, cifar100]
both = pytest.mark.parametrize("module", BOTH, ids=["cifar10", "cifar100"])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "archive.tar.gz"


@both
def test_records_become_images_in_the_archives_order(module, path):
    archive, files = small(module.ARCHIVE, path)
    data = dataset(archive, str(path))
    for split, names in (("train", archive.train), ("test", archive.test)):
        raw = b"".join(files[name] for name in names)
        records = np.frombuffer(raw, np.uint8).reshape(-1, archive.label_bytes + 3072)
        part = getattr(data, split)
        planes = records[:, archive.label_bytes :].reshape(-1, 3, 32, 32)
        np.testing.assert_array_equal(part.images.numpy(), planes)
        np.testing.assert_array_equal(part.labels.numpy(), records[:, archive.label_bytes - 1])
    assert data.class_names == tuple(f"class_{i}" for i in range(archive.classes))
    assert data.normalisation == module.ARCHIVE.normalisation
    assert data.name == module.ARCHIVE.name


@both
def test_once_decoded_the_archive_is_not_needed(module, path):
    archive, _ = small(module.ARCHIVE, path)
    data = dataset(archive, str(path))
    path.unlink()
    assert dataset(archive, None).fingerprint == data.fingerprint


@both
def test_the_extracted_folder_gives_the_same(module, path, tmp_path):
    archive, files = small(module.ARCHIVE, path)
    folder = tmp_path / "extracted" / archive.folder
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    whole = dataset(archive, str(path))
    for place in (folder, folder.parent):
        data = dataset(archive, str(place))
        assert data.fingerprint == whole.fingerprint
        assert torch.equal(data.train.images, whole.train.images)


@both
def test_the_archive_is_found_in_the_data_folder(module, tmp_path):
    (tmp_path / "downloads").mkdir()
    archive, _ = small(module.ARCHIVE, tmp_path / "downloads" / module.ARCHIVE.file_name)
    assert len(dataset(archive, None).test) == archive.classes


@both
def test_another_archive_is_refused_before_it_is_read(module, path):
    small(module.ARCHIVE, path)
    with pytest.raises(LimbeckError, match=f"not the official file.*{module.ARCHIVE.sha256}.*nothing was read"):
        module.build(path=str(path))
    assert cache.entries() == []


@both
def test_one_changed_byte_is_refused(module, path):
    archive, _ = small(module.ARCHIVE, path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(LimbeckError, match="not the official file"):
        dataset(archive, str(path))


def odd_archive(path, change) -> None:
    """Read an archive that is sound by its checksum but not by what it holds."""
    archive = dataclasses.replace(cifar10.ARCHIVE, records={"train": 20, "test": 10})
    files = cifar_files(archive, dict(archive.records))
    change(files)
    sha256 = cifar_tar(path, archive, files)
    dataset(dataclasses.replace(archive, sha256=sha256), str(path))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.pop("data_batch_3.bin"), "cifar-10-batches-bin/data_batch_3.bin: missing"),
        (
            lambda f: f.update({"test_batch.bin": f["test_batch.bin"][:-1]}),
            "test_batch.bin: 30,729 bytes; expected 30,730",
        ),
        (lambda f: f.update({"batches.meta.txt": b"cat\ndog\n"}), "2 class names; expected 10 distinct"),
        (lambda f: f.update({"batches.meta.txt": b"cat\n" * 10}), "10 class names; expected 10 distinct"),
        (lambda f: f.update({"test_batch.bin": b"\x0b" + f["test_batch.bin"][1:]}), "label 11"),
    ],
)
def test_archives_with_odd_contents_are_refused(change, words, path):
    with pytest.raises(LimbeckError, match=words):
        odd_archive(path, change)
    assert cache.entries() == []


def test_a_link_in_place_of_a_file_is_not_followed(path):
    archive = dataclasses.replace(cifar10.ARCHIVE, records={"train": 20, "test": 10})
    files = cifar_files(archive, dict(archive.records))
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(f"{archive.folder}/{name}")
            if name == "test_batch.bin":
                member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
                tar.addfile(member)
            else:
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    import hashlib

    sound = dataclasses.replace(archive, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(LimbeckError, match=r"test_batch\.bin"):
        dataset(sound, str(path))


@both
def test_paths_that_lead_nowhere_say_what_is_expected(module, tmp_path):
    with pytest.raises(LimbeckError, match=f"no such file.*{module.ARCHIVE.file_name}"):
        module.build(path=str(tmp_path / "absent.tar.gz"))
    with pytest.raises(LimbeckError, match=r"\.bin: missing"):
        module.build(path=str(tmp_path))


def test_a_short_file_in_an_extracted_folder_is_named(tmp_path):
    for name in (*cifar10.ARCHIVE.train, *cifar10.ARCHIVE.test, cifar10.ARCHIVE.names):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(LimbeckError, match=r"data_batch_1\.bin: 0 bytes; expected 30,730,000"):
        cifar10.build(path=str(tmp_path))
