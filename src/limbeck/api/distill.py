"""Distilling and measuring from Python, for any two models of the user's own."""

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
from limbeck.errors import LimbeckError, short_repr
from limbeck.evaluation.evaluate import Evaluation, logits_of
from limbeck.evaluation.evaluate import evaluate as evaluate_split
from limbeck.evaluation.test_time import evaluate_with_test_time
from limbeck.experiment.cohorts import check_teachers_differ
from limbeck.experiment.environment import computed_with
from limbeck.experiment.outputs_banks import BankPlan, check_limit, distinct
from limbeck.experiment.signals import GracefulShutdown
from limbeck.experiment.timing import summed
from limbeck.experiment.train_cohort import CheckpointPolicy, Cohort, Watcher, train_cohort
from limbeck.recipes.load import NO_FUNCTIONS
from limbeck.recipes.recipe import CustomFunctions
from limbeck.storage.run_directory import CohortDirectory
from limbeck.training.device import choose_device
from limbeck.training.learner import Learner
from limbeck.training.model_errors import naming_model
from limbeck.training.objective import ensemble
from limbeck.training.precision import compute_dtype
from limbeck.training.predictor import predictor
from limbeck.training.teacher import Teacher
from limbeck.types import Normalisation, Outputs, Predict, Split
from limbeck.views.plan import key_text
from limbeck.views.preprocess import InputFormat, prepare

from .data import images_of, named_or_made
from .models import as_teachers, averaged_outputs, check_student
from .options import DEFAULT_OPTIMIZER, check_normalisation, check_numbers, check_views, checked
from .resume import described, go_on


@dataclass(frozen=True, repr=False)
class Distilled:
    """What `distill` gives. student: the module that was passed, trained, in eval mode.

    validation, test: measured in float32, with the teacher as the reference, or with the ensemble of several (their
    probabilities, averaged). history: one row an epoch.
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
    """Teach `student` what `teacher` knows.

    student: a module from normalised images `[B, C, H, W]` to logits `[B, K]`: a tensor, a tuple whose first is one, a
    mapping with `logits`, or an object with `.logits`. It is trained in place.
    teacher: such a module (TorchScript too), any function of the same kind, or what `limbeck.load` gives, which brings
    its own normalisation, resolution and class order; several as a list are averaged; None trains on labels alone. A
    module is copied and its copy frozen; the one that was passed is only read. A function is asked as it is.
    data: a source (`"cifar10"`, `"folder:photos/"`), a mapping as under `data:` in a recipe, a `limbeck.Dataset`;
    `(images, labels)`, of which 20 % of each class are held out as the test split; `(train_images, train_labels,
    test_images, test_labels)`; a map-style dataset or a pair of them (train, test); or a mapping of splits. Of arrays,
    tensors and datasets `limbeck.Dataset.from_arrays` says what is taken. Images whose channels are equal are given
    as one channel to a model that takes one, grey ones as three equal channels to a model that takes three.
    loss, optimizer, schedule, views and further options (`clip_norm`, `ema`, `patience`, `choose`): as in a
    recipe. By default 0.7 soft targets at temperature 4 and 0.3 cross-entropy, a one-cycle schedule, crops
    of an eighth of the image and flips.
    losses: your own by name, `(student, teacher, targets, *, options) -> [B]`. A loss that trains a module with the
    student (an adapter, a projection) takes it as `*, state`, and `loss.state = function` makes it:
    `(student_shapes, teacher_shapes, **options) -> nn.Module`.
    save_to: a folder for checkpoints; an equal call with the same folder goes on where it stopped. Equal are the
    images, the student's structure, code and first weights (seed it: `torch.manual_seed` before it is made; they are
    kept as `start.safetensors`), the teachers' weights and code, the code of `losses` with the values that they close
    over or read from their module, and all settings. Code that is reached through another module of your own is not
    seen, and a function as teacher is known by its code alone. A call that differs is refused, and what is there stays.
    outputs_bank: as in a recipe (`{"limit_gb": 10.0}`): teachers' answers are kept in the cache, and later calls that
    see the same views read them.
    say: is told a line now and then. watcher: is told of every step and epoch; what one of its functions raises ends
    the call, all saved.

    Raises LimbeckError for whatever a person can mend.
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
    as_teachers(teacher, None)  # what is no model is told before data are read
    words = (loss, epochs, optimizer, schedule, views, outputs_bank, options)
    taught = teacher is not None and not (isinstance(teacher, list | tuple) and not teacher)
    checking = {"taught": taught, "losses": losses, "known": ARGUMENTS}
    checked(*words, size=32, **checking)
    images = images_of(data)
    recipe = checked(*words, size=images.shape[1], **checking)
    arm = recipe.students["student"]

    teachers = as_teachers(teacher, images.class_names)
    asked = {"student": (student, student_resolution)}
    asked |= {given.name: (given.module, given.resolution(teacher_resolution)) for given in teachers}
    taken = {name: channels_taken(model, images, side) for name, (model, side) in asked.items()}
    images = grey_where_wanted(images, taken)
    check_views(recipe.views, images.shape[0])
    student_form = InputFormat(norms["student"] or normalisation_for(images, taken["student"]), student_resolution)
    check_output("student", student, images, student_form)
    frozen: dict[str, Teacher] = {}
    for given in teachers:
        usual = InputFormat(norms["teacher"] or normalisation_for(images, taken[given.name]), teacher_resolution)
        form = given.form or usual
        check_output(given.name, given.module, images, form)
        frozen[given.name] = make_teacher(given.name, given.module, form, device=where, precision=precision)
    check_teachers_differ("student", list(frozen.values()))
    settings = {
        "training": arm.model_dump(mode="json", exclude={"seed", "outputs"}),
        "views": key_text(recipe.views),
        "seed": seed,
        "precision": precision,
        "student's input": repr(student_form),
        "teachers' input": repr([teacher.form for teacher in frozen.values()]),
        "outputs_bank": recipe.outputs_bank is not None,
    }
    modules = {given.name: given.module for given in teachers}
    begun = described(student, modules, losses, images.fingerprint, settings) if folder else {}
    learner = Learner(
        "student",
        student,
        make_objective(
            arm.loss,
            losses,
            [1.0] * len(frozen),
            student_shapes=lambda: output_shapes(student, images, student_form),
            teacher_shapes=lambda: [teacher_output_shapes(one, images) for one in frozen.values()],
            seed=seed,
        ),
        make_training(arm, tuple(frozen)),
        form=student_form,
        device=where,
        dtype=dtype,
        seed=seed,
    )
    history: list[dict[str, Any]] = []
    watching = _watching(watcher, history, say)
    planner = view_planner(images, recipe.views, seed)
    classes = len(images.class_names)
    built_from = {name: {"model": {"name": type(module).__qualname__}} for name, module in modules.items()}
    banks: list[BankPlan] = []
    if recipe.outputs_bank is not None:
        count = distinct(planner, epochs)
        banks = [BankPlan(name, planner, count, classes, built_from[name]) for name in frozen]
        check_limit(banks, recipe.outputs_bank.limit_gb)
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
        identity = _identity_in_checkpoints(images, list(frozen.values()), settings, student_form, teacher_resolution)
        checkpoint_policy = CheckpointPolicy(CohortDirectory(folder), identity, computed_with(where))
    two_images = prepare(images.train.first(2).to(where), student_form)
    with (
        checkpoint_policy.directory.try_lock() if checkpoint_policy else nullcontext(True) as ours,
        GracefulShutdown() as stop,
        averaged_outputs(student, two_images),
    ):
        if not ours:
            raise LimbeckError(f"{save_to}: is in use by another process; wait for it, or give another save_to")
        if checkpoint_policy:
            go_on(checkpoint_policy.directory, begun, student, watching.say)
        spans = train_cohort(cohort, stop=stop, watcher=watching, checkpoint_policy=checkpoint_policy)
    if learner.failure:
        at = learner.failure
        of_teacher = at.term.startswith("teacher ")
        advice = "check its weights and its normalisation, or try precision='fp32'" if of_teacher else "try a lower lr"
        raise LimbeckError(f"student: {at.term} was {at.value} at epoch {at.epoch}, step {at.step}; {advice}")
    if checkpoint_policy:
        history = checkpoint_policy.directory.metrics("student").rows()
    chosen, _ = learner.chosen()
    if chosen is not student:
        student.load_state_dict(chosen.state_dict())
    student.eval()
    found = {
        name: evaluate_split(
            predictor(student, student_form, device=where, name="student"),  # in float32, as it will be used
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
    """Measure any function from uint8 images `[B, C, H, W]` to logits `[B, K]`: a model, an ensemble, a session.

    data: as in `distill`, or a `Split` (its classes are then counted by the answer). What `limbeck.load` gives is
    measured on images of its own size, and on its training data only as they were parted in training; None takes
    those. split: `test`, `validation` or `train`.
    test_time: views over which probabilities are averaged, `{"flip": True, "shifts": 2, "scales": [0.9, 1.1]}`, as
    below `evaluation.test_time` in a recipe. `.test_time` of the result then has the accuracy with test-time
    augmentation, its gain and its number of forward passes. All other fields are of the function without it.

    Raises LimbeckError where the data do not fit, where a split of them was parted otherwise in training, and for
    whatever the function raises.
    """
    if not callable(predict) or isinstance(predict, type):
        raise LimbeckError(f"evaluate takes a function from images to logits; got {short_repr(predict)}")
    if not isinstance(split, str) or split not in ("train", "validation", "test"):
        raise LimbeckError(f"split takes train, validation or test; got {short_repr(split)}")
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or not 1 <= batch_size < 2**31:
        raise LimbeckError(f"batch_size takes a whole number from 1; got {short_repr(batch_size)}")
    views = None if test_time is None else checked_test_time(test_time)

    def answer(images: Tensor) -> Tensor:
        with naming_model("evaluate", images.shape):
            return predict(images)

    if isinstance(data, Split):
        first = logits_of(answer, Split(data.first(1), data.labels[:1]))
        return evaluate_with_test_time(answer, data, views, num_classes=first.shape[-1], batch_size=batch_size)
    if isinstance(predict, LoadedModel):
        images = evaluation_images(predict, None if data is None else named_or_made(data), split, "the model")
        answer = predict.in_order_of(images.class_names, "the model")
    elif data is None:
        raise LimbeckError("data: say on which, as in evaluate(predict, 'cifar10'); only a saved model knows its own")
    else:
        images = images_of(data)
    part, classes = getattr(images, split), len(images.class_names)
    return evaluate_with_test_time(answer, part, views, num_classes=classes, batch_size=batch_size)


def _reference(
    modules: Mapping[str, nn.Module], frozen: Mapping[str, Teacher], split: Split, device: torch.device
) -> Tensor | None:
    """What the teachers say of a split in float32, logits `[N, K]`: several as one, averaged by probability."""
    answers = []
    for name, module in modules.items():
        with torch.no_grad():
            model = copy.deepcopy(module).to(device)
        answers.append(Outputs(logits_of(predictor(model, frozen[name].form, device=device, name=name), split)))
    told = ensemble(answers, [1 / len(answers)] * len(answers), 1.0) if answers else None
    return told.logits if told else None


def _identity_in_checkpoints(
    images: Images,
    teachers: Sequence[Teacher],
    settings: Mapping[str, Any],
    student_form: InputFormat,
    teacher_resolution: int | None,
) -> dict[str, Any]:
    """What checkpoints are marked with, as earlier versions did; `begun.json` says more."""
    form = teachers[0].form if teachers else InputFormat(images.normalisation, teacher_resolution)
    said = [settings["training"], settings["views"], settings["seed"], settings["precision"], repr(student_form)]
    return {
        "images": images.fingerprint,
        "teachers": [teacher.fingerprint for teacher in teachers],
        "settings": [*said, repr(form)],
        **({"outputs_bank": "float16"} if settings["outputs_bank"] else {}),
    }


def _watching(watcher: Watcher | None, history: list[dict[str, Any]], say: Callable[[str], None] | None) -> Watcher:
    """The caller's watcher, which also keeps the history and says a line an epoch."""
    own = watcher or Watcher()

    def tell(line: str) -> None:
        own.say(line)
        if say:
            say(line)

    def note(learner: str, row: dict[str, Any]) -> None:
        history.append({name: value for name, value in row.items() if name != "images_per_second"})  # as it is kept
        own.epoch(learner, row)
        accuracy = row.get("validation_accuracy", 0)
        tell(f"epoch {row['epoch']}: loss {row['train_loss']:.4f}, validation {accuracy:.2%}")

    return Watcher(step=own.step, epoch=note, say=tell)
