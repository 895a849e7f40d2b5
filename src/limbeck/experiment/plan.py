"""Plan a run: the learners of a recipe, grouped into the cohorts in which they are trained."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from limbeck.recipes.recipe import Arm, Recipe, Views
from limbeck.seeding import key as number_of
from limbeck.storage.run_directory import LearnerId

WeightedTeachers = tuple[tuple[LearnerId, float], ...]
"""The teachers of one learner, each with its weight."""


@dataclass(frozen=True)
class LearnerPlan:
    """One model to train. role: `teacher` or `student`.

    own_seed: the arm's own seed, combined with the seed of the run; see the function `own_seed`.
    """

    id: LearnerId
    role: str
    teachers: WeightedTeachers = ()
    own_seed: int | None = None

    @property
    def name(self) -> str:
        """Its name in files, logs and messages: `ARM-seedN`."""
        return str(self.id)

    @property
    def arm(self) -> str:
        """The name of its arm."""
        return self.id.arm

    @property
    def seed(self) -> int:
        """The seed of its run; 0 for an arm that is not trained."""
        return self.id.seed or 0

    @property
    def teacher_weights(self) -> list[tuple[str, float]]:
        """The name and the weight of each teacher."""
        return [(str(teacher), weight) for teacher, weight in self.teachers]

    @property
    def randomness(self) -> int:
        """The seed of its initial weights and its dropout."""
        return self.seed if self.own_seed is None else number_of("learner", self.own_seed, self.seed)


@dataclass(frozen=True)
class CohortPlan:
    """A cohort: learners that are trained side by side on the same views, with the teachers they share.

    A view is one augmented batch. It is made once, and each teacher sees it once, however many learners there are.
    """

    key: str
    views: Views
    view_seed: int
    learners: tuple[LearnerPlan, ...]

    @property
    def teachers(self) -> tuple[LearnerId, ...]:
        """All teachers, each once."""
        return tuple(dict.fromkeys(teacher for learner in self.learners for teacher, _ in learner.teachers))


@dataclass(frozen=True)
class Plan:
    """The cohorts, in training order. pretrained: arms from a file that are not trained further."""

    cohorts: tuple[CohortPlan, ...]
    pretrained: tuple[str, ...] = ()


def make_plan(recipe: Recipe, max_learners: int | None = None) -> Plan:
    """Group the learners of a recipe into cohorts by their views and by the length of their chain of teachers.

    Teachers come before their students. Teachers without a teacher are trained one by one, since they have no forward
    pass to share. Students without a teacher join the other students of their seed, whose views they share.
    If `views.seed` is fixed, the students of all seeds see the same views and form one cohort.
    max_learners: maximum number of learners in a cohort.
    """
    arms = recipe.arms()
    pretrained = tuple(name for name, arm in arms.items() if not arm.trained)
    teaching = {teacher.name for arm in arms.values() for teacher in arm.teacher}
    deepest = max(_depth(recipe, name) for name in recipe.students)
    groups: dict[tuple[int, int, Views, str], list[LearnerPlan]] = {}
    for learner in _learners(recipe):
        views = arms[learner.arm].views or recipe.views
        view_seed = learner.seed if views.seed is None else views.seed
        depth, alone = _depth(recipe, learner.arm), ""
        if learner.role == "teacher" and not learner.teachers:
            alone = learner.name
        elif learner.role == "student" and learner.arm not in teaching:
            depth = deepest
        groups.setdefault((depth, view_seed, views, alone), []).append(learner)
    cohorts = []
    for (depth, view_seed, views, alone), members in sorted(groups.items(), key=lambda item: item[0][:2]):
        key = alone or f"students-{depth}-views{view_seed}"
        size = max_learners or len(members)
        for first in range(0, len(members), size):
            same_key = sum(cohort.key == key or cohort.key.startswith(f"{key}-") for cohort in cohorts)
            unique_key = f"{key}-{same_key}" if same_key else key
            cohorts.append(CohortPlan(unique_key, views, view_seed, tuple(members[first : first + size])))
    return Plan(tuple(cohorts), pretrained)


def own_seed(recipe: Recipe, arm: str) -> int | None:
    """The arm's `seed`; for a teacher without one, a seed from its name. None for any other arm.

    Two teachers of one architecture thus start from different weights. Students with the same model and seed start from
    the same weights and drop the same units, so that they differ only in how they are trained.
    """
    about = recipe.arms()[arm]
    if about.seed is None and arm in recipe.teachers:
        return number_of("teacher", arm)
    return about.seed


def _learners(recipe: Recipe) -> list[LearnerPlan]:
    learners: dict[LearnerId, LearnerPlan] = {}
    for seed in recipe.seeds:
        for name, arm in recipe.arms().items():
            if not arm.trained:
                continue
            role = "teacher" if name in recipe.teachers else "student"
            learner = _learner_id(recipe, name, seed)
            teachers = tuple(
                (replace(_learner_id(recipe, one.name, learner.seed or 0), epoch=one.epoch), one.weight)
                for one in arm.teacher
            )
            learners.setdefault(learner, LearnerPlan(learner, role, teachers, own_seed(recipe, name)))
    return list(learners.values())


def _learner_id(recipe: Recipe, arm: str, seed: int) -> LearnerId:
    if not recipe.arms()[arm].trained:
        return LearnerId(arm)
    if arm in recipe.teachers and recipe.teacher_seed is not None:
        return LearnerId(arm, recipe.teacher_seed)
    return LearnerId(arm, seed)


def _depth(recipe: Recipe, name: str) -> int:
    """0 for a teacher and 1 for a student without teachers; otherwise one more than its deepest teacher."""
    teachers = recipe.arms()[name].teacher
    if not teachers:
        return 0 if name in recipe.teachers else 1
    return 1 + max(_depth(recipe, teacher.name) for teacher in teachers)


def baseline_of(recipe: Recipe, name: str) -> str | None:
    """The student that an arm is compared with: its `baseline`, or else the student named `baseline`."""
    if name in recipe.teachers:
        return None
    arm: Arm = recipe.students[name]
    if arm.baseline:
        return arm.baseline
    return "baseline" if "baseline" in recipe.students and name != "baseline" else None


def batches_larger_than_data(views_of_cohorts: Iterable[Views], images: int) -> list[str]:
    """A warning for each batch size above the number of training images: an epoch is then one smaller batch."""
    sizes = sorted({views.batch_size for views in views_of_cohorts if views.batch_size > images})
    return [
        f"views.batch_size: a batch of {size:,} is larger than the {images:,} training images: "
        f"each epoch is one step with a batch of {images:,}"
        for size in sizes
    ]
