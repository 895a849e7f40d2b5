"""From a recipe to what will be done: learners, and the cohorts in which they are taught."""

from __future__ import annotations

from dataclasses import dataclass

from limbeck.recipes.recipe import Arm, Recipe, Views
from limbeck.seeding import key as number_of


@dataclass(frozen=True)
class LearnerPlan:
    """One model to train. name: `ARM-seedN`. voices: (name, weight) of each teacher it listens to.

    own_seed: what the arm itself is seeded with, beside the run's seed; see `own_seed`.
    """

    name: str
    arm: str
    role: str
    seed: int
    voices: tuple[tuple[str, float], ...]
    own_seed: int | None = None

    @property
    def randomness(self) -> int:
        """The seed of its first weights and of its dropout."""
        return self.seed if self.own_seed is None else number_of("learner", self.own_seed, self.seed)


@dataclass(frozen=True)
class CohortPlan:
    """Learners that see the same views and are taught together, and the teachers they share."""

    key: str
    views: Views
    view_seed: int
    learners: tuple[LearnerPlan, ...]

    @property
    def teachers(self) -> tuple[str, ...]:
        """Names of all teachers, each once."""
        return tuple(dict.fromkeys(name for learner in self.learners for name, _ in learner.voices))


@dataclass(frozen=True)
class Plan:
    """Cohorts in the order in which they run. ready: arms that come from a file."""

    cohorts: tuple[CohortPlan, ...]
    ready: tuple[str, ...]


def make_plan(recipe: Recipe, most: int | None = None) -> Plan:
    """Put learners that share views and stand equally deep into one cohort, at most `most` of them.

    All teachers come first, then their students. Teachers that listen to nobody are taught one by one, since there is
    no pass to share; students without a teacher go with the others of their seed, whose views they share.
    With `views.seed` fixed, students of all seeds see the same views and form one cohort.
    """
    arms = recipe.arms()
    ready = tuple(name for name, arm in arms.items() if not arm.trained)
    heard = {voice.name for arm in arms.values() for voice in arm.teacher}
    deepest = max(_depth(recipe, name) for name in recipe.students)
    groups: dict[tuple[int, int, Views, str], list[LearnerPlan]] = {}
    for learner in _learners(recipe):
        views = arms[learner.arm].views or recipe.views
        view_seed = learner.seed if views.seed is None else views.seed
        depth, alone = _depth(recipe, learner.arm), ""
        if learner.role == "teacher" and not learner.voices:
            alone = learner.name
        elif learner.role == "student" and learner.arm not in heard:
            depth = deepest
        groups.setdefault((depth, view_seed, views, alone), []).append(learner)
    cohorts = []
    for (depth, view_seed, views, alone), members in sorted(groups.items(), key=lambda item: item[0][:2]):
        key = alone or f"students-{depth}-views{view_seed}"
        for first in range(0, len(members), most or len(members)):
            some = tuple(members[first : first + (most or len(members))])
            apart = sum(cohort.key == key or cohort.key.startswith(f"{key}-") for cohort in cohorts)
            cohorts.append(CohortPlan(f"{key}-{apart}" if apart else key, views, view_seed, some))
    return Plan(tuple(cohorts), ready)


def learner_name(recipe: Recipe, arm: str, seed: int) -> str:
    """How an arm is called under one seed; a teacher from a file has no seed."""
    if not recipe.arms()[arm].trained:
        return arm
    if arm in recipe.teachers and recipe.teacher_seed is not None:
        seed = recipe.teacher_seed
    return f"{arm}-seed{seed}"


def own_seed(recipe: Recipe, arm: str) -> int | None:
    """What an arm's random numbers depend on beside the run's seed: its own `seed`, else a teacher's name.

    Teachers are told apart because two of one architecture are to be two opinions. Students are not: arms of one seed
    and one model start from the same weights and drop the same units, so what differs between them is what they are
    taught.
    """
    about = recipe.arms()[arm]
    if about.seed is None and arm in recipe.teachers:
        return number_of("teacher", arm)
    return about.seed


def _learners(recipe: Recipe) -> list[LearnerPlan]:
    found: dict[str, LearnerPlan] = {}
    for seed in recipe.seeds:
        for name, arm in recipe.arms().items():
            if not arm.trained:
                continue
            role = "teacher" if name in recipe.teachers else "student"
            own = seed if role == "student" or recipe.teacher_seed is None else recipe.teacher_seed
            called = learner_name(recipe, name, own)
            voices = tuple((learner_name(recipe, voice.name, own), voice.weight) for voice in arm.teacher)
            found.setdefault(called, LearnerPlan(called, name, role, own, voices, own_seed(recipe, name)))
    return list(found.values())


def _depth(recipe: Recipe, name: str) -> int:
    """0 for a trained teacher that listens to nobody; else one more than the deepest teacher."""
    arms = recipe.arms()
    voices = [voice.name for voice in arms[name].teacher]
    if not voices:
        return 0 if name in recipe.teachers else 1
    return 1 + max(_depth(recipe, voice) for voice in voices)


def baseline_of(recipe: Recipe, name: str) -> str | None:
    """The student that an arm is compared with: the one it names, else the one called `baseline`."""
    if name in recipe.teachers:
        return None
    arm: Arm = recipe.students[name]
    if arm.baseline:
        return arm.baseline
    return "baseline" if "baseline" in recipe.students and name != "baseline" else None
