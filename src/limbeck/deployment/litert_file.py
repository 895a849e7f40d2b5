"""LiteRT files (TensorFlow Lite), for Android and small boards, float32."""

from __future__ import annotations

import json
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from limbeck.errors import LimbeckError, one_line
from limbeck.packages import need

from . import onnx_file
from .formats import Job, Run

MEMBER = "limbeck.json"
"""The format lets a zip archive follow the model, for files that belong to it. This one is the metadata."""


def write(path: Path, job: Job) -> None:
    """Write the file, for one image at a time. Raises LimbeckError where LiteRT refuses the model.

    Its converter (0.10) refuses a flexible batch; a fixed one can be resized by the runtime, but not in every model.
    """
    with onnx_file.quiet():
        litert_torch = need("litert_torch", "litert", "export to litert")
    # XNNPACK needs weights that are not channels last.
    network = job.deployed.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
    images = torch.zeros(job.example_shape(1), dtype=torch.uint8)
    try:
        with onnx_file.quiet(), torch.no_grad():
            litert_torch.convert(network, (images,)).export(str(path))
    except Exception as error:  # its passes raise anything
        raise LimbeckError(f"this model cannot be exported to LiteRT: {one_line(error)}") from error
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(MEMBER, json.dumps(dict(job.about), ensure_ascii=False))


def open_session(path: Path, threads: int) -> tuple[Run, dict[str, Any]]:
    """A function that runs the file on the CPU, and its metadata.

    Raises LimbeckError for a file that is damaged or that Limbeck did not write.
    """
    runtime = need("ai_edge_litert.interpreter", "litert", str(path))
    try:
        content = path.read_bytes()
        interpreter = runtime.Interpreter(model_content=content, num_threads=threads)
        answer = interpreter.get_signature_runner()
        (name,) = answer.get_input_details()
    except OSError as error:
        raise LimbeckError(f"{path}: cannot be read: {error.strerror or error}") from error
    except Exception as error:
        raise LimbeckError(f"{path}: damaged, or not a LiteRT file") from error
    about = onnx_file.metadata(path, _member(path))

    def run(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = [answer(**{name: image[None]}) for image in images]
        return np.concatenate([one["output_0"] for one in found]), np.concatenate([one["output_1"] for one in found])

    return run, about


def _member(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(MEMBER).decode()
    except (zipfile.BadZipFile, KeyError, ValueError, OSError):
        return None


def runtime_name() -> str:
    """Name and version of the runtime."""
    return f"LiteRT {metadata.version('ai-edge-litert')}"
