"""What all cohorts of a run share, and the function that opens it."""

from __future__ import annotations

import json
from dataclasses import dataclass

import torch

from limbeck.building.data import Images, load_images
from limbeck.building.learners import arm_precision
from limbeck.building.models import make_input_format
from limbeck.building.saved_model import load_trained
from limbeck.building.teachers import load_teacher_from_file, make_teacher
from limbeck.errors import LimbeckError
from limbeck.recipes.load import NO_FUNCTIONS
from limbeck.recipes.recipe import Arm, CustomFunctions, Precision, Recipe
from limbeck.storage.run_directory import LearnerId, RunDirectory
from limbeck.training.device import choose_device
from limbeck.training.distributed import SINGLE_PROCESS, Processes
from limbeck.training.teacher import Teacher
from limbeck.types import Split

from .extend import earlier_recipes
from .torchrun import must_match_main_process


@dataclass(frozen=True)
class RunContext:
    """What all cohorts of a run share.

    train_split: the training images, on the device. processes: those that train together; only the first one writes
    and measures. earlier: the recipes of the run before it was extended; checkpoints of these are resumed too.
    """

    recipe: Recipe
    images: Images
    train_split: Split
    device: torch.device
    directory: RunDirectory
    losses: CustomFunctions
    models: CustomFunctions
    processes: Processes = SINGLE_PROCESS
    earlier: tuple[Recipe, ...] = ()

    def arm(self, learner: LearnerId) -> Arm:
        """The arm of a learner."""
        return self.recipe.arms()[learner.arm]

    def has_weights(self, teacher: LearnerId) -> bool:
        """Whether a teacher can be loaded: it comes from a file, or it was trained without a failure."""
        return teacher.seed is None or (self.directory.model(teacher) / "model.json").exists()

    def load_teacher(self, teacher: LearnerId, precision: Precision | None = None) -> Teacher:
        """Load a teacher, frozen. Raises LimbeckError if its file is missing, is damaged or does not fit the data.

        precision: overrides that of its arm or recipe.
        """
        arm = self.arm(teacher)
        if teacher.seed is None:
            model = load_teacher_from_file(teacher.arm, arm, self.images, self.models)
        else:
            model = load_trained(self.directory.model(teacher), self.models)
        precision = precision or arm_precision(arm, self.recipe.precision)
        input_of_teacher = make_input_format(arm, self.images)
        return make_teacher(str(teacher), model, input_of_teacher, device=self.device, precision=precision)


def open_context(
    recipe: Recipe,
    directory: RunDirectory,
    *,
    images: Images | None = None,
    device: torch.device | None = None,
    losses: CustomFunctions = NO_FUNCTIONS,
    models: CustomFunctions = NO_FUNCTIONS,
    processes: Processes = SINGLE_PROCESS,
) -> RunContext:
    """Load the images, move the training images to the device, and set the number of threads.

    images, device: override those of the recipe. Several processes must have the same recipe and images.
    Raises LimbeckError if they differ, or if the data cannot be loaded.
    """
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    device = device or choose_device(recipe.device)
    if not processes.is_single:
        _check_processes(recipe, directory, processes)
    if images is None:
        images = _load_images(recipe, processes)
    return RunContext(
        recipe,
        images,
        images.train.to(device),
        device,
        directory,
        losses,
        models,
        processes,
        earlier_recipes(directory),
    )


def _check_processes(recipe: Recipe, directory: RunDirectory, processes: Processes) -> None:
    if recipe.outputs_bank is not None:
        raise LimbeckError("outputs_bank: is written and read by one process; leave it out under torchrun")
    if not directory.recipe.exists():
        raise LimbeckError(
            f"{directory.root}: process {processes.rank} does not see it; all processes need a common --folder"
        )
    must_match_main_process(processes, "the recipe", json.dumps(recipe.to_dict()))


def _load_images(recipe: Recipe, processes: Processes) -> Images:
    """The images of a recipe. The main process decodes and caches them first; the others then read the cache."""
    if not processes.is_first:
        processes.barrier()
    images = load_images(recipe.data)
    if processes.is_first:
        processes.barrier()
    must_match_main_process(processes, "data", images.fingerprint)
    for arm in recipe.arms().values():
        size = min((arm.views or recipe.views).batch_size, len(images.train))
        if size < processes.world_size:
            raise LimbeckError(f"views: a batch of {size} has no image for each of {processes.world_size} processes")
    return images
