"""`limbeck card`: a saved model as a folder in the form of a Hugging Face model repository."""

from __future__ import annotations

import io
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from limbeck.building.saved_model import load
from limbeck.errors import LimbeckError
from limbeck.recipes import registry
from limbeck.storage.atomic import atomic_folder, make_folder, read_json, readable_json, remove_leftovers, write_new

CONFIG = "config.json"
README = "README.md"


def card(model: str | Path, out: str | Path | None = None, *, license: str | None = None) -> Path:
    """Write the repository folder of a saved model: README.md with metadata and results, config.json, labels.txt,
    model.safetensors and, if the model was exported, its ONNX files with their proofs. `limbeck.load` reads the folder.

    model: the folder of the model. out: the folder to write, in place of an earlier card (default: `card/` in the
    model's folder). license: an identifier such as `mit`; without one the card names none.
    Paths of the training data are left out. Raises LimbeckError where there is no sound model, or `out` holds others.
    """
    source = Path(model)
    loaded = load(source)
    folder = Path(out) if out is not None else source / "card"
    if folder.exists() and not (folder / CONFIG).is_file() and any(folder.iterdir()):
        raise LimbeckError(f"{folder}: holds other files; a card takes a folder of its own: give another --out")
    about = _without_paths(read_json(source / "model.json") if (source / "model.json").is_file() else loaded.about)
    rows = _results(source)
    files = sorted((source / "export").glob("*.onnx*")) if (source / "export").is_dir() else []
    make_folder(folder.parent)
    remove_leftovers(folder.parent, shared=True)
    with atomic_folder(folder, existing="replace") as temporary:
        shutil.copyfile(source / "model.safetensors", temporary / "model.safetensors")
        for file in files:
            shutil.copyfile(file, temporary / file.name)
        write_new(temporary / CONFIG, readable_json(_config(about)))
        write_new(temporary / "labels.txt", "".join(f"{name}\n" for name in about["class_names"]).encode())
        text = _readme(source.name, about, rows, [file.name for file in files], license)
        write_new(temporary / README, text.encode())
    return folder


def _without_paths(about: Mapping[str, Any]) -> dict[str, Any]:
    """What `model.json` says, without the folders of this machine."""
    data = about.get("data")
    if not isinstance(data, Mapping):
        return dict(about)
    head, argument = registry.split_name(data["source"])
    options = {key: value for key, value in data["options"].items() if key != "path"}
    source = head if argument is None else f"{head}:{Path(argument).name}"
    return {**about, "data": {**data, "source": source, "options": options}}


def _config(about: Mapping[str, Any]) -> dict[str, Any]:
    """In the usual words, with all that `limbeck.load` needs under `limbeck`."""
    names = about["class_names"]
    channels, height, width = about["image_shape"]
    return {
        "architectures": [about["model"]["name"]],
        "model_type": "limbeck",
        "num_labels": len(names),
        "num_channels": channels,
        "image_size": [height, width],
        "id2label": {str(index): name for index, name in enumerate(names)},
        "label2id": {name: index for index, name in enumerate(names)},
        "image_mean": about["normalisation"]["mean"],
        "image_std": about["normalisation"]["sd"],
        "limbeck": dict(about),
    }


def _results(folder: Path) -> list[dict[str, Any]]:
    """The rows of `result.json` of the model's arm, its own first; none where the folder lies in no run."""
    path = folder.resolve().parent.parent / "result.json"
    if not path.is_file():
        return []
    rows = [row for row in read_json(path)["arms"] if row.get("test")]
    own = [row for row in rows if f"{row['arm']}-seed{row['seed']}" == folder.name]
    return own + [row for row in rows if own and row["arm"] == own[0]["arm"] and row is not own[0]]


def _readme(
    name: str, about: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], files: Sequence[str], license: str | None
) -> str:
    data = about.get("trained_on") or "its training data"
    model = about["model"]["name"]
    lines = [
        f"# {name}",
        "",
        f"A {model} for images of {_size(about)}, {len(about['class_names'])} classes, trained on {data} with Limbeck.",
        "",
        *_result_lines(rows),
        "## Use",
        "",
        "```python",
        "import limbeck",
        "",
        'model = limbeck.load("FOLDER")   # uint8 images [B, C, H, W] to logits; it normalises by itself',
        "```",
        "",
    ]
    onnx = [file for file in files if file.endswith(".onnx")]
    if onnx:
        listed = ", ".join(f"`{file}`" for file in onnx)
        lines += [
            f"{listed}: input `images`, uint8 RGB; outputs `probabilities` and `logits`. The metadata of the file "
            "has the layout of the images and the class names. The `.json` beside it compares it with the model.",
            "",
        ]
    return _front_matter(name, about, rows, license) + "\n".join(lines)


def _size(about: Mapping[str, Any]) -> str:
    channels, height, width = about["image_shape"]
    return f"{height} × {width} pixels, {'grey' if channels == 1 else 'RGB'}"


def _result_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return []
    own = rows[0]
    taught = f"taught by {', '.join(own['teacher'])}" if own["teacher"] else "trained on labels only"
    lines = [
        "## Results",
        "",
        f"Top-1 on the {own['test']['n']:,} test images: {100 * own['test']['top1']:.2f} % ({taught}, random seed "
        f"{own['seed']}).",
    ]
    if len(rows) > 1:
        others = ", ".join(f"{100 * row['test']['top1']:.2f}" for row in rows[1:])
        lines.append(f"The same arm with other random seeds: {others}.")
    return [*lines, ""]


def _front_matter(name: str, about: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], license: str | None) -> str:
    data = about.get("trained_on") or "unknown"
    values: dict[str, Any] = {
        **({"license": license} if license else {}),
        "library_name": "limbeck",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", *(["knowledge-distillation"] if rows and rows[0]["teacher"] else [])],
    }
    if rows:
        task = {"type": "image-classification"}
        metrics = [{"type": "accuracy", "value": round(rows[0]["test"]["top1"], 6), "name": "top-1"}]
        results = [{"task": task, "dataset": {"name": data, "type": data, "split": "test"}, "metrics": metrics}]
        values["model-index"] = [{"name": name, "results": results}]
    out = io.StringIO()
    writer = YAML()
    writer.dump(values, out)
    return f"---\n{out.getvalue()}---\n\n"
