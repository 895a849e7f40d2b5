"""A budget in the report: each limit of each student, over seeds, and what a busy machine means for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sample_results import learner, result_of, three_arms

from limbeck.evaluation.budget import judge
from limbeck.recipes.budget import Budget
from limbeck.report.arms import arms_of
from limbeck.report.budget import allowed_in_words, budget_lines, budget_table
from limbeck.report.page import write_report
from limbeck.report.summary import summary_lines

BUDGET = Budget(megabytes=0.5, milliseconds=0.4, multiply_adds=4e6)


def judged(arms: list[dict[str, Any]], budget: Budget = BUDGET) -> dict[str, Any]:
    students = [arm for arm in arms if arm["role"] == "student"]
    for arm in students:
        arm["budget"] = judge(budget, arm.get("efficiency") or {})
    return result_of(arms)


def test_a_result_without_a_budget_has_no_table(tmp_path: Path) -> None:
    result = result_of(three_arms())
    assert budget_table(arms_of(result)) == ""
    assert "budget" not in write_report(tmp_path, result, {}).read_text(encoding="utf-8").lower()
    assert not any("budget" in line for line in summary_lines(result))


def test_the_table_has_every_limit_of_every_student(tmp_path: Path) -> None:
    result = judged(three_arms())
    page = write_report(tmp_path, result, {}).read_text(encoding="utf-8")
    table = page.partition("## Budget\n\n")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert rows[0] == ["Student", "Limit", "Measured", "Allowed", "Verdict"]
    assert rows[2:5] == [
        ["baseline", "Size (MB)", "0.4075", "0.5", "met"],
        ["baseline", "Image latency (ms)", "0.5", "0.4", "over by 0.1 ms (25\u00a0%)"],
        ["baseline", "Multiply-adds (M)", "4.273", "4", "over by 0.273 M (6.8\u00a0%)"],
    ]
    assert [row[0] for row in rows[5:]] == ["distilled"] * 3
    assert "resnet" not in table, "teachers have no budget"


def test_the_terminal_says_it_in_a_line_for_each_student() -> None:
    lines = budget_lines(arms_of(judged(three_arms())))
    over = "over by 0.1 ms (25\u00a0%)"
    assert lines[0] == (
        f"budget: baseline: 0.4075 MB, met; 0.5 ms, {over}; 4.273 M multiply-adds, over by 0.273 M (6.8\u00a0%)"
    )
    assert len(lines) == 2
    assert max(map(len, summary_lines(judged(three_arms())))) <= 100


def test_seeds_that_differ_are_told_as_a_range() -> None:
    arms = three_arms()
    for seed, milliseconds in enumerate((0.3, 0.35, 0.6)):
        arms[3 + seed]["efficiency"]["image_ms_median"] = milliseconds
    line = budget_lines(arms_of(judged(arms, Budget(milliseconds=0.4))))[0]
    assert line == "budget: baseline: 0.3 to 0.6 ms, over by 0.2 ms (50\u00a0%) with 1 of 3 seeds"


def test_a_busy_machine_is_said() -> None:
    arms = three_arms()
    arms[4]["efficiency"]["disturbed"] = True
    over, _ = budget_lines(arms_of(judged(arms, Budget(milliseconds=0.4))))
    assert over.endswith("over by 0.1 ms (25\u00a0%); the machine was busy, measure again")
    met, quiet = budget_lines(arms_of(judged(arms, Budget(milliseconds=2))))
    assert met.endswith("0.5 ms, met, although the machine was busy")
    assert quiet.endswith("0.5 ms, met")


def test_what_failed_was_not_measured() -> None:
    failed = learner("kd", 0, 0.5) | {"efficiency": None, "test": None, "validation": None}
    failed["failure"] = {"epoch": 1, "step": 1, "term": "loss", "value": "nan"}
    arms = arms_of(judged([failed], Budget(megabytes=1, milliseconds=1)))
    assert budget_lines(arms) == ["budget: kd: MB: not measured; ms: not measured"]
    assert "not measured" in budget_table(arms)


def test_limits_in_words() -> None:
    assert allowed_in_words({"megabytes": 0.5}) == "at most 0.5 MB"
    assert allowed_in_words({"megabytes": 0.5, "milliseconds": 1.0, "multiply_adds": 1.25e9}) == (
        "at most 0.5 MB, 1 ms and 1,250 M multiply-adds"
    )
