"""The documentation as tests see it: pages with generated parts filled in, and their code blocks."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md")))
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


@dataclass(frozen=True)
class Block:
    """A fenced block of a page. line: of its first line of text. run: whether its text is to be run as it stands."""

    page: str
    line: int
    language: str
    run: bool
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@functools.cache
def generator() -> ModuleType:
    """`docs/generate.py`."""
    sys.path.insert(0, str(DOCS))
    try:
        import generate
    finally:
        sys.path.remove(str(DOCS))
    return generate


@functools.cache
def generated() -> dict[str, str]:
    """The generated pages, by file name."""
    return generator().pages()


def text_of(page: Path) -> str:
    """A page as readers see it, with what it includes."""

    def included(match: re.Match[str]) -> str:
        target, options = match[1], dict(re.findall(r":([\w-]+): (.+)", match[2]))
        if target.startswith("generated/"):
            return generated()[target.removeprefix("generated/")]
        text = (page.parent / target).read_text(encoding="utf-8")
        text = text.partition(options["start-after"])[2] if "start-after" in options else text
        return text.partition(options["end-before"])[0] if "end-before" in options else text

    return re.sub(r"```\{include\} (\S+)\n((?::.*\n)*)```", included, page.read_text(encoding="utf-8"))


def recipe_called(name: str) -> str:
    """A recipe that Getting started has its readers write."""
    (block,) = (
        block
        for block in blocks("yaml")
        if block.page == "docs/getting-started.md" and block.text.startswith(f"name: {name}\n")
    )
    return block.text


def blocks(language: str) -> list[Block]:
    """All code blocks of a language, in all pages that are written by hand."""
    return [block for page in PAGES for block in _blocks(page) if block.language == language]


def _blocks(page: Path) -> Iterator[Block]:
    lines = page.read_text(encoding="utf-8").splitlines()
    start, info = 0, None
    for number, line in enumerate(lines, 1):
        if info is None and line.startswith("```") and not line.startswith("```{"):
            start, info = number + 1, line.removeprefix("```").split()
        elif info is not None and line == "```":
            text = "\n".join(lines[start - 1 : number - 1]) + "\n"
            if info:
                yield Block(str(page.relative_to(ROOT)), start, info[0], "run" in info[1:], text)
            info = None
        elif line.startswith("```{"):
            start, info = number + 1, []
