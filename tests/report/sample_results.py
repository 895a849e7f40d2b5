"""Results as a run writes them, small enough to check by hand."""

from __future__ import annotations

import math
from typing import Any


def evaluation(top1: float, classes: int = 10, **more: Any) -> dict[str, Any]:
    return {
        "n": 100 * classes,
        "unanswered": 0,
        "top1": top1,
        "top5": None if classes <= 5 else min(1.0, top1 + 0.1),
        "loss": 1.5 - top1,
        "expected_calibration_error": 0.0312,
        "balanced_accuracy": top1,
        "per_class": [max(0.0, top1 - 0.01 * place) for place in range(classes)],
        "agreement": None,
        "kl_to_reference": None,
        "confusion": [[100 * (row == column) for column in range(classes)] for row in range(classes)],
    } | more


def efficiency(parameters: int, milliseconds: float) -> dict[str, Any]:
    return {
        "parameters": parameters,
        "megabytes": parameters * 4 / 2**20,
        "multiply_adds": parameters * 40,
        "image_ms_median": milliseconds,
        "image_ms_p95": milliseconds * 1.2,
        "batch_ms_median": milliseconds * 50,
        "batch_ms_p95": milliseconds * 55,
        "batch_size": 128,
        "image_shape": [3, 32, 32],
        "device": "cpu",
        "threads": 2,
        "image_ms_min": milliseconds * 0.9,
        "batch_ms_min": milliseconds * 45,
        "load": 0.2,
        "cores": 2,
        "cpu_share": 1.0,
        "disturbed": False,
    }


def learner(arm: str, seed: int, top1: float, classes: int = 10, **more: Any) -> dict[str, Any]:
    small = {"model": "lightweight_cnn", "efficiency": efficiency(106_826, 0.5)}
    large = {"model": "strided_resnet", "efficiency": efficiency(4_664_970, 2.5)}
    return {
        "arm": arm,
        "role": "student",
        "seed": seed,
        "teacher": [],
        "baseline": None,
        "epochs": 15,
        "epochs_run": 15,
        "ended": "finished",
        "chosen_epoch": 14,
        "failure": None,
        "validation": evaluation(top1 + 0.003, classes),
        "test": evaluation(top1, classes),
        "measured_precision": "float32",
        "correct": {},
        "cohort_seconds": 125.0,
        "cohort_learners": 2,
        **(large if more.get("role") == "teacher" else small),
        **more,
    }


def result_of(arms: list[dict[str, Any]], classes: int = 10) -> dict[str, Any]:
    return {
        "recipe": {"name": "cifar10-lightweight-cnn"},
        "command": "limbeck run cifar10-lightweight-cnn seeds=[0,1,2]",
        "environment": {"torch": "2.13.0", "python": "3.12.3", "cpu": "Xeon", "threads": 2, "device": "cpu"},
        "started": "2030-01-02T03:04:05+00:00",
        "wall_seconds": 3_725.0,
        "class_names": [f"class-{place}" for place in range(classes)],
        "arms": arms,
    }


def curve(final: float, start: float = 0.3, epochs: int = 15) -> list[dict[str, Any]]:
    rows = []
    for epoch in range(1, epochs + 1):
        reached = final - (final - start) * math.exp(-(epoch - 1) / 4)
        rows.append(
            {
                "epoch": epoch,
                "train_loss": 2.2 * (1 - reached) + 0.2,
                "train_accuracy": reached - 0.04,
                "validation_loss": 2.0 * (1 - reached) + 0.1 * math.sin(epoch) ** 2,
                "validation_accuracy": reached + 0.01 * math.sin(3 * epoch),
                "lr": 1e-3,
                "seconds": 8.0,
            }
        )
    return rows


TEACHER = [0.8601, 0.8622, 0.8643]
BASELINE = [0.8210, 0.8222, 0.8231]
DISTILLED = [0.8330, 0.8352, 0.8341]


def three_arms(seeds: int = 3, classes: int = 10) -> list[dict[str, Any]]:
    arms = [learner("resnet", s, TEACHER[s], classes, role="teacher") for s in range(seeds)]
    arms += [learner("baseline", s, BASELINE[s], classes) for s in range(seeds)]
    told = {"agreement": 0.8712, "kl_to_reference": 0.234}
    arms += [
        learner("distilled", s, DISTILLED[s], classes, teacher=["resnet"], baseline="baseline")
        | {"test": evaluation(DISTILLED[s], classes, **told)}
        for s in range(seeds)
    ]
    return arms


def two_teachers(**more: Any) -> list[dict[str, Any]]:
    """`kd` is taught by `a` and `b`; `agreement` is how often they give the same answer."""
    together = {"teachers": ["a-seed0", "b-seed0"], "weights": [0.5, 0.5], "validation": evaluation(0.9)}
    together |= {"test": evaluation(0.88), "agreement": {"validation": [[1.0, 0.9], [0.9, 1.0]]}} | more
    together["agreement"] = {**together["agreement"], "test": [[1.0, 0.81], [0.81, 1.0]]}
    return [
        learner("a", 0, 0.86, role="teacher"),
        learner("b", 0, 0.84, role="teacher"),
        learner("kd", 0, 0.792, teacher=["a", "b"]) | {"ensemble": together},
    ]
