"""What a file is by its first bytes, whatever it is called."""

from __future__ import annotations

from typing import Literal

from limbeck.errors import LimbeckError

FIRST_BYTES = 512
ELSEWHERE = (
    (b"\x1f\x8b", "is compressed by gzip: unpack it and import what is in it"),
    (b"BZh", "is compressed by bzip2: unpack it and import what is in it"),
    (b"\xfd7zXZ", "is compressed by xz: unpack it and import what is in it"),
    (b"\x28\xb5\x2f\xfd", "is compressed by zstd: unpack it and import what is in it"),
    (b"7z\xbc\xaf", "is a 7z archive: unpack it and import what is in it"),
    (b"Rar!", "is a RAR archive: unpack it and import what is in it"),
    (b"\x89HDF", "holds weights of Keras or TensorFlow (HDF5), not of torch"),
    (b"\x93NUMPY", "is a NumPy array, not a checkpoint of torch"),
    (b"GGUF", "is a GGUF file, not a checkpoint of torch"),
)


def file_kind(start: bytes, size: int) -> Literal["safetensors", "pickle"]:
    """safetensors or torch's pickle, from the first bytes of a file and its size.

    Raises LimbeckError, for which the caller gives the path, that says what else it is and what to do.
    """
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= size - 8:
        return "safetensors"
    if start[:4] == b"PK\x03\x04" or start[:1] == b"\x80":
        return "pickle"
    raise LimbeckError(_other(start, size))


def _other(start: bytes, size: int) -> str:
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if size == 0:
        return "is empty (0 bytes), neither safetensors nor a checkpoint of torch: download it again"
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<!--")):
        return "is a web page, not weights: download the file itself (the `raw` or `download` link of its page)"
    if text.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the weights: run `git lfs pull` where it is from, or download the file itself"
    if start[257:262] == b"ustar":
        return "is a tar archive: unpack it and import what is in it"
    for magic, said in ELSEWHERE:
        if start.startswith(magic):
            return said
    if start[4:8] == b"TFL3":
        return "is a TensorFlow Lite model, not a checkpoint of torch"
    if start[:1] == b"\x08" and (b"pytorch" in start or b"onnx" in text):
        return "is an ONNX model, not a checkpoint of torch: import the checkpoint that it was made from"
    if b'"weight_map"' in start or (text.startswith(b"{") and b'"metadata"' in start):
        return "is the index of weights in several files, not the weights: join them into one file first"
    if size <= 8 or all(byte >= 32 or byte in b"\t\r\n" for byte in start):
        begins = " ".join(start[:40].decode(errors="replace").split())
        return f"is text that begins {begins!r}, not weights: download the file itself"
    return "neither safetensors nor a checkpoint of torch (.pth, .pt, .bin)"
