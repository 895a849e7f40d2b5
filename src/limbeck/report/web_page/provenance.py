"""How a run was made: command, versions, hardware, data, seeds and times; and its recipe."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML

from limbeck.errors import LimbeckError
from limbeck.report.formatting import duration
from limbeck.report.run_data import RunRecord
from limbeck.storage.atomic import read_json

from .markup import escape

NAMES = {"cpu": "Processor", "torch": "PyTorch", "limbeck": "Limbeck", "cores": "Cores", "threads": "Threads"}


def provenance_html(record: RunRecord) -> str:
    """A list of facts; what a run does not tell is left out."""
    result, facts = record.result, {}
    facts["Command"] = result.get("command")
    facts["Folder"] = record.folder
    facts["Started"], facts["Ended"] = result.get("started"), result.get("ended")
    for name, key in (("Wall time", "wall_seconds"), ("Time of all processes", "compute_seconds")):
        if isinstance(seconds := result.get(key), int | float):
            facts[name] = duration(seconds)
    facts["Seeds"] = ", ".join(map(str, _list(record.recipe.get("seeds"))))
    images = result.get("images")
    if isinstance(images, Mapping):
        facts["Images"] = ", ".join(f"{count:,} {split}" for split, count in images.items())
    facts |= _fingerprints(record)
    facts["Data notes"] = "; ".join(map(str, _list(result.get("data_notes"))))
    facts |= {NAMES.get(key, key.replace("_", " ").capitalize()): value for key, value in record.environment.items()}
    rows = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items() if value not in (None, "")
    )
    return f"<dl>{rows}</dl>"


def recipe_html(recipe: Mapping[str, Any]) -> str:
    """The recipe as YAML, with every default; empty for an unknown one."""
    if not recipe:
        return ""
    out = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = None
    yaml.width = 100
    yaml.dump(_plain(recipe), out)
    return f'<pre tabindex="0" aria-label="Recipe as YAML">{escape(out.getvalue())}</pre>'


def _fingerprints(record: RunRecord) -> dict[str, str]:
    """Fingerprints of the data set and its splits, from a saved model: result.json has none."""
    for path in sorted((record.models_folder / "models").glob("*/model.json")):
        try:
            data = read_json(path)["data"]
            return {"Data set": str(data["dataset_fingerprint"]), "Data and splits": str(data["fingerprint"])}
        except (LimbeckError, KeyError, TypeError):
            continue
    return {}


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value
