"""`limbeck.distill` and `limbeck.evaluate`: distil and evaluate any models from Python."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.building.arguments import check_callback, check_folder, check_functions, checked_test_time
from limbeck.building.channels import channels_taken, grey_where_wanted, normalisation_for
from limbeck.building.data import Images, view_planner
from limbeck.building.evaluation_data import evaluation_images
from limbeck.building.learners import make_objective, make_training
from limbeck.building.loss_states import output_shapes, teacher_output_shapes
from limbeck.building.models import check_output
from limbeck.building.saved_model import LoadedModel
from limbeck.building.teachers import make_teacher
from limbeck.console.notebook import in_notebook
from limbeck.errors import LimbeckError, short_repr
from limbeck.evaluation.evaluate import Evaluation, logits_of
from limbeck.evaluation.evaluate import evaluate as evaluate_split
from limbeck.evaluation.test_time import evaluate_with_test_time
from limbeck.experiment.cohorts import check_teachers_differ
from limbeck.experiment.environment import computed_with
from limbeck.experiment.notebook_progress import notebook_watcher
from limbeck.experiment.outputs_banks import BankPlan, check_limit, distinct
from limbeck.experiment.signals import GracefulShutdown
from limbeck.experiment.timing import summed
from limbeck.experiment.train_cohort import CheckpointPolicy, Cohort, Watcher, train_cohort
from limbeck.recipes.load import NO_FUNCTIONS
from limbeck.recipes.recipe import CustomFunctions
from limbeck.report.web_page.notebook import html_of_student
from limbeck.storage.run_directory import CohortDirectory
from limbeck.training.device import choose_device
from limbeck.training.learner import Learner
from limbeck.training.model_errors import explain_model_errors
from limbeck.training.objective import ensemble
from limbeck.training.precision import compute_dtype
from limbeck.training.predictor import predictor
from limbeck.training.teacher import Teacher
from limbeck.types import Normalisation, Outputs, Predict, Split
from limbeck.views.plan import key_text
from limbeck.views.preprocess import InputFormat, prepare

from .data import data_or_dataset, dataset_in_memory, images_of, named_source
from .models import as_teachers, averaged_outputs, check_student
from .options import DEFAULT_OPTIMIZER, check_call, check_normalisation, check_numbers, check_views, default_views
from .resume import describe_call, start_or_resume, training_settings
from .submodules import WithSubmodules, features_of_submodules, named_layers


@dataclass(frozen=True, repr=False)
class Distilled:
    """The result of `distill`. student: the module that was passed, trained, in eval mode.

    validation, test: evaluations in float32, with the teacher as the reference, or the ensemble of several teachers
    (their averaged probabilities). history: one row per epoch. seconds: time spent training.
    """

    student: nn.Module
    class_names: tuple[str, ...]
    validation: Evaluation
    test: Evaluation
    history: list[dict[str, Any]]
    seconds: float

    def __repr__(self) -> str:
        parameters = sum(parameter.numel() for parameter in self.student.parameters())
        agreement = "" if self.test.agreement is None else f", agreement {self.test.agreement:.2%}"
        return (
            f"Distilled({type(self.student).__name__} of {parameters:,} parameters: test {self.test.top1:.2%} of "
            f"{self.test.n:,} images{agreement}; validation {self.validation.top1:.2%}; {len(self.history)} epochs, "
            f"{self.seconds:.1f} s)"
        )

    def table(self) -> list[dict[str, Any]]:
        """The metrics of the student as one dict for each split; `top1` and the other rates are fractions."""
        listed = ("n", "top1", "top5", "loss", "expected_calibration_error", "balanced_accuracy", "agreement")
        return [
            {"split": name, **{key: getattr(found, key) for key in (*listed, "kl_to_reference")}}
            for name, found in (("validation", self.validation), ("test", self.test))
        ]

    def _repr_html_(self) -> str:
        facts = {
            "student": type(self.student).__name__,
            "parameters": f"{sum(parameter.numel() for parameter in self.student.parameters()):,}",
            "test accuracy": f"{self.test.top1:.2%} of {self.test.n:,} images",
            "agreement with the teacher": "" if self.test.agreement is None else f"{self.test.agreement:.2%}",
            "validation accuracy": f"{self.validation.top1:.2%}",
            "training": f"{len(self.history)} epochs, {self.seconds:.1f} s",
        }
        evaluations = {"test": self.test.to_dict(), "validation": self.validation.to_dict()}
        return html_of_student(
            {name: fact for name, fact in facts.items() if fact}, facts["student"], evaluations, self.history
        )


def distill(
    student: nn.Module,
    teacher: Any,
    *,
    data: Any,
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
    losses: CustomFunctions = NO_FUNCTIONS,
    say: Callable[[str], None] | None = None,
    watcher: Watcher | None = None,
    **options: Any,
) -> Distilled:
    """Train `student` to reproduce the outputs of `teacher`.

    student: a module from normalised images `[B, C, H, W]` to logits `[B, K]`: a tensor, a tuple whose first item is
    one, a mapping with `logits`, or an object with `.logits`. It is trained in place.
    teacher: such a module (TorchScript too), a function of the same kind, or the result of `limbeck.load`, which has
    its own normalisation, resolution and class order. The outputs of several, as a list, are averaged; None trains on
    labels only. Modules are copied and the copies frozen; functions are called as they are.
    data: a source (`"cifar10"`, `"folder:photos/"`), a mapping as under `data:` in a recipe, or a `limbeck.Dataset`;
    `(images, labels)`, of which 20 % of each class are held out as the test split; `(train_images, train_labels,
    test_images, test_labels)`; a map-style dataset or a pair of them (train, test); or a mapping of splits.
    `limbeck.Dataset.from_arrays` documents the arrays, tensors and datasets. Three equal channels are reduced to one
    for a model that takes one, and a single channel is repeated for a model that takes three.
    loss, optimizer, schedule, views and further options (`clip_norm`, `ema`, `patience`, `choose`): as in a
    recipe. Defaults: 0.7 soft targets at temperature 4 and 0.3 cross-entropy, a one-cycle schedule, crops of an
    eighth of the image, and flips.
    losses: your own by name, `(student, teacher, targets, *, options) -> [B]`. A loss that trains a module with the
    student (an adapter, a projection) takes it as `*, state`, and `loss.state = function` builds it:
    `(student_shapes, teacher_shapes, **options) -> nn.Module`. Losses on features compare stages by number if a model
    returns `limbeck.Outputs`. Of any other, name submodules: `{"name": "fitnet", "layers": ["layer2"],
    "teacher_layers": ["layer3"]}`; numbers then count the named ones, in the order in which the model defines them.
    save_to: a folder for checkpoints. The same call with the same folder resumes. These must be the same: the images,
    the student's structure, code and initial weights (call `torch.manual_seed` before building it; the weights are
    saved as `start.safetensors`), the teachers' weights and code, the code of `losses` with the values that they close
    over or read from their module, and all settings. Code in other modules of yours is not compared, and of a teacher
    that is a function only the code is. A different call is refused and leaves the folder as it is.
    outputs_bank: as in a recipe (`{"limit_gb": 10.0}`): caches the teachers' logits for later calls with the same
    views.
    say: called with progress as lines of text. watcher: called after every step and epoch; an exception that it raises
    ends the call, with everything saved. Without either, a notebook shows a progress bar.

    Raises LimbeckError for every error that the user can fix.
    """
    check_numbers(seed, precision, device, teacher_resolution=teacher_resolution, student_resolution=student_resolution)
    check_functions("losses", losses)
    check_callback("say", say)
    if watcher is not None and not isinstance(watcher, Watcher):
        raise LimbeckError(f"watcher takes a limbeck.Watcher; got {type(watcher).__name__}")
    folder = check_folder("save_to", save_to)
    norms = {
        "student": check_normalisation("student_normalisation", student_normalisation),
        "teacher": check_normalisation("teacher_normalisation", teacher_normalisation),
    }
    where = choose_device(device)
    dtype = compute_dtype(precision, where)
    check_student(student)
    call = check_call(
        {
            "loss": loss,
            "epochs": epochs,
            "optimizer": optimizer,
            "schedule": schedule,
            "views": views,
            "outputs_bank": outputs_bank,
        },
        options,
        data=named_source(data),
        teachers=[given.name for given in as_teachers(teacher, None)],
        losses=losses,
        arguments=ARGUMENTS,
    )
    images = images_of(call.data or dataset_in_memory(data))
    view_options = default_views(images.shape[1]) if views is None else call.views
    teachers = as_teachers(teacher, images.class_names)
    models = {"student": (student, student_resolution)}
    models |= {given.name: (given.module, given.resolution(teacher_resolution)) for given in teachers}
    channels = {name: channels_taken(model, images, side) for name, (model, side) in models.items()}
    images = grey_where_wanted(images, channels)
    check_views(view_options, images.shape[0])
    student_input_format = InputFormat(
        norms["student"] or normalisation_for(images, channels["student"]), student_resolution
    )
    check_output("student", student, images, student_input_format)
    terms, of_student, of_teacher = named_layers(call.loss, losses, student, [given.module for given in teachers])
    frozen: dict[str, Teacher] = {}
    for given in teachers:
        default = InputFormat(norms["teacher"] or normalisation_for(images, channels[given.name]), teacher_resolution)
        input_format = given.input_format or default
        check_output(given.name, given.module, images, input_format)
        frozen[given.name] = make_teacher(
            given.name, given.module, input_format, device=where, precision=precision, folded=not of_teacher
        )
        if of_teacher:  # not folded, so that every submodule returns what it does in the caller's model
            frozen[given.name].frozen = WithSubmodules(frozen[given.name].frozen, of_teacher)
    check_teachers_differ("student", list(frozen.values()))
    settings = {
        "training": training_settings(call),
        "views": key_text(view_options),
        "seed": seed,
        "precision": precision,
        "student's input": repr(student_input_format),
        "teachers' input": repr([teacher.input_format for teacher in frozen.values()]),
        "outputs_bank": call.outputs_bank is not None,
    }
    modules = {given.name: given.module for given in teachers}
    description = describe_call(student, modules, losses, images.fingerprint, settings) if folder else {}
    with features_of_submodules(student, of_student):
        objective = make_objective(
            terms,
            losses,
            [1.0] * len(frozen),
            student_shapes=lambda: output_shapes(student, images, student_input_format),
            teacher_shapes=lambda: [teacher_output_shapes(one, images) for one in frozen.values()],
            seed=seed,
        )
    learner = Learner(
        "student",
        student,
        objective,
        make_training(call, tuple(frozen)),
        input_format=student_input_format,
        device=where,
        dtype=dtype,
        seed=seed,
    )
    history: list[dict[str, Any]] = []
    watcher = _with_history(watcher, history, say)
    planner = view_planner(images, view_options, seed)
    classes = len(images.class_names)
    built_from = {name: {"model": {"name": type(module).__qualname__}} for name, module in modules.items()}
    banks: list[BankPlan] = []
    if call.outputs_bank is not None:
        count = distinct(planner, epochs)
        banks = [BankPlan(name, planner, count, classes, built_from[name]) for name in frozen]
        check_limit(banks, call.outputs_bank.limit_gb)
    cohort = Cohort(
        [learner],
        images,
        images.train.to(where),
        planner,
        teachers=tuple(frozen),
        load_teacher=frozen.__getitem__,
        bank_plans=banks,
    )
    checkpoint_policy = None
    if folder:
        identity = _identity_in_checkpoints(
            images, list(frozen.values()), settings, student_input_format, teacher_resolution
        )
        checkpoint_policy = CheckpointPolicy(CohortDirectory(folder), identity, computed_with(where))
    two_images = prepare(images.train.first(2).to(where), student_input_format)
    with (
        checkpoint_policy.directory.try_lock() if checkpoint_policy else nullcontext(True) as locked,
        GracefulShutdown() as stop,
        averaged_outputs(student, two_images),
        features_of_submodules(student, of_student),
    ):
        if not locked:
            raise LimbeckError(f"{save_to}: is in use by another process; wait for it, or give another save_to")
        if checkpoint_policy:
            start_or_resume(checkpoint_policy.directory, description, student, watcher.say)
        spans = train_cohort(cohort, stop=stop, watcher=watcher, checkpoint_policy=checkpoint_policy)
    if learner.failure:
        at = learner.failure
        in_teacher = at.term.startswith("teacher ")
        advice = "check its weights and its normalisation, or try precision='fp32'" if in_teacher else "try a lower lr"
        raise LimbeckError(f"student: {at.term} was {at.value} at epoch {at.epoch}, step {at.step}; {advice}")
    if checkpoint_policy:
        history = checkpoint_policy.directory.metrics("student").rows()
    chosen, _ = learner.chosen()
    if chosen is not student:
        student.load_state_dict(chosen.state_dict())
    student.eval()
    found = {
        name: evaluate_split(
            predictor(student, student_input_format, device=where, name="student"),  # in float32, as it will be used
            split,
            num_classes=classes,
            reference=_reference(modules, frozen, split, where),
        )
        for name, split in (("validation", images.validation), ("test", images.test))
    }
    return Distilled(student, images.class_names, found["validation"], found["test"], history, summed(spans))


ARGUMENTS = tuple(inspect.signature(distill).parameters)[:-1]


def evaluate(
    predict: Predict,
    data: Any = None,
    *,
    split: str = "test",
    batch_size: int = 250,
    test_time: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Evaluate any function from uint8 images `[B, C, H, W]` to logits `[B, K]`: a model, an ensemble, a session.

    data: as in `distill`, or a `Split` (the logits then give the number of classes). A model from `limbeck.load` is
    evaluated on images of its own size, and on its training data only with the splits of training; None takes that
    data. split: `test`, `validation` or `train`.
    test_time: test-time augmentation, as under `evaluation.test_time` in a recipe: `{"flip": True, "shifts": 2,
    "scales": [0.9, 1.1]}`. `.test_time` of the result then holds the accuracy of the averaged probabilities, its gain
    and the number of forward passes. All other fields describe the function without augmentation.

    Raises LimbeckError if the data do not fit, if they were split differently in training, and for every exception
    of the function.
    """
    if not callable(predict) or isinstance(predict, type):
        raise LimbeckError(f"evaluate takes a function from images to logits; got {short_repr(predict)}")
    if not isinstance(split, str) or split not in ("train", "validation", "test"):
        raise LimbeckError(f"split takes train, validation or test; got {short_repr(split)}")
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or not 1 <= batch_size < 2**31:
        raise LimbeckError(f"batch_size takes a whole number from 1; got {short_repr(batch_size)}")
    views = None if test_time is None else checked_test_time(test_time)

    def answer(images: Tensor) -> Tensor:
        with explain_model_errors("evaluate", images.shape):
            return predict(images)

    if isinstance(data, Split):
        first = logits_of(answer, Split(data.first(1), data.labels[:1]))
        return evaluate_with_test_time(answer, data, views, num_classes=first.shape[-1], batch_size=batch_size)
    if isinstance(predict, LoadedModel):
        images = evaluation_images(
            predict, None if data is None else data_or_dataset(data, "evaluate"), split, "the model"
        )
        answer = predict.in_order_of(images.class_names, "the model")
    elif data is None:
        raise LimbeckError(
            "data is missing, as in evaluate(predict, 'cifar10'); only a saved model has data of its own"
        )
    else:
        images = images_of(data_or_dataset(data, "evaluate"))
    part, classes = getattr(images, split), len(images.class_names)
    return evaluate_with_test_time(answer, part, views, num_classes=classes, batch_size=batch_size)


def _reference(
    modules: Mapping[str, nn.Module], frozen: Mapping[str, Teacher], split: Split, device: torch.device
) -> Tensor | None:
    """The teachers' logits `[N, K]` for a split, in float32; the probabilities of several are averaged."""
    outputs = []
    for name, module in modules.items():
        with torch.no_grad():
            model = copy.deepcopy(module).to(device)
        outputs.append(Outputs(logits_of(predictor(model, frozen[name].input_format, device=device, name=name), split)))
    average = ensemble(outputs, [1 / len(outputs)] * len(outputs), 1.0) if outputs else None
    return average.logits if average else None


def _identity_in_checkpoints(
    images: Images,
    teachers: Sequence[Teacher],
    settings: Mapping[str, Any],
    student_input_format: InputFormat,
    teacher_resolution: int | None,
) -> dict[str, Any]:
    """The identity in a checkpoint, in the form of earlier versions; `begun.json` holds more."""
    input_format = teachers[0].input_format if teachers else InputFormat(images.normalisation, teacher_resolution)
    common = [settings[key] for key in ("training", "views", "seed", "precision")]
    return {
        "images": images.fingerprint,
        "teachers": [teacher.fingerprint for teacher in teachers],
        "settings": [*common, repr(student_input_format), repr(input_format)],
        **({"outputs_bank": "float16"} if settings["outputs_bank"] else {}),
    }


def _with_history(watcher: Watcher | None, history: list[dict[str, Any]], say: Callable[[str], None] | None) -> Watcher:
    """The caller's watcher, which also fills `history` and reports each epoch in a line."""
    bar = watcher is None and say is None and in_notebook()
    own = notebook_watcher(["student"]) if bar else watcher or Watcher()

    def report(line: str) -> None:
        own.say(line)
        if say:
            say(line)

    def epoch(learner: str, row: dict[str, Any]) -> None:
        history.append({name: value for name, value in row.items() if name != "images_per_second"})  # as in the log
        own.epoch(learner, row)
        accuracy = row.get("validation_accuracy", 0)
        if not bar:  # which shows it
            report(f"epoch {row['epoch']}: loss {row['train_loss']:.4f}, validation {accuracy:.2%}")

    return Watcher(step=own.step, epoch=epoch, say=report)
