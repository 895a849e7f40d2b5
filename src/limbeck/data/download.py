"""One file over https: resumed where it stopped, checked, then renamed into place."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from limbeck.console import progress_bar
from limbeck.errors import LimbeckError
from limbeck.storage.atomic import is_at, publish
from limbeck.storage.lock import wait_for_lock

CHUNK = 1 << 20
LIMIT = 1 << 30  # bytes: no server fills the disk
TIMEOUT = 30.0  # seconds without a byte


class HttpsOnly(urllib.request.HTTPRedirectHandler):
    """Follows a redirect only to https: never down to a connection that anyone may change."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # noqa: D102
        if urlsplit(newurl).scheme != "https":
            raise LimbeckError(f"{req.full_url}: redirects to {newurl}, which is not https; refused")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(url: str, target: Path, *, sha256: str) -> None:
    """Fetch `url` to `target`. What lies at `target` afterwards has this SHA-256.

    Raises LimbeckError in one line where there is no network, no room, or another file than the known one.
    """
    if urlsplit(url).scheme != "https":
        raise LimbeckError(f"{url}: not https; refused")
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        HttpsOnly(),
    ):
        opener.add_handler(handler)
    stream(opener, url, target, sha256=sha256)


def stream(opener: urllib.request.OpenerDirector, url: str, target: Path, *, sha256: str) -> None:
    """The same through an opener that decides which connections are allowed."""
    part = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(part, target, f"waiting for another process that fetches {url}") as file:
            if target.is_file():  # fetched while we waited
                return
            try:
                _receive(opener, url, file)
            except (http.client.HTTPException, OSError) as error:  # URLError is an OSError
                reason = error if isinstance(error, urllib.error.HTTPError) else getattr(error, "reason", error)
                raise LimbeckError(
                    f"{url}: cannot be fetched: {reason}; try again to go on where it stopped, "
                    f"put the file into {target.parent}, or name it with path: …/{target.name}"
                ) from error
            file.seek(0)
            try:
                check_sha256(file, sha256, url)
            except LimbeckError:
                part.unlink()  # going on from wrong bytes would never end well
                raise
            publish(part, target)
    except OSError as error:
        raise LimbeckError(
            f"{target.parent}: cannot be written: {error.strerror or error}; set LIMBECK_DATA to another folder"
        ) from error


@contextmanager
def _locked(part: Path, target: Path, message: str) -> Iterator[IO[bytes]]:
    """What is there of the file, held by this process alone; anything once `target` is there."""
    while True:
        with part.open("a+b") as file:
            wait_for_lock(file, lambda: progress_bar.notice(message))
            if target.is_file() or is_at(part, file.fileno()):
                yield file
                return
        # While we waited, its holder removed it because its bytes were wrong.


def _receive(opener: urllib.request.OpenerDirector, url: str, file: IO[bytes]) -> None:
    start = file.seek(0, os.SEEK_END)
    request = urllib.request.Request(url, headers={"User-Agent": "limbeck", "Accept-Encoding": "identity"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        response = opener.open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        return  # nothing is left to fetch: the checksum decides whether that is true
    assert response is not None
    with response:
        answered = response.headers.get("Content-Range", "")
        if start and not (response.status == 206 and answered.startswith(f"bytes {start}-")):
            file.truncate(0)  # the server gives it whole
            start = 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length and length.isdigit() else 0
        with progress_bar.bar(f"fetching {url.rpartition('/')[2]}", total) as advance:
            advance(start)
            received = start
            while data := response.read(CHUNK):
                received += len(data)
                if received > LIMIT:
                    file.truncate(0)
                    raise LimbeckError(f"{url}: more than {LIMIT >> 20} MiB; refused")
                _write(file, data, url)
                advance(len(data))
        if total and received < total:
            raise http.client.IncompleteRead(b"", total - received)


def _write(file: IO[bytes], data: bytes, url: str) -> None:
    try:
        file.write(data)
        file.flush()
    except OSError as error:  # the disk's fault, not the network's
        raise LimbeckError(f"{url}: cannot be kept: {error.strerror}; set LIMBECK_DATA to another folder") from error


def check_sha256(file: IO[bytes], expected: str, where: Path | str) -> None:
    """Read an open file to its end. Raises LimbeckError that names both checksums if they differ."""
    actual = hashlib.file_digest(file, "sha256").hexdigest()  # pyright: ignore[reportArgumentType]
    if actual != expected:
        raise LimbeckError(
            f"{where}: not the official file: its SHA-256 is {actual}, the official one is {expected}; nothing was read"
        )
