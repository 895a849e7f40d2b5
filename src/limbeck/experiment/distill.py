"""Distilling and measuring from Python, for any two modules of the user's own."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from limbeck.evaluation.evaluate import Evaluation
from limbeck.evaluation.evaluate import evaluate as evaluate_split
from limbeck.models.folding import fold_batch_norms
from limbeck.runs.directory import CohortDirectory
from limbeck.runs.errors import LimbeckError
from limbeck.runs.recipe import Data, Functions, Recipe
from limbeck.runs.recipe_file import NONE, check
from limbeck.teaching.learner import Learner
from limbeck.teaching.precision import compute_dtype
from limbeck.teaching.predictor import predictor
from limbeck.teaching.teacher import Teacher
from limbeck.types import Dataset, Normalisation, Predict, Split
from limbeck.views.prepare import InputFormat

from .assemble import check_answer, make_objective, make_training, view_planner, view_recipe
from .banks import BankPlan, banked, check_limit, distinct
from .device import choose_device
from .environment import computed_with
from .follow import Keeping, Watcher, follow
from .images import Images, load_images, part
from .measured_images import images_for
from .saved_model import LoadedModel
from .spans import summed
from .stop import PoliteStop
from .teachers import must_differ

DEFAULT_LOSS = ({"name": "soft_targets", "temperature": 4.0, "weight": 0.7}, {"name": "cross_entropy", "weight": 0.3})
DEFAULT_OPTIMIZER = {"name": "sgd", "lr": 0.05, "weight_decay": 5e-4}


@dataclass(frozen=True)
class Distilled:
    """What `distill` gives. student: the module that was passed, trained, in eval mode.

    validation, test: measured in float32, with the teacher as the reference. history: one row an epoch.
    """

    student: nn.Module
    class_names: tuple[str, ...]
    validation: Evaluation
    test: Evaluation
    history: list[dict[str, Any]]
    seconds: float


def distill(
    student: nn.Module,
    teacher: nn.Module | Sequence[nn.Module] | None,
    *,
    data: str | Mapping[str, Any] | Dataset,
    loss: Sequence[Mapping[str, Any]] | Mapping[str, Any] | str | None = None,
    epochs: int,
    optimizer: Mapping[str, Any] = DEFAULT_OPTIMIZER,
    schedule: Mapping[str, Any] | None = None,
    views: Mapping[str, Any] | None = None,
    teacher_normalisation: Normalisation | None = None,
    student_normalisation: Normalisation | None = None,
    teacher_resolution: int | None = None,
    student_resolution: int | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    save_to: str | Path | None = None,
    outputs_bank: Mapping[str, Any] | None = None,
    losses: Functions = NONE,
    say: Callable[[str], None] | None = None,
    **options: Any,
) -> Distilled:
    """Teach `student` what `teacher` knows. Both are modules from images `[B, 3, H, W]` to logits `[B, K]`.

    data: a source (`"cifar10"`, `"folder:photos/"`), a mapping as under `data:` in a recipe, or a `Dataset`.
    loss, optimizer, schedule, views and further options (`clip_norm`, `ema`, `patience`, `choose`): as in a
    recipe. By default 0.7 soft targets at temperature 4 and 0.3 cross-entropy, a one-cycle schedule, crops
    of an eighth of the image and flips. teacher: None trains on labels alone; several are averaged.
    save_to: a folder for checkpoints; a call with the same folder goes on where it stopped. outputs_bank: as in a
    recipe (`{"limit_gb": 10.0}`): teachers' answers are kept in the cache, and later calls that see the same views
    read them.

    The teacher is copied and its copy frozen; the module that was passed is only read.
    Raises LimbeckError for whatever a person can mend.
    """
    teachers = [teacher] if isinstance(teacher, nn.Module) else list(teacher or ())
    images = _images(data)
    recipe = _checked(loss, epochs, optimizer, schedule, views, bool(teachers), images, losses, options, outputs_bank)
    arm, view = recipe.students["student"], view_recipe(recipe.views)
    where = choose_device(device)
    dtype = compute_dtype(precision, where)
    student_form = InputFormat(student_normalisation or images.normalisation, student_resolution)
    teacher_form = InputFormat(teacher_normalisation or images.normalisation, teacher_resolution)
    check_answer("student", student, images, student_form)
    frozen: dict[str, Teacher] = {}
    for number, module in enumerate(teachers):
        name = f"teacher-{number}"
        check_answer(name, module, images, teacher_form)
        frozen[name] = Teacher(
            name, copy.deepcopy(module), teacher_form, device=where, dtype=dtype, fold=fold_batch_norms
        )
    must_differ("student", list(frozen.values()))
    learner = Learner(
        "student",
        student,
        make_objective(arm.loss, losses, [1.0] * len(frozen)),
        make_training(arm, tuple(frozen)),
        form=student_form,
        device=where,
        dtype=dtype,
        seed=seed,
    )
    history: list[dict[str, Any]] = []
    watcher = Watcher(epoch=lambda _, row: _note(history, row, say), say=say or (lambda line: None))
    planner = view_planner(images, view, seed)
    identity = {
        "images": images.fingerprint,
        "teachers": [teacher.fingerprint for teacher in frozen.values()],
        "settings": [arm.model_dump(mode="json"), repr(view), seed, precision, repr(student_form), repr(teacher_form)],
        **({"outputs_bank": "float16"} if recipe.outputs_bank is not None else {}),
    }
    classes = len(images.class_names)
    banks: list[BankPlan] = []
    if recipe.outputs_bank is not None:
        banks = [BankPlan(name, planner, distinct(planner, epochs), classes) for name in frozen]
        check_limit(banks, recipe.outputs_bank.limit_gb)
    made = {name: {"model": {"name": type(module).__qualname__}} for name, module in zip(frozen, teachers, strict=True)}
    keeping = Keeping(CohortDirectory(Path(save_to)), identity, computed_with(where)) if save_to else None
    train = images.train.to(where)
    with (
        keeping.directory.claimed() if keeping else nullcontext(True) as ours,
        PoliteStop() as stop,
        banked(banks, frozen.__getitem__, made.__getitem__, planner, train, watcher.say) as stored,
    ):
        if not ours:
            raise LimbeckError(f"{save_to}: is in use by another process; wait for it, or give another save_to")
        answering = stored.teachers if banks else frozen
        spans = follow(
            [learner], answering, images, planner, train=train, watcher=watcher, keeping=keeping, stop=stop
        )  # fmt: skip
    if learner.failure:
        at = learner.failure
        of_teacher = at.term.startswith("teacher ")
        advice = "check its weights and its normalisation, or try precision='fp32'" if of_teacher else "try a lower lr"
        raise LimbeckError(f"student: {at.term} was {at.value} at epoch {at.epoch}, step {at.step}; {advice}")
    if keeping:
        history = keeping.directory.metrics("student").rows()
    chosen, _ = learner.chosen()
    if chosen is not student:
        student.load_state_dict(chosen.state_dict())
    student.eval()
    predict = predictor(student, student_form, device=where)  # in float32, as the student will be used
    reference = None
    if len(teachers) == 1:
        reference = predictor(copy.deepcopy(teachers[0]).to(where), teacher_form, device=where)
    return Distilled(
        student,
        images.class_names,
        evaluate_split(predict, images.validation, num_classes=classes, reference=reference),
        evaluate_split(predict, images.test, num_classes=classes, reference=reference),
        history,
        summed(spans),
    )


def evaluate(
    predict: Predict,
    data: str | Mapping[str, Any] | Dataset | Split | None = None,
    *,
    split: str = "test",
    batch_size: int = 250,
) -> Evaluation:
    """Measure any function from uint8 images `[B, C, H, W]` to logits `[B, K]`: a model, an ensemble, a session.

    data: as in `distill`, or a `Split` (its classes are then counted by the answer). What `limbeck.load` gives is
    measured on images of its own size, and on its training data only as they were parted in training; None takes
    those. split: `test`, `validation` or `train`.

    Raises LimbeckError where the data do not fit, or a split of them was parted otherwise in training.
    """
    if isinstance(data, Split):
        classes = int(predict(data.first(1)).shape[-1])
        return evaluate_split(predict, data, num_classes=classes, batch_size=batch_size)
    if isinstance(predict, LoadedModel):
        wanted = data if data is None or isinstance(data, Dataset) else _data(data)
        images = images_for(predict, wanted, split, "the model")
        ordered = predict.in_order_of(images.class_names, "the model")
        classes = len(images.class_names)
        return evaluate_split(ordered, getattr(images, split), num_classes=classes, batch_size=batch_size)
    if data is None:
        raise LimbeckError("data: say on which, as in evaluate(predict, 'cifar10'); only a saved model knows its own")
    images = _images(data)
    if split not in ("train", "validation", "test"):
        raise LimbeckError(f"split takes train, validation or test; got {split!r}")
    return evaluate_split(predict, getattr(images, split), num_classes=len(images.class_names), batch_size=batch_size)


def _images(data: str | Mapping[str, Any] | Dataset) -> Images:
    if isinstance(data, Dataset):
        return part(data)
    return load_images(_data(data))


def _data(data: str | Mapping[str, Any]) -> Data:
    return Data(source=data) if isinstance(data, str) else Data(**data)


def _checked(
    loss: Any,
    epochs: int,
    optimizer: Mapping[str, Any],
    schedule: Mapping[str, Any] | None,
    views: Mapping[str, Any] | None,
    taught: bool,
    images: Images,
    losses: Functions,
    options: Mapping[str, Any],
    outputs_bank: Mapping[str, Any] | None,
) -> Recipe:
    """The words of a call as a recipe with one student, checked as any other."""
    if loss is None:
        loss = DEFAULT_LOSS if taught else ({"name": "cross_entropy"},)
    terms = [loss] if isinstance(loss, Mapping) else [{"name": loss}] if isinstance(loss, str) else list(loss)
    size = images.shape[1]
    arm: dict[str, Any] = {
        "model": "lightweight_cnn",  # stands for the module that the caller brings
        "epochs": epochs,
        "loss": [dict(term) for term in terms],
        "optimizer": dict(optimizer),
        "schedule": dict(schedule or {"name": "one_cycle"}),
        **options,
    }
    teachers: dict[str, Any] = {}
    if taught:
        teachers["teacher"] = {"model": "lightweight_cnn", "weights": "in memory"}
        arm["teacher"] = "teacher"
    tree = {
        "name": "distill",
        "data": {"source": "digits"},
        "outputs_bank": None if outputs_bank is None else dict(outputs_bank),
        "views": dict(views or {"crop": {"padding": max(1, size // 8)}, "flip": True}),
        "teachers": teachers,
        "students": {"student": arm},
    }
    return check(tree, "distill", {}, losses=losses)


def _note(history: list[dict[str, Any]], row: dict[str, Any], say: Callable[[str], None] | None) -> None:
    history.append(row)
    if say:
        say(f"epoch {row['epoch']}: loss {row['train_loss']:.4f}, validation {row.get('validation_accuracy', 0):.2%}")
