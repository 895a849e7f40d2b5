"""The losses of an arm, and their states: modules that are trained with the student, such as an adapter."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from limbeck import seeding
from limbeck.errors import LimbeckError
from limbeck.models.linear_classifier import explains_logits, linear_classifier
from limbeck.recipes import registry
from limbeck.recipes.recipe import CustomFunctions, LossTerm
from limbeck.training.objective import Objective, WeightedLoss
from limbeck.training.teacher import Teacher, as_outputs
from limbeck.types import Classifier, Outputs, Shapes, Targets
from limbeck.views.preprocess import InputFormat, prepare

from .data import Images

IMAGES = 2
"""Number of images that are run through a model to find the shapes of its outputs."""


def make_losses(terms: Sequence[LossTerm], losses: CustomFunctions) -> list[WeightedLoss]:
    """The losses that an arm minimises. Raises LimbeckError if a loss and its `state` function do not fit together."""
    return [_make_term(term, losses) for term in terms]


def _make_term(term: LossTerm, losses: CustomFunctions) -> WeightedLoss:
    entry = registry.find("losses", term.name, losses)
    function = registry.load(entry, losses)
    parameters = inspect.signature(function).parameters
    state = parameters.get("state")
    takes_state = state is not None or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    make_state = registry.load_state(entry, losses)
    if make_state is not None and not takes_state and not isinstance(function, nn.Module):
        raise LimbeckError(f"loss {term.name!r} has a state function; its own must take the module as `*, state`")
    if make_state is None and state is not None and state.default is state.empty:
        raise LimbeckError(
            f"loss {term.name!r} takes a `state`; define state(student_shapes, teacher_shapes) beside it "
            "(from Python: loss.state = function)"
        )
    return WeightedLoss(
        term.name,
        function,
        term.weight,
        term.options,
        term.warmup_epochs,
        entry.needs_features,
        make_state if takes_state else None,
    )


def make_states(
    terms: Sequence[WeightedLoss], student: Callable[[], Shapes], teachers: Callable[[], Sequence[Shapes]], seed: int
) -> dict[str, nn.Module]:
    """The states of the losses that have one, by the name of the loss.

    Each state is drawn from its own seed, and torch's generator is restored, so a learner draws the same numbers with
    and without states. student, teachers: return the shapes of their outputs; called only if a loss has a state.
    Raises LimbeckError that names the loss and the shapes.
    """
    if not any(term.make_state for term in terms):
        return {}
    student_shapes, teacher_shapes = student(), teachers()
    states: dict[str, nn.Module] = {}
    with torch.random.fork_rng(devices=[]):
        for term in terms:
            torch.default_generator.manual_seed(seeding.key("loss state", seed, term.name))
            state = term.build_state(student_shapes, teacher_shapes)
            if state is not None:
                states[term.name] = state
    return states


def try_losses_on_features(
    terms: Sequence[WeightedLoss],
    student: Callable[[], Shapes],
    teachers: Callable[[], Sequence[Shapes]],
    states: Mapping[str, nn.Module],
) -> None:
    """Evaluate each loss on features once, on zeros of the right shapes, so that what does not fit is found at once.

    states: as `make_states` returns them; copies are used, so nothing of them changes.
    Raises LimbeckError that names the loss: layers that do not exist, a model without features, several teachers.
    """
    terms = [term for term in terms if term.needs_features]
    if not terms:
        return
    own, theirs = _zeros(student()), [_zeros(shapes) for shapes in teachers()]
    labels = torch.zeros(own.logits.shape[0], dtype=torch.int64)
    targets = Targets(labels, labels, torch.ones(labels.shape[0]))
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        for term in terms:
            own_state = {term.name: copy.deepcopy(states[term.name])} if term.name in states else {}
            Objective([term], teacher_weights=[1.0] * len(theirs), states=own_state)(own, theirs, targets)


def _zeros(shapes: Shapes) -> Outputs:
    classifier = None if shapes.classifier is None else Classifier(torch.zeros(shapes.classifier))
    return Outputs(torch.zeros(shapes.logits), tuple(map(torch.zeros, shapes.features)), classifier)


def output_shapes(model: nn.Module, images: Images, input_format: InputFormat) -> Shapes:
    """The shapes of a model's outputs for two images. Its mode, its buffers and torch's generators do not change."""
    device = next((tensor.device for tensor in model.state_dict().values()), torch.device("cpu"))
    training = model.training
    pixels = prepare(images.train.first(IMAGES), input_format).to(device)
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            return _shapes(as_outputs(model(pixels)), model)
    finally:
        model.train(training)


def teacher_output_shapes(teacher: Teacher, images: Images) -> Shapes:
    """The shapes of a frozen teacher's outputs for two images."""
    device = teacher.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        return _shapes(teacher(prepare(images.train.first(IMAGES).to(device), teacher.input_format)), teacher.frozen)


def _shapes(outputs: Outputs, model: nn.Module) -> Shapes:
    """The shapes of a model's outputs, with its linear classifier only if the logits follow from it."""
    outputs = outputs._replace(classifier=linear_classifier(model, outputs.logits.shape[1]))
    return Shapes.of(outputs if explains_logits(outputs) else outputs._replace(classifier=None))
