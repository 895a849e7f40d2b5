"""A trained model on disk: weights, and what is needed to build it and to feed it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from limbeck.models.weights import load_weights
from limbeck.runs.errors import LimbeckError
from limbeck.runs.files import files_below, make_folder, read_json, replace, saying_where, write_json
from limbeck.runs.recipe import Functions, Named
from limbeck.runs.recipe_file import NONE
from limbeck.teaching.predictor import predictor
from limbeck.types import Normalisation
from limbeck.views.prepare import InputFormat

from .assemble import build_model


@dataclass(frozen=True)
class LoadedModel:
    """A model with all it needs. Call it with uint8 images `[B, C, H, W]` for float32 logits `[B, K]`.

    form: its normalisation and resolution. image_size: side of the images it was trained on.
    """

    model: nn.Module
    class_names: tuple[str, ...]
    form: InputFormat
    image_size: int
    about: Mapping[str, Any]

    def __call__(self, images: Tensor) -> Tensor:
        """Logits of images as they are stored: normalising and resizing is done here."""
        device = next(self.model.parameters()).device
        return predictor(self.model, self.form, device=device)(images)


def save_model(folder: Path, model: nn.Module, about: Mapping[str, Any]) -> None:
    """Write `model.safetensors`, then `model.json`, whose existence means that both are there."""
    weights = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in model.state_dict().items()}
    content = save(weights)
    with saying_where(folder):
        make_folder(folder)
    replace(folder / "model.safetensors", content)
    write_json(folder / "model.json", {**about, "sha256": hashlib.sha256(content).hexdigest()})


def load(path: str | Path, *, models: Functions = NONE) -> LoadedModel:
    """A trained model from its folder (`runs/NAME/models/ARM-seed0`), in eval mode on the CPU.

    models: your own build functions, where the run used some.
    Raises LimbeckError where the folder is not one, or its weights are not what was written.
    """
    folder = Path(path)
    folder = folder.parent if folder.name == "model.safetensors" else folder
    if not (folder / "model.json").is_file():
        raise LimbeckError(
            f"{path}: no model here; give a folder with model.json and model.safetensors{_nearby(folder)}"
        )
    about = read_json(folder / "model.json")
    try:
        named = Named(**about["model"])
        class_names = tuple(about["class_names"])
        norm = Normalisation(tuple(about["normalisation"]["mean"]), tuple(about["normalisation"]["sd"]))
        size, resolution = about["image_shape"][-1], about["resolution"]
        expected = about["sha256"]
    except (KeyError, TypeError, ValueError) as error:
        raise LimbeckError(f"{folder / 'model.json'}: damaged ({error})") from error
    weights = folder / "model.safetensors"
    if not weights.is_file() or hashlib.sha256(weights.read_bytes()).hexdigest() != expected:
        raise LimbeckError(f"{weights}: is missing or damaged (its checksum does not fit model.json)")
    model = build_model(named, len(class_names), models, pretrained=False)
    load_weights(model, weights)
    form = InputFormat(norm, None if resolution == size else resolution, about.get("interpolation", "bilinear"))
    model = model.eval().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return LoadedModel(model, class_names, form, size, about)


def load_trained(folder: Path, models: Functions) -> nn.Module:
    """The bare model of `load`."""
    return load(folder, models=models).model


def _nearby(folder: Path) -> str:
    found = sorted(path.parent for path in files_below(folder) if path.name == "model.json")
    return f"; below it there is {', '.join(str(path) for path in found[:4])}" if found else ""
