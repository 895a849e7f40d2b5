"""Every shipped recipe runs two steps of 4 images with its real models."""

from __future__ import annotations

import pytest
import torch

from limbeck.building.data import Images, view_planner
from limbeck.building.learners import make_learner
from limbeck.building.models import make_input_format
from limbeck.building.teachers import load_teacher_from_file, make_teacher
from limbeck.experiment.plan import make_plan
from limbeck.recipes.load import NO_FUNCTIONS, load_recipe, shipped
from limbeck.recipes.recipe import Recipe
from limbeck.sweeps.search import first_trials
from limbeck.sweeps.trials import RecipeSource, merge_trials
from limbeck.training.loop import Position, StepDone, train
from limbeck.types import Normalisation, Split

CLASSES = {"digits": 10, "cifar10": 10, "cifar100": 100, "tinyimagenet": 200}
SIDE = {"digits": 8, "tinyimagenet": 64}


def random_images(source: str, count: int = 8) -> Images:
    classes, side = CLASSES[source], SIDE.get(source, 32)
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8, generator=draw).permute(0, 3, 1, 2)
    split = Split(images, torch.randint(0, classes, (count,), generator=draw))
    names = tuple(f"class {i}" for i in range(classes))
    return Images(source, names, split, split, split, "random", Normalisation((0.5,) * 3, (0.25,) * 3))


def load_without_downloads(name: str) -> Recipe:
    """The recipe with fresh weights wherever it says `pretrained: true`, on four images a step."""
    recipe = load_recipe(name)
    groups = {"teachers": recipe.teachers, "students": recipe.students}
    fresh = [
        f"{group}.{arm}.model.pretrained=false"
        for group, arms in groups.items()
        for arm, content in arms.items()
        if content.model.options.get("pretrained")
    ]
    return load_recipe(name, [*fresh, "precision=fp32"])


LARGE = (
    "cifar100-kd-vs-dkd",
    "tinyimagenet-grid",
    "cifar100-efficientnetv2-v1",
    "cifar100-efficientnetv2-v2",
    "cifar100-function-matching-crossed",
)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.middle) if name in LARGE else name for name in shipped()]
)
def test_two_steps_of_four_images(name: str) -> None:
    recipe = load_without_downloads(name)
    images = random_images(recipe.data.source)
    device = torch.device("cpu")
    arms, models = recipe.arms(), {}
    for cohort in make_plan(recipe).cohorts:
        if cohort.learners[0].seed != recipe.seeds[0]:
            continue
        learners = [
            make_learner(
                plan.name,
                arms[plan.arm],
                images,
                arm_name=plan.arm,
                seed=plan.randomness,
                teachers=plan.teacher_weights,
                device=device,
                precision=recipe.precision,
                losses=NO_FUNCTIONS,
                models=NO_FUNCTIONS,
            )
            for plan in cohort.learners
        ]
        teachers = {}
        for teacher in cohort.teachers:
            arm, name = arms[teacher.arm], str(teacher)
            model = models.get(name) or load_teacher_from_file(name, arm, images, NO_FUNCTIONS)
            input_format = make_input_format(arm, images)
            teachers[name] = make_teacher(name, model, input_format, device=device, precision=recipe.precision)
        before = {p.name: [w.clone() for w in p.model.parameters()] for p in learners}
        views = cohort.views.model_copy(update={"batch_size": 4})
        planner = view_planner(images, views, cohort.view_seed)
        events = []
        for event in train(learners, teachers, images.train, planner, Position()):
            if not isinstance(event, StepDone):
                break  # one epoch is two steps
            events.append(event.position.step)
        assert events == [1, 2]
        for learner in learners:
            assert learner.failure is None
            moved = [
                not torch.equal(a, b) for a, b in zip(before[learner.name], learner.model.parameters(), strict=True)
            ]
            assert any(moved), f"{learner.name} has not learned"
            models[learner.name] = learner.model


@pytest.mark.parametrize("name", shipped())
def test_the_header_says_what_it_is(name: str) -> None:
    text = shipped()[name].read_text(encoding="utf-8")
    assert text.startswith("#"), "the first line says what the recipe is"
    command = "sweep" if load_recipe(name).sweep else "run"
    assert f"limbeck {command} {name}" in text, "and the header gives the command"


@pytest.mark.parametrize("name", [name for name in shipped() if load_recipe(name).sweep])
def test_the_settings_of_a_sweep_are_recipes(name: str) -> None:
    source = RecipeSource(name)
    asked = load_recipe(name).sweep
    assert asked is not None
    settings = first_trials(source, asked)
    combined = merge_trials(source, asked, settings)
    assert len(combined.variants) == len(settings) >= 25
    for arm in combined.swept():
        for setting, variant in zip(settings, combined.variants, strict=True):
            soft, hard = combined.recipe.students[variant[arm]].loss
            assert soft.weight + hard.weight == pytest.approx(1)
            assert soft.options["temperature"] == setting["students.*.loss.0.temperature"]
    cohorts = make_plan(combined.recipe.model_copy(update={"seeds": (0,)})).cohorts
    assert max(len(cohort.learners) for cohort in cohorts) >= len(settings), "one cohort for all settings"
