"""`index.html`: the page of a run as one file that asks the network for nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

from limbeck.report.run_data import RunRecord
from limbeck.storage.atomic import write_file

from .contents import TYPES, Contents, Figure, contents_of
from .markup import embedded_json, escape

FILES = Path(__file__).parent
LIBRARY = ("uPlot.iife.min.js", "uPlot.min.css")
"""The files of uPlot that charts need. `make web` copies them from its npm package."""


def has_charts() -> bool:
    """Whether the chart library is installed."""
    return all((FILES / name).is_file() for name in LIBRARY)


def write_index(folder: Path, records: Sequence[RunRecord], figures: Sequence[Figure] = ()) -> Path:
    """Write `index.html` of one run, or of a comparison of several; returns its path. Raises WriteError."""
    path = folder / "index.html"
    write_file(path, page_html(contents_of(records, figures, has_charts=has_charts())).encode())
    return path


def figures_of(files: Mapping[str, bytes], alts: Mapping[str, str]) -> list[Figure]:
    """One figure for each name: its SVG, or the PNG where that is smaller. alts: what they show, by their stem."""
    by_stem: dict[str, list[str]] = {}
    for name in files:
        if PurePath(name).suffix in TYPES:
            by_stem.setdefault(PurePath(name).stem, []).append(name)
    smallest = {stem: min(names, key=lambda name: len(files[name])) for stem, names in by_stem.items()}
    return [Figure(name, alts.get(stem, stem.replace("-", " ")), files[name]) for stem, name in smallest.items()]


def page_html(contents: Contents, *, live: bool = False) -> str:
    """The page as text. live: it asks its server for changes.

    Scripts run only if they have the hashes that the page names, so a script in a name of the run could not run even if
    it were not escaped.
    """
    library = "" if not has_charts() else _text(LIBRARY[0])
    scripts = [library, _text("page.js")]
    hashes = " ".join(f"'sha256-{_digest(script)}'" for script in scripts if script)
    answers = "'self'" if live else "'none'"
    policy = (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; connect-src {answers}; "
        "base-uri 'none'; form-action 'none'"
    )
    data = {"live": live, "state": contents.state, "charts": contents.charts}
    parts = {
        "title": escape(contents.title),
        "policy": policy,
        "style": (_text(LIBRARY[1]) if library else "") + _text("page.css"),
        "sections": "".join(_section(name, body) for name, body in contents.sections.items()),
        "data": embedded_json(data),
        "library": f"<script>{library}</script>" if library else "",
        "script": scripts[1],
    }
    pieces = _text("index.html").split("{{")  # one pass: what is put in is not searched again
    return pieces[0] + "".join(parts[key] + rest for key, _, rest in (piece.partition("}}") for piece in pieces[1:]))


def live_json(contents: Contents) -> str:
    """What a live page asks for: its sections and the data of its charts."""
    return embedded_json(
        {
            "title": contents.title,
            "state": contents.state,
            "sections": dict(contents.sections),
            "charts": contents.charts,
        }
    )


def _section(name: str, body: str) -> str:
    label = f'aria-labelledby="{name}-title"' if f'id="{name}-title"' in body else f'aria-label="{name}"'
    return f'<section id="{name}" {label}{"" if body else " hidden"}>{body}</section>'


def _text(name: str) -> str:
    return (FILES / name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
