"""Checks of all arms of a recipe before training; all problems are reported at once.

Models of timm and torchvision are built on the meta device, which needs neither memory nor arithmetic. Limbeck's own
models are small: building them on the CPU is faster than the imports that the meta device needs (0.1 s against 2 s).
Of weights files, only the header is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import nn

from limbeck.building.data import Images, view_planner
from limbeck.building.learners import make_training
from limbeck.building.models import build_model, check_channels, check_logits, make_input_format
from limbeck.building.quantised_student import quantised
from limbeck.building.teachers import reorder_classes
from limbeck.errors import LimbeckError
from limbeck.evaluation.test_time import check_shifts
from limbeck.recipes.load import NO_FUNCTIONS
from limbeck.recipes.recipe import Arm, CustomFunctions, Recipe
from limbeck.training.model_errors import explain_build_errors, explain_out_of_memory, wrong_image_size
from limbeck.training.optimizers import make_optimizer
from limbeck.views.apply import make_view
from limbeck.weights.load import mismatch

from .loss_states import state_parameters

ZOOS = ("timm:", "torchvision:")


def check_before_training(
    recipe: Recipe,
    images: Images,
    models: CustomFunctions,
    *,
    losses: CustomFunctions = NO_FUNCTIONS,
    published: bool = True,
) -> dict[str, Mapping[str, int]]:
    """Build every arm's model, run it on an image's shape, and check that its file, classes and optimizer fit.

    If all models work, also build the states of their losses. Returns the states' parameters: by arm, then by loss.

    Arms that are equal in all that matters here are checked once. published: also check that the published weights of
    `pretrained: true` are available, which may download them.
    Raises LimbeckError with a line for each problem.
    """
    problems: list[str] = []
    checked_arms: set[str] = set()
    for name, arm in recipe.arms().items():
        about = arm.model_dump_json(include={"model", "weights", "classes", "normalise", "resolution"})
        about += f"{arm.quantise} {arm.trained} "
        about += f"{(arm.optimizer.name, arm.optimizer.no_weight_decay) if arm.optimizer else None}"
        if about not in checked_arms:
            checked_arms.add(about)
            group = "teachers" if name in recipe.teachers else "students"
            problems += _problems_of(name, group, arm, images, models, published)
    problems += _problems_of_views(recipe, images)
    problems += _problems_of_test_time(recipe, images)
    if problems:
        raise LimbeckError("\n".join(problems))
    return state_parameters(recipe, images, losses, models)


def _problems_of(
    name: str, group: str, arm: Arm, images: Images, models: CustomFunctions, published: bool
) -> list[str]:
    """The problems of an arm, one per line. A check that depends on one that failed is left out."""
    own_classes = arm.classes if not arm.trained else None
    count = len(own_classes) if own_classes else len(images.class_names)
    found: list[str] = []

    def passes(check: Callable[[], object]) -> bool:
        try:
            check()
        except LimbeckError as error:
            found.append(str(error))
            return False
        return True

    input_format = make_input_format(arm, images)
    fits = passes(lambda: check_channels(name, images.shape[0], input_format))
    try:
        model = _without_memory(name, arm, count, models)
    except LimbeckError as error:
        return [*found, str(error)]
    passes(lambda: reorder_classes(nn.Identity(), f"{group}.{name}", own_classes, images.class_names))
    channels, height, width = images.shape
    shape = (channels, input_format.resolution or height, input_format.resolution or width)
    if fits:
        passes(lambda: _check_answer(name, arm, model, shape, count, models))
    if arm.weights:
        passes(lambda: _check_weights(name, arm, model))
    if arm.quantise and not found:
        try:
            model = quantised(_on_cpu(name, arm, count, models), name)
        except LimbeckError as error:
            return [*found, str(error)]
    if arm.trained:
        passes(lambda: _check_optimizer(name, arm, model))
    if published and arm.model.options.get("pretrained") and not arm.weights and not found:
        passes(lambda: _on_cpu(name, arm, count, models, pretrained=True))
    return found


def _without_memory(name: str, arm: Arm, count: int, models: CustomFunctions) -> nn.Module:
    """The arm's model, on the meta device if it is from timm or torchvision and can be built there."""
    if arm.model.name.startswith(ZOOS) and arm.model.name not in models:
        try:
            with torch.random.fork_rng(devices=[]), torch.device("meta"):
                return build_model(arm.model, count, models, pretrained=False).eval()
        except Exception:
            pass  # it may compute with its weights; building it on the CPU shows whether it fails
    return _on_cpu(name, arm, count, models)


def _on_cpu(name: str, arm: Arm, count: int, models: CustomFunctions, *, pretrained: bool = False) -> nn.Module:
    with torch.random.fork_rng(devices=[]), explain_build_errors(name, arm.model.name):
        return build_model(arm.model, count, models, pretrained=pretrained).eval()


def _check_answer(
    name: str, arm: Arm, model: nn.Module, shape: tuple[int, int, int], count: int, models: CustomFunctions
) -> None:
    """Run the model on an image's shape; if that fails on the meta device, on the CPU."""
    device = next((tensor.device for tensor in model.state_dict().values()), torch.device("cpu"))
    with torch.no_grad():
        try:
            answer = model(torch.empty(1, *shape, device=device).zero_())
        except Exception:
            try:
                with explain_out_of_memory(name, 1):
                    answer = _on_cpu(name, arm, count, models)(torch.zeros(1, *shape))
            except LimbeckError:
                raise
            except Exception as error:
                raise wrong_image_size(name, model, shape, error, arm.model.name) from error
    check_logits(name, answer, count, arm.classes or ())


def _check_weights(name: str, arm: Arm, model: nn.Module) -> None:
    path = str(arm.weights)
    try:
        wrong = mismatch(model, path, new_head=arm.trained)
    except LimbeckError as error:
        raise LimbeckError(f"{name}: weights: {error}") from error
    if wrong:
        raise LimbeckError(f"{name}: weights: {path}: {wrong}")


def _check_optimizer(name: str, arm: Arm, model: nn.Module) -> None:
    trainable = [(key, parameter) for key, parameter in model.named_parameters() if parameter.requires_grad]
    try:
        make_optimizer(make_training(arm, ()).optimizer, trainable)
    except LimbeckError as error:
        raise LimbeckError(f"{name}: {error}") from error
    except Exception as error:
        raise LimbeckError(f"{name}: {arm.model.name} cannot be trained: {error}") from error


def _problems_of_test_time(recipe: Recipe, images: Images) -> Iterator[str]:
    if recipe.evaluation.test_time:
        try:
            check_shifts(recipe.evaluation.test_time, images.shape, where="evaluation.test_time.shifts")
        except LimbeckError as error:
            yield str(error)


def _problems_of_views(recipe: Recipe, images: Images) -> Iterator[str]:
    """Make one batch of each kind of views, as in training."""
    kinds = {arm.views or recipe.views: name for name, arm in recipe.arms().items() if arm.trained}
    for views, name in kinds.items():
        try:
            planner = view_planner(images, views, 0)
            make_view(images.train, planner.plan(0, 0), planner.views, planner.normalisation)
        except LimbeckError as error:
            yield f"{name}: views: {error}"
        except Exception as error:
            yield f"{name}: views: the images of {images.name} do not fit: {' '.join(str(error).split())[:160]}"
