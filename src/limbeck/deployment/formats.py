"""The formats of exported files. A format is one file of this room with `write`, `open_session` and `runtime_name`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from limbeck.errors import LimbeckError, did_you_mean

from .graph import DeployedModel

Run = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""uint8 images, in the layout of the file, to probabilities and logits, float32 `[B, K]`."""


@dataclass(frozen=True)
class Job:
    """What a format needs to write a file.

    image_shape: `(C, H, W)` of the images. about: goes into the file's metadata, as JSON. calibration: how quantised
    formats choose the range of each activation. calibration_images: uint8 training images in the layout of the file,
    asked for by quantised formats only.
    """

    deployed: DeployedModel
    image_shape: tuple[int, int, int]
    about: Mapping[str, Any]
    calibration: str
    calibration_images: Callable[[], np.ndarray]

    def example_shape(self, batch: int = 2) -> tuple[int, int, int, int]:
        """The shape of a batch in the layout of the file. Exporters turn a size of 1 into a constant, so not 1."""
        channels, height, width = self.image_shape
        nhwc = self.deployed.layout == "nhwc"
        return (batch, height, width, channels) if nhwc else (batch, channels, height, width)


class FormatModule(Protocol):
    """What each file of a format offers."""

    def write(self, path: Path, job: Job) -> Path | None:
        """Write the file; return that of its float32 version, if it is quantised and there is one.

        Raises LimbeckError where the model cannot be exported, OSError for the errors of the disk.
        """
        ...

    def open_session(self, path: Path, threads: int) -> tuple[Run, dict[str, Any]]:
        """A function that runs the file on the CPU, and its metadata. Raises LimbeckError for any other file."""
        ...

    def runtime_name(self) -> str:
        """Name and version of the runtime."""
        ...


@dataclass(frozen=True)
class Format:
    """A format by its name on the command line.

    module: of this room. suffix: of its files. quantised: whether it computes in int8.
    """

    name: str
    module: str
    suffix: str
    quantised: bool = False

    def load(self) -> FormatModule:
        """The module that writes and opens files of this format."""
        return cast(FormatModule, importlib.import_module(f"limbeck.deployment.{self.module}"))


FORMATS = (
    Format("onnx", "onnx_file", ".onnx"),
    Format("onnx-int8", "onnx_int8", ".int8.onnx", quantised=True),
    Format("openvino", "openvino_file", ".openvino"),
    Format("executorch", "executorch_file", ".pte"),
    Format("litert", "litert_file", ".tflite"),
)


def find_format(name: str) -> Format:
    """Raises LimbeckError for a name that is no format, with the nearest one."""
    for known in FORMATS:
        if known.name == name:
            return known
    raise LimbeckError(f"--to: no format {name!r}{did_you_mean(name, [known.name for known in FORMATS])}")


def format_of(path: Path) -> Format:
    """The format of an exported file, by its name. Raises LimbeckError."""
    for known in sorted(FORMATS, key=lambda known: -len(known.suffix)):
        if path.name.endswith(known.suffix):
            return known
    raise LimbeckError(f"{path}: not an exported file; expected {', '.join(known.suffix for known in FORMATS)}")
