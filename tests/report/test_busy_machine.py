"""Latencies that were measured while others used the machine are told as such."""

from __future__ import annotations

from sample_results import result_of, three_arms

from limbeck.report.arms import arms_of
from limbeck.report.notes import notes


def test_it_is_said_whose_latencies_are_too_long() -> None:
    arms = three_arms()
    arms[4]["efficiency"] |= {"disturbed": True, "load": 7.25, "cores": 2, "cpu_share": 0.31}
    arms[5]["efficiency"] |= {"disturbed": False, "load": 0.1, "cores": 2, "cpu_share": 1.0}
    result = result_of(arms)
    said = next(line for line in notes(result, arms_of(result)).splitlines() if "machine was busy" in line)
    assert ": baseline (seed 1)." in said
    assert "load up to 7.2 on 2 cores" in said
    assert "31%" in said


def test_it_is_said_of_latencies_with_test_time_augmentation_too() -> None:
    arms = three_arms()
    arms[4]["test_time"] = {"efficiency": arms[4]["efficiency"] | {"disturbed": True, "cpu_share": 0.5}}
    result = result_of(arms)
    assert ": baseline (seed 1) with test-time augmentation." in notes(result, arms_of(result))


def test_nothing_is_said_of_a_quiet_machine() -> None:
    result = result_of(three_arms())
    assert "busy" not in notes(result, arms_of(result))


def test_a_result_of_the_previous_version_has_no_load() -> None:
    arms = three_arms()
    for arm in arms:
        for key in ("image_ms_min", "batch_ms_min", "load", "cores", "cpu_share", "disturbed"):
            arm["efficiency"].pop(key)
    result = result_of(arms)
    assert "busy" not in notes(result, arms_of(result))
