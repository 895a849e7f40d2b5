"""Make learners from the arms of a recipe: the model, the training options and the objective."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from limbeck.errors import LimbeckError
from limbeck.recipes.recipe import Arm, CustomFunctions, LossTerm, Precision, TrainingOptions
from limbeck.seeding import seed_everything
from limbeck.training.distributed import SINGLE_PROCESS, Processes
from limbeck.training.learner import Learner, Training
from limbeck.training.model_errors import explain_build_errors
from limbeck.training.objective import EnsembleWeights, Objective
from limbeck.training.precision import compute_dtype
from limbeck.training.teacher import Teacher
from limbeck.types import Shapes
from limbeck.views.preprocess import prepare
from limbeck.weights.load import load_weights

from .data import Images
from .loss_states import make_losses, make_states, output_shapes, teacher_output_shapes
from .models import build_model, check_output, make_input_format
from .quantised_student import observe, quantised

IMAGES_TO_INITIALISE = 2048
"""Training images given to models that initialise themselves from data."""
IMAGES_TO_OBSERVE = 256
"""Training images that set the first ranges of a quantised student."""


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
    processes: Processes = SINGLE_PROCESS,
) -> Learner:
    """Make a learner that is ready for its first step.

    seed: for its initial weights, the states of its losses, and its dropout. teachers: the name and weight of each.
    load_teacher: returns a teacher by its name, for losses whose state depends on the shapes of its outputs.
    arm_name: for error messages.
    """
    input_format = make_input_format(arm, images)
    seed_everything("weights", seed)
    with explain_build_errors(arm_name, arm.model.name):
        model = build_model(arm.model, len(images.class_names), models)
    if arm.weights:
        load_weights(model, arm.weights, new_head=True)
    elif hasattr(model, "initialise"):
        sample = images.train.first(IMAGES_TO_INITIALISE)
        model.initialise(prepare(sample, input_format))  # pyright: ignore[reportCallIssue]
    if arm.quantise:
        model = quantised(model, arm_name)
        observe(model, prepare(images.train.spread(IMAGES_TO_OBSERVE), input_format))
    check_output(arm_name, model, images, input_format, arm.model.name)
    return Learner(
        name,
        model,
        make_objective(
            arm.loss,
            losses,
            [weight for _, weight in teachers],
            student_shapes=lambda: output_shapes(model, images, input_format),
            teacher_shapes=lambda: [
                teacher_output_shapes(load_teacher(teacher), images) for teacher, _ in teachers if load_teacher
            ],
            seed=seed,
            ensemble=arm.ensemble,
        ),
        make_training(arm, tuple(teacher for teacher, _ in teachers)),
        input_format=input_format,
        device=device,
        dtype=compute_dtype(arm_precision(arm, precision), device),
        seed=seed,
        processes=processes,
    )


def arm_precision(arm: Arm, precision: Precision) -> Precision:
    """The precision of an arm, of a recipe with `precision`; quantised students compute in float32."""
    return "fp32" if arm.quantise else arm.precision or precision


def make_training(options: TrainingOptions, teachers: tuple[str, ...]) -> Training:
    """The training settings of a learner. teachers: their names."""
    if options.optimizer is None or options.epochs is None:
        raise LimbeckError("training needs `epochs` and an `optimizer`")
    return Training(
        optimizer=options.optimizer,
        epochs=options.epochs,
        schedule=options.schedule,
        teachers=teachers,
        clip_norm=options.clip_norm,
        ema_decay=options.ema.decay if options.ema else None,
        patience=options.patience,
        choose=options.choose,
    )


def make_objective(
    losses_of_arm: Sequence[LossTerm],
    losses: CustomFunctions,
    teacher_weights: Sequence[float],
    *,
    student_shapes: Callable[[], Shapes],
    teacher_shapes: Callable[[], Sequence[Shapes]],
    seed: int,
    ensemble: EnsembleWeights = "fixed",
) -> Objective:
    """The weighted sum of losses that an arm minimises, with their states (`loss_states.make_states`).

    ensemble: how several teachers are weighed.
    """
    terms = make_losses(losses_of_arm, losses)
    states = make_states(terms, student_shapes, teacher_shapes, seed)
    return Objective(terms, teacher_weights=teacher_weights, states=states, ensemble=ensemble)
