"""What the code knows is in the pages: every recipe key, loss, model, data source, recipe and public name."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from documentation import DOCS, generated, text_of

import limbeck
from limbeck.recipes.load import shipped
from limbeck.recipes.recipe import Recipe
from limbeck.recipes.registry import entries


def test_every_recipe_key_has_its_row() -> None:
    schema = Recipe.model_json_schema()
    sections = generated()["recipe-keys.md"].split("\n(recipe-")
    for name, part in {"recipe": schema, **schema["$defs"]}.items():
        (section,) = (text for text in sections if text.removeprefix("(recipe-").startswith(f"{name.lower()})="))
        for key, about in part["properties"].items():
            (row,) = (line for line in section.splitlines() if line.startswith(f"| `{key}` |"))
            takes, default, meaning = (cell.strip() for cell in row.split(" | ")[1:])
            assert (takes and takes != "any value") or key == "value", row
            assert (default == "**required**") == (key in part.get("required", ()) or "const" in about), row
            assert meaning.removesuffix("|").strip() or "description" not in about, row


def test_ranges_and_defaults_are_those_of_the_code() -> None:
    text = generated()["recipe-keys.md"]
    assert "| `validation` | number ≥ 0 and \\< 0.5 | `0.1` |" in text
    assert "| `interpolation` | `bilinear`, `bicubic` | `bilinear` |" in text
    assert "| `lr` | number \\> 0 | **required** |" in text


def test_every_loss_is_described() -> None:
    page = text_of(DOCS / "methods.md")
    for name, entry in entries("losses").items():
        section = page[page.index(f"### `{name}`") :].split("\n### ")[0]
        assert "20" in section, "a paper with its year"
        for option, default in entry.options.items():
            assert f"| `{option}` | `{default}` |" in section
        assert f"](#{name.replace('_', '-')})" in page, "the table says when to use it"


def test_every_model_data_source_and_recipe_is_listed() -> None:
    page = text_of(DOCS / "models-and-data.md")
    for room in ("models", "data"):
        for name in entries(room):
            assert f"`{name}`" in page or f"`{name}:" in page, name
    for name in shipped():
        assert f"| `{name}` |" in page


def test_every_public_name_is_described() -> None:
    page = text_of(DOCS / "python-api.md")
    for name in limbeck.__all__:
        if name == "losses":
            assert "## `limbeck.losses`" in page
            continue
        kind = "class" if isinstance(getattr(limbeck, name), type) else "function"
        section = page[page.index(f"{{py:{kind}}} limbeck.{name}") :].split("\n")
        assert section[1].strip(), f"{name} has no docstring"


@pytest.mark.skipif(importlib.util.find_spec("sphinx") is None, reason="needs the docs extra")
@pytest.mark.skipif(importlib.util.find_spec("myst_parser") is None, reason="needs the docs extra")
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    words = ["-W", "--keep-going", "-n", "-q", "-b", "html", "-d", str(tmp_path / "trees")]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *words, str(DOCS), str(tmp_path / "site")],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "soft_targets" in (tmp_path / "site" / "methods.html").read_text(encoding="utf-8")
