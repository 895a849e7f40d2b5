"""ONNX files, float32: written by torch's exporter, run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from limbeck.errors import LimbeckError, one_line
from limbeck.models.torchvision_operators import declare_missing_operators
from limbeck.packages import need

from .exported_file import METADATA, metadata, metadata_text, quiet, read_bytes
from .formats import Job, Run
from .learned_scales import store_as_integers

OPSET = 20
"""The newest that ONNX Runtime, onnxruntime-web and OpenVINO all read."""
LARGEST_FILE = 2 * 10**9
"""Bytes. A protobuf message cannot be larger; the rest would need a second file."""
OUTPUTS = ("probabilities", "logits")


def write(path: Path, job: Job) -> None:
    """Write the file, for any number of images at a time.

    Raises LimbeckError where the model cannot be exported or is too large for one file.
    """
    onnx = need("onnx", "export", "export to onnx")
    need("onnxscript", "export", "export to onnx")
    model = _exported(job)
    _strip(model)
    if job.deployed.learned_int8:
        store_as_integers(model)
    set_metadata(model, job.about)
    if model.ByteSize() > LARGEST_FILE:
        raise LimbeckError(f"the ONNX file would have {model.ByteSize() / 1e9:.1f} GB; one file holds at most 2 GB")
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def _exported(job: Job) -> Any:
    declare_missing_operators()  # the exporter imports torchvision where it is installed
    images = torch.zeros(job.example_shape(), dtype=torch.uint8)
    try:
        with quiet(), torch.no_grad():
            program = torch.onnx.export(
                job.deployed,
                (images,),
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=["images"],
                output_names=list(OUTPUTS),
                dynamic_shapes={"images": {0: torch.export.Dim.DYNAMIC}},
            )
    except Exception as error:  # the exporter raises anything for what it cannot trace
        raise LimbeckError(f"this model cannot be exported to ONNX: {one_line(error)}") from error
    assert program is not None
    return program.model_proto


def set_metadata(model: Any, about: Mapping[str, Any]) -> None:
    """Put `about` into a model in memory, in place of what was there."""
    del model.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA, metadata_text({**about, "opset": OPSET})
    model.producer_name, model.producer_version = "limbeck", str(about.get("limbeck", ""))


def open_session(path: Path, threads: int) -> tuple[Run, dict[str, Any]]:
    """A function that runs the file on the CPU, and its metadata.

    Raises LimbeckError for a file that is damaged, that needs other files, or that Limbeck did not write.
    """
    runtime = need("onnxruntime", "export", str(path))
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4
    content = read_bytes(path)  # a file that names external data cannot make the runtime read other files
    try:
        session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's own exceptions have no common class
        raise LimbeckError(f"{path}: damaged, or not an ONNX file") from error
    about = metadata(path, session.get_modelmeta().custom_metadata_map.get(METADATA))

    def run(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        probabilities, logits = session.run(list(OUTPUTS), {"images": images})
        return probabilities, logits

    return run, about


def runtime_name() -> str:
    """Name and version of the runtime."""
    return f"ONNX Runtime {need('onnxruntime', 'export', 'ONNX Runtime').__version__}"


def _strip(model: Any) -> None:
    """Remove the notes about which Python code a node came from: a quarter of a small file."""
    graph = model.graph
    del graph.value_info[:]
    del graph.metadata_props[:]
    for part in (*graph.node, *graph.initializer, *graph.input, *graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
