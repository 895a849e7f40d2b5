"""Pieces of HTML. Every text from a run passes `escape`: names of arms and classes may hold anything."""

from __future__ import annotations

import html
import itertools
import json
import re
from collections.abc import Sequence
from typing import Any

_ESCAPED = re.compile(r"\\([\\|*<>\[\]`$_])")
_SPAN = re.compile(r"\*\*(.+?)\*\*|`([^`]+)`")
_CELL = re.compile(r"(?<!\\)(?:\\\\)*\|")
_NUMBER = re.compile(r"[+−-]?[\d,]*\.?\d+")


def escape(text: object) -> str:
    """Any text as HTML, for elements and quoted attributes."""
    return html.escape(str(text), quote=True)


def inline(markdown: str) -> str:
    """A line of the report's Markdown (`**strong**`, `code`, escaped characters) as HTML."""
    hidden = _ESCAPED.sub(lambda match: chr(0xE000 + ord(match[1])), markdown)

    def span(match: re.Match[str]) -> str:
        return f"<strong>{match[1]}</strong>" if match[1] is not None else f"<code>{match[2]}</code>"

    shown = _SPAN.sub(span, html.escape(hidden, quote=False))
    return re.sub("[\ue000-\ue07f]", lambda match: html.escape(chr(ord(match[0]) - 0xE000)), shown)


def table_of(markdown: str, caption: str, *, sortable: bool = True) -> str:
    """A Markdown table of the report, which may have a line of text above it, as a table; empty if it is.

    sortable: see `table_html`.
    """
    *above, table = markdown.split("\n\n")
    if not table.startswith("|"):
        return ""
    header, _, *rows = (_cells(line) for line in table.splitlines())
    text = "".join(f"<p>{inline(part)}</p>" for part in above)
    cells = [[inline(one) for one in row] for row in rows]
    return text + table_html([inline(one) for one in header], cells, caption, sortable=sortable)


def table_html(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str, *, sortable: bool = True) -> str:
    """A table whose cells are HTML; the first column names the row. Empty without rows.

    sortable: by the script of the page. A heading is then a button, so that keyboards sort too, and cells that begin
    with a number are sorted by it.
    """
    if not rows:
        return ""
    heading = '<button type="button" class="sort">{}</button>' if sortable else "{}"
    heads = "".join(f'<th scope="col">{heading.format(one)}</th>' for one in header)
    body = "".join(f"<tr>{''.join(map(_cell, range(len(row)), row))}</tr>" for row in rows)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table class="sortable">'
        f"<caption>{escape(caption)}</caption><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def section(name: str, title: str, body: str) -> str:
    """A section of the page; empty if the body is."""
    return f'<h2 id="{name}-title">{escape(title)}</h2>{body}' if body else ""


def disclosure(title: str, body: str) -> str:
    """A part that is closed at first; empty if the body is."""
    return f"<details><summary>{escape(title)}</summary>{body}</details>" if body else ""


def embedded_json(data: Any) -> str:
    """Data for a script element: no text in it can end the element or begin a comment."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e").replace("\u2028", "\\u2028")


def _cells(line: str) -> list[str]:
    places = [match.end() for match in _CELL.finditer(line)]
    return [line[start : end - 1].strip() for start, end in itertools.pairwise(places)]


def _cell(place: int, content: str) -> str:
    if place == 0:
        return f'<th scope="row">{content}</th>'
    number = _NUMBER.match(content)
    value = f' data-value="{number[0].replace(",", "").replace("−", "-")}"' if number else ""
    return f"<td{value}>{content}</td>"
