"""This room is light: a recipe is checked, and a checkpoint verified, without torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

MODULES = [
    "recipes.recipe", "recipes.load", "commands.catalogue", "recipes.registry", "recipes.overrides",
    "recipes.yaml_file", "storage.run_directory", "storage.checkpoint",
]  # fmt: skip


@pytest.mark.parametrize("module", MODULES)
def test_no_torch_comes_in(module: str) -> None:
    code = (
        f"import sys, limbeck.{module}\n"
        "heavy = {'torch', 'numpy', 'PIL', 'safetensors', 'timm', 'torchvision', 'matplotlib'} & set(sys.modules)\n"
        "print(','.join(sorted(heavy)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_recipe_is_checked_without_torch() -> None:
    code = (
        "import sys\nfrom limbeck.recipes.load import load_recipe\nfrom limbeck.commands.catalogue import listing\n"
        "load_recipe('cifar10-lightweight-cnn')\nlisting('models')\nassert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
