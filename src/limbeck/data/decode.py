"""One image file to RGB pixels, as a person who looks at it would expect, or a refusal that says why.

Read: PNG, JPEG, WebP, AVIF, BMP, GIF, TIFF and PPM (PGM, PBM), each with a single frame or page. Never another
format, whatever the file is called: the door to old decoders stays shut. What comes out is always 8-bit RGB:

- the EXIF orientation is applied, then all metadata is dropped, however large; colour profiles are ignored;
- grey, palette and CMYK (Adobe's inverted kind too) are converted;
- 16-bit grey is divided so that white is 65535, or 4095 where the brightest pixel is no brighter than that: 12-bit
  data in 16-bit files. A data set is judged as a whole, so that its images keep their relative brightness; an image
  that is read alone is judged alone. 16-bit colour keeps its high bytes;
- transparent images are laid on white;
- of a phone's multi-picture JPEG the main picture is taken.

Refused, with path and reason: animations and several pages, float pixels, more than 64 megapixels, or more than 16 in
a file too small for them (both seen in the header, before anything is decoded), what is empty, truncated, corrupt, not
an image, or not a regular file. HEIC is refused with what converts it.
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
NAMES = "PNG, JPEG, WebP, AVIF, BMP, GIF, TIFF or PPM"
SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".avif", ".bmp", ".dib", ".gif", ".tif", ".tiff",
    ".ppm", ".pgm", ".pbm", ".pnm",
)  # fmt: skip
UNREAD_SUFFIXES = (
    ".heic", ".heif", ".hif", ".jp2", ".j2k", ".jxl", ".svg", ".psd", ".ico", ".tga", ".eps", ".dcm", ".exr", ".hdr",
    ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf",
)  # fmt: skip
"""Of images that are not read: among photos they are a mistake to be told, and not a side file."""
HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
MAX_PIXELS = 64_000_000
MAX_PIXELS_OF_ANY_FILE = 16_000_000
MAX_PIXELS_A_BYTE = 700
"""Of images larger than that: a header that lies costs memory, up to ten bytes a pixel.

Measured with 20 megapixels of one colour: 64 pixels a byte as JPEG, 297 as PNG, 560 as WebP. WebP without loss alone
packs tighter (24,000), and no photo comes near.
"""
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
TEXT_CHUNKS = (b"iCCP", b"tEXt", b"zTXt", b"iTXt")
MAX_PNG_BYTES = 1 << 30  # 64 megapixels of the widest kind take half of it
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
"""A file, or a file's bytes; None where there are none, which is told like any other damage."""


class Decoded(NamedTuple):
    """pixels: `[H, W, 3]` uint8. brightest: of 16-bit grey, its largest value; None for all other images."""

    pixels: np.ndarray
    brightest: int | None


def decode(source: Source, where: str | None = None) -> np.ndarray:
    """Pixels `[H, W, 3]` uint8 of a file, or of a file's bytes. Raises LimbeckError as `decode_one` does."""
    return decode_one(source, where).pixels


def decode_one(source: Source, where: str | None = None, white: int | None = None) -> Decoded:
    """A file, or a file's bytes, to pixels: alone or as one of a set.

    where: what an error calls the image; the path by default.
    white: the value that becomes 255 in 16-bit grey; None: 65535, or 4095 where the image is no brighter.
    Raises LimbeckError for all that this module's docstring refuses.
    """
    return _inspect(source, where, lambda image: _decoded(image, white))


def _decoded(image: Image.Image, white: int | None) -> Decoded:
    _check_single(image)
    image.load()
    turn = None if image.format == "TIFF" else TRANSPOSE.get(_orientation(image))  # Pillow turns TIFF by itself
    turned = image if turn is None else image.transpose(turn)
    if image.mode.startswith("I"):
        grey = np.asarray(turned).astype(np.int64)
        brightest = int(grey.max())
        if grey.min() < 0 or brightest > WHITE:
            raise _RefusedError("more than 16 bits a channel; save it with 8")
        return Decoded(_eight_bits(grey, white or white_level(brightest)), brightest)
    return Decoded(_to_rgb(turned), None)


def white_level(brightest: int) -> int:
    """The white of 16-bit grey whose brightest pixel has this value: that of 12 bits, or that of 16."""
    return WHITE if brightest > WHITE_OF_12_BITS else WHITE_OF_12_BITS


def _eight_bits(grey: np.ndarray, white: int) -> np.ndarray:
    scaled = np.minimum((2 * 255 * grey + white) // (2 * white), 255).astype(np.uint8)
    return np.repeat(scaled[..., None], 3, axis=2)


def read(source: bytes | Path, size: int | None = None, where: str | None = None) -> np.ndarray:
    """`decode` for a single image, without Pillow's warnings, fitted to `[size, size, 3]` if a size is given.

    Stored images were made the same way: a photo that is read here looks as those of the training did.
    """
    with quiet_pillow():
        image = decode(source, where)
    return image if size is None else fit(image, size)


def size_of(source: Source, where: str | None = None) -> tuple[int, int]:
    """Height and width that `decode` would give, from the header where that suffices. Raises LimbeckError."""
    return _inspect(source, where, _size)


def _size(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    if width != height and image.format != "TIFF" and _orientation(image) >= 5:
        return width, height
    return height, width


def fit(image: np.ndarray, size: int) -> np.ndarray:
    """The centred square of an image, resized to `[size, size, 3]`: bicubic, antialiased.

    The same as resizing the shorter side and cropping the middle, without a rounding in between.
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
    """Silence Pillow's warnings: sizes are checked anyhow, and a broken EXIF block is no one's worry.

    Filters belong to the process: who decodes in threads enters this once, around them all.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def _inspect(source: Source, where: str | None, look: Callable[[Image.Image], T]) -> T:
    """What `look` says of an image; a PNG whose texts or colour profile Pillow finds too large is read without them."""
    where = where or (str(source) if isinstance(source, Path) else "image")
    try:
        with _opened(source, where) as image:
            return look(image)
    except _TextTooLargeError:
        with _opened(_without_text(source, where), where) as image:
            return look(image)


def _without_text(source: Source, where: str) -> bytes:
    """A PNG's bytes without the chunks of texts and of the colour profile; no chunk is unpacked."""
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
    except _RefusedError as error:
        raise LimbeckError(f"{where}: {error}") from None
    except Image.UnidentifiedImageError as error:
        if _is_heic(source):
            raise LimbeckError(
                f"{where}: HEIC is not read; convert it to JPEG, with `heif-convert` (apt install libheif-examples, "
                "brew install libheif) or `magick` (ImageMagick)"
            ) from error
        raise LimbeckError(f"{where}: not an image that can be read; it takes {NAMES}") from error
    except Image.DecompressionBombError as error:
        raise LimbeckError(f"{where}: too large; at most {MAX_PIXELS / 1e6:.0f} megapixels are read") from error
    except Exception as error:  # decoders raise all sorts of things on bytes that they do not expect
        if isinstance(error, ValueError) and "MAX_TEXT" in str(error):
            raise _TextTooLargeError from error
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise LimbeckError(f"{where}: cannot be read: {' '.join(reason.split())}") from error


class _RefusedError(Exception):
    """A reason, to which the path is added."""


class _TextTooLargeError(Exception):
    """A PNG's texts or colour profile unpack to more than Pillow allows."""


def _is_heic(source: Source) -> bool:
    try:
        with _stream(source) as stream:
            head = stream.read(12)
    except (OSError, _RefusedError):
        return False
    return head[4:8] == b"ftyp" and head[8:12] in HEIC


def _stream(source: Source) -> BinaryIO:
    if source is None:
        raise _RefusedError("holds no image bytes; a path alone cannot be followed")
    if isinstance(source, Path):
        status = source.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a FIFO would wait for ever
            raise _RefusedError("not a regular file")
        empty = status.st_size == 0
    else:
        empty = not source
    if empty:
        raise _RefusedError("the file is empty")
    return source.open("rb") if isinstance(source, Path) else BytesIO(source)


def _check_size(width: int, height: int, stream: BinaryIO) -> None:
    """stream: the file, whose length counts for large images alone."""
    pixels = width * height
    if pixels > MAX_PIXELS:
        raise _RefusedError(f"{width} x {height} pixels; at most {MAX_PIXELS / 1e6:.0f} megapixels are read")
    if pixels > MAX_PIXELS_OF_ANY_FILE and pixels > MAX_PIXELS_A_BYTE * (length := _length(stream)):
        raise _RefusedError(f"{width} x {height} pixels in {length:,} bytes; damaged, or made to fill memory")


def _length(stream: BinaryIO) -> int:
    """In bytes; the stream stays where it is."""
    at = stream.tell()
    length = stream.seek(0, os.SEEK_END)
    stream.seek(at)
    return length


def _check_single(image: Image.Image) -> None:
    # A multi-picture JPEG (MPO) holds a picture and its helpers, not a film.
    if image.format != "MPO" and getattr(image, "is_animated", False):
        count = getattr(image, "n_frames", "several")
        raise _RefusedError(
            f"{count} pages; one image is expected"
            if image.format == "TIFF"
            else f"animated, {count} frames; one image is expected"
        )


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # a broken EXIF block beside sound pixels: shown as it lies
        return 1


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode == "F":
        raise _RefusedError("float pixels, whose white is unknown; save it with 8 bits a channel")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
