from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from data_samples import encoded, parquet_file, parquet_folder, pixels, real
from PIL import Image

from limbeck.data import cache
from limbeck.data.sources import parquet
from limbeck.errors import LimbeckError

pytest.importorskip("pyarrow")

NAMES = {"label": ("cat", "dog")}
TWENTY = [encoded(pixels(i)) for i in range(20)]
IN_TURN = [i % 2 for i in range(20)]


def test_a_folder_as_the_hub_serves_it(tmp_path):
    data = parquet.build(str(parquet_folder(tmp_path / "pets")))
    assert data.name == "parquet:pets"
    assert data.class_names == ("cat", "dog")
    assert (len(data.train), data.validation, len(data.test)) == (10, None, 10)
    for part, start in ((data.train, 0), (data.test, 1000)):
        expected = np.stack([pixels(start, i) for i in range(10)])
        np.testing.assert_array_equal(part.images.permute(0, 2, 3, 1).numpy(), expected)
        assert part.labels.tolist() == [i % 2 for i in range(10)]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_each_format_is_decoded(kind, tmp_path):
    data = [encoded(pixels(i), kind) for i in range(20)]
    file = parquet_file(tmp_path / "one.parquet", data, {"label": IN_TURN}, NAMES)
    built = parquet.build(str(file))
    seen = torch.cat([built.train.images, built.test.images]).permute(0, 2, 3, 1).numpy()
    due = {np.asarray(Image.open(io.BytesIO(d)).convert("RGB")).tobytes() for d in data}
    assert {image.tobytes() for image in seen} == due


def test_one_file_is_split_stratified_and_always_alike(tmp_path):
    file = parquet_file(tmp_path / "train-00000-of-00001.parquet", TWENTY, {"label": IN_TURN}, NAMES)
    data = parquet.build(str(file), test=0.3)
    assert data.train.labels.bincount().tolist() == [7, 7]
    assert data.test.labels.bincount().tolist() == [3, 3]
    cache.clean()
    assert parquet.build(str(file.parent), test=0.3).fingerprint == data.fingerprint
    assert parquet.build(str(file), test=0.4).fingerprint != data.fingerprint


def test_shards_follow_each_other_and_validation_stays_apart(tmp_path):
    for shard in range(2):
        name = f"train-{shard:05d}-of-00002.parquet"
        parquet_file(tmp_path / name, TWENTY[shard * 5 :][:5], {"label": [0, 1, 0, 1, 0]}, NAMES)
    parquet_file(tmp_path / "validation-00000-of-00001.parquet", TWENTY[10:14], {"label": [1, 1, 0, 0]}, NAMES)
    parquet_file(tmp_path / "test-00000-of-00001.parquet", TWENTY[14:17], {"label": [1, 0, 1]}, NAMES)
    data = parquet.build(str(tmp_path))
    assert data.validation is not None
    assert [len(data.train), len(data.validation), len(data.test)] == [10, 4, 3]
    assert data.validation.labels.tolist() == [1, 1, 0, 0]
    expected = np.stack([pixels(i) for i in range(10)])
    np.testing.assert_array_equal(data.train.images.permute(0, 2, 3, 1).numpy(), expected)
    (tmp_path / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(LimbeckError, match=r"train-00001-of-00002\.parquet: missing"):
        parquet.build(str(tmp_path))


def test_validation_is_the_test_where_there_is_no_other(tmp_path):
    parquet_file(tmp_path / "train-00000-of-00001.parquet", TWENTY[:10], {"label": IN_TURN[:10]}, NAMES)
    parquet_file(tmp_path / "valid-00000-of-00001.parquet", TWENTY[10:14], {"label": [1, 1, 0, 0]}, NAMES)
    data = parquet.build(str(tmp_path))
    assert data.validation is None
    assert data.test.labels.tolist() == [1, 1, 0, 0]


def test_fine_labels_are_taken_and_coarse_ones_can_be_named(tmp_path):
    names = {"fine_label": ("cat", "dog", "oak", "elm"), "coarse_label": ("animal", "tree")}
    columns = {"coarse_label": [i % 4 // 2 for i in range(20)], "fine_label": [i % 4 for i in range(20)]}
    path = str(parquet_file(tmp_path / "a.parquet", TWENTY, columns, names))
    assert parquet.build(path).class_names == ("cat", "dog", "oak", "elm")
    assert parquet.build(path, label="coarse_label").class_names == ("animal", "tree")
    with pytest.raises(LimbeckError, match="no label column 'corse_label'; did you mean 'coarse_label'"):
        parquet.build(path, label="corse_label")
    with pytest.raises(LimbeckError, match="no image column 'img'"):
        parquet.build(path, image="img")


def test_an_open_choice_lists_the_columns(tmp_path):
    names = {"colour": ("red", "blue"), "shape": ("round", "square")}
    file = parquet_file(tmp_path / "a.parquet", TWENTY, {"colour": IN_TURN, "shape": IN_TURN}, names)
    with pytest.raises(LimbeckError, match="several columns may contain labels: colour, shape"):
        parquet.build(str(file))


def test_labels_may_be_words_or_plain_numbers(tmp_path):
    words = parquet_file(tmp_path / "w.parquet", TWENTY, {"label": ["dog", "cat"] * 10})
    assert parquet.build(str(words)).class_names == ("cat", "dog")
    numbers = parquet_file(tmp_path / "n.parquet", TWENTY, {"label": [3, 7] * 10})
    assert parquet.build(str(numbers)).class_names == ("3", "7")


def test_photos_are_stored_at_a_size_that_is_named_or_stated(tmp_path, capsys):
    photos = [encoded(pixels(i, height=40 + i, width=60), "JPEG") for i in range(20)]
    path = str(parquet_file(tmp_path / "a.parquet", photos, {"label": IN_TURN}, NAMES))
    assert parquet.build(path, image_size=24).train.images.shape == (16, 3, 24, 24)
    assert capsys.readouterr().err == ""
    assert parquet.build(path).train.images.shape == (16, 3, 224, 224)
    assert "224 x 224" in capsys.readouterr().err


def hub_folder(root, **labels_of) -> str:
    """train with ten, validation with four and test with six images; a part whose labels are None has no column."""
    start = 0
    for split, count in (("train", 10), ("validation", 4), ("test", 6)):
        if split in labels_of:
            labels = labels_of[split]
            columns, names = ({"label": labels}, NAMES) if labels is not None else ({}, {})
            name = f"{split}-00000-of-00001.parquet"
            parquet_file(root / name, TWENTY[start : start + count], columns, names)
        start += count
    return str(root)


@pytest.mark.parametrize("secret", [[-1] * 6, None, [None] * 6], ids=["minus one", "no column", "nulls"])
def test_a_test_part_without_labels_gives_way_to_the_validation_part(secret, tmp_path):
    data = parquet.build(hub_folder(tmp_path, train=IN_TURN[:10], validation=[1, 1, 0, 0], test=secret))
    assert data.class_names == ("cat", "dog")
    assert (len(data.train), data.validation, data.test.labels.tolist()) == (10, None, [1, 1, 0, 0])
    assert data.notes == ("the test split has no labels; the validation split is used as test split",)


def test_without_a_validation_part_a_test_is_split_off(tmp_path):
    data = parquet.build(hub_folder(tmp_path, train=IN_TURN[:10], test=[-1] * 6))
    assert (len(data.train), data.validation, len(data.test)) == (8, None, 2)
    assert data.notes == ("the test split has no labels; a test split is held out of train",)


def test_a_test_part_with_some_labels_is_still_refused(tmp_path):
    with pytest.raises(LimbeckError, match=r"label -1 is invalid; .*secret"):
        parquet.build(hub_folder(tmp_path, train=IN_TURN[:10], validation=[1, 1, 0, 0], test=[-1, 0, 1, 0, 1, 0]))


def test_a_test_part_may_lack_a_class(tmp_path):
    data = parquet.build(hub_folder(tmp_path, train=IN_TURN[:10], test=[1] * 6))
    assert data.test.labels.tolist() == [1] * 6
    assert data.notes == ("the test split has no image of 'cat'",)


def test_labels_may_be_true_or_false(tmp_path):
    file = parquet_file(tmp_path / "a.parquet", TWENTY, {"label": [i % 2 == 1 for i in range(20)]})
    data = parquet.build(str(file))
    assert data.class_names == ("false", "true")
    assert data.train.labels.bincount().tolist() == [8, 8]


def test_the_images_held_out_do_not_follow_the_size_that_is_stored(tmp_path):
    file = parquet_file(tmp_path / "a.parquet", TWENTY, {"label": IN_TURN}, NAMES)
    of_size = {size: parquet.build(str(file), image_size=size) for size in (None, 8, 12, 16)}
    keys = {data.split_key or data.fingerprint for data in of_size.values()}
    assert keys == {of_size[None].fingerprint}  # as ever, so that published numbers stay


@pytest.mark.parametrize("split", ["whole", "parts"])
def test_spoilt_rows_are_told_together_or_skipped(split, tmp_path):
    images = [*TWENTY]
    images[3], images[7], images[12] = b"rubbish", None, TWENTY[0][:50]
    if split == "whole":
        path = str(parquet_file(tmp_path / "a.parquet", images, {"label": IN_TURN}, NAMES))
    else:
        for name, of in (("train", slice(0, 10)), ("test", slice(10, 20))):
            parquet_file(tmp_path / f"{name}-00000-of-00001.parquet", images[of], {"label": IN_TURN[of]}, NAMES)
        path = str(tmp_path)
    with pytest.raises(LimbeckError, match=r"^3 images or folders cannot be used; .*limbeck check parquet:"):
        parquet.build(path)
    data = parquet.build(path, spoilt="skip")
    assert len(data.train) + len(data.test) == 17
    (said,) = data.notes
    assert said.startswith("3 of 20 images are unreadable and were skipped")
    seen = torch.cat([data.train.images, data.test.images]).permute(0, 2, 3, 1).numpy()
    due = {pixels(i).tobytes(): i % 2 for i in range(20) if i not in (3, 7, 12)}
    labels = torch.cat([data.train.labels, data.test.labels]).tolist()
    assert {image.tobytes(): label for image, label in zip(seen, labels, strict=True)} == due


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (b"", r"row 7: the file is empty"),
        (b"<html>", r"row 7: not a supported image"),
        (TWENTY[0][:60], r"row 7: "),
        (None, r"row 7: contains no image bytes"),
    ],
)
def test_a_bad_image_is_named_by_file_and_row(bad, words, tmp_path):
    file = parquet_file(tmp_path / "a.parquet", [*TWENTY[:7], bad, *TWENTY[8:]], {"label": IN_TURN}, NAMES)
    with pytest.raises(LimbeckError, match=rf"a\.parquet: {words}"):
        parquet.build(str(file))
    assert cache.entries() == []


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([2, *IN_TURN[1:]], "label 2 is invalid; the metadata has 2 classes"),
        ([-1, *IN_TURN[1:]], "labels are secret"),
        ([None, *IN_TURN[1:]], "row 0 has no label"),
        ([0] * 20, "class 'dog' has no training images"),
    ],
)
def test_bad_labels_are_refused(labels, words, tmp_path):
    file = parquet_file(tmp_path / "a.parquet", TWENTY, {"label": labels}, NAMES)
    with pytest.raises(LimbeckError, match=words):
        parquet.build(str(file))


def test_classes_that_differ_between_files_are_refused_with_both_sides(tmp_path):
    train = tmp_path / "train-00000-of-00001.parquet"
    parquet_file(train, TWENTY[:10], {"label": IN_TURN[:10]}, NAMES)
    parquet_file(
        tmp_path / "test-00000-of-00001.parquet",
        TWENTY[10:],
        {"label": IN_TURN[10:]},
        {"label": ("cat", "eel")},
    )
    with pytest.raises(LimbeckError, match=r"only here: .*; only there: ") as caught:
        parquet.build(str(tmp_path))
    for word in ("dog", "eel", "train-00000", "test-00000"):
        assert word in str(caught.value)


def test_files_that_are_not_what_they_should_be_are_refused(tmp_path):
    with pytest.raises(LimbeckError, match="no such file or folder"):
        parquet.build(str(tmp_path / "absent"))
    with pytest.raises(LimbeckError, match=r"contains no \.parquet files"):
        parquet.build(str(tmp_path))
    (tmp_path / "a.parquet").write_bytes(b"PAR1 rubbish")
    with pytest.raises(LimbeckError, match=r"a\.parquet: not a readable Parquet file"):
        parquet.build(str(tmp_path))
    file = parquet_file(tmp_path / "b.parquet", TWENTY, {"label": IN_TURN}, NAMES)
    (tmp_path / "a.parquet").write_bytes(file.read_bytes()[:-100])
    with pytest.raises(LimbeckError, match=r"a\.parquet: not a readable Parquet file"):
        parquet.build(str(tmp_path / "a.parquet"))
    parquet_file(tmp_path / "train-x.parquet", TWENTY, {"label": IN_TURN}, NAMES)
    with pytest.raises(LimbeckError, match="contains no split"):
        parquet.build(str(tmp_path))


def test_a_damaged_page_is_refused_with_its_file(tmp_path):
    file = parquet_file(tmp_path / "a.parquet", TWENTY, {"label": IN_TURN}, NAMES)
    data = bytearray(file.read_bytes())
    data[4:300] = bytes(296)
    file.write_bytes(data)
    with pytest.raises(LimbeckError, match=r"a\.parquet: "):
        parquet.build(str(file))
    assert cache.entries() == []


def test_the_real_cifar10_test_images_are_read():
    data = parquet.build(str(real("cifar10/test-00000-of-00001.parquet")), test=0.1)
    assert data.class_names[:3] == ("airplane", "automobile", "bird")
    assert data.train.images.shape == (9000, 3, 32, 32)
    assert data.train.labels.bincount().tolist() == [900] * 10
    assert data.test.labels.bincount().tolist() == [100] * 10
    # The published figures of the training images, which the test images share to about a hundredth.
    torch.testing.assert_close(
        torch.tensor(data.normalisation.mean), torch.tensor([0.4914, 0.4822, 0.4465]), atol=0.01, rtol=0
    )
    torch.testing.assert_close(
        torch.tensor(data.normalisation.sd), torch.tensor([0.2470, 0.2435, 0.2616]), atol=0.01, rtol=0
    )


@pytest.mark.slow
def test_real_tiny_imagenet_has_its_validation_images_as_test():
    folder = real("tiny-imagenet-200")
    data = parquet.build(str(folder))
    assert data.validation is None
    assert data.train.images.shape[1:] == (3, 64, 64)
    assert len(data.class_names) == 200
    assert data.test.labels.bincount().unique().numel() == 1
