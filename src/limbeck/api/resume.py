"""What a folder of `distill(save_to=…)` was begun with, and whether a call goes on with the same."""

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
ANEW = "another save_to begins anew"


def described(
    student: nn.Module, teachers: Mapping[str, nn.Module], losses: CustomFunctions, images: str, settings: Any
) -> dict[str, Any]:
    """What must be equal for a folder to be gone on with, as plain data. The student is the one before training."""
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


def go_on(directory: CohortDirectory, now: Mapping[str, Any], student: nn.Module, say: Callable[[str], None]) -> None:
    """Write down what a folder is begun with, or see that it is gone on with the same. To be called under its claim.

    `begun.json` and the student's first weights, `start.safetensors`, are written until there is a checkpoint: a start
    that trained nothing binds nobody. Raises LimbeckError that says what is different and how to go on.
    """
    now = json.loads(json.dumps(now))
    for name, value in student.state_dict().items():
        if not isinstance(value, Tensor):
            raise LimbeckError(
                f"student: its state {name!r} is a {type(value).__name__}; a checkpoint keeps tensors alone"
            )
    written, trained = directory.root / "begun.json", any(directory.checkpoints.glob("step-*/manifest.json"))
    if not trained:
        make_folder(directory.root)
        save_tensors(directory.root / START, student.state_dict())
        write_json(written, now)
    elif not written.exists():
        say(
            f"{directory.root}: was begun by a version that kept neither the student nor its losses; "
            "whether they are the same cannot be told"
        )
    else:
        different = _difference(read_json(written), now, directory, say)
        if different:
            raise LimbeckError(f"{directory.root}: {different}")


def _difference(before: Any, now: Mapping[str, Any], directory: CohortDirectory, say: Callable[[str], None]) -> str:
    """The first difference, with what to do; nothing where there is none."""
    try:
        student, here = before["student"], now["student"]
        coded = before["python"] == now["python"]
        if not coded:
            say(f"begun under Python {before['python']}: whether code has changed since cannot be told")
        if before["images"] != now["images"]:
            return f"was made with other images than these; {ANEW}"
        if student["class"] != here["class"] or student["shapes"] != here["shapes"]:
            return f"holds a distillation of another student ({student['class']}, here {here['class']}); {ANEW}"
        if coded and student["code"] != here["code"]:
            return f"the layers or the code of the student ({here['class']}) have changed since it was begun; {ANEW}"
        if student["start"] != here["start"]:
            return (
                "the student began with other weights than it has now; to go on, build it as then (torch.manual_seed "
                f"before it is made), or load what it began with: student.load_state_dict(safetensors.torch.load_file("
                f"{str(directory.root / START)!r})); {ANEW}"
            )
        for name in sorted({*before["losses"], *now["losses"]}):
            if (name in before["losses"]) != (name in now["losses"]):
                return f"was made with other losses of your own ({name!r}); {ANEW}"
            if coded and before["losses"][name] != now["losses"][name]:
                return f"the loss {name!r} has changed since it was begun (its code, or values it uses); {ANEW}"
        if list(before["teachers"]) != list(now["teachers"]):
            return f"was made with {len(before['teachers'])} teachers, here are {len(now['teachers'])}; {ANEW}"
        for name, told in before["teachers"].items():
            if told["weights"] != now["teachers"][name]["weights"]:
                return f"was made with other weights of {name}; {ANEW}"
            if coded and told["code"] != now["teachers"][name]["code"]:
                return f"the layers or the code of {name} have changed since it was begun; {ANEW}"
        if before["settings"] != now["settings"]:
            changed = [key for key in now["settings"] if before["settings"].get(key) != now["settings"][key]]
            return f"was made with other settings ({', '.join(changed)}); {ANEW}"
    except (KeyError, TypeError, AttributeError) as error:
        raise LimbeckError(f"{directory.root / 'begun.json'}: damaged ({error}); {ANEW}") from error
    return ""
