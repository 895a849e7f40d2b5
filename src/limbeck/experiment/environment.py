"""How a result was made: versions, hardware, and the call."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from limbeck.training.device import choose_device
from limbeck.training.precision import compute_dtype

DEFAULT_ARGUMENTS = {"folder": "runs", "name": None, "fresh": False, "extend": False, "ray": None}


def environment(device: torch.device | None = None, processes: int = 1) -> dict[str, object]:
    """Versions, hardware, number of processes and of threads in each, as plain data."""
    device = device or choose_device("auto")
    return {
        "limbeck": metadata.version("limbeck"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.release()}",
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "processes": processes,
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name(),
        "precision": str(compute_dtype("auto", device)).removeprefix("torch."),
    }


def computed_with(device: torch.device, processes: int = 1) -> dict[str, object]:
    """What must be the same for a resumed run to end bit for bit as it would have."""
    here = environment(device, processes)
    return {key: here[key] for key in ("limbeck", "torch", "threads", "processes", "device_name", "precision")}


def cpu_name() -> str:
    """The processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def python_call(function: str, recipe: Any, overrides: Sequence[str], options: Mapping[str, Any] | None) -> str | None:
    """`python: limbeck.run('quickstart', ['seeds=[0]'])`; None if that call would not repeat the run.

    options: None if functions or modules were passed.
    """
    if options is None or not isinstance(recipe, str | Path):
        return None
    arguments = [repr(str(recipe)), *([repr(list(overrides))] if overrides else [])]
    for name, value in options.items():
        value = str(value) if isinstance(value, Path) else value
        if value != DEFAULT_ARGUMENTS[name]:
            arguments.append(f"{name}={value!r}")
    return f"python: limbeck.{function}({', '.join(arguments)})"
