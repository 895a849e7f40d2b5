"""Recipe arms to learners: the model, the training settings and the objective."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from limbeck.errors import LimbeckError
from limbeck.recipes.recipe import Arm, CustomFunctions, LossTerm, Precision
from limbeck.seeding import seed_everything
from limbeck.training.distributed import ALONE, Processes
from limbeck.training.learner import Learner, Training
from limbeck.training.model_errors import naming_build
from limbeck.training.objective import Objective
from limbeck.training.precision import compute_dtype
from limbeck.training.teacher import Teacher
from limbeck.types import Shapes
from limbeck.views.preprocess import prepare
from limbeck.weights.load import load_weights

from .data import Images
from .loss_states import make_states, make_terms, output_shapes, teacher_output_shapes
from .models import build_model, check_output, input_format
from .quantised_student import observe, quantised

IMAGES_TO_INITIALISE = 2048
IMAGES_TO_OBSERVE = 256
"""From which a quantised student's first ranges are taken."""


def make_learner(
    name: str,
    arm: Arm,
    images: Images,
    *,
    arm_name: str,
    seed: int,
    teachers: Sequence[tuple[str, float]] = (),
    device: torch.device,
    precision: Precision,
    losses: CustomFunctions,
    models: CustomFunctions,
    load_teacher: Callable[[str], Teacher] | None = None,
    processes: Processes = ALONE,
) -> Learner:
    """A learner ready for its first step.

    seed: of its initial weights, of its losses' states and of its dropout. teachers: (name, weight) of each.
    load_teacher: gives a teacher by its name, for losses whose state depends on the shapes of its outputs.
    arm_name: for error messages.
    """
    form = input_format(arm, images)
    seed_everything("weights", seed)
    with naming_build(arm_name, arm.model.name):
        model = build_model(arm.model, len(images.class_names), models)
    if arm.weights:
        load_weights(model, arm.weights, new_head=True)
    elif hasattr(model, "initialise"):
        some = images.train.first(IMAGES_TO_INITIALISE)
        model.initialise(prepare(some, form))  # pyright: ignore[reportCallIssue]
    if arm.quantise:
        model = quantised(model, arm_name)
        observe(model, prepare(images.train.spread(IMAGES_TO_OBSERVE), form))
    check_output(arm_name, model, images, form, arm.model.name)
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
        dtype=compute_dtype(arm_precision(arm, precision), device),
        seed=seed,
        processes=processes,
    )


def arm_precision(arm: Arm, precision: Precision) -> Precision:
    """The precision of an arm, of a recipe with `precision`; quantised students compute in float32."""
    return "fp32" if arm.quantise else arm.precision or precision


def make_training(arm: Arm, teachers: tuple[str, ...]) -> Training:
    """The training part of an arm."""
    if arm.optimizer is None or arm.epochs is None:
        raise LimbeckError("an arm that is trained needs `epochs` and an `optimizer`")
    return Training(
        optimizer=arm.optimizer,
        epochs=arm.epochs,
        schedule=arm.schedule,
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
    terms = make_terms(losses_of_arm, losses)
    states = make_states(terms, student_shapes, teacher_shapes, seed)
    return Objective(terms, teacher_weights=teacher_weights, states=states)
