"""`limbeck watch`: the page of a run, live while the run goes on. It only reads, and needs no torch."""

from __future__ import annotations

import functools
import hashlib
import sys
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from limbeck.errors import LimbeckError
from limbeck.report.run_data import read_run
from limbeck.report.web_page.contents import Contents, contents_of
from limbeck.report.web_page.write import has_charts, live_json, page_html
from limbeck.storage.lock import is_locked

from .serve import HOST, serve_with

WATCHED = ("*.json", "cohorts/*/done.json", "cohorts/*/metrics/*.jsonl", "models/*/model.json")
"""The files whose change is news, below a run, the final runs of a sweep and its batches."""


def watch(folders: Sequence[Path], port: int) -> None:
    """Serve the page of these runs until Ctrl-C. Raises LimbeckError for what is no run, or where the port is taken."""
    watched = WatchedRuns(folders)
    watched.contents()
    try:
        serve_with(functools.partial(_Handler, watched=watched), port)
    except KeyboardInterrupt:
        print("limbeck: stopped watching", file=sys.stderr)
        raise


class WatchedRuns:
    """The page of run directories, read again when their files have changed."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = tuple(folders)
        self._lock = threading.Lock()
        self._version = ""
        self._contents: Contents | None = None

    def version(self) -> str:
        """Changes whenever a file of the runs does, or a process begins or ends its work on them."""
        digest = hashlib.sha256()
        for folder in self.folders:
            digest.update(str(is_locked(folder / "run.lock")).encode())
            for path in _files(folder):
                try:
                    stat = path.stat()
                except OSError:  # removed since
                    continue
                digest.update(f"{path} {stat.st_size} {stat.st_mtime_ns}\n".encode())
        return digest.hexdigest()[:32]

    def contents(self) -> tuple[str, Contents]:
        """The version and the page of the runs as they are now. Raises LimbeckError where none can be read."""
        with self._lock:
            version = self.version()
            if self._contents is None or version != self._version:
                records = [read_run(folder) for folder in self.folders]
                self._contents = contents_of(records, has_charts=has_charts())
                self._version = version
            return version, self._contents


def _files(folder: Path) -> Iterator[Path]:
    for pattern in WATCHED:
        for below in ("", "chosen/", "search/*/"):
            yield from sorted(folder.glob(below + pattern))


class _Handler(BaseHTTPRequestHandler):
    """Answers `/` with the page and `/live.json` with what has changed since; nothing else."""

    def __init__(self, *arguments: Any, watched: WatchedRuns) -> None:
        self.watched = watched
        super().__init__(*arguments)

    def do_GET(self) -> None:
        """Answer a request. Only pages of this machine may ask: a name that resolves to it from elsewhere may not."""
        if (self.headers.get("Host") or "").partition(":")[0] not in (HOST, "localhost"):
            return self._answer(403, "text/plain", f"limbeck watch answers at {HOST} only\n")
        path = self.path.partition("?")[0]
        if path not in ("/", "/index.html", "/live.json"):
            return self._answer(404, "text/plain", "not found\n")
        try:
            version, contents = self.watched.contents()
        except LimbeckError as error:  # the run was removed, or is being started anew
            return self._answer(503, "text/plain", f"{error}\n")
        if path != "/live.json":
            return self._answer(200, "text/html", page_html(contents, live=True))
        if self.headers.get("If-None-Match") == f'"{version}"':
            return self._answer(304, "application/json", "", version)
        return self._answer(200, "application/json", live_json(contents), version)

    def _answer(self, code: int, kind: str, text: str, version: str = "") -> None:
        body = text.encode()
        try:
            self.send_response(code)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            if version:
                self.send_header("ETag", f'"{version}"')
            self.end_headers()
            self.wfile.write(body)
        except ConnectionError:  # the browser went away
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """No line for each request."""
