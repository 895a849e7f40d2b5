"""The page of a run: what it says, what it escapes, and how it behaves in a real browser, from a file and live."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from browser import visit
from sample_results import curve, result_of, three_arms

from limbeck.experiment.run import Run
from limbeck.report.run_data import RunRecord, SweepRecord, read_run, record_of_result
from limbeck.report.web_page import write as room
from limbeck.report.web_page.contents import Figure, contents_of
from limbeck.report.web_page.headline import headline, warnings
from limbeck.report.web_page.markup import embedded_json, table_of
from limbeck.report.web_page.progress import time_left
from limbeck.report.web_page.sweep import sweep_html
from limbeck.report.web_page.write import page_html, write_index

needs_charts = pytest.mark.skipif(not room.has_charts(), reason="`make web` was not run")
EVIL = "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">&\u2028'"


@pytest.fixture
def record(curves: Any, tmp_path: Path) -> RunRecord:
    return record_of_result(tmp_path, result_of(three_arms()), curves)


def test_two_sentences_say_what_was_won_at_what_price_with_the_interval(record: RunRecord) -> None:
    first, second = headline(record)
    assert "reaches 83.41 ± 0.11 %" in first
    assert "2.81 points below its teacher" in first
    assert "43.7 times fewer parameters" in first
    assert "1.20 points more than" in second
    assert re.search(r"95 % confidence interval \+\d\.\d\d to \+\d\.\d\d, 3 random seeds", second)


def test_no_sentence_claims_what_one_seed_does_not_show(tmp_path: Path) -> None:
    single = record_of_result(tmp_path, result_of(three_arms(1)), {})
    (line,) = warnings(single)
    assert line.startswith("n = 1: every student has results of a single seed")
    second = headline(single)[1]
    assert "more than" not in second
    assert "takes at least 3" in second


def test_what_goes_on_stopped_or_failed_says_so(record: RunRecord) -> None:
    assert warnings(record) == []
    assert "goes on" in warnings(replace(record, state="running"))[0]
    assert "repeat its command" in warnings(replace(record, state="stopped"))[0]
    arms = three_arms()
    arms[-1] |= {"failure": {"epoch": 3, "step": 7, "term": "soft_targets", "value": "nan"}, "test": None}
    lines = warnings(record_of_result(record.folder, result_of(arms), {}))
    assert any(line.startswith("Failed: distilled (seed 2) failed at epoch 3, step 7") for line in lines)


def test_a_text_of_the_run_is_never_markup(tmp_path: Path) -> None:
    result = result_of(three_arms())
    for arm in result["arms"]:
        arm["arm"] = EVIL + arm["arm"]
        arm["teacher"] = [EVIL + name for name in arm["teacher"]]
        arm["baseline"] = arm["baseline"] and EVIL + arm["baseline"]
    result |= {"class_names": [EVIL + str(place) for place in range(10)], "command": EVIL}
    result["recipe"] = {"name": EVIL, "students": {EVIL: {}}}
    record = record_of_result(tmp_path, result, {(EVIL + "distilled", 0): curve(0.8)})
    figure = Figure("arms.svg", EVIL, b"<svg xmlns='http://www.w3.org/2000/svg'/>")
    text = page_html(contents_of([record], [figure], has_charts=room.has_charts()))
    assert "<img src=x" not in text
    assert text.count("<script") == 2 + room.has_charts()
    data = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)
    assert data
    assert json.loads(data[1])["charts"]["arms"][0]["name"] == EVIL + "distilled", "and nothing is lost"


def test_embedded_data_ends_no_script() -> None:
    text = embedded_json({"name": EVIL + "<!--"})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text)["name"] == EVIL + "<!--"


def test_cells_keep_what_they_say() -> None:
    html = table_of("| Arm | Top-1 |\n| :-- | --: |\n| a\\|b \\*c\\* | −1,234.50 ± 2 |\n| **d** | – |", "Title")
    assert ">a|b *c*<" in html
    assert 'data-value="-1234.50">−1,234.50 ± 2<' in html
    assert "<strong>d</strong>" in html


def test_figures_that_are_too_large_are_named_and_the_page_stays_below_5_mb(record: RunRecord) -> None:
    figures = [Figure(f"f{place}.png", "picture", bytes(10**6)) for place in range(9)]
    write_index(record.folder, [record], figures)
    path = record.folder / "index.html"
    assert path.stat().st_size < 5e6
    assert "Too large for this page, in figures/: f2.png" in path.read_text()


def test_fifty_long_arms_stay_below_5_mb(tmp_path: Path) -> None:
    curves = {(f"arm {place}", seed): curve(0.8, epochs=200) for place in range(50) for seed in range(3)}
    write_index(tmp_path, [record_of_result(tmp_path, result_of([]), curves)])
    assert (tmp_path / "index.html").stat().st_size < 5e6


def test_several_runs_stand_side_by_side(record: RunRecord, curves: Any, tmp_path: Path) -> None:
    other = record_of_result(tmp_path / "other", result_of(three_arms()), curves)
    contents = contents_of([record, other], has_charts=True)
    names = [arm["name"] for arm in contents.charts["arms"]]
    assert len(set(names)) == 6
    assert "other: distilled" in names
    assert contents.sections["results"].count("+1.20 [") == 2, "each is compared with the baseline of its own run"


def test_without_the_library_the_page_has_the_figures_and_says_what_brings_charts(record: RunRecord) -> None:
    figures = [Figure("accuracy.svg", "accuracy by epoch", b"<svg/>")]
    with_, without = (contents_of([record], figures, has_charts=found).sections for found in (True, False))
    assert "make web" in without["curves"]
    assert 'alt="accuracy by epoch"' in without["curves"]
    assert "<img" not in with_["curves"] + with_["figures"], "its chart takes its place"


def test_the_heat_map_fills() -> None:
    trials = tuple({"loss.0.temperature": t, "optimizer.lr": lr} for t in (2.0, 4.0) for lr in (0.1, 0.2))
    sweep = SweepRecord(
        tuple(trials[0]), trials, {"kd": [[0.7], [], [0.8], []]}, {"kd": ["finished", "", "finished", ""]},
        ("kd",), {"kd": 2}, None,
    )  # fmt: skip
    html = sweep_html(sweep)
    assert html.count('<td class="waiting">…</td>') == 2
    assert "(2 of 4 so far)" in html
    assert re.search(r"80\.00 <span class=\"mark\">best", html)


def test_time_left_is_that_of_the_epochs_that_are_missing(tmp_path: Path) -> None:
    recipe = {"seeds": [0], "students": {name: {"loss": [{}], "epochs": 10} for name in ("a", "b", "waiting")}}
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    metrics = tmp_path / "cohorts" / "one" / "metrics"
    metrics.mkdir(parents=True)
    for name in ("a", "b"):
        path = metrics / f"{name}-seed0.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in curve(0.8, epochs=4)))
        os.utime(path, (1000, 1000))
    # 6 epochs of 8 s for both, of which 2 s have passed; then 10 epochs of half a cohort's pace
    assert time_left(read_run(tmp_path), now=1002.0) == pytest.approx(6 * 8 - 2 + 10 * 4)


def test_a_run_writes_its_page(finished: Run) -> None:
    text = (finished.folder / "index.html").read_text()
    for words in ("small-ensemble", "limbeck run small-ensemble.yaml", "distilled", "Data set"):
        assert words in text


def outside(requests: list[str], where: str) -> list[str]:
    return [one for one in requests if not one.startswith((where, "data:"))]


@needs_charts
@pytest.mark.middle
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_in_a_browser(finished: Run, width: int) -> None:
    where = (finished.folder / "index.html").as_uri()
    with visit(where, width=width) as found:
        page = found.page
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is wider than the screen"
        assert page.locator(".plot canvas").count() == 4
        # a table by mouse, then by keyboard
        table = page.locator("table.sortable").first
        head = table.locator("th[scope=col]").nth(2)

        def column() -> list[float]:
            return [float(cell.get_attribute("data-value")) for cell in table.locator("tbody tr td:nth-child(3)").all()]

        before = column()
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == "descending"
        assert column() == sorted(before, reverse=True)
        head.locator("button").press("Enter")
        assert head.get_attribute("aria-sort") == "ascending"
        assert column() == sorted(before)
        # an arm is switched off: it is neither drawn nor read out
        button = page.locator("#arms button", has_text="baseline")
        readout = page.locator(".readout").first
        plot = page.locator(".plot").first
        plot.focus()
        page.keyboard.press("Home")
        assert "Epoch 1" in readout.inner_text()
        assert "baseline" in readout.inner_text()
        button.click()
        assert button.get_attribute("aria-pressed") == "false"
        page.keyboard.press("Tab")
        plot.focus()
        page.keyboard.press("ArrowLeft")
        assert "baseline" not in readout.inner_text()
        # a pointer shows values too, and the table behind the chart has them all
        box = plot.locator(".u-over").bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.95, box["y"] + 100)
        assert "Epoch 2" in readout.inner_text()
        page.locator(".chart summary").first.click()
        assert page.locator(".chart .values tbody tr").count() == 2
        assert found.errors == []
        assert outside(found.requests, where) == []


@needs_charts
@pytest.mark.middle
def test_no_name_runs_as_a_script(tmp_path: Path) -> None:
    result = result_of(three_arms())
    result["class_names"] = [EVIL + str(place) for place in range(10)]
    result["recipe"] = {"name": EVIL}
    write_index(tmp_path, [record_of_result(tmp_path, result, {("distilled", 0): curve(0.8)})])
    with visit((tmp_path / "index.html").as_uri()) as found:
        assert "taken" not in found.page.title().split("·")[-1]
        assert found.page.title().endswith("· Limbeck")
        assert found.page.locator(".plot canvas").count() == 4
        assert found.errors == []


@pytest.fixture
def watched(start: Any, finished: Run, tmp_path: Path) -> Iterator[tuple[str, Path, Any]]:
    """`limbeck watch` of a run that goes on: its address, its folder and its process."""
    folder = tmp_path / "run"
    shutil.copytree(finished.folder, folder)
    (folder / "result.json").unlink()
    process = start("watch", folder, "--port", 0, cwd=tmp_path)
    yield re.findall(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())[0], folder, process
    process.kill()
    process.wait()


@needs_charts
@pytest.mark.middle
def test_a_live_page_follows_the_run_to_its_end(watched: tuple[str, Path, Any], finished: Run) -> None:
    address, folder, _ = watched
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with visit(address) as found:
        page = found.page
        page.wait_for_selector("#status:has-text('Live')")
        assert "is not finished" in page.inner_text("#summary")
        assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before, "it only reads"
        page.locator("#arms button", has_text="baseline").click()
        shutil.copy(finished.folder / "result.json", folder / "result.json")
        page.wait_for_selector("#status:has-text('Finished')", timeout=15_000)
        assert "is not finished" not in page.inner_text("#summary")
        pressed = page.locator("#arms button", has_text="baseline").get_attribute("aria-pressed")
        assert pressed == "false", "what the reader chose stays"
        assert found.errors == []
        assert outside(found.requests, address) == []


@pytest.mark.middle
def test_the_server_answers_only_this_machine_and_ends_in_one_line(watched: tuple[str, Path, Any]) -> None:
    address, folder, process = watched

    def status(path: str, **headers: str) -> int:
        try:
            with urllib.request.urlopen(urllib.request.Request(address + path, headers=headers)) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    assert status("") == 200
    assert status("recipe.json") == 404
    assert status("../recipe.json") == 404
    assert status("", Host="evil.example") == 403, "a name that resolves to this machine"
    port = address.rsplit(":", 1)[1].strip("/")
    taken = run("watch", folder, "--port", port)
    assert taken.returncode == 2
    assert re.fullmatch(rf"limbeck: --port {port}: .*; give another, or 0 for any\n", taken.stderr)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    assert process.stderr.read() == "limbeck: stopped watching\n"


def run(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "limbeck", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_what_is_no_run_is_named(tmp_path: Path) -> None:
    done = run("watch", tmp_path / "nope", "--port", 0)
    assert (done.returncode, done.stderr) == (2, f"limbeck: {tmp_path / 'nope'}: does not exist; expected a run\n")


def test_watching_imports_no_torch() -> None:
    code = "import sys, limbeck.commands.watch; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
