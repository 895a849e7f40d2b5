"""ExecuTorch files, for phones and boards, float32: convolutions run by XNNPACK, the rest by portable kernels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from limbeck.errors import LimbeckError, one_line
from limbeck.packages import need

from .exported_file import METADATA, metadata, metadata_text, quiet, read_bytes
from .formats import Job, Run


def write(path: Path, job: Job) -> None:
    """Write the file, for one image at a time. Raises LimbeckError where ExecuTorch refuses the model.

    Its passes (1.5) limit a flexible batch to 15 images, and channel shuffles fail at one.
    """
    with quiet():
        exir = need("executorch.exir", "executorch", "export to executorch")
        xnnpack = need(
            "executorch.backends.xnnpack.partition.xnnpack_partitioner", "executorch", "export to executorch"
        )

    # XNNPACK needs weights that are not channels last.
    network = job.deployed.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
    images = torch.zeros(job.example_shape(1), dtype=torch.uint8)
    try:
        with quiet(), torch.no_grad():
            program = torch.export.export(network, (images,))
            lowered = exir.to_edge_transform_and_lower(
                program,
                partitioner=[xnnpack.XnnpackPartitioner()],
                constant_methods={METADATA: metadata_text(job.about)},
            )
            content = lowered.to_executorch().buffer
    except Exception as error:  # its passes raise anything
        raise LimbeckError(f"this model cannot be exported to ExecuTorch: {one_line(error)}") from error
    path.write_bytes(content)


def open_session(path: Path, threads: int) -> tuple[Run, dict[str, Any]]:
    """A function that runs the file on the CPU, and its metadata.

    ExecuTorch has one pool of threads for the whole process; `threads` sets its size.
    Raises LimbeckError for a file that is damaged or that Limbeck did not write.
    """
    with quiet():
        runtime = need("executorch.runtime", "executorch", str(path))
        portable_lib = need("executorch.extension.pybindings.portable_lib", "executorch", str(path))
    portable_lib._unsafe_reset_threadpool(threads)
    content = read_bytes(path)
    try:
        program = runtime.Runtime.get().load_program(content)
        names = program.method_names
        text = program.load_method(METADATA).execute([])[0] if METADATA in names else None
        forward = program.load_method("forward")
        assert forward is not None
    except Exception as error:  # runtimes raise anything for a damaged file
        raise LimbeckError(f"{path}: damaged, or not an ExecuTorch file") from error
    about = metadata(path, text)

    def run(images: np.ndarray, program: object = program) -> tuple[np.ndarray, np.ndarray]:  # its memory must stay
        parts = torch.from_numpy(np.ascontiguousarray(images)).split(1)
        found = [[output.clone() for output in forward.execute([part])] for part in parts]
        probabilities, logits = (torch.cat(outputs).numpy() for outputs in zip(*found, strict=True))
        return probabilities, logits

    return run, about


def runtime_name() -> str:
    """Name and version of the runtime."""
    version = need("executorch.version", "executorch", "ExecuTorch").__version__
    return f"ExecuTorch {version.split('+')[0]}"
