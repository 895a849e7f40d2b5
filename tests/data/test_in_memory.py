"""Data sets of images in memory: what is taken, exactly as it is, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from limbeck.data.cache_writer import Contents, write
from limbeck.data.in_memory import Dataset
from limbeck.errors import LimbeckError

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (40, 6, 5, 3), dtype=np.uint8)  # N, H, W, C
GREY = RNG.integers(0, 256, (40, 6, 5), dtype=np.uint8)
LABELS = np.arange(40) % 4
FIRST = torch.from_numpy(COLOUR).permute(0, 3, 1, 2)


class MapStyle:
    """As torch.utils.data.Dataset: length, items by number, and nothing else."""

    def __init__(self, images: Any, labels: Any = LABELS, classes: Any = None) -> None:
        self.images, self.labels = images, labels
        if classes is not None:
            self.classes = classes

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, place: int) -> Any:
        if place >= len(self.images):
            raise IndexError(place)
        return self.images[place], self.labels[place]


def whole(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """All images `[N, C, H, W]` and labels, in an order of their own."""
    pixels = torch.cat([dataset.train.images, dataset.test.images]).contiguous().numpy()
    labels = torch.cat([dataset.train.labels, dataset.test.labels]).numpy()
    order = np.lexsort(pixels.reshape(len(pixels), -1).T)
    return pixels[order], labels[order]


@pytest.mark.parametrize(
    "images",
    [
        COLOUR, FIRST, FIRST.numpy(), torch.from_numpy(COLOUR), list(COLOUR), list(FIRST), COLOUR.astype(np.int64),
        FIRST.float() / 255, FIRST.double() / 255, (FIRST.float() / 255).half(), 
        COLOUR.astype(np.float32) / np.float32(255),
    ],
    ids=lambda images: f"{type(images).__name__}-{getattr(images, 'dtype', '')}",
)  # fmt: skip
def test_every_shape_and_type_gives_the_same_levels(images: Any) -> None:
    made = Dataset.from_arrays((images, LABELS))
    expected = Dataset.from_arrays((COLOUR, LABELS))
    assert made.fingerprint == expected.fingerprint
    assert made.train.images.shape[1:] == (3, 6, 5)
    for one, other in zip(whole(made), whole(expected), strict=True):
        assert np.array_equal(one, other)
    assert set(map(bytes, whole(made)[0])) == set(map(bytes, FIRST.numpy()))


@pytest.mark.parametrize(
    "images", [GREY, GREY[..., None], GREY[:, None], torch.from_numpy(GREY)], ids=lambda i: str(i.shape)
)
def test_grey_stays_grey(images: Any) -> None:
    made = Dataset.from_arrays((images, LABELS))
    assert made.train.images.shape[1:] == (1, 6, 5)
    assert len(made.normalisation.mean) == 1


def pillow(array: np.ndarray) -> list[Image.Image]:
    return [Image.fromarray(image) for image in array]


@pytest.mark.parametrize(
    ("items", "shape"),
    [
        (pillow(COLOUR), (3, 6, 5)), (pillow(GREY), (1, 6, 5)), (COLOUR, (3, 6, 5)), (FIRST, (3, 6, 5)),
        (FIRST.float() / 255, (3, 6, 5)), (GREY, (1, 6, 5)), ([i.convert("P") for i in pillow(GREY)], (3, 6, 5)),
    ],
    ids=["RGB", "L", "array", "tensor", "float", "grey", "palette"],
)  # fmt: skip
def test_map_style_datasets(items: Any, shape: tuple[int, ...]) -> None:
    made = Dataset.from_arrays(MapStyle(items, classes=["a", "b", "c", "d"]))
    assert made.train.images.shape[1:] == shape
    assert made.class_names == ("a", "b", "c", "d")
    if shape == (3, 6, 5) and not isinstance(items, list):
        assert made.fingerprint == Dataset.from_arrays((COLOUR, LABELS), class_names=["a", "b", "c", "d"]).fingerprint


def test_torchs_own_datasets() -> None:
    from torch.utils.data import Subset, TensorDataset

    whole_set = TensorDataset(FIRST, torch.from_numpy(LABELS))
    made = Dataset.from_arrays(Subset(whole_set, range(32)), Subset(whole_set, range(32, 40)))
    assert len(made.train) == 32
    assert len(made.test) == 8
    assert torch.equal(made.test.images, FIRST[32:])


def test_a_fifth_of_each_class_is_held_out_by_the_data_alone() -> None:
    first, again = (Dataset.from_arrays((COLOUR, LABELS)) for _ in range(2))
    assert torch.equal(first.test.images, again.test.images)
    assert torch.bincount(first.test.labels).tolist() == [2, 2, 2, 2]
    assert torch.bincount(first.train.labels).tolist() == [8, 8, 8, 8]
    seen = set(map(bytes, first.train.images.contiguous().numpy()))
    assert not seen & set(map(bytes, first.test.images.contiguous().numpy()))


def test_the_fingerprint_knows_pixels_labels_names_and_splits() -> None:
    changed = COLOUR.copy()
    changed[3, 2, 1, 0] ^= 1
    split = {"train": (COLOUR[:32], LABELS[:32]), "test": (COLOUR[32:], LABELS[32:])}
    made = [
        Dataset.from_arrays((COLOUR, LABELS)), Dataset.from_arrays((changed, LABELS)),
        Dataset.from_arrays((COLOUR, LABELS[::-1].copy())),
        Dataset.from_arrays((COLOUR, LABELS), class_names=list("abcd")),
        Dataset.from_arrays(**split), Dataset.from_arrays((COLOUR[:31], LABELS[:31]), (COLOUR[31:], LABELS[31:])),
    ]  # fmt: skip
    assert len({dataset.fingerprint for dataset in made}) == len(made)


def test_fingerprint_and_normalisation_are_those_of_a_source(tmp_path: Any) -> None:
    """The same images by way of the cache are the same data."""
    import json

    contents = Contents(
        class_names=("0", "1", "2", "3"),
        sizes={"train": 32, "test": 8},
        shape=(6, 5),
        blocks=[(COLOUR[:32], LABELS[:32]), (COLOUR[32:], LABELS[32:])],
        source="here",
    )
    write(contents, tmp_path, "here")
    meta = json.loads((tmp_path / "meta.json").read_text())
    made = Dataset.from_arrays((COLOUR[:32], LABELS[:32]), (COLOUR[32:], LABELS[32:]))
    assert made.fingerprint == meta["fingerprint"]
    assert made.normalisation.mean == pytest.approx(meta["normalisation"]["mean"])
    assert made.normalisation.sd == pytest.approx(meta["normalisation"]["sd"])


def test_labels_may_be_words() -> None:
    words = np.array(["dog", "cat"] * 20)
    made = Dataset.from_arrays((COLOUR, words))
    assert made.class_names == ("cat", "dog")
    assert (
        made.fingerprint == Dataset.from_arrays((COLOUR, 1 - np.arange(40) % 2), class_names=["cat", "dog"]).fingerprint
    )


def test_test_images_among_those_to_train_on_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    Dataset.from_arrays((COLOUR, LABELS), (COLOUR[:8], LABELS[:8]))
    assert (
        "8 of 8 test images are identical, pixel for pixel, to a training or validation image"
        in capsys.readouterr().err
    )


class Augmented(MapStyle):
    def __getitem__(self, place: int) -> Any:
        return RNG.integers(0, 256, (6, 5, 3), dtype=np.uint8), 0


class Broken(MapStyle):
    def __getitem__(self, place: int) -> Any:
        raise OSError(f"no file {place}")


AMBIGUOUS = np.zeros((8, 3, 4, 3), np.uint8)
NORMALISED = (FIRST.float() / 255 - 0.5) / 0.25


@pytest.mark.parametrize(
    ("train", "words", "said"),
    [
        ((AMBIGUOUS, [0, 1] * 4), {}, r"both the second and the last dimension .* channels='first' or 'last'"),
        ((np.zeros((8, 5, 4, 2), np.uint8), [0, 1] * 4), {}, "neither the second nor the last"),
        ((NORMALISED, LABELS), {}, r"floats must be multiples of 1 / 255 in \[0, 1\]"),
        ((FIRST.float(), LABELS), {}, "floats must be multiples of 1 / 255"),
        ((FIRST.float() / 254, LABELS), {}, "floats must be multiples of 1 / 255"),
        ((FIRST.float() * float("nan"), LABELS), {}, "floats must be multiples of 1 / 255"),
        ((COLOUR.astype(np.int32) - 1, LABELS), {}, "expected values from 0 to 255; got -1"),
        ((COLOUR > 9, LABELS), {}, "expected uint8 values from 0 to 255; got bool"),
        ((COLOUR[:, 0, 0, 0], LABELS), {}, r"expected \[N, H, W\]"),
        ((COLOUR[:0], LABELS[:0]), {}, "is empty"),
        ((COLOUR, LABELS[:39]), {}, "40 images but 39 labels"),
        ((COLOUR, LABELS.astype(float)), {}, r"expected \[N\] integers from 0"),
        ((COLOUR, np.eye(4)[LABELS]), {}, r"expected \[N\] integers from 0"),
        ((COLOUR, LABELS - 1), {}, "-1 is outside"),
        ((COLOUR, LABELS * 2), {}, "class '1' has no training images"),
        ((COLOUR, LABELS), {"class_names": "abcd"}, "class_names: expected a list of distinct strings"),
        ((COLOUR, LABELS), {"class_names": ["a", "a", "b", "c"]}, "class_names: expected a list of distinct strings"),
        ((COLOUR, LABELS), {"class_names": ["a"]}, "outside the 1 classes"),
        ((COLOUR, LABELS), {"class_names": 4}, "class_names: expected a list of distinct strings"),
        ((COLOUR, LABELS), {"channels": "middle"}, "channels must be 'first' or 'last'"),
        ((COLOUR, LABELS), {"test": (GREY, LABELS)},
         r"test images have shape \(1, 6, 5\) \(C, H, W\), but train images have \(3, 6, 5\)"),
        ((COLOUR, LABELS), {"test": (COLOUR, LABELS.astype(str))}, "some splits have strings"),
        (COLOUR, {}, r"train must be \(images, labels\)"),
        (None, {}, "no training images"),
        (3, {}, r"train must be \(images, labels\)"),
        ((["a.png"] * 40, LABELS), {}, r"expected \[N, H, W\]"),
        ((None, None), {}, "expected an array or a tensor"),
        (MapStyle([]), {}, "the dataset is empty"),
        (Augmented(COLOUR), {}, "changes each time it is read"),
        (Broken(COLOUR), {}, "item 0 of Broken raised OSError: no file 0"),
        (MapStyle([COLOUR[0], COLOUR[1, :3]]), {}, "resize all images to one size"),
        (MapStyle(COLOUR, ["a"] * 40), {}, "labels must be integers from 0; item 0 has 'a'"),
        (MapStyle(["a"] * 40), {}, "images must be Pillow images, arrays or tensors"),
    ],
)  # fmt: skip
def test_what_cannot_be_taken_is_told_in_one_line(train: Any, words: dict[str, Any], said: str) -> None:
    with pytest.raises(LimbeckError, match=said) as caught:
        Dataset.from_arrays(train, **words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("channels", "shape"), [("first", (3, 4, 3)), ("last", (3, 3, 4))])
def test_channels_can_be_said(channels: str, shape: tuple[int, ...]) -> None:
    pair = (AMBIGUOUS, [0, 1] * 4)
    assert Dataset.from_arrays(pair, pair, channels=channels).train.image_shape == shape
