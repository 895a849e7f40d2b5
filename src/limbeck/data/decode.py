"""Decode one image file to RGB pixels as a viewer shows it, or reject it with a reason.

Accepted formats are PNG, JPEG, WebP, AVIF, BMP, GIF, TIFF and PPM (PGM, PBM), each with a single frame or page. No
other decoder runs, whatever the file's suffix: rarely used decoders are a security risk. The output is always 8-bit
RGB:

- The EXIF orientation is applied. All other metadata, including colour profiles, is ignored, however large.
- Grey, palette and CMYK images (including Adobe's inverted CMYK) are converted.
- 16-bit grey is scaled so that white is 65535, or 4095 if no pixel is brighter (12-bit data in 16-bit files). The
  images of a data set share one white level, so their relative brightness is preserved. 16-bit colour keeps its high
  bytes.
- Transparent images are composited on white.
- A phone's multi-picture JPEG yields its main picture.

Rejected, with path and reason: animations, several pages, float pixels, more than 64 megapixels, more than 16
megapixels in an implausibly small file, and files that are empty, truncated, corrupt, not images or not regular
files. Pixel counts come from the header, before anything is decoded. For HEIC, the message names a converter.
"""

from __future__ import annotations

import os
import stat
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

import numpy as np
from PIL import Image

from limbeck.errors import LimbeckError

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "BMP", "GIF", "TIFF", "PPM")
FORMAT_NAMES = "PNG, JPEG, WebP, AVIF, BMP, GIF, TIFF or PPM"
SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".avif", ".bmp", ".dib", ".gif", ".tif", ".tiff",
    ".ppm", ".pgm", ".pbm", ".pnm",
)  # fmt: skip
UNREAD_SUFFIXES = (
    ".heic", ".heif", ".hif", ".jp2", ".j2k", ".jxl", ".svg", ".psd", ".ico", ".tga", ".eps", ".dcm", ".exr", ".hdr",
    ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf",
)  # fmt: skip
"""Suffixes of unsupported image formats. Among photos, such a file is reported as an error instead of ignored."""
HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
MAX_PIXELS = 64_000_000
UNCHECKED_PIXELS = 16_000_000
MAX_PIXELS_PER_BYTE = 700
"""Limit for images of more than `UNCHECKED_PIXELS`, because a forged header costs up to ten bytes of memory per pixel.

Measured with 20 megapixels of a single colour: 64 pixels per byte as JPEG, 297 as PNG, 560 as lossy WebP. Only lossless
WebP exceeds the limit (24,000), and no photo comes close.
"""
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
TEXT_CHUNKS = (b"iCCP", b"tEXt", b"zTXt", b"iTXt")
MAX_PNG_BYTES = 1 << 30  # twice the size of 64 megapixels in the widest pixel format
WHITE, WHITE_OF_12_BITS = 65535, 4095
ORIENTATION = 0x0112  # the EXIF tag
TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


T = TypeVar("T")
Source = bytes | Path | None
"""A file or its bytes. None means that there are no bytes, which is reported like a damaged image."""


class Decoded(NamedTuple):
    """A decoded image.

    pixels: `[H, W, 3]` uint8. brightest: the largest value of a 16-bit grey image; None for all other images.
    """

    pixels: np.ndarray
    brightest: int | None


def decode(source: Source, where: str | None = None) -> np.ndarray:
    """Pixels `[H, W, 3]` uint8 of a file or its bytes. Raises LimbeckError as `decode_one` does."""
    return decode_one(source, where).pixels


def decode_one(source: Source, where: str | None = None, white: int | None = None) -> Decoded:
    """Decode a file or its bytes.

    where: name of the image in error messages; the path by default.
    white: the 16-bit grey value that becomes 255. None: 65535, or 4095 if the image is no brighter.
    Raises LimbeckError for every image that the docstring of this module rejects.
    """
    return _inspect(source, where, lambda image: _decoded(image, white))


def _decoded(image: Image.Image, white: int | None) -> Decoded:
    _check_single(image)
    image.load()
    turn = None if image.format == "TIFF" else TRANSPOSE.get(_orientation(image))  # Pillow itself rotates TIFF
    turned = image if turn is None else image.transpose(turn)
    if image.mode.startswith("I"):
        grey = np.asarray(turned).astype(np.int64)
        brightest = int(grey.max())
        if grey.min() < 0 or brightest > WHITE:
            raise _RejectedError("more than 16 bits per channel; save it with 8")
        return Decoded(_eight_bits(grey, white or white_level(brightest)), brightest)
    return Decoded(_to_rgb(turned), None)


def white_level(brightest: int) -> int:
    """The white level of 16-bit grey images whose brightest pixel has this value: that of 12-bit or 16-bit data."""
    return WHITE if brightest > WHITE_OF_12_BITS else WHITE_OF_12_BITS


def _eight_bits(grey: np.ndarray, white: int) -> np.ndarray:
    scaled = np.minimum((2 * 255 * grey + white) // (2 * white), 255).astype(np.uint8)
    return np.repeat(scaled[..., None], 3, axis=2)


def read(source: bytes | Path, size: int | None = None, where: str | None = None) -> np.ndarray:
    """Decode a single image, without Pillow's warnings; with `size`, crop and resize it to `[size, size, 3]`.

    Cached images are made the same way, so predictions see what training saw.
    """
    with quiet_pillow():
        image = decode(source, where)
    return image if size is None else resize_centre_crop(image, size)


def size_of(source: Source, where: str | None = None) -> tuple[int, int]:
    """Height and width of the image that `decode` returns, from the header if possible. Raises LimbeckError."""
    return _inspect(source, where, _size)


def _size(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    if width != height and image.format != "TIFF" and _orientation(image) >= 5:
        return width, height
    return height, width


def resize_centre_crop(image: np.ndarray, size: int) -> np.ndarray:
    """Crop the largest centred square and resize it to `[size, size, 3]`, bicubic and antialiased.

    Equivalent to resizing the shorter side and then taking a centre crop, without rounding in between.
    """
    height, width = image.shape[:2]
    if height == width == size:
        return image
    side = min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC, box=box))


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Silence Pillow's warnings: sizes are checked separately, and a broken EXIF block is harmless.

    Warning filters are global, so code that decodes in threads enters this context once, around all threads.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def _inspect(source: Source, where: str | None, look: Callable[[Image.Image], T]) -> T:
    """Apply `look` to an image. Drops the text and colour profile of a PNG if Pillow rejects them as too large."""
    where = where or (str(source) if isinstance(source, Path) else "image")
    try:
        with _opened(source, where) as image:
            return look(image)
    except _TextTooLargeError:
        with _opened(_without_text(source, where), where) as image:
            return look(image)


def _without_text(source: Source, where: str) -> bytes:
    """The bytes of a PNG without its text and colour profile chunks. Nothing is decompressed."""
    try:
        with _stream(source) as stream:
            if stream.read(8) != PNG_SIGNATURE:
                raise ValueError("not a PNG")
            retained = bytearray(PNG_SIGNATURE)
            while head := stream.read(8):
                if len(head) < 8:
                    raise ValueError("ends within a chunk")
                length, kind = struct.unpack(">I4s", head)
                if kind in TEXT_CHUNKS:
                    stream.seek(length + 4, os.SEEK_CUR)
                elif len(retained) + length > MAX_PNG_BYTES:
                    raise ValueError("too large")
                else:
                    retained += head + stream.read(length + 4)
            return bytes(retained)
    except (OSError, ValueError) as error:
        raise LimbeckError(f"{where}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


@contextmanager
def _opened(source: Source, where: str) -> Iterator[Image.Image]:
    try:
        with _stream(source) as stream, Image.open(stream, formats=FORMATS) as image:
            _check_size(*image.size, stream)
            yield image
    except LimbeckError:
        raise
    except _RejectedError as error:
        raise LimbeckError(f"{where}: {error}") from None
    except Image.UnidentifiedImageError as error:
        if _is_heic(source):
            raise LimbeckError(
                f"{where}: HEIC is not supported; convert it to JPEG with `heif-convert` (apt install "
                "libheif-examples, brew install libheif) or `magick` (ImageMagick)"
            ) from error
        raise LimbeckError(f"{where}: not a supported image; expected {FORMAT_NAMES}") from error
    except Image.DecompressionBombError as error:
        raise LimbeckError(f"{where}: too large; at most {MAX_PIXELS / 1e6:.0f} megapixels are supported") from error
    except Exception as error:  # decoders raise all kinds of exceptions on damaged bytes
        if isinstance(error, ValueError) and "MAX_TEXT" in str(error):
            raise _TextTooLargeError from error
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise LimbeckError(f"{where}: cannot be read: {' '.join(reason.split())}") from error


class _RejectedError(Exception):
    """Why an image is rejected; the path is added later."""


class _TextTooLargeError(Exception):
    """The text or colour profile of a PNG decompresses to more than Pillow allows."""


def _is_heic(source: Source) -> bool:
    try:
        with _stream(source) as stream:
            head = stream.read(12)
    except (OSError, _RejectedError):
        return False
    return head[4:8] == b"ftyp" and head[8:12] in HEIC


def _stream(source: Source) -> BinaryIO:
    if source is None:
        raise _RejectedError("contains no image bytes; images that are only referenced by path are not read")
    if isinstance(source, Path):
        status = source.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a FIFO would block forever
            raise _RejectedError("not a regular file")
        empty = status.st_size == 0
    else:
        empty = not source
    if empty:
        raise _RejectedError("the file is empty")
    return source.open("rb") if isinstance(source, Path) else BytesIO(source)


def _check_size(width: int, height: int, stream: BinaryIO) -> None:
    """Check the pixel count. stream: the file; its length matters only for large images."""
    pixels = width * height
    if pixels > MAX_PIXELS:
        raise _RejectedError(f"{width} x {height} pixels; at most {MAX_PIXELS / 1e6:.0f} megapixels are supported")
    if pixels > UNCHECKED_PIXELS and pixels > MAX_PIXELS_PER_BYTE * (length := _length(stream)):
        raise _RejectedError(f"{width} x {height} pixels in only {length:,} bytes; damaged, or a decompression bomb")


def _length(stream: BinaryIO) -> int:
    """Length in bytes. The position of the stream does not change."""
    position = stream.tell()
    length = stream.seek(0, os.SEEK_END)
    stream.seek(position)
    return length


def _check_single(image: Image.Image) -> None:
    # The further pictures of a multi-picture JPEG (MPO) are previews and depth maps, not frames.
    if image.format != "MPO" and getattr(image, "is_animated", False):
        count = getattr(image, "n_frames", "several")
        raise _RejectedError(
            f"{count} pages; one image is expected"
            if image.format == "TIFF"
            else f"animated, {count} frames; one image is expected"
        )


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # a broken EXIF block does not spoil the pixels
        return 1


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode == "F":
        raise _RejectedError("float pixels, whose white level is unknown; save it with 8 bits per channel")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
