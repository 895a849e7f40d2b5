"""A PNG without its texts and colour profile, which say nothing of its pixels."""

from __future__ import annotations

import struct
from typing import BinaryIO

SIGNATURE = b"\x89PNG\r\n\x1a\n"
DROPPED = (b"iCCP", b"tEXt", b"zTXt", b"iTXt")
MOST = 1 << 30  # bytes: 64 megapixels of the widest kind are half of it


def without_text(stream: BinaryIO) -> bytes:
    """The file's bytes, the chunks of text and of a colour profile left out; no chunk is unpacked.

    Raises ValueError where it is no PNG, ends within a chunk, or holds more than a gigabyte beside them.
    """
    if stream.read(8) != SIGNATURE:
        raise ValueError("not a PNG")
    kept = bytearray(SIGNATURE)
    while head := stream.read(8):
        if len(head) < 8:
            raise ValueError("ends within a chunk")
        length, kind = struct.unpack(">I4s", head)
        if kind in DROPPED:
            stream.seek(length + 4, 1)
            continue
        if len(kept) + length > MOST:
            raise ValueError("too large")
        kept += head + stream.read(length + 4)
    return bytes(kept)
