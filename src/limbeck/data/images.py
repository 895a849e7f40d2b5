"""One image file to RGB pixels, as a person who looks at it would expect, or a refusal that says why.

Read: PNG, JPEG, WebP, and BMP and GIF with a single frame. Never another format, whatever the file is
called: the door to old decoders stays shut. What comes out is always 8-bit RGB:

- the EXIF orientation is applied, then all metadata is dropped; colour profiles are ignored;
- grey, palette and CMYK (Adobe's inverted kind too) are converted;
- 16-bit grey is divided by 257, so that 65535 is white; 16-bit colour keeps its high bytes;
- transparent images are laid on white;
- of a phone's multi-picture JPEG the main picture is taken.

Refused, with path and reason: animations, float pixels, more than 64 megapixels, or more than 16 in a file too small
for them (both seen in the header, before anything is decoded), what is empty, truncated, corrupt, not an image, or
not a regular file.
"""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from limbeck.runs.errors import LimbeckError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
MAX_PIXELS = 64_000_000
MAX_PIXELS_OF_ANY_FILE = 16_000_000
MAX_PIXELS_A_BYTE = 700
"""Of images larger than that: a header that lies costs memory, up to ten bytes a pixel.

Measured with 20 megapixels of one colour: 64 pixels a byte as JPEG, 297 as PNG, 560 as WebP. WebP without loss alone
packs tighter (24,000), and no photo comes near.
"""
ORIENTATION = 0x0112  # the EXIF tag
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(source: bytes | Path, where: str | None = None) -> np.ndarray:
    """Pixels `[H, W, 3]` uint8 of a file, or of a file's bytes.

    where: what an error calls the image; the path by default.
    Raises LimbeckError for all that this module's docstring refuses.
    """
    with _opened(source, where) as image:
        _check_single(image)
        image.load()
        turn = TURNS.get(_orientation(image))
        return _to_rgb(image if turn is None else image.transpose(turn))


def read(source: bytes | Path, size: int | None = None, where: str | None = None) -> np.ndarray:
    """`decode` for a single image, without Pillow's warnings, fitted to `[size, size, 3]` if a size is given.

    Stored images were made the same way: a photo that is read here looks as those of the training did.
    """
    with quiet():
        image = decode(source, where)
    return image if size is None else fit(image, size)


def size_of(source: bytes | Path, where: str | None = None) -> tuple[int, int]:
    """Height and width that `decode` would give, from the header where that suffices. Raises LimbeckError."""
    with _opened(source, where) as image:
        width, height = image.size
        if width != height and _orientation(image) >= 5:
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
def quiet() -> Iterator[None]:
    """Silence Pillow's warnings: sizes are checked anyhow, and a broken EXIF block is no one's worry.

    Filters belong to the process: who decodes in threads enters this once, around them all.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


@contextmanager
def _opened(source: bytes | Path, where: str | None) -> Iterator[Image.Image]:
    where = where or (str(source) if isinstance(source, Path) else "image")
    try:
        with _stream(source) as stream, Image.open(stream, formats=FORMATS) as image:
            _check_size(*image.size, stream)
            yield image
    except LimbeckError:
        raise
    except _RefusedError as error:
        raise LimbeckError(f"{where}: {error}") from None
    except Image.UnidentifiedImageError as error:
        raise LimbeckError(f"{where}: not an image that can be read; it takes PNG, JPEG, WebP, BMP or GIF") from error
    except Image.DecompressionBombError as error:
        raise LimbeckError(f"{where}: too large; at most {MAX_PIXELS / 1e6:.0f} megapixels are read") from error
    except Exception as error:  # decoders raise all sorts of things on bytes that they do not expect
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise LimbeckError(f"{where}: cannot be read: {' '.join(reason.split())}") from error


class _RefusedError(Exception):
    """A reason, to which the path is added."""


def _stream(source: bytes | Path) -> BinaryIO:
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
        raise _RefusedError(f"animated, {getattr(image, 'n_frames', 'several')} frames; one image is expected")


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # a broken EXIF block beside sound pixels: shown as it lies
        return 1


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode == "F":
        raise _RefusedError("float pixels, whose white is unknown; save it with 8 bits a channel")
    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.int64)
        if grey.min() < 0 or grey.max() > 65535:
            raise _RefusedError("more than 16 bits a channel; save it with 8")
        return np.repeat(((grey + 128) // 257).astype(np.uint8)[..., None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
