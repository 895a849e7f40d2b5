"""This room is light: a recipe is checked, and a checkpoint verified, without torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

MODULES = ["recipe", "recipe_file", "directory", "checkpoint", "listing", "lookup", "overrides", "yaml_file"]


@pytest.mark.parametrize("module", MODULES)
def test_no_torch_comes_in(module: str) -> None:
    code = (
        f"import sys, limbeck.runs.{module}\n"
        "heavy = {'torch', 'numpy', 'PIL', 'safetensors', 'timm', 'torchvision', 'matplotlib'} & set(sys.modules)\n"
        "print(','.join(sorted(heavy)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_recipe_is_checked_without_torch() -> None:
    code = (
        "import sys\nfrom limbeck.runs.recipe_file import load_recipe\nfrom limbeck.runs.listing import listing\n"
        "load_recipe('cifar10-lightweight-cnn')\nlisting('models')\nassert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
