"""Every internal link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from documentation import DOCS, NAMES, PAGES, ROOT, text_of


def prose(text: str) -> str:
    """A page without its code."""
    text = re.sub(r"^(`{3,})(?!\{py).*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`", "code", text)


def anchors(page: Path) -> set[str]:
    """What can be linked to in a page: headings, as GitHub and the site name them, and explicit targets."""
    text = text_of(page)
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    slugs = {
        re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).strip().replace(" ", "-") for heading in headings
    }
    return slugs | {slug.replace("_", "-") for slug in slugs} | set(re.findall(r"^\(([\w-]+)\)=$", text, re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_resolve(page: Path) -> None:
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(text_of(page))):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            wrong.append(target)
    assert not wrong


def test_a_broken_link_is_noticed() -> None:
    assert "own-teacher" in anchors(DOCS / "getting-started.md")
    assert "own-master" not in anchors(DOCS / "getting-started.md")


def test_the_site_has_every_page() -> None:
    tree = re.findall(r"^[a-z-]+$", (DOCS / "index.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert {*tree} == {page.stem for page in PAGES if page.parent == DOCS} - {"index"}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_lines_are_even(page: Path) -> None:
    """Prose stays within 120 characters; tables, code and links are as long as they must be."""
    inside = False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        inside ^= line.startswith("```")
        if not inside and not line.startswith(("|", "```")):
            assert len(line) <= 120, f"{page.relative_to(ROOT)}:{number}"
