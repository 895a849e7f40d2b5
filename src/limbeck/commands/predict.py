"""A saved model on image files."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from limbeck.building.saved_model import LoadedModel, load
from limbeck.data.decode import SUFFIXES, read
from limbeck.data.sources.class_folders import is_junk
from limbeck.errors import LimbeckError, printable
from limbeck.training.device import choose_device

BATCH = 64
"""Files that are read, then answered together."""
NONE_READ = 2
SOME_LEFT_OUT = 4
"""The exit code where all is done but some files could not be read."""


@dataclass(frozen=True)
class Prediction:
    """What a model says of one file. classes: with probabilities, the likeliest first.

    error: why the file could not be read; then there are no classes.
    """

    file: Path
    classes: tuple[tuple[str, float], ...] = ()
    error: str | None = None


def predict_files(model: LoadedModel, paths: Iterable[Path], *, top: int = 5) -> Iterator[Prediction]:
    """For each image file, and each in a folder, its `top` classes with probabilities.

    Files are decoded and fitted to the model's size exactly as the stored images were. One that cannot be read, or a
    path that is not there, gives a prediction with an error and stops nothing.
    """
    waiting: list[Prediction] = []
    pixels: list[np.ndarray] = []
    for path, error in _files(paths):
        if error is None:
            try:
                pixels.append(_read(path, model))
            except LimbeckError as refused:
                error = printable(str(refused))
        waiting.append(Prediction(path, error=error))
        if len(pixels) == BATCH:
            yield from _answered(model, waiting, pixels, top)
            waiting, pixels = [], []
    yield from _answered(model, waiting, pixels, top)


def _files(paths: Iterable[Path]) -> Iterator[tuple[Path, str | None]]:
    """Files, and what is wrong with a path. Of folders: images by their suffix, in the order of their names; hidden
    ones and what systems leave behind are passed over.
    """
    for path in paths:
        if not path.is_dir():
            yield path, None if path.exists() else f"{path}: no such file or folder"
            continue
        found = False
        refused: list[OSError] = []
        for here, folders, names in os.walk(path, onerror=refused.append):
            folders[:] = sorted(name for name in folders if not is_junk(name))
            for name in sorted(names):
                if Path(name).suffix.lower() in SUFFIXES and not is_junk(name):
                    found = True
                    yield Path(here, name), None
        for error in refused:
            yield Path(str(error.filename)), f"{error.filename}: cannot be read: {error.strerror}"
        if not found and not refused:
            yield path, f"{path}: this folder holds no image"


def _read(path: Path, model: LoadedModel) -> np.ndarray:
    """Pixels `[H, W, 3]` as the model takes them. Raises LimbeckError."""
    _, height, width = model.image_shape
    if height == width:
        return read(path, size=height)
    image = read(path)
    if image.shape[:2] != (height, width):  # the model learned from images that were never fitted
        raise LimbeckError(f"{path}: {image.shape[0]} x {image.shape[1]} px; this model takes {height} x {width} alone")
    return image


def _answered(
    model: LoadedModel, waiting: Sequence[Prediction], pixels: Sequence[np.ndarray], top: int
) -> Iterator[Prediction]:
    """Give those of the waiting that could be read their classes."""
    rows = iter(())
    if pixels:
        images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
        likeliest = model(images).softmax(dim=-1).topk(min(top, len(model.class_names)))
        rows = iter(zip(likeliest.indices.tolist(), likeliest.values.tolist(), strict=True))
    for prediction in waiting:
        if prediction.error is not None:
            yield prediction
            continue
        indices, values = next(rows)
        names = (model.class_names[index] for index in indices)
        yield Prediction(prediction.file, tuple(zip(names, values, strict=True)))


def print_predictions(
    folder: Path, paths: Iterable[Path], *, top: int, as_json: bool, as_csv: bool, device: str = "auto"
) -> int:
    """Print what a saved model says of files, as text, JSON or CSV, and on stderr which could not be read.

    Returns the exit code: 0, `SOME_LEFT_OUT` or `NONE_READ`. Raises LimbeckError where the model cannot be loaded.
    """
    if as_json and as_csv:
        raise LimbeckError("--json and --csv: takes one of them")
    model = load(folder).to(choose_device(device))
    read_ones, left_out = 0, 0

    def counted() -> Iterator[Prediction]:
        nonlocal read_ones, left_out
        for found in predict_files(model, paths, top=top):
            if found.error is None:
                read_ones += 1
            else:
                left_out += 1
                print(f"limbeck: {found.error}", file=sys.stderr)
            yield found

    for line in (json_lines if as_json else csv_lines if as_csv else text_lines)(counted()):
        print(line)
    if not read_ones:
        if left_out > 1:
            print(f"limbeck: none of {left_out} files could be read", file=sys.stderr)
        return NONE_READ
    return SOME_LEFT_OUT if left_out else 0


def text_lines(predictions: Iterable[Prediction]) -> Iterator[str]:
    """Lines for a person: the file, then its classes."""
    for found in predictions:
        if found.error is None:
            yield printable(str(found.file))
            yield from (f"  {probability:7.2%}  {name}" for name, probability in found.classes)


def json_lines(predictions: Iterable[Prediction]) -> Iterator[str]:
    """One JSON list of objects, an object a line: `file`, `predictions` and, where it could not be read, `error`."""
    begun = False
    for found in predictions:
        entry = {
            "file": _shown(found.file),
            "predictions": [{"class": name, "probability": value} for name, value in found.classes],
        }
        if found.error is not None:
            entry["error"] = found.error
        yield f"{',' if begun else '['} {json.dumps(entry, ensure_ascii=True)}"
        begun = True
    yield "]" if begun else "[]"


def csv_lines(predictions: Iterable[Prediction]) -> Iterator[str]:
    """`file,rank,class,probability`, a line for each class of each file that could be read."""
    yield "file,rank,class,probability"
    for found in predictions:
        for rank, (name, probability) in enumerate(found.classes, 1):
            line = io.StringIO()
            csv.writer(line, lineterminator="").writerow([_shown(found.file), rank, name, repr(probability)])
            yield line.getvalue()


def _shown(path: Path) -> str:
    """A path as text; bytes that are none are written out."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
