"""A recipe from Python as the text of a file: JSON is YAML."""

from __future__ import annotations

import json
from typing import Any


def text(recipe: dict[str, Any]) -> str:
    """One line of flow YAML a top-level key."""
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in recipe.items())
