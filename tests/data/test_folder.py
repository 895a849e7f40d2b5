from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
import torch
from data_samples import class_folders, encoded, pixels
from PIL import Image

from limbeck.building import data as images_of_runs
from limbeck.data import cache, decode
from limbeck.data.sources import folder
from limbeck.errors import LimbeckError


@pytest.fixture
def root(tmp_path):
    return tmp_path / "photos"


def refused(root, words: str, *, line: bool = True, **options) -> str:
    """line: told in a single one, as all is but a list."""
    with pytest.raises(LimbeckError, match=words) as caught:
        folder.build(str(root), **options)
    assert ("\n" not in str(caught.value)) == line
    assert cache.entries() == []
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
        (label, decode.read(file).tobytes())
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
        first = decode.read(next((root / "train").parent.glob(f"*/cat/{start:03d}.*")))
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
    cache.clean()
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


def test_classes_that_train_lacks_are_refused_naming_both_sides(root):
    class_folders(root / "train", ("cat", "dog"))
    class_folders(root / "test", ("cat", "dgo"))
    message = refused(root, "classes differ")
    assert "only train/ has 'dog'" in message
    assert "only test/ has 'dgo'" in message


@pytest.mark.parametrize("empty", [False, True])
def test_a_test_folder_may_lack_a_class_and_labels_stay_right(empty, root):
    class_folders(root / "train", ("cat", "dog", "eel"))
    class_folders(root / "test", ("dog", "eel"), count=3, start=50)
    class_folders(root / "val", ("eel",), count=2, start=60)
    if empty:
        (root / "test" / "cat").mkdir()
    data = folder.build(str(root))
    assert data.class_names == ("cat", "dog", "eel")
    assert data.test.labels.tolist() == [1, 1, 1, 2, 2, 2]
    assert data.validation is not None
    assert data.validation.labels.tolist() == [2, 2]
    assert "the test split has no image of 'cat'" in data.notes
    assert "the validation split has no image of 'cat', 'dog'" in data.notes


def test_a_test_folder_without_labels_is_not_used_and_that_is_said(root):
    class_folders(root / "train", count=10)
    (root / "test").mkdir()
    (root / "test" / "1.jpg").write_bytes(encoded(pixels(5), "JPEG"))
    data = folder.build(str(root))
    assert (len(data.train), len(data.test)) == (16, 4)
    assert any("no class folders" in note for note in data.notes)
    class_folders(root / "val", count=3, start=20)
    assert (len(folder.build(str(root)).train), len(folder.build(str(root)).test)) == (20, 6)


def test_a_test_split_without_any_image_is_refused(root):
    class_folders(root / "train")
    (root / "test" / "cat").mkdir(parents=True)
    refused(root, "there are no test images")


def test_a_class_with_no_image_is_refused_with_its_path(root):
    class_folders(root)
    (root / "eel").mkdir()
    (root / "eel" / ".DS_Store").write_bytes(b"")
    assert str(root / "eel") in refused(root, "this class has no images")


def test_a_class_that_is_too_small_to_split_trains_with_all_of_it_and_that_is_said(root):
    class_folders(root, count=10)
    for count, name in enumerate(("eel", "emu", "fox"), 1):
        class_folders(root, (name,), count=count, start=100 * count)
    data = folder.build(str(root))
    assert data.train.labels.bincount().tolist() == [8, 8, 1, 2, 2]
    assert data.test.labels.bincount().tolist() == [2, 2, 0, 0, 1]
    assert data.notes == (
        "2 classes have too few images for the test split; all of them are used for training: 'eel', 'emu'",
    )
    cache.clean()
    small = class_folders(root.parent / "small", count=2)
    assert "the largest has 2, and at least three are needed" in refused(small, "no class has enough")


def test_files_that_are_no_images_are_passed_over_and_counted(root):
    class_folders(root, count=5)
    clean = folder.build(str(root)).fingerprint
    for name in ("notes.txt", "labels.csv", "a.json", "b.JSON", "LICENSE", "Thumbs.db", "000.png~", "._000.png"):
        (root / "cat" / name).write_text("hello")
    for name in ("@eaDir", ".ipynb_checkpoints", "__MACOSX", "lost+found", "#recycle"):
        for place in (root, root / "dog"):
            (place / name).mkdir()
            (place / name / "x.png").write_bytes(b"rubbish")
    data = folder.build(str(root))
    assert data.fingerprint == clean
    (said,) = data.notes
    assert said.startswith("ignored 13 files that are not images: 2 .json, ")


@pytest.mark.parametrize("name", ["a.svg", "b.heic", "c.CR2", "d.psd"])
def test_images_that_are_not_read_are_refused_with_their_path(name, root):
    class_folders(root)
    (root / "cat" / name).write_text("hello")
    assert str(root / "cat" / name) in refused(root, "not a supported image")


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [(".jfif", "JPEG"), (".jpe", "JPEG"), (".TIF", "TIFF"), (".tiff", "TIFF"), (".ppm", "PPM"), (".pgm", "PPM"),
     (".avif", "AVIF"), (".Jpeg", "JPEG")],
)  # fmt: skip
def test_suffixes_that_people_have_are_read(suffix, kind, root):
    class_folders(root)
    (root / "cat" / f"more{suffix}").write_bytes(encoded(pixels(50), kind))
    data = folder.build(str(root))
    assert len(data.train) + len(data.test) == 11


def test_all_that_is_wrong_is_told_at_once_with_what_to_do(root):
    class_folders(root, count=30)
    bad = sorted((root / "cat").iterdir())[:25]
    for path in bad:
        path.write_bytes(b"rubbish")
    (root / "eel").mkdir()
    (root / "dog" / "gone.png").symlink_to(root / "nowhere.png")
    (root / "dog" / "odd\n\x1b[31m.png").write_bytes(b"rubbish")
    message = refused(root, "28 images or folders cannot be used", line=False)
    assert f"limbeck check folder:{root} --out spoilt.txt" in message
    assert "data.spoilt=skip" in message
    assert f"{root / 'eel'}: this class has no images" in message
    assert "gone.png: cannot be read: No such file or directory" in message
    assert "\x1b" not in message
    assert message.count("\n") == 21
    assert message.endswith("and 8 more")
    assert cache.entries() == []


def test_spoilt_images_are_skipped_where_that_is_wanted_and_counted(root):
    class_folders(root, count=10)
    clean = folder.build(str(root))
    cache.clean()
    (root / "cat" / "bad.png").write_bytes(b"rubbish")
    (root / "dog" / "worse.jpg").write_bytes(encoded(pixels(1), "JPEG")[:100])
    (root / "dog" / "gone.png").symlink_to(root / "nowhere.png")
    refused(root, "3 images or folders cannot be used", line=False)
    data = folder.build(str(root), spoilt="skip")
    again = folder.build(str(root), spoilt="skip")
    assert data.fingerprint == again.fingerprint == clean.fingerprint
    assert data.split_key == clean.split_key
    (said,) = data.notes
    assert said.startswith("3 of 23 images are unreadable and were skipped (data.spoilt: skip): ")
    assert again.notes == data.notes
    with pytest.raises(LimbeckError, match="spoilt must be refuse or skip; got 'skipp'; did you mean 'skip'"):
        folder.build(str(root), spoilt="skipp")


def test_what_cannot_be_skipped_is_refused_nevertheless(root):
    class_folders(root)
    class_folders(root, ("eel",), count=0)
    (root / "cat" / "bad.png").write_bytes(b"rubbish")
    assert str(root / "eel") in refused(root, "no image", spoilt="skip")
    (root / "eel" / "bad.png").write_bytes(b"rubbish")
    assert "eel" in refused(root, "all training images of this class are unreadable", spoilt="skip")


def held_out(root, size: int | None) -> list[int]:
    parted = images_of_runs.split_dataset(folder.build(str(root), image_size=size), 0.25)
    assert parted.validation.rows is not None
    return parted.validation.rows.tolist()


def test_small_images_of_one_size_are_held_out_as_ever_whatever_size_is_stored(root):
    for label, name in enumerate(("cat", "dog")):
        (root / name).mkdir(parents=True)
        for i in range(20):
            (root / name / f"{i:03d}.png").write_bytes(encoded(pixels(label, i)))
    data = folder.build(str(root))
    # As the first version held them out, and told of it: its runs go on, and numbers that were published stay.
    assert data.split_key == ""
    assert images_of_runs.split_dataset(data, 0.25).fingerprint == (
        "77096272c7b86bdc16835c4e4af3ea8b9a2bdd0336639f5281b4350593a57489/validation=0.25"
    )
    assert held_out(root, None) == [6, 9, 10, 15, 16, 21, 24, 25]
    assert [held_out(root, size) for size in (8, 12, 16, 32)] == [held_out(root, None)] * 4
    assert folder.build(str(root), image_size=16).split_key == data.fingerprint
    assert folder.build(str(root), image_size=12).split_key == ""


@pytest.mark.parametrize("sides", [(24, 25), (130, 130)])
def test_photos_are_held_out_by_their_names_whatever_size_is_stored(sides, root):
    for side, start in zip(sides, (0, 100), strict=True):
        part = class_folders(root.parent / f"{start}", count=10, start=start, side=side)
        shutil.copytree(part, root, dirs_exist_ok=True)
    assert [held_out(root, size) for size in (8, 12, 16)] == [held_out(root, None)] * 3
    data = folder.build(str(root), image_size=8)
    assert f"/split={data.split_key[:16]}" in images_of_runs.split_dataset(data).fingerprint
    elsewhere = root.parent / "elsewhere"
    shutil.copytree(root, elsewhere)
    assert folder.build(str(elsewhere), image_size=12).split_key == data.split_key
    (elsewhere / "cat" / "000.png").rename(elsewhere / "cat" / "0000.png")
    assert folder.build(str(elsewhere), image_size=8).split_key != data.split_key


def test_12_bit_grey_is_told_and_not_almost_black(root):
    for label, name in enumerate(("cat", "dog")):
        (root / name).mkdir(parents=True)
        for i in range(5):
            grey = np.random.default_rng([label, i]).integers(0, 4096, (8, 8), dtype=np.uint16)
            (root / name / f"{i}.png").write_bytes(encoded(Image.fromarray(grey)))
    data = folder.build(str(root))
    assert 0.4 < data.normalisation.mean[0] < 0.6
    assert any("12-bit" in note for note in data.notes)


@pytest.mark.parametrize(
    "data",
    [b"", b"<svg></svg>", encoded(pixels(1))[:80], encoded(pixels(1), "PCX")],
    ids=["empty", "text", "truncated", "pcx"],
)
def test_a_bad_image_is_refused_with_its_path_and_nothing_is_kept(data, root):
    class_folders(root)
    (root / "dog" / "bad.png").write_bytes(data)
    assert str(root / "dog" / "bad.png") in refused(root, r"bad\.png: ")
    assert str(root / "dog" / "bad.png") in refused(root, r"bad\.png: ", image_size=16)
    assert [path.name for path in cache.location().glob("*")] == []


def test_places_that_are_no_folder_of_classes_are_refused(root):
    refused(root, "no such folder")
    root.mkdir()
    refused(root, "contains no class folders")
    class_folders(root, ("cat",))
    refused(root, "contains only one class, 'cat'")
    (root / "loose.jpg").write_bytes(b"x")
    assert str(root / "loose.jpg") in refused(root, "image outside the class folders")


def test_odd_split_folders_are_refused(root):
    class_folders(root / "test")
    refused(root, "no train/ beside test/")
    class_folders(root / "train")
    (root / "extra").mkdir()
    assert str(root / "extra") in refused(root, "unexpected folder; beside train/, expected only val/ and test/")
    shutil.rmtree(root / "extra")
    class_folders(root / "testing")
    refused(root, "both test/ and testing/")


def test_links_are_followed_but_not_in_a_circle(root, tmp_path):
    class_folders(root)
    class_folders(tmp_path / "far", ("eel",), start=50)
    (root / "eel").symlink_to(tmp_path / "far" / "eel")
    assert folder.build(str(root)).class_names == ("cat", "dog", "eel")
    cache.clean()
    (root / "cat" / "again").symlink_to(root)
    assert "again" in refused(root, "a circular link to one of its parent folders")


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
