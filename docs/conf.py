"""How Sphinx builds the site: `make docs`. Warnings are errors, and nothing is fetched from a network."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import generate  # noqa: E402

import limbeck  # noqa: E402

generate.write(HERE / "generated")

project = "Limbeck"
author = "The Limbeck developers"
version = release = limbeck.__version__
extensions = ["myst_parser"]
exclude_patterns = ["generated", "_build"]
source_suffix = {".md": "markdown"}
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "attrs_inline"]
nitpicky = True
nitpick_ignore_regex = [("py:.*", ".*")]  # types in signatures that other packages document; links are checked
python_maximum_signature_line_length = 80
html_theme = "furo"
html_title = f"Limbeck {version}"
html_show_sourcelink = False
