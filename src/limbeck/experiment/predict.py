"""A saved model on image files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from limbeck.data.images import read

from .saved_model import LoadedModel


def predict_files(
    model: LoadedModel, paths: Sequence[Path], *, top: int = 5
) -> list[tuple[Path, list[tuple[str, float]]]]:
    """For each image its `top` classes with probabilities, the likeliest first.

    Files are decoded and fitted to the model's size exactly as the stored images were.
    Raises LimbeckError that names a file which is no image.
    """
    answers = []
    for path in paths:
        pixels = torch.from_numpy(read(path, size=model.image_size))
        probabilities = model(pixels.permute(2, 0, 1).unsqueeze(0)).softmax(dim=-1)[0]
        likeliest = probabilities.topk(min(top, len(model.class_names)))
        pairs = zip(likeliest.indices.tolist(), likeliest.values.tolist(), strict=True)
        answers.append((path, [(model.class_names[index], value) for index, value in pairs]))
    return answers
