"""Start or resume `distill(save_to=…)`: what a folder was started with, and whether a call may resume it."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.recipes.calls import Distillation
from limbeck.recipes.recipe import CustomFunctions
from limbeck.storage.atomic import make_folder, read_json, write_json
from limbeck.storage.run_directory import CohortDirectory
from limbeck.training import code_fingerprint
from limbeck.training.snapshot import save_tensors
from limbeck.training.teacher import fingerprint

START = "start.safetensors"
NEW_FOLDER = "another save_to starts over"


def describe_call(
    student: nn.Module, teachers: Mapping[str, nn.Module], losses: CustomFunctions, images: str, settings: Any
) -> dict[str, Any]:
    """Everything that must be the same for a folder to be resumed, as plain data. student: before training."""
    return {
        "python": ".".join(platform.python_version_tuple()[:2]),
        "images": images,
        "student": {
            "class": type(student).__qualname__,
            "shapes": code_fingerprint.shapes(student),
            "code": code_fingerprint.of_structure(student),
            "start": fingerprint(student),
        },
        "teachers": {
            name: {"weights": fingerprint(model), "code": code_fingerprint.of_structure(model)}
            for name, model in teachers.items()
        },
        "losses": {name: code_fingerprint.of_function(function) for name, function in losses.items()},
        "settings": settings,
    }


def training_settings(call: Distillation) -> dict[str, Any]:
    """The training part of the settings of a folder.

    Earlier versions checked a call as the recipe of a stand-in model, and wrote down the student of that recipe. Its
    dump is in every `begun.json`, and its hash in every checkpoint, so all its keys stay, in use or not.
    """
    return {
        **call.model_dump(mode="json", exclude={"data", "views", "outputs_bank"}),
        "model": {"name": "lightweight_cnn"},
        "weights": None,
        "classes": None,
        "allow_near_chance": False,
        "normalise": None,
        "resolution": None,
        "interpolation": "bilinear",
        "teacher": [{"name": "teacher", "weight": 1.0}] if call.teacher else [],
        "precision": None,
        "views": None,
        "baseline": None,
    }


def start_or_resume(
    directory: CohortDirectory, now: Mapping[str, Any], student: nn.Module, say: Callable[[str], None]
) -> None:
    """Record what a folder is started with, or check that the call may resume it. Needs the folder's lock.

    Until there is a checkpoint, `begun.json` and the student's initial weights, `start.safetensors`, are overwritten:
    a call that trained nothing may be changed. Raises LimbeckError that says what is different and how to resume.
    """
    now = json.loads(json.dumps(now))
    for name, value in student.state_dict().items():
        if not isinstance(value, Tensor):
            raise LimbeckError(
                f"student: its state {name!r} is a {type(value).__name__}; a checkpoint holds only tensors"
            )
    record, has_trained = directory.root / "begun.json", any(directory.checkpoints.glob("step-*/manifest.json"))
    if not has_trained:
        make_folder(directory.root)
        save_tensors(directory.root / START, student.state_dict())
        write_json(record, now)
    elif not record.exists():
        say(
            f"{directory.root}: started by a version that recorded neither the student nor its losses, "
            "so they cannot be compared"
        )
    else:
        different = _difference(read_json(record), now, directory, say)
        if different:
            raise LimbeckError(f"{directory.root}: {different}")


def _difference(before: Any, now: Mapping[str, Any], directory: CohortDirectory, say: Callable[[str], None]) -> str:
    """The first difference, and what to do; empty if there is none."""
    try:
        student, here = before["student"], now["student"]
        same_python = before["python"] == now["python"]
        if not same_python:
            say(f"started with Python {before['python']}: code cannot be compared")
        if before["images"] != now["images"]:
            return f"was started with other images; {NEW_FOLDER}"
        if student["class"] != here["class"] or student["shapes"] != here["shapes"]:
            return f"was started with another student ({student['class']}, now {here['class']}); {NEW_FOLDER}"
        if same_python and student["code"] != here["code"]:
            return f"the layers or the code of the student ({here['class']}) have changed since the start; {NEW_FOLDER}"
        if student["start"] != here["start"]:
            return (
                "the student had other weights at the start; to resume, build it in the same way (torch.manual_seed "
                "before it is built), or load its initial weights: student.load_state_dict(safetensors.torch.load_file("
                f"{str(directory.root / START)!r})); {NEW_FOLDER}"
            )
        for name in sorted({*before["losses"], *now["losses"]}):
            if (name in before["losses"]) != (name in now["losses"]):
                return f"was started with other losses of your own ({name!r}); {NEW_FOLDER}"
            if same_python and before["losses"][name] != now["losses"][name]:
                return f"the loss {name!r} has changed since the start (its code, or values it uses); {NEW_FOLDER}"
        if list(before["teachers"]) != list(now["teachers"]):
            count = len(before["teachers"])
            return f"was started with {count} teacher{'s' * (count != 1)}, now {len(now['teachers'])}; {NEW_FOLDER}"
        for name, teacher in before["teachers"].items():
            if teacher["weights"] != now["teachers"][name]["weights"]:
                return f"was started with other weights of {name}; {NEW_FOLDER}"
            if same_python and teacher["code"] != now["teachers"][name]["code"]:
                return f"the layers or the code of {name} have changed since the start; {NEW_FOLDER}"
        if before["settings"] != now["settings"]:
            changed = [key for key in now["settings"] if before["settings"].get(key) != now["settings"][key]]
            return f"was started with other settings ({', '.join(changed)}); {NEW_FOLDER}"
    except (KeyError, TypeError, AttributeError) as error:
        raise LimbeckError(f"{directory.root / 'begun.json'}: damaged ({error}); {NEW_FOLDER}") from error
    return ""
