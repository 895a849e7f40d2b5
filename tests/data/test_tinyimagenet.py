from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import re
import stat
import struct
import tracemalloc
import zipfile
from collections import defaultdict

import numpy as np
import pytest
import torch
from data_samples import encoded, pixels, real, small_tinyimagenet, tinyimagenet_files, zip_file
from PIL import Image

from limbeck.data import cache, decode
from limbeck.data.sources import official_archive, parquet, tinyimagenet
from limbeck.data.sources.tinyimagenet import ARCHIVE, dataset
from limbeck.errors import LimbeckError

FOLDER = ARCHIVE.folder
SMALL = dataclasses.replace(ARCHIVE, classes=4, train=3, validation=2)
ANNOTATIONS = "val/val_annotations.txt"
WNIDS = tinyimagenet_files(SMALL)["wnids.txt"].decode().split()
IMAGE = f"train/{WNIDS[2]}/images/{WNIDS[2]}_1.JPEG"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tiny.zip"


def extracted(root, files: dict[str, bytes]):
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def refused(path, archive, *words: str) -> str:
    """What is said, on one line, of an archive of which nothing is kept."""
    with pytest.raises(LimbeckError) as caught:
        dataset(archive, str(path))
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    for word in words:
        assert word in message, message
    assert [found.name for found in cache.location().glob("*")] == []
    return message


def test_images_and_labels_in_the_order_of_the_layout(path):
    archive, files = small_tinyimagenet(path)
    data = dataset(archive, str(path))
    assert (data.name, data.normalisation, data.validation) == ("tinyimagenet", ARCHIVE.normalisation, None)
    train = [f"train/{w}/images/{w}_{i}.JPEG" for w in WNIDS for i in range(archive.train)]
    lines = files[ANNOTATIONS].decode().splitlines()
    told = {line.split("\t")[0]: WNIDS.index(line.split("\t")[1]) for line in lines}
    for part, names in ((data.train, train), (data.test, [f"val/images/val_{i}.JPEG" for i in range(8)])):
        due = np.stack([np.asarray(Image.open(io.BytesIO(files[name])).convert("RGB")) for name in names])
        np.testing.assert_array_equal(part.images.permute(0, 2, 3, 1).numpy(), due)
    assert data.train.labels.tolist() == [label for label in range(4) for _ in range(3)]
    assert data.test.labels.tolist() == [told[f"val_{i}.JPEG"] for i in range(8)]
    assert sorted(data.test.labels.tolist()) != data.test.labels.tolist()


def test_images_are_counted_and_not_sorted_by_their_names(path):
    archive, files = small_tinyimagenet(path, train=12)
    data = dataset(archive, str(path))
    eleventh = decode.decode(files[f"train/{WNIDS[0]}/images/{WNIDS[0]}_10.JPEG"])
    np.testing.assert_array_equal(data.train.images[10].permute(1, 2, 0).numpy(), eleventh)


def test_grey_images_have_three_equal_channels(path):
    archive, files = small_tinyimagenet(path)
    data = dataset(archive, str(path))
    grey = [(image == image[:1]).all().item() for image in data.train.images]
    modes = [Image.open(io.BytesIO(files[n])).mode for n in files if n.startswith("train") and n.endswith("JPEG")]
    assert grey == [mode == "L" for mode in modes]
    assert 0 < sum(grey) < len(grey)


def test_classes_stand_in_the_order_of_wnids(path):
    archive, _ = small_tinyimagenet(path)
    assert sorted(WNIDS) != WNIDS
    assert dataset(archive, str(path)).class_names == tuple(f"word {wnid[-3:]}" for wnid in WNIDS)


def test_a_name_that_two_classes_share_has_the_wordnet_id(path):
    words = ["crane, bird", "goldfish, Carassius auratus", "crane", "potter's wheel"]
    files = tinyimagenet_files(SMALL)
    lines = [f"{wnid}\t{word}\r\n" for wnid, word in zip(WNIDS, words, strict=True)]
    files["words.txt"] = f"n00000001\tcrane\n\n{''.join(lines)}n00000002\tgoldfish\n".encode()
    data = dataset(dataclasses.replace(SMALL, sha256=zip_file(path, FOLDER, files)), str(path))
    assert data.class_names == (f"crane ({WNIDS[0]})", "goldfish", f"crane ({WNIDS[2]})", "potter's wheel")


def test_the_extracted_folder_gives_the_same(path, tmp_path):
    archive, files = small_tinyimagenet(path)
    folder = extracted(tmp_path / "extracted" / FOLDER, files)
    for junk in (folder / ".DS_Store", folder / "val" / "images" / "Thumbs.db", folder / "train" / ".DS_Store"):
        junk.write_bytes(b"rubbish")
    whole = dataset(archive, str(path))
    for place in (folder, folder.parent):
        data = dataset(archive, str(place))
        assert data.fingerprint == whole.fingerprint
        assert torch.equal(data.train.images, whole.train.images)
        assert torch.equal(data.test.images, whole.test.images)
        assert torch.equal(data.test.labels, whole.test.labels)


def test_boxes_and_test_images_are_not_needed(path, tmp_path):
    archive, files = small_tinyimagenet(path)
    few = {name: data for name, data in files.items() if "boxes" not in name and not name.startswith("test/")}
    assert len(few) < len(files)
    assert (
        dataset(archive, str(extracted(tmp_path / FOLDER, few))).fingerprint == dataset(archive, str(path)).fingerprint
    )


def test_a_changed_folder_is_read_again(tmp_path):
    folder = extracted(tmp_path / FOLDER, tinyimagenet_files(SMALL))
    before = dataset(SMALL, str(folder)).fingerprint
    (folder / IMAGE).write_bytes(encoded(pixels(99, height=64, width=64), "JPEG"))
    assert dataset(SMALL, str(folder)).fingerprint != before


def test_links_in_a_folder_are_followed_and_broken_ones_told(tmp_path):
    folder = extracted(tmp_path / FOLDER, tinyimagenet_files(SMALL))
    whole = dataset(SMALL, str(folder)).fingerprint
    (folder / "train").rename(tmp_path / "far")
    (folder / "train").symlink_to(tmp_path / "far")
    (folder / IMAGE).rename(tmp_path / "image")
    (folder / IMAGE).symlink_to(tmp_path / "image")
    assert dataset(SMALL, str(folder)).fingerprint == whole
    cache.clean()
    (tmp_path / "image").unlink()
    refused(folder, SMALL, str(folder / IMAGE), "cannot be read")
    os.mkfifo(tmp_path / "image")
    refused(folder, SMALL, str(folder / IMAGE), "not a regular file")


def test_once_decoded_the_archive_is_not_needed(path):
    archive, _ = small_tinyimagenet(path)
    data = dataset(archive, str(path))
    path.unlink()
    assert dataset(archive, None).fingerprint == data.fingerprint


def test_the_archive_is_found_in_the_data_folder(tmp_path):
    (tmp_path / "downloads").mkdir()
    archive, _ = small_tinyimagenet(tmp_path / "downloads" / "tiny-imagenet-200.zip")
    assert len(dataset(archive, None).test) == 8


def test_what_is_not_here_is_fetched_over_https_with_its_checksum(path, tmp_path, monkeypatch):
    archive, _ = small_tinyimagenet(path)
    asked = []

    def download(url, target, *, sha256):
        asked.append((url, target.name, sha256))
        target.parent.mkdir(parents=True)
        path.rename(target)

    monkeypatch.setattr(official_archive, "download", download)
    assert len(dataset(archive, None).train) == 12
    assert asked == [("https://cs231n.stanford.edu/tiny-imagenet-200.zip", "tiny-imagenet-200.zip", archive.sha256)]


def test_another_archive_is_refused_before_it_is_read(path):
    archive, _ = small_tinyimagenet(path)
    with pytest.raises(LimbeckError, match=f"tiny.zip: not the official file.*{ARCHIVE.sha256}.*nothing was read"):
        tinyimagenet.build(path=str(path))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    refused(path, archive, "not the official file")


def test_paths_that_lead_nowhere_say_what_is_expected(tmp_path):
    with pytest.raises(LimbeckError, match=r"absent\.zip: no such file; path must be tiny-imagenet-200\.zip"):
        tinyimagenet.build(path=str(tmp_path / "absent.zip"))
    with pytest.raises(LimbeckError, match=r"wnids\.txt: missing; path must be tiny-imagenet-200\.zip"):
        tinyimagenet.build(path=str(tmp_path))


def changed(name: str, old: bytes, new: bytes):
    def change(files: dict[str, bytes]) -> None:
        assert old in files[name]
        files[name] = files[name].replace(old, new, 1)

    return change


def put(name: str, data: bytes):
    return lambda files: files.update({name: data})


def gone(name: str):
    return lambda files: files.pop(name)


FIRST, SECOND = WNIDS[:2]
WORD = f"word {FIRST[-3:]}, other".encode()
DAMAGE = {
    "no train image": (gone(IMAGE), IMAGE, "missing; ", "_0.JPEG to ", "must contain 3"),
    "no validation image": (gone("val/images/val_3.JPEG"), "val/images/val_3.JPEG", "missing; ", "must contain 8"),
    "no class": (
        lambda files: [files.pop(name) for name in list(files) if name.startswith(f"train/{FIRST}/")],
        f"train/{FIRST}",
        "missing; ",
        "must contain 4",
    ),
    "several": (
        lambda files: [files.pop(f"val/images/val_{i}.JPEG") for i in (2, 4, 6)],
        "val/images/val_2.JPEG: missing, and 2 more; ",
    ),
    "a train image too many": (
        put(f"train/{FIRST}/images/{FIRST}_3.JPEG", b"x"),
        f"train/{FIRST}/images/{FIRST}_3.JPEG: unexpected",
    ),
    "a class too many": (put("train/n99999999/images/n99999999_0.JPEG", b"x"), "train/n99999999: unexpected"),
    "a validation image too many": (put("val/images/copy.JPEG", b"x"), "val/images/copy.JPEG: unexpected"),
    "no words": (gone("words.txt"), "words.txt: missing"),
    "no annotations": (gone(ANNOTATIONS), f"{ANNOTATIONS}: missing"),
    "other classes": (put("wnids.txt", b"n00000001\n" * 3), "wnids.txt: line 2: duplicate n00000001"),
    "few classes": (put("wnids.txt", f"{FIRST}\n{SECOND}\n".encode()), "wnids.txt: 2 classes; expected 4"),
    "a path as class": (changed("wnids.txt", b"n", b"../n"), "wnids.txt: line 1: not a WordNet id: '../n"),
    "a class without words": (changed("words.txt", FIRST.encode(), b"n12345678"), f"words.txt: no words for {FIRST}"),
    "a class with empty words": (
        changed("words.txt", WORD, b" , x"),
        "words.txt: line ",
        f"no words; expected {FIRST}",
    ),
    "a class twice in words": (
        changed("words.txt", b"n99999999\tentity", f"{FIRST}\tentity".encode()),
        "words.txt: line ",
        f"duplicate {FIRST}",
    ),
    "an unknown image": (
        changed(ANNOTATIONS, b"val_2.", b"val_9."),
        "line 3: 'val_9.JPEG' is not an image of val/images/",
    ),
    "an unknown wnid": (
        changed(ANNOTATIONS, SECOND.encode(), b"n00000000"),
        "line 1: 'n00000000' is not a class of wnids.txt",
    ),
    "an image twice": (changed(ANNOTATIONS, b"val_2.", b"val_1."), "line 3: duplicate val_1.JPEG"),
    "a line too few": (
        lambda files: files.update({ANNOTATIONS: b"".join(files[ANNOTATIONS].splitlines(keepends=True)[:-1])}),
        f"{ANNOTATIONS}: no line for val_7.JPEG",
    ),
    "a short line": (changed(ANNOTATIONS, b"\t0\t1\t62\t63\n", b"\n"), "line 1: 2 columns; expected six"),
    "a line without tabs": (changed(ANNOTATIONS, b"\t0\t1\t62\t63\n", b" 0 1 62 63\n"), "line 1: 2 columns"),
    "a class too often": (
        changed(ANNOTATIONS, SECOND.encode(), FIRST.encode()),
        f"{ANNOTATIONS}: 3 images of {FIRST}; expected 2",
    ),
    "an empty image": (put(IMAGE, b""), f"{IMAGE}: the file is empty"),
    "text in place of an image": (put(IMAGE, b"<svg></svg>"), f"{IMAGE}: not a supported image"),
    "a cut image": (lambda files: files.update({IMAGE: files[IMAGE][:900]}), f"{IMAGE}: cannot be read"),
    "a large image": (
        put(IMAGE, encoded(pixels(1, height=64, width=65), "JPEG")),
        f"{IMAGE}: 64 x 65 pixels; expected 64 x 64",
    ),
    "too many bytes": (put(IMAGE, bytes(100_001)), f"{IMAGE}: 100,001 bytes; at most 100,000"),
}


@pytest.mark.parametrize("kind", ["zip", "folder"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_told_with_its_place_in_a_zip_and_in_a_folder(damage, kind, path, tmp_path):
    change, place, *words = DAMAGE[damage]
    files = tinyimagenet_files(SMALL)
    change(files)
    if kind == "folder":
        folder = extracted(tmp_path / FOLDER, files)
        refused(folder, SMALL, place, *words)
    else:
        archive = dataclasses.replace(SMALL, sha256=zip_file(path, FOLDER, files))
        message = refused(path, archive, place, *words)
        assert message.startswith(f"{path}: {FOLDER}/")


def odd_zip(path, add, files: dict[str, bytes] | None = None) -> tinyimagenet.Archive:
    """A zip that is sound by its checksum, with whatever `add` writes into it."""
    zip_file(path, FOLDER, tinyimagenet_files(SMALL) if files is None else files)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        add(archive)
    return checked(path)


def checked(path) -> tinyimagenet.Archive:
    return dataclasses.replace(SMALL, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.mark.parametrize(
    "name",
    [
        "../evil.txt",
        f"{FOLDER}/../../evil.txt",
        f"{FOLDER}/val/images/../../../../evil.txt",
        f"{FOLDER}/./evil.txt",
        "/etc/evil.txt",
        "//host/evil.txt",
        f"{FOLDER}//evil.txt",
        "C:/evil.txt",
        "C:\\evil.txt",
        f"{FOLDER}\\..\\..\\evil.txt",
    ],
)
def test_names_that_lead_out_of_the_archive_are_refused(name, path, tmp_path):
    archive = odd_zip(path, lambda odd: odd.writestr(name, b"evil"))
    refused(path, archive, "evil.txt: a name that leads out of the archive")
    assert not list(tmp_path.rglob("evil.txt"))


def test_members_outside_the_archives_folder_are_refused_and_junk_is_passed_over(path):
    junk = odd_zip(path, lambda odd: odd.writestr("__MACOSX/._x", b"x"))
    assert len(dataset(junk, str(path)).train) == 12
    cache.clean()
    refused(path, odd_zip(path, lambda odd: odd.writestr("other/x.txt", b"x")), "other/x.txt: unexpected")
    refused(path, odd_zip(path, lambda odd: odd.writestr("\x1b[2J/x.txt", b"x")), r"\x1b[2J/x.txt: unexpected")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_stands_twice_is_refused(path):
    refused(path, odd_zip(path, lambda odd: odd.writestr(f"{FOLDER}/{IMAGE}", b"x")), IMAGE, "twice")


def test_a_link_in_place_of_a_file_is_not_followed(path):
    def add(odd: zipfile.ZipFile) -> None:
        link = zipfile.ZipInfo(f"{FOLDER}/{IMAGE}")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        odd.writestr(link, "/etc/passwd")

    files = tinyimagenet_files(SMALL)
    files.pop(IMAGE)
    refused(path, odd_zip(path, add, files), f"{IMAGE}: not a regular file")


def test_a_folder_in_place_of_an_image_is_missing(path):
    files = tinyimagenet_files(SMALL)
    files.pop(IMAGE)
    refused(path, odd_zip(path, lambda odd: odd.writestr(f"{FOLDER}/{IMAGE}/", b""), files), f"{IMAGE}: missing")


def test_other_compressions_are_refused(path):
    files = tinyimagenet_files(SMALL)
    photo = files.pop(IMAGE)
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        archive = odd_zip(path, lambda odd, m=method: odd.writestr(f"{FOLDER}/{IMAGE}", photo, m), files)
        refused(path, archive, f"{IMAGE}: unsupported compression method {method}; expected stored or deflated")


def patched(path, member: str, offset: int, value: bytes) -> None:
    """Overwrite bytes of a member's entry in the central directory."""
    data = bytearray(path.read_bytes())
    entry = next(
        m.start()
        for m in re.finditer(rb"PK\x01\x02", data)
        if data[m.start() + 46 :].startswith(f"{FOLDER}/{member}".encode())
    )
    data[entry + offset : entry + offset + len(value)] = value
    path.write_bytes(data)


def test_a_member_that_needs_a_password_is_refused(path):
    small_tinyimagenet(path)
    patched(path, IMAGE, 8, struct.pack("<H", 1))
    refused(path, checked(path), f"{IMAGE}: cannot be read: ", "password")


def test_a_member_whose_bytes_changed_is_refused(path):
    small_tinyimagenet(path)
    patched(path, IMAGE, 16, struct.pack("<I", 12345))
    refused(path, checked(path), f"{IMAGE}: cannot be read: Bad CRC-32")


def test_a_member_shorter_than_the_archive_says_is_refused(path):
    _, files = small_tinyimagenet(path)
    patched(path, IMAGE, 24, struct.pack("<I", len(files[IMAGE]) + 5))
    refused(path, checked(path), f"{IMAGE}: ", f"{len(files[IMAGE]):,} bytes; the archive declares")


@pytest.fixture(scope="module")
def bomb(tmp_path_factory):
    """An archive whose words.txt unpacks to a thousand times its size."""
    path = tmp_path_factory.mktemp("bomb") / "bomb.zip"
    zip_file(path, FOLDER, tinyimagenet_files(SMALL) | {"words.txt": bytes(100_000_000)})
    return path


def test_a_bomb_is_refused_by_what_it_says(bomb):
    assert bomb.stat().st_size < 1_000_000
    refused(bomb, checked(bomb), "words.txt: 100,000,000 bytes; at most 20,000,000")


def test_a_bomb_that_lies_is_unpacked_as_far_as_it_says_and_no_further(bomb, path):
    path.write_bytes(bomb.read_bytes())
    patched(path, "words.txt", 24, struct.pack("<I", 1000))
    archive = checked(path)
    tracemalloc.start()
    try:
        refused(path, archive, "words.txt: cannot be read: Bad CRC-32")
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_what_is_no_zip_is_refused(path):
    small_tinyimagenet(path)
    whole = path.read_bytes()
    for damage in (b"", b"rubbish" * 100, whole[: len(whole) // 2], whole[:-30], encoded(pixels(1), "JPEG")):
        path.write_bytes(damage)
        refused(path, checked(path), "not a readable zip: ")


def test_too_many_members_are_refused(path, monkeypatch):
    archive, _ = small_tinyimagenet(path)
    monkeypatch.setattr(official_archive, "MAX_MEMBERS", 20)
    refused(path, archive, " members; at most 20 are allowed")


@pytest.fixture(scope="module")
def real_images():
    """Bytes and label of the real images, train and validation, and the classes' ids and words."""
    pq = pytest.importorskip("pyarrow.parquet")
    tables = [
        pq.read_table(real("tiny-imagenet-200") / f"{part}-00000-of-00001.parquet") for part in ("train", "valid")
    ]
    metadata = tables[0].schema.metadata
    wnids = json.loads(metadata[b"huggingface"])["info"]["features"]["label"]["names"]
    train, validation = ([(row["image"]["bytes"], row["label"]) for row in table.to_pylist()] for table in tables)
    return train, validation, wnids, json.loads(metadata[b"class_words"])


def in_official_layout(path, real_images, train: int, validation: int):
    """So many real images of each class as a zip; the layout that knows it, and the training images by class."""

    def of_each_class(part, count):
        by_class = defaultdict(list)
        for place, (_, label) in enumerate(part):
            by_class[label].append(place)
        return [part[place] for place in sorted(place for places in by_class.values() for place in places[:count])]

    wnids, words = real_images[2:]
    learned = sorted(of_each_class(real_images[0], train), key=lambda image: image[1])
    held = of_each_class(real_images[1], validation)
    files = {
        "wnids.txt": "\n".join(wnids).encode(),
        "words.txt": "".join(f"{wnid}\t{of}\n" for wnid, of in zip(wnids, words, strict=True)).encode(),
        ANNOTATIONS: "".join(f"val_{i}.JPEG\t{wnids[k]}\t0\t0\t63\t63\n" for i, (_, k) in enumerate(held)).encode(),
    }
    for place, (data, label) in enumerate(learned):
        files[f"train/{wnids[label]}/images/{wnids[label]}_{place % train}.JPEG"] = data
    files |= {f"val/images/val_{i}.JPEG": data for i, (data, _) in enumerate(held)}
    archive = dataclasses.replace(ARCHIVE, train=train, validation=validation)
    return dataclasses.replace(archive, sha256=zip_file(path, FOLDER, files)), learned, held


def test_real_images_in_the_official_layout(real_images, path):
    archive, learned, held = in_official_layout(path, real_images, train=5, validation=1)
    data = dataset(archive, str(path))
    for part, images_of_part in ((data.train, learned), (data.test, held)):
        due = np.stack([np.asarray(Image.open(io.BytesIO(of)).convert("RGB")) for of, _ in images_of_part])
        np.testing.assert_array_equal(part.images.permute(0, 2, 3, 1).numpy(), due)
        assert part.labels.tolist() == [label for _, label in images_of_part]
    grey = (data.train.images == data.train.images[:, :1]).flatten(1).all(1)
    assert 0.01 < grey.float().mean() < 0.04
    assert data.class_names == tuple(words.split(",")[0] for words in real_images[3])


def test_the_real_images_are_far_below_the_readers_limits(real_images):
    train, validation, wnids, words = real_images
    assert max(len(data) for data, _ in train + validation) < tinyimagenet.MAX_IMAGE_BYTES / 10
    assert all(tinyimagenet.WNID.fullmatch(wnid) for wnid in wnids)
    assert len(set(wnids)) == len({of.split(",")[0] for of in words}) == ARCHIVE.classes


@pytest.mark.slow
def test_parquet_and_the_official_layout_give_the_same_images_labels_and_test(real_images, path):
    """All 18,000 real images at hand; `parquet:` too takes the validation part for the test."""
    archive, _, _ = in_official_layout(path, real_images, train=70, validation=20)
    data = dataset(archive, str(path))
    table = parquet.build(str(real("tiny-imagenet-200")))
    assert data.validation is table.validation is None
    assert torch.equal(data.test.images, table.test.images)
    assert torch.equal(data.test.labels, table.test.labels)
    order = table.train.labels.argsort(stable=True)
    assert torch.equal(data.train.labels, table.train.labels[order])
    assert torch.equal(data.train.images, table.train.images[order])
    assert table.class_names == tuple(real_images[2])
    # The literature's figures are of all 100,000; a part of 14,000 lies within some 1.5 standard errors of them.
    for ours, known in zip(vars(table.normalisation).values(), vars(ARCHIVE.normalisation).values(), strict=True):
        torch.testing.assert_close(torch.tensor(ours), torch.tensor(known), atol=0.002, rtol=0)
