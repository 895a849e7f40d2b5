from __future__ import annotations

import time

import numpy as np
import pytest
from data_samples import encoded, pixels
from PIL import Image

from limbeck.data import decode
from limbeck.data.decode_parallel import PHOTO_SIZE, EncodedImage, check_image_size, choose_shape, decode_blocks
from limbeck.data.unreadable import ReadOptions, UnreadableError, read_consistently
from limbeck.errors import LimbeckError


def items(*sides: tuple[int, int], kind: str = "PNG") -> list[EncodedImage]:
    return [EncodedImage(encoded(pixels(i, height=h, width=w), kind), f"{i}.png", i) for i, (h, w) in enumerate(sides)]


@pytest.mark.parametrize(
    ("sides", "named", "shape"),
    [
        ([(12, 12)] * 3, None, (12, 12)),
        ([(12, 20)] * 3, None, (12, 20)),
        ([(128, 128)] * 2, None, (128, 128)),
        ([(129, 129)] * 2, None, (PHOTO_SIZE, PHOTO_SIZE)),
        ([(12, 12), (12, 13)], None, (PHOTO_SIZE, PHOTO_SIZE)),
        ([(12, 12), (12, 13)], 32, (32, 32)),
        ([(12, 12)] * 2, 32, (32, 32)),
    ],
)
def test_small_images_of_one_size_stay_others_are_fitted(sides, named, shape, capsys):
    assert choose_shape("mine", items(*sides), named) == shape
    assert ("224 x 224" in capsys.readouterr().err) == (shape[0] == PHOTO_SIZE)


def test_images_come_in_their_order_and_as_they_are():
    given = items(*[(9, 11)] * 100)
    blocks = list(decode_blocks(given, (9, 11)))
    pixels_out = np.concatenate([block for block, _ in blocks])
    assert np.concatenate([labels for _, labels in blocks]).tolist() == list(range(100))
    for item, image in zip(given, pixels_out, strict=True):
        np.testing.assert_array_equal(decode.read(item.source), image)


def test_images_of_any_size_are_fitted_as_a_single_one_is():
    given = items((30, 50), (64, 20), (8, 8), (16, 16))
    ((block, _),) = decode_blocks(given, (16, 16))
    for item, image in zip(given, block, strict=True):
        np.testing.assert_array_equal(decode.read(item.source, 16), image)


def test_images_of_another_size_are_refused_where_none_are_fitted():
    with pytest.raises(LimbeckError, match=r"^1\.png: 20 x 16 pixels; expected 16 x 16$"):
        list(decode_blocks(items((16, 16), (20, 16)), (16, 16), resize=False))
    ((block, _),) = decode_blocks(items((16, 16)), (16, 16), resize=False)
    np.testing.assert_array_equal(block[0], pixels(0, height=16, width=16))


def with_unreadable(*places: int) -> list[EncodedImage]:
    return [
        EncodedImage(b"rubbish", f"bad{i}.png", 0) if i in places else item
        for i, item in enumerate(items(*[(8, 8)] * 80))
    ]


def test_one_bad_image_is_told_in_a_line():
    with pytest.raises(UnreadableError, match=r"^bad50\.png: not a supported image[^\n]*$"):
        list(decode_blocks(with_unreadable(50), (8, 8)))
    assert choose_shape("mine", with_unreadable(0), None) == (8, 8)  # the others tell


def test_all_bad_images_are_told_at_once_the_first_twenty_by_name():
    given = with_unreadable(*range(50, 75))
    with pytest.raises(UnreadableError) as refused:
        list(decode_blocks(given, (8, 8), advice="mend them"))
    first, *lines, last = str(refused.value).split("\n")
    assert first == "25 images or folders cannot be used; mend them:"
    assert [line.split(":")[0] for line in lines] == [f"  bad{i}.png" for i in range(50, 70)]
    assert last == "  and 5 more"
    assert [where for where, _ in refused.value.found] == [f"bad{i}.png" for i in range(50, 75)]


def test_spoilt_images_are_left_out_where_that_is_wanted():
    given = with_unreadable(3, 40)

    def read(reading: ReadOptions) -> np.ndarray:
        left = [item for item in given if item.where not in reading.skipped]
        return np.concatenate([labels for _, labels in decode_blocks(left, (8, 8), reading=reading, skip=True)])

    assert read_consistently(read).tolist() == [i for i in range(80) if i not in (3, 40)]


@pytest.mark.parametrize(("brightest", "seen"), [(4095, 125), (65535, 8)])
def test_16_bit_grey_is_scaled_by_the_set_and_not_by_the_image(brightest, seen):
    def grey(level: int) -> bytes:
        return encoded(Image.fromarray(np.full((8, 8), level, np.uint16)))

    given = [EncodedImage(grey(2000), "dark.png", 0), EncodedImage(grey(brightest), "bright.png", 1), *items((8, 8))]

    def read(reading: ReadOptions) -> np.ndarray:
        return np.concatenate([images for images, _ in decode_blocks(given, (8, 8), reading=reading)])

    dark, bright, other = read_consistently(read)
    assert dark.max() == dark.min() == seen
    assert bright.min() == 255
    np.testing.assert_array_equal(other, pixels(0, height=8, width=8))


@pytest.mark.parametrize("size", [0, 3, 1025, -5, 32.0, True, "32"])
def test_senseless_sizes_are_refused(size):
    with pytest.raises(LimbeckError, match="from 4 to 1024"):
        check_image_size(size)


def test_small_images_decode_fast():
    # 60,000 take less than 30 s, that is 2,000 a second; a slow machine under load gets a margin of four.
    given = items(*[(32, 32)] * 1000, kind="WEBP")
    start = time.perf_counter()
    assert sum(len(block) for block, _ in decode_blocks(given, (32, 32))) == 1000
    assert time.perf_counter() - start < 2
