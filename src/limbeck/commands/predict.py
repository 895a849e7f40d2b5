"""`limbeck predict`: the most probable classes of image files."""

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
from limbeck.evaluation.test_time import averaged
from limbeck.recipes.test_time import AveragedViews
from limbeck.training.device import choose_device
from limbeck.types import Predict

from .test_time import views_of_words

BATCH = 64
"""Images per forward pass."""
NONE_READ = 2
SOME_UNREADABLE = 4
"""Exit codes if no file could be read, and if some files could not be read."""


@dataclass(frozen=True)
class Prediction:
    """The prediction for one file. classes: names and probabilities, most probable first.

    error: why the file could not be read; it then has no classes.
    """

    file: Path
    classes: tuple[tuple[str, float], ...] = ()
    error: str | None = None


def predict_files(
    model: LoadedModel, paths: Iterable[Path], *, top: int = 5, test_time: AveragedViews | None = None
) -> Iterator[Prediction]:
    """Predict the `top` most probable classes of each image file, and of each image in a folder.

    Files are decoded and resized exactly as the training images were. A file that does not exist or cannot be read
    yields a prediction with an error. test_time: views of each image over which probabilities are averaged.
    """
    logits_of = model if test_time is None else averaged(model, test_time)
    waiting: list[Prediction] = []
    pixels: list[np.ndarray] = []
    for path, error in _files(paths):
        if error is None:
            try:
                pixels.append(_read(path, model))
            except LimbeckError as unreadable:
                error = printable(str(unreadable))
        waiting.append(Prediction(path, error=error))
        if len(pixels) == BATCH:
            yield from _predict(logits_of, model.class_names, waiting, pixels, top)
            waiting, pixels = [], []
    yield from _predict(logits_of, model.class_names, waiting, pixels, top)


def _files(paths: Iterable[Path]) -> Iterator[tuple[Path, str | None]]:
    """The files to predict, each with an error or None.

    A folder yields the files in it that have the suffix of an image, sorted by name. Hidden files, and files that
    operating systems create, are left out.
    """
    for path in paths:
        if not path.is_dir():
            yield path, None if path.exists() else f"{path}: no such file or folder"
            continue
        has_images = False
        errors: list[OSError] = []
        for here, folders, names in os.walk(path, onerror=errors.append):
            folders[:] = sorted(name for name in folders if not is_junk(name))
            for name in sorted(names):
                if Path(name).suffix.lower() in SUFFIXES and not is_junk(name):
                    has_images = True
                    yield Path(here, name), None
        for error in errors:
            yield Path(str(error.filename)), f"{error.filename}: cannot be read: {error.strerror}"
        if not has_images and not errors:
            yield path, f"{path}: this folder has no images"


def _read(path: Path, model: LoadedModel) -> np.ndarray:
    """Pixels `[H, W, 3]` in the size that the model takes. Raises LimbeckError."""
    _, height, width = model.image_shape
    if height == width:
        return read(path, size=height)
    image = read(path)
    if image.shape[:2] != (height, width):  # the model was trained on images that were not resized
        raise LimbeckError(f"{path}: {image.shape[0]} x {image.shape[1]} px; this model takes {height} x {width} only")
    return image


def _predict(
    logits_of: Predict,
    class_names: tuple[str, ...],
    waiting: Sequence[Prediction],
    pixels: Sequence[np.ndarray],
    top: int,
) -> Iterator[Prediction]:
    """Add the classes to the predictions for files that could be read."""
    rows = iter(())
    if pixels:
        images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
        most_probable = logits_of(images).softmax(dim=-1).topk(min(top, len(class_names)))
        rows = iter(zip(most_probable.indices.tolist(), most_probable.values.tolist(), strict=True))
    for prediction in waiting:
        if prediction.error is not None:
            yield prediction
            continue
        indices, values = next(rows)
        names = (class_names[index] for index in indices)
        yield Prediction(prediction.file, tuple(zip(names, values, strict=True)))


def print_predictions(
    folder: Path,
    paths: Iterable[Path],
    *,
    top: int,
    as_json: bool,
    as_csv: bool,
    device: str = "auto",
    test_time: Sequence[str] = (),
) -> int:
    """Print the predictions of a saved model as text, JSON or CSV, and on stderr the files that could not be read.

    test_time: words of `--test-time`, such as `shifts=2`.
    Returns the exit code: 0, `SOME_UNREADABLE` or `NONE_READ`. Raises LimbeckError if the model cannot be loaded.
    """
    if as_json and as_csv:
        raise LimbeckError("--json and --csv: exclude each other; give one of them")
    model = load(folder).to(choose_device(device))
    views = views_of_words(test_time, model.image_shape)
    read_count, unreadable = 0, 0

    def counted() -> Iterator[Prediction]:
        nonlocal read_count, unreadable
        for prediction in predict_files(model, paths, top=top, test_time=views):
            if prediction.error is None:
                read_count += 1
            else:
                unreadable += 1
                print(f"limbeck: {prediction.error}", file=sys.stderr)
            yield prediction

    for line in (json_lines if as_json else csv_lines if as_csv else text_lines)(counted()):
        print(line)
    if not read_count:
        if unreadable > 1:
            print(f"limbeck: none of {unreadable} files could be read", file=sys.stderr)
        return NONE_READ
    return SOME_UNREADABLE if unreadable else 0


def text_lines(predictions: Iterable[Prediction]) -> Iterator[str]:
    """Plain text: the file, then its classes."""
    for prediction in predictions:
        if prediction.error is None:
            yield printable(str(prediction.file))
            yield from (f"  {probability:7.2%}  {name}" for name, probability in prediction.classes)


def json_lines(predictions: Iterable[Prediction]) -> Iterator[str]:
    """One JSON list with one object per line: `file`, `predictions` and, if the file could not be read, `error`."""
    begun = False
    for prediction in predictions:
        entry = {
            "file": _path_text(prediction.file),
            "predictions": [{"class": name, "probability": value} for name, value in prediction.classes],
        }
        if prediction.error is not None:
            entry["error"] = prediction.error
        yield f"{',' if begun else '['} {json.dumps(entry, ensure_ascii=True)}"
        begun = True
    yield "]" if begun else "[]"


def csv_lines(predictions: Iterable[Prediction]) -> Iterator[str]:
    """`file,rank,class,probability`: one line for each class of each file that could be read."""
    yield "file,rank,class,probability"
    for prediction in predictions:
        for rank, (name, probability) in enumerate(prediction.classes, 1):
            line = io.StringIO()
            csv.writer(line, lineterminator="").writerow([_path_text(prediction.file), rank, name, repr(probability)])
            yield line.getvalue()


def _path_text(path: Path) -> str:
    """A path as text; bytes that are not UTF-8 are escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
