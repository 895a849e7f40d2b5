"""ONNX files whose weights and activations are int8, quantised by ONNX Runtime with training images."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.errors import LimbeckError, did_you_mean, one_line
from limbeck.packages import need

from . import onnx_file
from .formats import Job
from .onnx_file import open_session, runtime_name

__all__ = ["CALIBRATIONS", "check_calibration", "open_session", "runtime_name", "write"]

CALIBRATIONS = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}
"""How the range of an activation is chosen: all values seen, the least loss of information, or 99.999 % of them."""
BATCH = 32
"""Images of one calibration pass."""


def write(path: Path, job: Job) -> Path | None:
    """Write the float32 file beside it, then its int8 version. Returns the former.

    A student that was trained for int8 has scales of its own: its file is written at once, and None returned.
    Weights are signed with a scale for each output channel. Activations are unsigned: signed ones make ONNX Runtime
    two to five times slower on x86 (mobilenetv2, 32 px, batch of one: 6.2 ms against 1.1).
    Raises LimbeckError for an unknown calibration, and where the quantiser refuses the model.
    """
    onnx = need("onnx", "export", "export to onnx-int8")
    quantisation = need("onnxruntime.quantization", "export", "export to onnx-int8")
    shapes = need("onnxruntime.quantization.shape_inference", "export", "export to onnx-int8")
    check_calibration(job.calibration)
    if job.deployed.learned_int8:
        onnx_file.write(path, job)
        return None
    images = _Images(job.calibration_images())
    float_file, prepared = path.with_name("float.onnx"), path.with_name("prepared.onnx")
    onnx_file.write(float_file, job)
    try:
        with _quiet(), _temporaries_in(path.parent):
            shapes.quant_pre_process(str(float_file), str(prepared), skip_symbolic_shape=True)
            quantisation.quantize_static(
                str(prepared),
                str(path),
                images,
                quant_format=quantisation.QuantFormat.QDQ,
                activation_type=quantisation.QuantType.QUInt8,
                weight_type=quantisation.QuantType.QInt8,
                per_channel=True,
                calibrate_method=quantisation.CalibrationMethod[CALIBRATIONS[job.calibration]],
                nodes_to_exclude=_kept_in_float(onnx.load(str(prepared))),
            )
    except OSError:
        raise
    except Exception as error:  # the quantiser raises anything for a graph that it does not understand
        raise LimbeckError(f"this model cannot be quantised: {one_line(error)}") from error
    model = onnx.load(str(path))
    del model.graph.value_info[:]
    onnx_file.set_metadata(model, job.about)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return float_file


def check_calibration(calibration: str) -> None:
    """Raises LimbeckError for a word that is none of `CALIBRATIONS`."""
    if calibration not in CALIBRATIONS:
        raise LimbeckError(f"--calibration: no method {calibration!r}{did_you_mean(calibration, CALIBRATIONS)}")


class _Images:
    """Calibration images as the quantiser asks for them: one batch at each call, then None."""

    def __init__(self, images: np.ndarray) -> None:
        self._batches = iter([images[start : start + BATCH] for start in range(0, len(images), BATCH)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"images": batch}


def _kept_in_float(model: Any) -> list[str]:
    """The names of the nodes of preprocessing, before the first layer, and of the softmax."""
    names = [node.name for node in model.graph.node if node.op_type == "Softmax" and "probabilities" in node.output]
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm"):
            break
        names.append(node.name)
    return names


@contextlib.contextmanager
def _temporaries_in(folder: Path) -> Iterator[None]:
    """Keep the quantiser's temporary files in a folder that the next export removes, should this one be killed."""
    before = tempfile.tempdir
    tempfile.tempdir = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logging.root.setLevel(level)
