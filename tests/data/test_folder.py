from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
import torch
from data_samples import class_folders, encoded, pixels

from limbeck.data import folder, images, store
from limbeck.runs.errors import LimbeckError


@pytest.fixture
def root(tmp_path):
    return tmp_path / "photos"


def refused(root, words: str, **options) -> str:
    with pytest.raises(LimbeckError, match=words) as caught:
        folder.build(str(root), **options)
    assert "\n" not in str(caught.value)
    assert store.entries() == []
    return str(caught.value)


def test_class_folders_are_split_stratified(root):
    data = folder.build(str(class_folders(root, ("dog", "cat", "eel"), count=10)))
    assert data.name == "folder:photos"
    assert data.class_names == ("cat", "dog", "eel")
    assert data.train.labels.bincount().tolist() == [8, 8, 8]
    assert data.test.labels.bincount().tolist() == [2, 2, 2]
    assert data.train.images.shape == (24, 3, 12, 12)


def test_every_image_is_there_once_with_its_label(root):
    data = folder.build(str(class_folders(root, count=10)))
    seen = sorted(
        (int(label), image.permute(1, 2, 0).numpy().tobytes())
        for part in (data.train, data.test)
        for image, label in zip(part.images, part.labels, strict=True)
    )
    due = sorted(
        (label, images.read(file).tobytes())
        for label, name in enumerate(("cat", "dog"))
        for file in (root / name).iterdir()
    )
    assert seen == due


def test_the_split_follows_the_names_and_not_the_place(root, tmp_path):
    first = folder.build(str(class_folders(root, count=10)))
    shutil.copytree(root, tmp_path / "elsewhere" / "copied")
    again = folder.build(str(tmp_path / "elsewhere" / "copied"))
    assert again.fingerprint == first.fingerprint


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Val"])
def test_train_val_and_test_folders(root, name):
    for split, start in (("train", 0), (name, 10), ("test", 20)):
        class_folders(root / split, count=4, start=start)
    data = folder.build(str(root))
    assert data.validation is not None
    for part, start in ((data.train, 0), (data.validation, 10), (data.test, 20)):
        assert part.labels.tolist() == [0] * 4 + [1] * 4
        first = images.read(next((root / "train").parent.glob(f"*/cat/{start:03d}.*")))
        np.testing.assert_array_equal(part.images[0].permute(1, 2, 0).numpy(), first)


def test_val_is_the_test_where_there_is_no_other_and_train_alone_is_split(root):
    class_folders(root / "train", count=10)
    assert len(folder.build(str(root)).test) == 4
    class_folders(root / "val", count=3, start=20)
    data = folder.build(str(root))
    assert (len(data.train), data.validation, len(data.test)) == (20, None, 6)


def test_junk_is_passed_over(root):
    class_folders(root, count=5)
    clean = folder.build(str(root)).fingerprint
    for name in (".ipynb_checkpoints", ".git", "__MACOSX"):
        (root / name).mkdir()
        (root / name / "x.png").write_bytes(b"rubbish")
    (root / "README.md").write_text("about these images")
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._000.png"):
        (root / "cat" / name).write_bytes(b"rubbish")
    store.clean()
    assert folder.build(str(root)).fingerprint == clean


def test_folders_inside_a_class_belong_to_it(root):
    class_folders(root, count=5)
    (root / "cat" / "kittens" / "small").mkdir(parents=True)
    (root / "cat" / "kittens" / "small" / "1.png").write_bytes(encoded(pixels(99)))
    data = folder.build(str(root))
    assert len(data.train) + len(data.test) == 11


def test_a_changed_file_is_read_anew(root):
    class_folders(root, count=5)
    first = folder.build(str(root))
    (root / "cat" / "000.png").write_bytes(encoded(pixels(77)))
    assert folder.build(str(root)).fingerprint != first.fingerprint


def test_photos_of_any_size_are_stored_at_one(root, capsys):
    class_folders(root, count=5)
    (root / "cat" / "wide.jpg").write_bytes(encoded(pixels(1, height=50, width=90), "JPEG"))
    assert folder.build(str(root), image_size=16).train.images.shape[2:] == (16, 16)
    assert capsys.readouterr().err == ""
    assert folder.build(str(root)).train.images.shape[2:] == (224, 224)
    assert "224 x 224" in capsys.readouterr().err


def test_small_turned_photos_share_the_size_that_is_seen(root):
    class_folders(root, count=5)
    for name in ("cat", "dog"):
        for i, file in enumerate((root / name).iterdir()):
            turned = (
                {} if i % 2 else {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"}
            )
            image = pixels(i, height=20, width=10) if i % 2 else pixels(i, height=10, width=20)
            file.unlink()
            file.with_suffix(".jpg").write_bytes(encoded(image, "JPEG", **turned))
    assert folder.build(str(root)).train.images.shape[2:] == (20, 10)


def test_classes_that_differ_are_refused_naming_both_sides(root):
    class_folders(root / "train", ("cat", "dog"))
    class_folders(root / "test", ("cat", "dgo"))
    message = refused(root, "classes differ")
    assert "train/ has 'dog', which test/ lacks" in message
    assert "test/ has 'dgo', which train/ lacks" in message


def test_a_class_with_no_image_is_refused_with_its_path(root):
    class_folders(root)
    (root / "eel").mkdir()
    (root / "eel" / ".DS_Store").write_bytes(b"")
    assert str(root / "eel") in refused(root, "this class has no image")


def test_a_class_that_is_too_small_to_split_is_refused_with_its_path(root):
    class_folders(root)
    (root / "eel").mkdir()
    (root / "eel" / "1.png").write_bytes(encoded(pixels(1)))
    assert str(root / "eel") in refused(root, "has 1 image: .*at least 3 are needed")


@pytest.mark.parametrize("name", ["notes.txt", "a.tiff", "b.svg", "labels.csv"])
def test_other_files_in_a_class_are_refused_with_their_path(name, root):
    class_folders(root)
    (root / "cat" / name).write_text("hello")
    assert str(root / "cat" / name) in refused(root, "not an image")


@pytest.mark.parametrize(
    "data",
    [b"", b"<svg></svg>", encoded(pixels(1))[:80], encoded(pixels(1), "TIFF")],
    ids=["empty", "text", "truncated", "tiff"],
)
def test_a_bad_image_is_refused_with_its_path_and_nothing_is_kept(data, root):
    class_folders(root)
    (root / "dog" / "bad.png").write_bytes(data)
    assert str(root / "dog" / "bad.png") in refused(root, r"bad\.png: ")
    assert str(root / "dog" / "bad.png") in refused(root, r"bad\.png: ", image_size=16)
    assert [path.name for path in store.location().glob("*")] == []


def test_places_that_are_no_folder_of_classes_are_refused(root):
    refused(root, "no such folder")
    root.mkdir()
    refused(root, "holds no class folder")
    class_folders(root, ("cat",))
    refused(root, "holds one class, 'cat'")
    (root / "loose.jpg").write_bytes(b"x")
    assert str(root / "loose.jpg") in refused(root, "beside the class folders")


def test_odd_split_folders_are_refused(root):
    class_folders(root / "test")
    refused(root, "no train/ beside test/")
    class_folders(root / "train")
    (root / "extra").mkdir()
    assert str(root / "extra") in refused(root, "only val/ and test/ are expected")
    shutil.rmtree(root / "extra")
    class_folders(root / "testing")
    refused(root, "both test/ and testing/")


def test_links_are_followed_but_not_in_a_circle(root, tmp_path):
    class_folders(root)
    class_folders(tmp_path / "far", ("eel",), start=50)
    (root / "eel").symlink_to(tmp_path / "far" / "eel")
    assert folder.build(str(root)).class_names == ("cat", "dog", "eel")
    store.clean()
    (root / "cat" / "again").symlink_to(root)
    assert "again" in refused(root, "a link back to a folder that holds it")


def test_pipes_and_broken_links_are_refused_and_do_not_hang(root):
    class_folders(root)
    os.mkfifo(root / "cat" / "pipe.png")
    assert "pipe.png" in refused(root, "not a regular file")
    (root / "cat" / "pipe.png").unlink()
    (root / "cat" / "gone.png").symlink_to(root / "nowhere.png")
    assert "gone.png" in refused(root, "cannot be read")


@pytest.mark.parametrize("test", [0, 1, 2, -0.5])
def test_senseless_options_are_refused_before_anything_is_read(test, root):
    refused(root, "between 0 and 1", test=test)
    refused(root, "from 4 to 1024", image_size=2)


def test_image_files_without_a_suffix_are_read(root):
    class_folders(root)
    (root / "cat" / "deadbeef").write_bytes(encoded(pixels(5)))
    data = folder.build(str(root))
    assert torch.cat([data.train.labels, data.test.labels]).bincount().tolist() == [6, 5]
