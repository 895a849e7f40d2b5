from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from data_samples import encoded, pixels
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from limbeck.data import decode
from limbeck.errors import LimbeckError

RAMP = np.arange(0, 256, dtype=np.uint8).reshape(16, 16)


def write(folder: Path, data: bytes, name: str = "photo.png") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def refused(source: bytes | Path, *words: str) -> None:
    """Refused in one line that names the image and the reason, whether read whole or by its header."""
    where = str(source) if isinstance(source, Path) else "here.png"
    with pytest.raises(LimbeckError) as caught:
        decode.read(source, where=where)
    message = str(caught.value)
    assert message.startswith(where)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("BMP", {})])
def test_lossless_formats_give_the_pixels_that_were_written(kind, options, tmp_path):
    image = pixels(1, height=9, width=14)
    data = encoded(image, kind, **options)
    np.testing.assert_array_equal(decode.read(data), image)
    np.testing.assert_array_equal(decode.read(write(tmp_path, data)), image)
    assert decode.size_of(data) == (9, 14)


def test_jpeg_is_what_pillow_decodes():
    data = encoded(pixels(2), "JPEG")
    np.testing.assert_array_equal(decode.read(data), np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("mode", ["L", "P", "1"])
def test_grey_palette_and_black_and_white_become_rgb(mode):
    image = Image.fromarray(RAMP).convert(mode)
    np.testing.assert_array_equal(decode.read(encoded(image)), np.asarray(image.convert("RGB")))


def test_single_gif_frame_is_read():
    image = Image.fromarray(RAMP)
    assert decode.read(encoded(image, "GIF")).shape == (16, 16, 3)


def test_cmyk_keeps_its_colours():
    red = Image.new("RGB", (16, 16), (220, 30, 40))
    got = decode.read(encoded(red.convert("CMYK"), "JPEG", quality=100)).astype(int)
    assert np.abs(got - [220, 30, 40]).max() <= 6


def test_16_bit_grey_is_scaled_and_not_clipped():
    wide = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
    got = decode.read(encoded(Image.fromarray(wide)))
    np.testing.assert_array_equal(got[..., 0], np.rint(wide / 257))
    assert got[..., 0].min() == 0
    assert got[..., 0].max() == 255
    np.testing.assert_array_equal(got[..., 0], got[..., 2])


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, bits: int, colour: int, rows: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def grey_16(brightest: int) -> np.ndarray:
    return np.linspace(0, brightest, 256).round().astype(np.uint16).reshape(16, 16)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_12_bit_data_in_16_bit_files_are_not_almost_black(kind):
    data = encoded(Image.fromarray(grey_16(4095)), kind)
    np.testing.assert_array_equal(decode.read(data)[..., 0], RAMP)
    np.testing.assert_array_equal(decode.read(encoded(Image.fromarray(grey_16(4096)), kind)).max(), 16)


def test_a_data_set_may_say_what_is_white_in_16_bit_grey():
    dark = encoded(Image.fromarray(grey_16(4000)))
    assert decode.decode_one(dark, white=65535).pixels.max() == 16
    assert decode.decode_one(dark, white=4095).pixels.max() == 249
    assert decode.decode_one(dark).brightest == 4000
    assert decode.decode_one(encoded(RAMP)).brightest is None


def test_a_graymap_of_any_depth_is_scaled_by_what_it_says():
    data = b"P5\n16 16\n4095\n" + grey_16(4095).astype(">u2").tobytes()
    np.testing.assert_array_equal(decode.read(data)[..., 0], RAMP)


@pytest.mark.parametrize("place", ["before", "behind"])
@pytest.mark.parametrize(
    "large",
    [
        chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(3_000_000))),
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"text" * 1_000_000)),
        chunk(b"iTXt", b"Comment\0\x01\0\0\0" + zlib.compress(b"text" * 1_000_000)),
        b"".join(chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1_000_000))) for _ in range(70)),
    ],
    ids=["profile", "text", "international", "many"],
)
def test_a_png_with_a_large_profile_or_text_is_read(large, place):
    """Pillow refuses them as bombs; what they hold is dropped anyhow, and is never unpacked."""
    image = pixels(7)
    exif = Image.Exif()
    exif[0x0112] = 3
    data = encoded(image, exif=exif)
    at = 33 if place == "before" else len(data) - 12  # behind IHDR, or before IEND
    data = data[:at] + large + data[at:]
    np.testing.assert_array_equal(decode.read(data), image[::-1, ::-1])
    assert decode.size_of(data) == (12, 12)


def test_a_damaged_png_with_a_large_text_is_refused_and_a_bomb_stays_one(tmp_path):
    large = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"text" * 1_000_000))
    data = encoded(pixels(7, height=64, width=64))
    refused(write(tmp_path, data[:33] + large + data[33:2000]))
    refused(write(tmp_path, data[:33] + large + data[33:40]))
    bomb = png(8001, 8001, 8, 0, b"")
    refused(write(tmp_path, bomb[:33] + large + bomb[33:]), "64 megapixels")


@pytest.mark.parametrize(("kind", "suffix"), [("PPM", ".ppm"), ("TIFF", ".tiff"), ("BMP", ".dib")])
def test_other_lossless_formats_give_the_pixels_that_were_written(kind, suffix):
    image = pixels(1, height=9, width=14)
    np.testing.assert_array_equal(decode.read(encoded(image, kind)), image)
    assert decode.size_of(encoded(image, kind)) == (9, 14)
    assert suffix in decode.SUFFIXES


def test_avif_is_read():
    image = np.full((16, 24, 3), (200, 40, 90), np.uint8)
    assert np.abs(decode.read(encoded(image, "AVIF")).astype(int) - image).max() < 8


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "packbits", "jpeg"])
def test_compressed_tiff_is_read(compression):
    image = np.full((16, 24, 3), (200, 40, 90), np.uint8)
    assert np.abs(decode.read(encoded(image, "TIFF", compression=compression)).astype(int) - image).max() < 6


def test_a_tiff_of_several_pages_is_refused(tmp_path):
    refused(write(tmp_path, film("TIFF"), "scan.tif"), "3 pages; one image is expected")


def test_16_bit_colour_keeps_its_high_bytes():
    wide = np.random.default_rng(3).integers(0, 65536, (4, 5, 3), dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in wide)
    np.testing.assert_array_equal(decode.read(png(5, 4, 16, 2, rows)), wide >> 8)


def test_transparent_pixels_are_laid_on_white():
    rgba = np.zeros((3, 1, 4), np.uint8)
    rgba[:, 0] = [(255, 0, 0, 0), (255, 0, 0, 255), (0, 0, 0, 128)]
    got = decode.read(encoded(Image.fromarray(rgba)))
    assert got[0, 0].tolist() == [255, 255, 255]
    assert got[1, 0].tolist() == [255, 0, 0]
    assert abs(int(got[2, 0, 0]) - 127) <= 1


def test_a_palette_with_a_transparent_colour_is_laid_on_white():
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    got = decode.read(encoded(image, transparency=0))
    assert got[0].tolist() == [[255, 255, 255], [40, 50, 60]]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
def test_exif_orientation_is_applied(orientation, kind):
    # Bright spot at the top left of what a viewer shows; stored turned, as a camera does.
    shown = np.zeros((32, 48, 3), np.uint8)
    shown[:16, :16] = 255
    back = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]  # Image.Transpose that undoes it
    stored = Image.fromarray(shown) if back is None else Image.fromarray(shown).transpose(Image.Transpose(back))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored, kind, exif=exif)
    got = decode.read(data)
    assert got.shape == (32, 48, 3)
    assert np.abs(got.astype(int) - shown).mean() < 3
    assert decode.size_of(data) == (32, 48)


def test_a_broken_exif_block_does_no_harm():
    image = pixels(4)
    np.testing.assert_array_equal(decode.read(encoded(image, "PNG", exif=b"Exif\0\0rubbish")), image)


def test_a_multi_picture_jpeg_gives_its_main_picture():
    first = Image.new("RGB", (16, 16), (200, 0, 0))
    data = encoded(first, "MPO", save_all=True, append_images=[Image.new("RGB", (16, 16), (0, 200, 0))])
    assert decode.read(data)[8, 8, 0] > 150


def film(kind: str) -> bytes:
    frames = [Image.fromarray(pixels(i)) for i in range(3)]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:])


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF"])
def test_animations_are_refused(kind, tmp_path):
    refused(write(tmp_path, film(kind)), "animated", "3 frames")


@pytest.mark.parametrize("side", [8001, 10_000, 40_000])
def test_decompression_bombs_are_refused_by_their_header(side, tmp_path):
    refused(write(tmp_path, png(side, side, 8, 0, b"")), "64 megapixels")
    with decode.quiet_pillow(), pytest.raises(LimbeckError, match="64 megapixels"):
        decode.size_of(png(side, side, 8, 0, b""))


def test_a_large_size_in_a_small_file_is_not_believed(tmp_path):
    """As a fault injection met it: rows that the data ends before, which a decoder makes black and calls whole."""
    path = write(tmp_path, png(96, 524_384, 8, 2, bytes((96 * 3 + 1) * 96)))
    refused(path, "96 x 524384 pixels in", "damaged")
    refused(path.read_bytes(), "damaged")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_large_image_of_one_colour_is_read(kind):
    """Nothing packs more pixels into a byte; 16.8 megapixels are more than any file may hold unseen."""
    size = (4200, 4000)
    assert size[0] * size[1] > decode.UNCHECKED_PIXELS
    got = decode.read(encoded(Image.new("RGB", size, (200, 30, 90)), kind), 8)
    assert np.abs(got.astype(int) - (200, 30, 90)).max() < 4


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM"])
def test_truncated_files_are_refused(kind, tmp_path):
    data = encoded(pixels(5, height=64, width=64), kind)
    for length in (len(data) // 2, len(data) // 4, 20):
        refused(write(tmp_path, data[:length]))


def test_empty_files_and_other_things_are_refused(tmp_path):
    refused(write(tmp_path, b""), "empty")
    refused(b"", "empty")
    refused(write(tmp_path, b"hello, I am a text"), "not a supported image")
    refused(write(tmp_path, encoded(pixels(6), "PCX")), "not a supported image", "PNG, JPEG, WebP")
    refused(None, "contains no image bytes")
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
    refused(write(tmp_path, heic, "IMG_0001.HEIC"), "HEIC is not supported", "heif-convert")
    refused(write(tmp_path, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "not a supported image")
    refused(tmp_path / "absent.png", "No such file")
    refused(tmp_path, "not a regular file")


def test_a_fifo_is_refused_and_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    refused(tmp_path / "pipe.png", "not a regular file")


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM"]), st.data())
def test_damaged_bytes_are_decoded_or_refused_with_a_reason(kind, data):
    whole = bytearray(encoded(pixels(8, height=24, width=24), kind))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        got = decode.read(bytes(whole), where="x.png")
    except LimbeckError as error:
        complaint = str(error)
        assert complaint.startswith("x.png: ")
    else:
        assert got.dtype == np.uint8
        assert got.shape[2] == 3


def test_fit_is_resizing_the_shorter_side_and_cropping_the_middle():
    wide = pixels(10, height=40, width=100)
    whole = np.asarray(Image.fromarray(wide).resize((50, 20), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(decode.resize_centre_crop(wide, 20), whole[:, 15:35])
    np.testing.assert_array_equal(
        decode.resize_centre_crop(wide.transpose(1, 0, 2), 20), whole[:, 15:35].transpose(1, 0, 2)
    )


def test_fit_is_antialiased():
    chess = np.indices((96, 96)).sum(axis=0) % 2 * 255
    grey = decode.resize_centre_crop(np.repeat(chess[..., None], 3, axis=2).astype(np.uint8), 24).astype(int)
    assert np.abs(grey[4:-4, 4:-4] - 127.5).max() < 12


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(4, 64), st.integers(0, 255))
def test_fit_gives_the_size_and_keeps_flat_colours(height, width, size, level):
    flat = np.full((height, width, 3), level, np.uint8)
    got = decode.resize_centre_crop(flat, size)
    assert got.shape == (size, size, 3)
    assert (got == level).all()


def test_fit_leaves_an_image_of_that_size_alone():
    image = pixels(9)
    assert decode.resize_centre_crop(image, 12) is image
