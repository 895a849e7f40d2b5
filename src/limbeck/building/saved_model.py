"""Trained models on disk: the weights, and what is needed to build the model and prepare its input."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from limbeck.building.arguments import check_folder, check_functions, checked_test_time
from limbeck.errors import LimbeckError, printable, short_repr
from limbeck.evaluation.test_time import averaged, check_shifts
from limbeck.recipes import registry
from limbeck.recipes.load import NO_FUNCTIONS
from limbeck.recipes.recipe import Arm, CustomFunctions, Data, NameWithOptions
from limbeck.storage.atomic import file_digest, files_below, make_folder, read_json, write_json
from limbeck.training.model_errors import explain_out_of_memory
from limbeck.training.snapshot import save_tensors
from limbeck.training.teacher import as_outputs
from limbeck.types import Normalisation, Predict
from limbeck.views.preprocess import InputFormat
from limbeck.weights.load import load_weights

from .data import Images
from .models import build_model, make_input_format
from .quantised_student import quantised
from .teachers import reorder_classes

FILES_TO_SEARCH = 10_000
"""Limit of the search for models below a folder that is not one: the folder may be the root of a disk."""


class LoadedModel(nn.Module):
    """A model with its preprocessing. Call it with uint8 images `[B, C, H, W]` to get float32 logits `[B, K]`.

    It normalises and resizes the images itself. It is an ordinary module: `.to(device)`, `torch.jit.trace` and
    `torch.export` work on it. It is loaded in eval mode, in which it computes no gradients.

    model: the network itself. class_names: in the order of the logits. input_format: its normalisation and resolution.
    image_shape: `(C, H, W)` of the images it was trained on; it takes no others. about: the content of `model.json`.
    """

    def __init__(
        self,
        model: nn.Module,
        class_names: Sequence[str],
        input_format: InputFormat,
        image_shape: Sequence[int],
        about: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.model = model
        self.class_names = tuple(class_names)
        self.input_format = input_format
        self.image_shape = tuple(image_shape)
        self.about = about
        for name in ("mean", "sd"):
            values = torch.tensor(getattr(input_format.normalisation, name), dtype=torch.float32)
            self.register_buffer(name, values.view(1, -1, 1, 1))

    @property
    def image_size(self) -> int:
        """Side length of the images, in pixels."""
        return self.image_shape[-1]

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the network's input, after resizing."""
        channels, height, width = self.image_shape
        return channels, self.input_format.resolution or height, self.input_format.resolution or width

    def forward(self, images: Tensor) -> Tensor:
        """The logits of uint8 images, on the model's device.

        Raises LimbeckError for anything other than uint8 images with the model's channels and size.
        """
        self._check(images)
        if _is_traced() or torch.compiler.is_compiling():
            return self._logits(images)
        with (
            torch.set_grad_enabled(self.training and torch.is_grad_enabled()),
            explain_out_of_memory("model", images.shape[0]),
        ):
            return self._logits(images)

    def _logits(self, images: Tensor) -> Tensor:
        mean, sd = self.get_buffer("mean"), self.get_buffer("sd")
        if images.device != mean.device:
            images = images.to(mean.device)
        pixels = images.float()
        size = self.input_format.resolution
        if size is not None and self.image_shape[1:] != (size, size):
            pixels = functional.interpolate(
                pixels, size=(size, size), mode=self.input_format.interpolation, antialias=True, align_corners=False
            )
        # The same arithmetic as in views.preprocess.prepare, to the last bit.
        pixels = pixels * (1 / (255 * sd)) + -mean / sd
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        like = next((p for p in self.model.parameters() if p.is_floating_point()), pixels)
        return as_outputs(self.model(pixels.to(like.dtype))).logits.float()

    def _check(self, images: Tensor) -> None:
        channels, height, width = self.image_shape
        takes = f"this model takes uint8 images [B, {channels}, {height}, {width}], 0 to 255, as they are stored"
        if not isinstance(images, Tensor):
            raise LimbeckError(f"{takes}; got {type(images).__name__}")
        if images.dtype != torch.uint8:
            kind = str(images.dtype).removeprefix("torch.")
            raise LimbeckError(
                f"{takes}; got {kind}: it normalises by itself, so give bytes; its .model takes prepared pixels"
            )
        if images.ndim != 4:
            hint = "; images[None] makes a batch of one" if images.ndim == 3 else ""
            raise LimbeckError(f"{takes}; got {list(images.shape)}{hint}")
        if _is_traced():  # sizes are then part of the graph, not numbers to compare
            return
        if tuple(images.shape[1:]) != self.image_shape:
            swapped = tuple(images.shape[1:]) == (height, width, channels)
            hint = "; images.permute(0, 3, 1, 2) puts the channels first" if swapped else ""
            raise LimbeckError(f"{takes}; got {list(images.shape)}{hint}")

    def with_test_time(self, **options: Any) -> Predict:
        """A function of the same images that averages this model's probabilities over several views of each.

        options: `flip=True`, `shifts=2` (pixels), `scales=[0.9, 1.1]`, as below `evaluation.test_time` in a recipe.
        Every combination of them is a view, and a forward pass. The function returns the logarithm of the averaged
        probabilities, `[B, K]`.

        Raises LimbeckError for other options, and for shifts that move the whole image out of sight.
        """
        views = checked_test_time(options, "with_test_time")
        check_shifts(views, self.image_shape, where="with_test_time: shifts")
        return averaged(self, views)

    def in_order_of(self, class_names: Sequence[str], where: str) -> LoadedModel:
        """The same model with its logits in the order of `class_names`.

        Raises LimbeckError if it has other classes; the message names `where` and the classes of both.
        """
        model = reorder_classes(self.model, where, self.class_names, class_names)
        return (
            self
            if model is self.model
            else LoadedModel(model, class_names, self.input_format, self.image_shape, self.about)
        )


def describe(arm: Arm, data: Data, images: Images) -> dict[str, Any]:
    """What `limbeck.load` needs to rebuild the model of an arm and to find the images that it was trained on."""
    input_format = make_input_format(arm, images)
    return {
        "model": {"name": arm.model.name, **arm.model.options},
        **({"quantise": arm.quantise} if arm.quantise else {}),
        "class_names": list(images.class_names),
        "normalisation": {"mean": list(input_format.normalisation.mean), "sd": list(input_format.normalisation.sd)},
        "resolution": input_format.resolution,
        "interpolation": input_format.interpolation,
        "image_shape": list(images.shape),
        "trained_on": images.name,
        "data": describe_data(data, images),
    }


def describe_data(data: Data, images: Images) -> dict[str, Any]:
    """The entry `data` of `model.json`: the source and its options with absolute paths, how the data was split, and the
    fingerprints of the data set and of its splits.
    """
    plain = data.model_dump(mode="json")
    source, validation, train_images = (plain.pop(key) for key in ("source", "validation", "train_images"))
    if isinstance(plain.get("path"), str):
        plain["path"] = _absolute(plain["path"])
    return {
        "source": absolute_source(source),
        "options": plain,
        "validation": validation,
        "train_images": train_images,
        "dataset_fingerprint": images.dataset_fingerprint,
        "fingerprint": images.fingerprint,
    }


def absolute_source(source: str) -> str:
    """A source such as `folder:photos` with its path made absolute, so that it can be found from any folder."""
    head, argument = registry.split_name(source)
    is_path = argument is not None and registry.find("data", source).argument == "path"
    return f"{head}:{_absolute(argument)}" if argument is not None and is_path else source


def save_model(folder: Path, model: nn.Module, about: Mapping[str, Any]) -> None:
    """Write `model.safetensors`, then `model.json`, whose presence means that both are complete."""
    make_folder(folder)
    written = save_tensors(folder / "model.safetensors", model.state_dict())
    write_json(folder / "model.json", {**about, "sha256": written.sha256})


def load(path: str | Path, *, models: CustomFunctions = NO_FUNCTIONS) -> LoadedModel:
    """Load a trained model from its folder (`runs/NAME/models/ARM-seed0`), in eval mode on the CPU.

    models: your own build functions, if the run used any.
    Raises LimbeckError if the folder does not hold a model, or if its weights are not those that were saved.
    """
    check_functions("models", models)
    folder = check_folder("path", path)
    if folder is None:
        raise LimbeckError("path takes the folder of a model; got None")
    folder = folder.parent if folder.name == "model.safetensors" else folder
    described = folder / "model.json" if (folder / "model.json").is_file() else folder / "config.json"
    if not described.is_file():
        raise LimbeckError(
            f"{printable(str(path))}: no model here; give a folder with model.json and model.safetensors"
            f"{_nearby(folder)}"
        )
    about = read_json(described)
    try:
        about = about["limbeck"] if described.name == "config.json" else about  # a folder of `limbeck card`
        named = NameWithOptions(**about["model"])
        class_names = tuple(about["class_names"])
        norm = Normalisation(tuple(about["normalisation"]["mean"]), tuple(about["normalisation"]["sd"]))
        channels, height, width = about["image_shape"]
        resolution, expected = about["resolution"], about["sha256"]
        if about.get("quantise") not in (None, "int8"):
            raise ValueError(f"quantise: {short_repr(about['quantise'])}")
    except (KeyError, TypeError, ValueError) as error:
        raise LimbeckError(f"{described}: damaged, or not of Limbeck ({error})") from error
    weights = folder / "model.safetensors"
    if not weights.is_file() or file_digest(weights).sha256 != expected:
        raise LimbeckError(f"{weights}: is missing or damaged (its checksum does not fit {described.name})")
    model = build_model(named, len(class_names), models, pretrained=False)
    if about.get("quantise"):
        model = quantised(model, printable(str(path)))
    load_weights(model, weights)
    # If nothing is resized, older files without `data` have the height as their resolution; newer ones have null.
    as_stored = resolution is None or (resolution == height and (height == width or "data" not in about))
    input_format = InputFormat(norm, None if as_stored else resolution, about.get("interpolation", "bilinear"))
    model = model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return LoadedModel(model, class_names, input_format, (channels, height, width), about).eval()


def load_trained(folder: Path, models: CustomFunctions) -> nn.Module:
    """The network that `load` returns, without its preprocessing."""
    return load(folder, models=models).model


def _is_traced() -> bool:
    return torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]


def _nearby(folder: Path) -> str:
    files = itertools.islice(files_below(folder), FILES_TO_SEARCH)
    found = sorted(path.parent for path in files if path.name == "model.json")
    return f"; below it there is {', '.join(str(path) for path in found[:4])}" if found else ""


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().resolve())
