"""Names to objects: models, objectives, learners, teachers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from limbeck.errors import LimbeckError
from limbeck.models.folding import fold_batch_norms
from limbeck.recipes import registry
from limbeck.recipes.recipe import Arm, CustomFunctions, Data, LossTerm, NameWithOptions
from limbeck.recipes.views import Views
from limbeck.seeding import seed_everything
from limbeck.training import optimizers, schedules
from limbeck.training.distributed import SINGLE_PROCESS, Processes
from limbeck.training.learner import Learner, Training
from limbeck.training.model_errors import explain_build_errors, explain_out_of_memory, wrong_image_size
from limbeck.training.objective import Objective
from limbeck.training.precision import compute_dtype
from limbeck.training.teacher import Teacher, as_outputs
from limbeck.types import Normalisation, Shapes
from limbeck.views.plan import ViewPlanner
from limbeck.views.preprocess import InputFormat, prepare
from limbeck.weights.load import load_weights

from .data import Images
from .data_description import describe_data
from .loss_states import make_losses, make_states, output_shapes, teacher_output_shapes

IMAGES_TO_INITIALISE = 2048


def build_model(
    model: NameWithOptions, num_classes: int, models: CustomFunctions, *, pretrained: bool = True
) -> nn.Module:
    """The model that a recipe names; weights are drawn from torch's own generator.

    pretrained: False leaves `pretrained: true` of a recipe undone (for plans and tests).
    """
    entry = registry.find("models", model.name, models)
    function = registry.load(entry, models)
    _, argument = registry.split_name(model.name)
    options = dict(model.options)
    if not pretrained and options.get("pretrained"):
        options["pretrained"] = False
    return function(num_classes, argument, **options) if argument is not None else function(num_classes, **options)


def input_format(arm: Arm, images: Images) -> InputFormat:
    """How an arm's model takes its images: its own normalisation and size, or the data's."""
    own = arm.normalise
    normalisation = Normalisation(own.mean, own.sd) if own else images.normalisation
    return InputFormat(normalisation, arm.resolution, arm.interpolation)


def view_planner(images: Images, views: Views, seed: int) -> ViewPlanner:
    """The planner of all views of the training images. seed: of the views, in place of `views.seed`."""
    _, height, width = images.shape
    views = views.model_copy(update={"seed": None})
    return ViewPlanner(images.fingerprint, len(images.train), views, seed, (height, width), images.normalisation)


def make_learner(
    name: str,
    arm: Arm,
    images: Images,
    *,
    arm_name: str,
    seed: int,
    teachers: Sequence[tuple[str, float]] = (),
    device: torch.device,
    precision: str,
    losses: CustomFunctions,
    models: CustomFunctions,
    load_teacher: Callable[[str], Teacher] | None = None,
    processes: Processes = SINGLE_PROCESS,
) -> Learner:
    """A learner ready for its first step.

    seed: of its initial weights, of its losses' states and of its dropout. teachers: (name, weight) of each.
    load_teacher: gives a teacher by its name, for losses whose state depends on the shapes of its outputs.
    arm_name: for error messages.
    """
    form = input_format(arm, images)
    seed_everything("weights", seed)
    with explain_build_errors(arm_name, arm.model.name):
        model = build_model(arm.model, len(images.class_names), models)
    if arm.weights:
        load_weights(model, arm.weights, new_head=True)
    elif hasattr(model, "initialise"):
        some = images.train.first(IMAGES_TO_INITIALISE)
        model.initialise(prepare(some, form))  # pyright: ignore[reportCallIssue]
    check_answer(arm_name, model, images, form, arm.model.name)
    return Learner(
        name,
        model,
        make_objective(
            arm.loss,
            losses,
            [weight for _, weight in teachers],
            student_shapes=lambda: output_shapes(model, images, form),
            teacher_shapes=lambda: [
                teacher_output_shapes(load_teacher(teacher), images) for teacher, _ in teachers if load_teacher
            ],
            seed=seed,
        ),
        make_training(arm, tuple(teacher for teacher, _ in teachers)),
        form=form,
        device=device,
        dtype=compute_dtype(arm.precision or precision, device),
        seed=seed,
        processes=processes,
    )


def make_training(arm: Arm, teachers: tuple[str, ...]) -> Training:
    """The training part of an arm."""
    if arm.optimizer is None or arm.epochs is None:
        raise LimbeckError("an arm that is trained needs `epochs` and an `optimizer`")
    optimizer = arm.optimizer.model_dump(exclude={"name"})
    schedule = arm.schedule.model_dump(exclude={"name"})
    return Training(
        make_optimizer=partial(getattr(optimizers, arm.optimizer.name), **optimizer),
        epochs=arm.epochs,
        schedule=getattr(schedules, arm.schedule.name)(**schedule),
        teachers=teachers,
        clip_norm=arm.clip_norm,
        ema_decay=arm.ema.decay if arm.ema else None,
        patience=arm.patience,
        choose=arm.choose,
    )


def make_objective(
    losses_of_arm: Sequence[LossTerm],
    losses: CustomFunctions,
    teacher_weights: Sequence[float],
    *,
    student_shapes: Callable[[], Shapes],
    teacher_shapes: Callable[[], Sequence[Shapes]],
    seed: int,
) -> Objective:
    """The weighted sum that an arm minimises, with the states of its losses (`loss_states.make_states`)."""
    terms = make_losses(losses_of_arm, losses)
    states = make_states(terms, student_shapes, teacher_shapes, seed)
    return Objective(terms, teacher_weights=teacher_weights, states=states)


def make_teacher(name: str, model: nn.Module, form: InputFormat, *, device: torch.device, precision: str) -> Teacher:
    """A frozen teacher of a trained model."""
    return Teacher(name, model, form, device=device, dtype=compute_dtype(precision, device), fold=fold_batch_norms)


def load_ready_teacher(name: str, arm: Arm, images: Images, models: CustomFunctions) -> nn.Module:
    """A teacher from the user's own file, its outputs in the order of the data's classes.

    Raises LimbeckError that names both where the count or the names of the classes do not fit.
    """
    path = Path(str(arm.weights))
    count = len(arm.classes) if arm.classes else len(images.class_names)
    with explain_build_errors(name, arm.model.name):
        model = build_model(arm.model, count, models, pretrained=False)
    load_weights(model, path)
    if arm.outputs == "probabilities":
        model = LogOfProbabilities(model)
    model = in_order_of_data(model, f"teachers.{name}", arm.classes, images.class_names)
    check_answer(name, model, images, input_format(arm, images), arm.model.name)
    return model


def in_order_of_data(
    model: nn.Module, where: str, classes: Sequence[str] | None, class_names: Sequence[str]
) -> nn.Module:
    """Reorder a model's logits from its own class order to the data's.

    Raises LimbeckError that names both lists' difference.
    """
    if classes is None or tuple(classes) == tuple(class_names):
        return model
    if len(classes) != len(class_names):
        raise LimbeckError(
            f"{where}.classes: the teacher has {len(classes)} classes, the data {len(class_names)} "
            f"({_some(classes)} against {_some(class_names)})"
        )
    if set(classes) != set(class_names):
        theirs, ours = sorted(set(classes) - set(class_names)), sorted(set(class_names) - set(classes))
        raise LimbeckError(
            f"{where}.classes: names differ: {_some(theirs)} only in the model, {_some(ours)} only in the data"
        )
    return Reordered(model, [list(classes).index(name) for name in class_names])


class Reordered(nn.Module):
    """A model whose logits come in another order."""

    def __init__(self, model: nn.Module, order: Sequence[int]) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("order", torch.tensor(order), persistent=False)

    def forward(self, pixels: torch.Tensor) -> Any:
        """`Outputs` with the columns of the logits put in order."""
        outputs = as_outputs(self.model(pixels))
        return outputs._replace(logits=outputs.logits[:, self.order])  # pyright: ignore[reportArgumentType]


class LogOfProbabilities(nn.Module):
    """A model that ends in a softmax, with the logarithm of its answers as logits; of 0 that of the smallest number."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: torch.Tensor) -> Any:
        """`Outputs` with logits whose softmax is what the model answers."""
        outputs = as_outputs(self.model(pixels))
        probabilities = outputs.logits.float()
        return outputs._replace(logits=probabilities.clamp_min(torch.finfo(torch.float32).tiny).log())


def check_answer(name: str, model: nn.Module, images: Images, form: InputFormat, model_name: str = "") -> None:
    """One image through the model, so that what does not fit is said before anything is trained.

    name: of the arm. model_name: as the recipe names the model. Raises LimbeckError naming the arm, the image size
    or the channels, and the classes.
    """
    check_channels(name, images.shape[0], form)
    training = model.training
    model.eval()
    device = next((tensor.device for tensor in model.state_dict().values()), torch.device("cpu"))
    pixels = prepare(images.train.first(1), form).to(device)
    try:
        check_forward(name, model, pixels, images.class_names, model_name)
    finally:
        model.train(training)


def check_channels(name: str, channels: int, form: InputFormat) -> None:
    """Raises LimbeckError where a normalisation is for images of other channels; grey ones are repeated for three."""
    if len(form.normalisation.mean) not in ((1, 3) if channels == 1 else (channels,)):
        raise LimbeckError(
            f"{name}: the normalisation is for {len(form.normalisation.mean)} channels, the images have {channels}"
        )


def check_forward(
    name: str, model: nn.Module, pixels: torch.Tensor, class_names: Sequence[str], model_name: str = ""
) -> None:
    """`check_answer` of a model in eval mode and prepared pixels `[1, C, H, W]`, on the model's device (meta too)."""
    try:
        with torch.no_grad(), explain_out_of_memory(name, pixels.shape[0]):
            answer = model(pixels)
    except LimbeckError:
        raise
    except Exception as error:
        raise wrong_image_size(name, model, pixels.shape[1:], error, model_name) from error
    check_logits(name, answer, len(class_names), class_names)


def check_logits(name: str, answer: Any, count: int, class_names: Sequence[str]) -> None:
    """Raises LimbeckError where a model's answer to one image is not `[1, count]`. class_names: to say whose."""
    logits = as_outputs(answer).logits
    if logits.ndim != 2 or logits.shape[0] != 1:
        raise LimbeckError(f"{name}: the model must answer one image with logits [1, K]; got {list(logits.shape)}")
    if logits.shape[-1] != count:
        raise LimbeckError(
            f"{name}: the model answers for {logits.shape[-1]} classes, the data has {count} ({_some(class_names)})"
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (", …" if len(names) > 4 else "") if names else "none"


def describe(arm: Arm, data: Data, images: Images) -> dict[str, Any]:
    """What `limbeck.load` needs to build a model of this arm again, and to find the images that it was trained on."""
    form = input_format(arm, images)
    return {
        "model": {"name": arm.model.name, **arm.model.options},
        "class_names": list(images.class_names),
        "normalisation": {"mean": list(form.normalisation.mean), "sd": list(form.normalisation.sd)},
        "resolution": form.resolution,
        "interpolation": form.interpolation,
        "image_shape": list(images.shape),
        "trained_on": images.name,
        "data": describe_data(data, images),
    }
