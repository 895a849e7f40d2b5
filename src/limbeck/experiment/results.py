"""The results of a run: measure every learner, read the test split once, and compose `result.json`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import nn

from limbeck.building.checks.pretrained import sample_of
from limbeck.building.models import make_input_format
from limbeck.building.saved_model import describe, load_trained, save_model
from limbeck.building.teachers import load_teacher_from_file
from limbeck.evaluation import metrics
from limbeck.evaluation.budget import judge
from limbeck.evaluation.correctness import packed, paired_difference_of
from limbeck.evaluation.efficiency import Efficiency, measure, megabytes, multiply_adds
from limbeck.evaluation.evaluate import evaluate_logits, logits_of
from limbeck.evaluation.kept_predictions import disagreements, kept_predictions, sample_images
from limbeck.evaluation.test_time import averaged, measure_averaged
from limbeck.recipes.recipe import Recipe
from limbeck.recipes.test_time import AveragedViews
from limbeck.report.arms import FROM_A_FILE, learner_id
from limbeck.storage.predictions import Predictions, read_predictions, write_predictions, write_sample_images
from limbeck.storage.run_directory import LearnerId
from limbeck.training.learner import Learner
from limbeck.training.model_errors import explain_model_errors, explain_out_of_memory
from limbeck.training.predictor import predictor
from limbeck.training.teacher import as_outputs

from .context import RunContext
from .environment import environment
from .plan import CohortPlan, LearnerPlan, Plan, WeightedTeachers, baseline_of
from .reference_outputs import ReferenceOutputs, splits_of
from .signals import GracefulShutdown
from .timing import Span, summed, times
from .train_cohort import Cohort, Watcher

MEASURED_PRECISION = "float32"
"""All results are measured in float32, as a saved model computes, whatever the precision of training."""


def run_result(context: RunContext, plan: Plan, cohorts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The content of `result.json`: the recipe, the environment and the measurements of every arm.

    cohorts: the result of each trained cohort, by its key.
    """
    in_order = [cohorts[cohort.key] for cohort in plan.cohorts]
    # The baseline of an arm may have been added after the arm was measured.
    arms = [
        arm | {"baseline": baseline_of(context.recipe, arm["arm"])} for cohort in in_order for arm in cohort["arms"]
    ]
    arms = [*(measure_pretrained(context, name) for name in plan.pretrained), *arms]
    if not context.recipe.evaluation.test_time:  # `--extend` may have taken it out
        arms = [{key: value for key, value in arm.items() if key != "test_time"} for arm in arms]
    return {
        "recipe": context.recipe.to_dict(),
        "environment": environment(context.device, context.processes.world_size),
        **times(in_order, processes=context.processes.world_size),
        "class_names": list(context.images.class_names),
        "data_fingerprint": context.images.fingerprint,
        "images": {split: len(getattr(context.images, split)) for split in ("train", "validation", "test")},
        "data_notes": list(context.images.notes),
        "arms": with_baselines(in_recipe_order(context.recipe, with_budget(context.recipe, arms))),
    }


def keep_sample_images(context: RunContext, arms: Sequence[Mapping[str, Any]]) -> None:
    """Keep images on which students and their teachers disagree, for the report: one seed of each student.

    arms: as in `result.json`. Learners without kept predictions, which earlier versions measured, are left out.
    """
    name, split = list(splits_of(context).items())[-1]
    first = {arm["arm"]: learner_id(arm) for arm in reversed(arms) if name in arm}
    pairs: list[tuple[Predictions, Predictions]] = []
    for arm in (recipe_arm for recipe_arm in context.recipe.students if recipe_arm in first):
        for teacher in context.recipe.students[arm].teacher:
            both = [context.directory.predictions(first[one]) for one in (arm, teacher.name) if one in first]
            if len(both) == 2 and all(path.exists() for path in both):
                pairs.append((read_predictions(both[0])[name], read_predictions(both[1])[name]))
    if len(places := disagreements(pairs)):
        write_sample_images(context.directory.sample_images, sample_images(split, name, places))


def measure_learners(
    context: RunContext,
    plans: Sequence[LearnerPlan],
    cohort: Cohort,
    spans: Sequence[Span],
    watcher: Watcher,
    stop: GracefulShutdown,
) -> dict[str, Any]:
    """Measure the learners of a trained cohort; returns the content of `done.json`. spans: when it was trained."""
    clock, began = time.time(), time.monotonic()
    cohort.release_teachers()  # they are loaded again, in float32
    ids = {str(teacher): teacher for plan in plans for teacher, _ in plan.teachers}
    teachers = {name: context.load_teacher(ids[name], "fp32") for name in cohort.teachers}
    references = ReferenceOutputs(context, teachers, [plan.teachers for plan in plans])
    of_cohort = {"cohort_seconds": round(summed(spans), 3), "cohort_learners": len(plans)}
    arms = []
    for plan, learner in zip(plans, cohort.learners, strict=True):
        stop.check()
        if context.processes.is_first:
            arms.append(measure_learner(context, plan, learner, references, watcher) | of_cohort)
    return {"arms": arms, "spans": [*spans, [clock, clock + time.monotonic() - began]]}


def measure_learner(
    context: RunContext, plan: LearnerPlan, learner: Learner, references: ReferenceOutputs, watcher: Watcher
) -> dict[str, Any]:
    """Choose a learner's weights, save them, and measure the chosen model. Only this reads the test split, and once.

    A student without a teacher is compared with the teachers of its cohort if all other students have the same ones.
    """
    arm = context.arm(plan.id)
    row = _about(context, plan, learner)
    if learner.failure:
        watcher.say(
            f"{learner.name} ended at epoch {learner.failure.epoch}, step {learner.failure.step}: "
            f"{learner.failure.term} was {learner.failure.value}"
        )
        return row
    watcher.say(f"measuring {learner.name}")
    model, row["chosen_epoch"] = learner.chosen()
    save_model(context.directory.model(plan.id), model, describe(arm, context.recipe.data, context.images))
    teachers = plan.teachers
    if learned := learner.objective.learned_weights():
        teachers = tuple((teacher, weight) for (teacher, _), weight in zip(teachers, learned, strict=True))
    by_entropy = arm.ensemble == "entropy"
    if len(teachers) > 1 or any(teacher.epoch for teacher, _ in teachers):
        row["ensemble"] = references.about_ensemble(teachers, by_entropy=by_entropy)
        if arm.ensemble != "fixed":
            row["ensemble"]["weighed_by"] = arm.ensemble
    common = references.common if plan.role == "student" else ()
    return row | _measured(context, plan.id, model, references, teachers or common, by_entropy=by_entropy)


def _measured(
    context: RunContext,
    learner: LearnerId,
    model: nn.Module,
    references: ReferenceOutputs,
    teachers: WeightedTeachers,
    *,
    by_entropy: bool = False,
) -> dict[str, Any]:
    recipe, images, arm_name = context.recipe, context.images, learner.arm
    arm = recipe.arms()[arm_name]
    input_format = make_input_format(arm, images)
    predict = predictor(model, input_format, device=context.device, name=arm_name)
    measured: dict[str, Any] = {"measured_precision": MEASURED_PRECISION, "correct": {}}
    predictions: dict[str, Predictions] = {}
    for name, split in references.splits.items():
        logits = logits_of(predict, split, recipe.evaluation.batch_size)
        reference = references.logits(teachers, name, by_entropy=by_entropy)
        classes = len(images.class_names)
        measured[name] = evaluate_logits(logits, split, num_classes=classes, reference=reference).to_dict()
        measured["correct"][name] = packed(metrics.correct(logits, split.labels.cpu().long()))
        predictions[name] = kept_predictions(logits, split.labels)
    write_predictions(context.directory.predictions(learner), predictions)
    measured |= _timed(context, arm_name, partial(measure, model))
    if recipe.budget is not None and "efficiency" not in measured:
        measured["counted"] = _counted(context, arm_name, model)
    if recipe.evaluation.test_time:
        measured["test_time"] = _test_time(context, arm_name, model, measured["correct"], recipe.evaluation.test_time)
    return measured


def _timed(context: RunContext, arm_name: str, measure_cost: Callable[..., Efficiency]) -> dict[str, Any]:
    """`efficiency` of an arm's model, unless the recipe leaves it unmeasured."""
    batch = context.recipe.evaluation.latency_batch
    if not batch:
        return {}
    shape = _image_shape(context, arm_name)
    with explain_out_of_memory(arm_name, batch), explain_model_errors(arm_name, (batch, *shape), "timing"):
        return {"efficiency": measure_cost(shape, batch_size=batch).to_dict()}


def _counted(context: RunContext, arm_name: str, model: nn.Module) -> dict[str, Any]:
    """What a budget can be compared with where `efficiency` is left unmeasured."""
    shape = _image_shape(context, arm_name)
    with explain_model_errors(arm_name, (1, *shape), "counting"):
        return {"megabytes": megabytes(model), "multiply_adds": multiply_adds(model, shape)}


def _image_shape(context: RunContext, arm_name: str) -> tuple[int, int, int]:
    """`C, H, W` of an arm's input."""
    channels, height, width = context.images.shape
    side = context.recipe.arms()[arm_name].resolution
    return channels, side or height, side or width


def _test_time(
    context: RunContext, arm_name: str, model: nn.Module, correct: Mapping[str, str], options: AveragedViews
) -> dict[str, Any]:
    """What `result.json` says of a model with test-time augmentation, beside its own evaluation.

    correct: which images it answers right without, as `packed`, by split. `gain`: the difference of accuracies on the
    same images, with its interval over images.
    """
    recipe, images = context.recipe, context.images
    input_format = make_input_format(recipe.arms()[arm_name], images)
    predict = averaged(predictor(model, input_format, device=context.device, name=arm_name), options)
    measured: dict[str, Any] = {"options": options.model_dump(mode="json"), "views": options.count}
    measured |= {"correct": {}, "gain": {}}
    for name, split in splits_of(context).items():
        logits = logits_of(predict, split, recipe.evaluation.batch_size)
        measured[name] = evaluate_logits(logits, split, num_classes=len(images.class_names)).to_dict()
        measured["correct"][name] = packed(metrics.correct(logits, split.labels.cpu().long()))
        if name in correct:  # earlier versions did not keep it
            measured["gain"][name] = paired_difference_of(measured["correct"][name], correct[name], len(split))

    def measure_cost(shape: tuple[int, int, int], batch_size: int) -> Efficiency:
        return measure_averaged(model, lambda out: as_outputs(out).logits, shape, options, batch_size=batch_size)

    return measured | _timed(context, arm_name, measure_cost)


def with_current_test_time(
    context: RunContext,
    cohorts: Mapping[str, Mapping[str, Any]],
    stop: GracefulShutdown,
    make_watcher: Callable[[str, Sequence[str]], Watcher] | None,
) -> dict[str, dict[str, Any]]:
    """The results of trained cohorts, with `test_time` as the recipe has it now: `--extend` may have changed it.

    Learners that were measured without it, or with other options, are measured from their saved models; `done.json`
    keeps each measurement, so that no interruption loses more than one. The rest of their results does not change.
    """
    options = context.recipe.evaluation.test_time
    current = {key: {**result, "arms": list(result["arms"])} for key, result in cohorts.items()}
    to_measure = {
        LearnerId(arm["arm"], arm["seed"]): (key, place)
        for key, result in current.items()
        for place, arm in enumerate(result["arms"])
        if options and not _is_current(arm, options)
    }
    if not options or not to_measure:
        return current
    names = [str(learner) for learner in to_measure]
    watcher = make_watcher("test-time augmentation", names) if make_watcher else Watcher()
    for learner, (key, place) in to_measure.items():
        stop.check()
        watcher.say(f"measuring {learner} with test-time augmentation")
        arms = current[key]["arms"]
        model = load_trained(context.directory.model(learner), context.models).to(context.device)
        measured = _test_time(context, learner.arm, model, arms[place].get("correct", {}), options)
        # Both latencies from now: those of the model alone may be of another day and another machine.
        measured |= {
            f"{key}_alone": cost for key, cost in _timed(context, learner.arm, partial(measure, model)).items()
        }
        arms[place] = arms[place] | {"test_time": measured}
        context.directory.cohort(key).write_result(current[key])
    return current


def _is_current(arm: Mapping[str, Any], options: AveragedViews) -> bool:
    """Whether a learner needs no measurement: it has that of these options, or it failed and has none at all."""
    measured = (arm.get("test_time") or {}).get("options")
    return "validation" not in arm or measured == options.model_dump(mode="json")


def _about(context: RunContext, plan: LearnerPlan, learner: Learner | None) -> dict[str, Any]:
    arm = context.recipe.arms()[plan.arm]
    return {
        "arm": plan.arm,
        "role": plan.role,
        "seed": plan.seed,
        "model": arm.model.name,
        "teacher": [voice.name for voice in arm.teacher],
        **({"teacher_epochs": epochs} if any(epochs := [voice.epoch for voice in arm.teacher]) else {}),
        "baseline": baseline_of(context.recipe, plan.arm),
        "epochs": arm.epochs,
        "epochs_run": learner.epochs_done if learner else 0,
        "ended": learner.ended if learner else "not started",
        "failure": vars(learner.failure) if learner and learner.failure else None,
    }


def not_started(context: RunContext, cohort: CohortPlan) -> list[dict[str, Any]]:
    """The results of the learners of a cohort that were not trained because a teacher had failed."""
    results = []
    for plan in cohort.learners:
        missing = [str(teacher) for teacher, _ in plan.teachers if not context.has_weights(teacher)]
        if missing:
            failure = {"epoch": 0, "step": 0, "term": "teacher", "value": f"{', '.join(missing)} failed"}
            results.append(_about(context, plan, None) | {"failure": failure})
    return results


def measure_pretrained(context: RunContext, name: str) -> dict[str, Any]:
    """Measure an arm from a file like any other arm, once per run."""
    files = context.directory.cohort(name)
    done, options = files.read_result(), context.recipe.evaluation.test_time
    if done is not None and (not options or _is_current(done, options)):
        return done
    model = load_teacher_from_file(name, context.recipe.arms()[name], context.images, context.models)
    model = model.to(context.device)
    if done is None:
        role = "teacher" if name in context.recipe.teachers else "student"
        about = _about(context, LearnerPlan(LearnerId(name), role), None)
        about |= {"ended": FROM_A_FILE, "train_sample": _train_sample(context, name, model)}
        done = about | _measured(context, LearnerId(name), model, ReferenceOutputs(context, {}, ()), ())
    elif options:
        done["test_time"] = _test_time(context, name, model, done.get("correct", {}), options)
    files.write_result(done)
    return done


def _train_sample(context: RunContext, name: str, model: nn.Module) -> dict[str, Any]:
    """Measure an arm from a file on up to 500 training images. A model trained on them does much better on these."""
    predict = predictor(
        model, make_input_format(context.recipe.arms()[name], context.images), device=context.device, name=name
    )
    sample = sample_of(context.images.train)
    logits = logits_of(predict, sample, context.recipe.evaluation.batch_size)
    return evaluate_logits(logits, sample, num_classes=len(context.images.class_names)).to_dict()


def with_baselines(arms: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The results of learners, each with `against_baseline` if its baseline of the same seed was measured.

    `against_baseline`: for each split, the difference in accuracy on the same images with its confidence interval over
    images, from `paired_difference_of`.
    """
    measured = {(arm["arm"], arm["seed"]): arm for arm in arms}
    compared: list[dict[str, Any]] = []
    for arm in arms:
        baseline = measured.get((arm.get("baseline"), arm["seed"]), {})
        differences = {
            split: paired_difference_of(arm["correct"][split], correct, arm[split]["n"])
            for split, correct in baseline.get("correct", {}).items()
            if split in arm.get("correct", {}) and arm[split]["n"] == baseline[split]["n"]
        }
        compared.append({**arm, **({"against_baseline": differences} if differences else {})})
    return compared


def with_budget(recipe: Recipe, arms: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Results of learners, each student with `budget`, as `judge` gives it, where the recipe has one."""
    budget = recipe.budget
    if budget is None:
        return arms
    costs = [arm.get("efficiency") or arm.get("counted") or {} for arm in arms]
    return [
        {**arm, "budget": judge(budget, cost)} if arm["role"] == "student" else arm
        for arm, cost in zip(arms, costs, strict=True)
    ]


def in_recipe_order(recipe: Recipe, arms: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The results of learners in the recipe's order of arms and seeds, whatever the order of training."""
    arm_positions = {name: position for position, name in enumerate(recipe.arms())}
    seed_positions = {seed: position for position, seed in enumerate(recipe.seeds)}
    return sorted(arms, key=lambda arm: (arm_positions[arm["arm"]], seed_positions.get(arm["seed"], 0)))


def curves(context: RunContext, plan: Plan) -> dict[tuple[str, int], list[dict[str, Any]]]:
    """The rows of metrics, one per epoch, by (arm, seed)."""
    return {
        (learner.arm, learner.seed): context.directory.cohort(cohort.key).metrics(learner.name).rows()
        for cohort in plan.cohorts
        for learner in cohort.learners
    }


def failures(result: Mapping[str, Any]) -> dict[str, str]:
    """The reason of each failure in a result, by the name of the learner."""
    return {
        str(LearnerId(arm["arm"], arm["seed"])): "{term} was {value} at epoch {epoch}, step {step}".format(**failure)
        if failure["epoch"]
        else str(failure["value"])
        for arm in result["arms"]
        if (failure := arm.get("failure"))
    }
