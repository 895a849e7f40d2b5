"""Recipes as people write them, in real files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from limbeck.errors import RecipeError
from limbeck.recipes.load import load_recipe

PAIR = """\
name: pair
seeds: [0, 1]

data: {source: digits}

views:
  batch_size: 32

teachers:
  large:
    model: resnet20
    epochs: 3
    optimizer: {name: sgd, lr: 0.1, weight_decay: 5e-4}
    schedule: {name: one_cycle}
    loss: [{name: cross_entropy}]

students:
  defaults:
    model: {name: lightweight_cnn, dropout: 0.0}
    epochs: 2
    optimizer: {name: sgd, lr: 1e-1}
  baseline:
    loss: [{name: cross_entropy}]
  distilled:
    teacher: large
    loss:
      - {name: soft_targets, temperature: 4.0, weight: 0.7}
      - {name: cross_entropy, weight: 0.3}
"""


@pytest.fixture
def pair() -> str:
    return PAIR


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., list[str]]:
    """The lines with which a recipe's text is refused, as `LINE: key: …` (the file's name is taken off)."""

    def lines_of(text: str | bytes, overrides: Sequence[str] = ()) -> list[str]:
        path = tmp_path / "recipe.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(RecipeError) as caught:
            load_recipe(path, overrides)
        return [line.removeprefix(f"{path}:").strip() for line in str(caught.value).split("\n")]

    return lines_of
