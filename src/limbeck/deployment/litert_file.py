"""LiteRT files (TensorFlow Lite), for Android and small boards, float32."""

from __future__ import annotations

import importlib.metadata
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from limbeck.errors import LimbeckError, one_line
from limbeck.packages import need

from .exported_file import metadata, metadata_text, quiet, read_bytes
from .formats import Job, Run

MEMBER = "limbeck.json"
"""The format lets a zip archive follow the model, for files that belong to it. This one is the metadata."""


def write(path: Path, job: Job) -> None:
    """Write the file, for one image at a time. Raises LimbeckError where LiteRT refuses the model.

    Its converter (0.10) refuses a flexible batch; a fixed one can be resized by the runtime, but not in every model.
    """
    with quiet():
        litert_torch = need("litert_torch", "litert", "export to litert")
    # XNNPACK needs weights that are not channels last.
    network = job.deployed.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
    images = torch.zeros(job.example_shape(1), dtype=torch.uint8)
    try:
        with quiet(), torch.no_grad():
            litert_torch.convert(network, (images,)).export(str(path))
    except Exception as error:  # its passes raise anything
        raise LimbeckError(f"this model cannot be exported to LiteRT: {one_line(error)}") from error
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(MEMBER, metadata_text(job.about))


def open_session(path: Path, threads: int) -> tuple[Run, dict[str, Any]]:
    """A function that runs the file on the CPU, and its metadata.

    Raises LimbeckError for a file that is damaged or that Limbeck did not write.
    """
    runtime = need("ai_edge_litert.interpreter", "litert", str(path))
    content = read_bytes(path)
    try:
        interpreter = runtime.Interpreter(model_content=content, num_threads=threads)
        answer = interpreter.get_signature_runner()
        (name,) = answer.get_input_details()
    except Exception as error:  # runtimes raise anything for a damaged file
        raise LimbeckError(f"{path}: damaged, or not a LiteRT file") from error
    about = metadata(path, _member(content))

    def run(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = [answer(**{name: image[None]}) for image in images]
        return np.concatenate([one["output_0"] for one in found]), np.concatenate([one["output_1"] for one in found])

    return run, about


def _member(content: bytes) -> str | None:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return archive.read(MEMBER).decode()
    except (zipfile.BadZipFile, KeyError, ValueError, OSError):
        return None


def runtime_name() -> str:
    """Name and version of the runtime."""
    return f"LiteRT {importlib.metadata.version('ai-edge-litert')}"
