"""The final weights of a run, as bytes."""

from __future__ import annotations

from pathlib import Path

from safetensors.numpy import load_file


def weights(folder: Path) -> dict[str, bytes]:
    """All final weights below a run directory, as bytes."""
    found = {}
    for path in sorted(folder.glob("models/*/model.safetensors")):
        for name, tensor in load_file(path).items():
            found[f"{path.parent.name}/{name}"] = tensor.tobytes()
    return found
