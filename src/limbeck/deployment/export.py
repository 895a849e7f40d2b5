"""`limbeck export`: from a saved model to files for devices, each with its proof beside it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limbeck.building.data import Images
from limbeck.building.evaluation_data import evaluation_images
from limbeck.building.saved_model import LoadedModel, load
from limbeck.data.in_memory import Dataset
from limbeck.errors import LimbeckError, did_you_mean
from limbeck.evaluation.evaluate import logits_of
from limbeck.evaluation.interleaved import check_threads
from limbeck.recipes.recipe import Data
from limbeck.storage.atomic import (
    explain_os_errors,
    make_folder,
    publish,
    read_json,
    readable_json,
    remove_leftovers,
    temporary_folder,
    write_new,
)
from limbeck.types import Split

from .formats import Format, Job, find_format
from .graph import DeployedModel, Layout
from .onnx_int8 import check_calibration
from .proof import Proof, prove

LAYOUTS = ("nhwc", "nchw")
LARGEST_DROP = 0.01
CALIBRATION_IMAGES = 512


@dataclass(frozen=True)
class Settings:
    """How files are written and proven.

    layout: of the images: `nhwc` or `nchw`. calibration: `minmax`, `entropy` or `percentile`. calibration_images: how
    many training images the int8 ranges are taken from. largest_drop: of top-1 from float32 to int8, a fraction.
    threads: of the timings. force: keep a file that fails its proof.
    """

    layout: Layout = "nhwc"
    calibration: str = "minmax"
    calibration_images: int = CALIBRATION_IMAGES
    largest_drop: float = LARGEST_DROP
    threads: int = 1
    force: bool = False

    def check(self) -> None:
        """Raises LimbeckError for a value that is none."""
        if self.layout not in LAYOUTS:
            raise LimbeckError(
                f"--layout: expected nhwc or nchw; got {self.layout!r}{did_you_mean(self.layout, LAYOUTS)}"
            )
        check_calibration(self.calibration)
        check_threads(self.threads)  # before a runtime starts as many
        if self.calibration_images < 1:
            raise LimbeckError(f"--calibration-images: expected at least 1; got {self.calibration_images}")
        if not 0 <= self.largest_drop <= 1:
            raise LimbeckError(f"--largest-drop: expected a fraction from 0 to 1; got {self.largest_drop}")


@dataclass(frozen=True)
class Provenance:
    """What the run of a model tells. recipe: as in `recipe.json`. precision: that the run computed in."""

    recipe: Any = None
    precision: str = "auto"


def _run_of(folder: Path) -> Provenance:
    """The run that a model's folder belongs to, where it lies in one."""
    root = folder.resolve().parent.parent
    if not (root / "recipe.json").is_file() or not (root / "result.json").is_file():
        return Provenance()
    computed = read_json(root / "result.json").get("environment", {}).get("precision")
    names = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}
    return Provenance(read_json(root / "recipe.json"), names.get(computed, "auto"))


@dataclass(frozen=True)
class Exported:
    """A file that was written, and its proof."""

    path: Path
    proof: Proof


def export(
    model: LoadedModel | str | Path,
    to: str | Sequence[str] = "onnx",
    *,
    out: str | Path | None = None,
    data: Data | Dataset | None = None,
    name: str = "student",
    **settings: Any,
) -> list[Exported]:
    """Write a model in each format, prove each file on the whole test split, and put it in place if it passes.

    model: what `limbeck.load` returns, or the folder of a saved model. to: formats, such as `onnx`, `onnx-int8`.
    out: the folder of the files (default: `export/` in the model's folder). data: with the test images for the proof
    and the training images for calibration; None for those the model was trained on. settings: see `Settings`.

    Raises LimbeckError for an unknown format or setting, data that do not fit, a model that cannot be exported, and a
    file that fails its proof: nothing of that file is left then.
    """
    chosen = [find_format(word) for word in ([to] if isinstance(to, str) else to)]
    options = _settings(settings)
    folder, loaded = _model_and_folder(model, out)
    where = str(model) if isinstance(model, str | Path) else "model"
    run = _run_of(Path(model)) if isinstance(model, str | Path) else Provenance()
    images = evaluation_images(loaded, data, "test", where)
    loaded = loaded.in_order_of(images.class_names, where).cpu().eval()
    reference = logits_of(loaded, images.test)
    return [
        _export_one(loaded, kind, folder / f"{name}{kind.suffix}", images, reference, options, run) for kind in chosen
    ]


def _settings(values: dict[str, Any]) -> Settings:
    known = [field.name for field in dataclasses.fields(Settings)]
    for word in values:
        if word not in known:
            raise LimbeckError(f"export: no setting {word!r}{did_you_mean(word, known)}")
    settings = Settings(**values)
    settings.check()
    return settings


def _model_and_folder(model: LoadedModel | str | Path, out: str | Path | None) -> tuple[Path, LoadedModel]:
    if isinstance(model, LoadedModel):
        if out is None:
            raise LimbeckError("out: a loaded model has no folder; give the folder of the exported files")
        return Path(out), model
    folder = Path(model)
    return Path(out) if out is not None else folder / "export", load(folder)


def _export_one(
    model: LoadedModel,
    kind: Format,
    path: Path,
    images: Images,
    reference: Tensor,
    settings: Settings,
    run: Provenance,
) -> Exported:
    deployed = DeployedModel(model, settings.layout)
    if deployed.learned_int8 and not kind.quantised:
        raise LimbeckError(f"{path}: this model was trained for int8 (quantise: int8); export it with --to onnx-int8")
    job = Job(
        deployed,
        images.shape,
        _about(model, kind, "learned" if deployed.learned_int8 else settings.calibration, settings.layout, run.recipe),
        settings.calibration,
        lambda: calibration_images(images.train, settings.calibration_images, settings.layout),
    )
    make_folder(path.parent)
    remove_leftovers(path.parent, shared=True)
    with explain_os_errors(path), temporary_folder(path.parent) as folder:
        with _full_disk_noticed(folder, deployed):
            float_file = kind.load().write(folder / path.name, job)
            proof = prove(
                folder / path.name,
                kind,
                model,
                images.test,
                data=images.name,
                reference=reference,
                threads=settings.threads,
                largest_drop=settings.largest_drop,
                precision=run.precision,
                float_file=float_file,
                learned=deployed.learned_int8,
            )
        if proof.failures and not settings.force:
            raise LimbeckError(f"{path}: not written: {'; '.join(proof.failures)}; --force writes it")
        beside = proof_path(path)
        write_new(folder / beside.name, readable_json(proof.to_dict()))
        publish(folder / path.name, path, existing="replace")
        publish(folder / beside.name, beside)
    return Exported(path, proof)


@contextlib.contextmanager
def _full_disk_noticed(folder: Path, deployed: DeployedModel) -> Iterator[None]:
    """Turn an error into the OSError of a full disk, if the disk is full: C++ libraries often do not say so."""
    try:
        yield
    except Exception:
        probe = folder / "probe"
        probe.write_bytes(bytes(sum(tensor.nbytes for tensor in deployed.state_dict().values())))
        probe.unlink()
        raise


def calibration_images(train: Split, count: int, layout: str) -> np.ndarray:
    """Training images spread evenly over the split, uint8, in the layout of the file."""
    taken = train.spread(count)
    return (taken.permute(0, 2, 3, 1) if layout == "nhwc" else taken).contiguous().numpy()


def _about(model: LoadedModel, kind: Format, calibration: str, layout: str, recipe: Any) -> dict[str, Any]:
    """The metadata of a file: what a program needs to use it, and where it comes from."""
    channels, height, width = model.image_shape
    return {
        "limbeck": metadata.version("limbeck"),
        "torch": torch.__version__,
        "format": kind.name,
        "class_names": list(model.class_names),
        "layout": layout,
        "image_shape": [channels, height, width],
        **({"calibration": calibration} if kind.quantised else {}),
        "model": model.about.get("model"),
        "model_sha256": model.about.get("sha256"),
        "trained_on": model.about.get("trained_on"),
        "fingerprint": (model.about.get("data") or {}).get("fingerprint"),
        "recipe": recipe,
    }


def proof_path(path: Path) -> Path:
    """Where the proof of an exported file lies: beside it."""
    return path.with_name(f"{path.name}.json")


def read_proof(path: Path) -> dict[str, Any] | None:
    """The proof beside an exported file; None where there is none. Raises LimbeckError where it is damaged."""
    beside = proof_path(path)
    return read_json(beside) if beside.is_file() else None
