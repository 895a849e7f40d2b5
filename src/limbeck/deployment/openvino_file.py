"""OpenVINO's format, a folder of `model.xml` and `model.bin`. OpenVINO runs ONNX files too."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np

from limbeck.errors import LimbeckError, one_line
from limbeck.packages import need

from . import onnx_file
from .exported_file import METADATA, metadata, metadata_text
from .formats import Job, Run

MODEL = "model.xml"


def write(path: Path, job: Job) -> None:
    """Write the folder, in float32, by way of an ONNX file. Raises LimbeckError where OpenVINO refuses the model."""
    openvino = _openvino("export to openvino")
    path.mkdir()
    source = path / "float.onnx"
    onnx_file.write(source, job)
    try:
        model = openvino.convert_model(str(source))
        model.set_rt_info(metadata_text({**job.about, "opset": onnx_file.OPSET}), [METADATA])
        openvino.save_model(model, str(path / MODEL), compress_to_fp16=False)
    except Exception as error:  # OpenVINO's own exceptions are RuntimeErrors and others
        raise LimbeckError(f"this model cannot be exported to OpenVINO: {one_line(error)}") from error
    source.unlink()


def open_session(path: Path, threads: int) -> tuple[Run, dict[str, Any]]:
    """A function that runs it on the CPU in float32, and its metadata. Takes such folders, and ONNX files.

    Raises LimbeckError for a file that is damaged or that Limbeck did not write.
    """
    openvino = _openvino(str(path))
    about: dict[str, Any] = {}
    if path.suffix == ".onnx":
        _, about = onnx_file.open_session(path, 1)
    try:
        core = openvino.Core()
        model = core.read_model(str(path if path.suffix == ".onnx" else path / MODEL))
        if path.suffix != ".onnx":
            text = model.get_rt_info([METADATA]).astype(str) if model.has_rt_info(METADATA) else ""
            about = metadata(path, text)
        # The hint: on processors that have bfloat16, OpenVINO computes in it unless told otherwise.
        settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
        compiled = core.compile_model(model, "CPU", settings)
    except LimbeckError:
        raise
    except Exception as error:
        raise LimbeckError(f"{path}: damaged, or not an OpenVINO file") from error
    request = compiled.create_infer_request()

    def run(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = request.infer({0: images})
        by_name = {name: np.array(value) for output, value in found.items() for name in output.get_names()}
        return by_name["probabilities"], by_name["logits"]

    return run, about


def runtime_name() -> str:
    """Name and version of the runtime."""
    return f"OpenVINO {_openvino('OpenVINO').__version__.split('-')[0]}"


def _openvino(purpose: str) -> ModuleType:
    """The package without its telemetry, which would report each import and each conversion over the network."""
    telemetry = "openvino_telemetry"
    if telemetry in sys.modules:
        return need("openvino", "openvino", purpose)
    sys.modules[telemetry] = cast(ModuleType, None)  # as if it were not installed: the package then does without
    try:
        return need("openvino", "openvino", purpose)
    finally:
        del sys.modules[telemetry]
