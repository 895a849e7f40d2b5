"""Every `limbeck …` in the documentation is a command that the real command line takes; cheap ones are run."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from documentation import Block, blocks

from limbeck.cli import app, commands
from limbeck.commands.catalogue import CATEGORIES, copy_shipped
from limbeck.deployment.bench import EXTRAS
from limbeck.deployment.formats import find_format
from limbeck.deployment.onnx_int8 import check_calibration
from limbeck.recipes.load import load_recipe
from limbeck.recipes.registry import find

WRITTEN = [
    (block, line[line.index("limbeck ") :])
    for block in blocks("sh")
    for line in block.text.splitlines()
    if line.startswith("limbeck ") or " -m limbeck " in line
]


def parsed(words: list[str]) -> dict[str, Any]:
    """What the command line makes of the words of a command, without running it."""
    command = typer.main.get_command(app).commands[words[0]]  # pyright: ignore[reportAttributeAccessIssue]
    return command.make_context(words[0], words[1:]).params


@pytest.mark.parametrize(("block", "line"), WRITTEN, ids=[line for _, line in WRITTEN])
def test_a_command_is_one(block: Block, line: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    words = shlex.split(line, comments=True)[1:]
    words = words[: words.index(">")] if ">" in words else words  # the shell's affair
    assert words[0] in commands(), block
    given = parsed(words)
    if words[0] in ("run", "sweep", "views"):
        if not Path("mine.yaml").exists():
            copy_shipped("quickstart", Path("mine.yaml"))
        recipe = load_recipe(given["recipe"], given["overrides"] or ())
        assert (recipe.sweep is not None) == (words[0] == "sweep")
    elif words[0] == "list":
        assert given["category"] in CATEGORIES
    elif words[0] == "check":
        find("data", given["source"])
    elif words[0] == "export":
        assert {find_format(name).name for name in given["to"]} == {*given["to"]}
        check_calibration(given["calibration"])
        if given["data"]:
            find("data", given["data"])
    elif words[0] == "bench":
        assert {*(given["with_"] or ())} <= {*EXTRAS}
    elif words[0] in ("evaluate", "import"):
        if given["model"]:
            find("models", given["model"])
        if given.get("data"):
            find("data", given["data"])


def test_a_wrong_command_is_noticed() -> None:
    with pytest.raises(Exception, match="No such option"):
        parsed(["run", "quickstart", "--dry"])


def test_there_are_commands_to_look_at() -> None:
    assert {line.split()[1] for _, line in WRITTEN} == {*commands()}, "every command is shown somewhere"


TO_RUN = [block for block in blocks("sh") if block.run]


@pytest.mark.middle
@pytest.mark.usefixtures("teacher")
@pytest.mark.parametrize("page", dict.fromkeys(block.page for block in TO_RUN))
def test_the_blocks_of_a_page_run_one_after_the_other(page: str, place: Path, limbeck: Callable[[str], int]) -> None:
    (place / "mine.yaml").unlink(missing_ok=True)  # `limbeck new` overwrites nothing
    for block in TO_RUN:
        if block.page == page:
            for line in block.text.splitlines():
                assert limbeck(line) == 0, f"{block}: {line}"
