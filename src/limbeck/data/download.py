"""Download one file over HTTPS: resume a partial download, verify the checksum, then rename the file into place."""

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
MAX_BYTES = 1 << 30  # so that no server can fill the disk
TIMEOUT = 30.0  # seconds without data


class HttpsOnly(urllib.request.HTTPRedirectHandler):
    """Follow redirects only to HTTPS, never to an unencrypted connection."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # noqa: D102
        if urlsplit(newurl).scheme != "https":
            raise LimbeckError(f"{req.full_url}: redirects to {newurl}, which is not HTTPS; refused")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(url: str, target: Path, *, sha256: str) -> None:
    """Download `url` to `target` and verify its SHA-256.

    Raises LimbeckError if the network fails, the disk is full or the checksum differs.
    """
    if urlsplit(url).scheme != "https":
        raise LimbeckError(f"{url}: not HTTPS; refused")
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
    """Like `download`, with an opener that decides which connections are allowed."""
    part = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(part, target, f"waiting for another process that downloads {url}") as file:
            if target.is_file():  # another process finished the download
                return
            try:
                _receive(opener, url, file)
            except (http.client.HTTPException, OSError) as error:  # URLError is an OSError
                reason = error if isinstance(error, urllib.error.HTTPError) else getattr(error, "reason", error)
                raise LimbeckError(
                    f"{url}: cannot be downloaded: {reason}; try again to resume the download, "
                    f"put the file into {target.parent}, or set path: …/{target.name}"
                ) from error
            file.seek(0)
            try:
                check_sha256(file, sha256, url)
            except LimbeckError:
                part.unlink()  # a download resumed from wrong bytes could never succeed
                raise
            publish(part, target)
    except OSError as error:
        raise LimbeckError(
            f"{target.parent}: cannot be written: {error.strerror or error}; set LIMBECK_DATA to another folder"
        ) from error


@contextmanager
def _locked(part: Path, target: Path, message: str) -> Iterator[IO[bytes]]:
    """The partial file, locked by this process. If `target` exists, the file has no meaning."""
    while True:
        with part.open("a+b") as file:
            wait_for_lock(file, lambda: progress_bar.notice(message))
            if target.is_file() or is_at(part, file.fileno()):
                yield file
                return
        # While this process waited, another one removed the partial file because its checksum was wrong.


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
        return  # the server says that the file is complete; the checksum decides
    assert response is not None
    with response:
        answered = response.headers.get("Content-Range", "")
        if start and not (response.status == 206 and answered.startswith(f"bytes {start}-")):
            file.truncate(0)  # the server ignores the range and sends the whole file
            start = 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length and length.isdigit() else 0
        with progress_bar.bar(f"downloading {url.rpartition('/')[2]}", total) as advance:
            advance(start)
            received = start
            while data := response.read(CHUNK):
                received += len(data)
                if received > MAX_BYTES:
                    file.truncate(0)
                    raise LimbeckError(f"{url}: more than {MAX_BYTES >> 20} MiB; refused")
                _write(file, data, url)
                advance(len(data))
        if total and received < total:
            raise http.client.IncompleteRead(b"", total - received)


def _write(file: IO[bytes], data: bytes, url: str) -> None:
    try:
        file.write(data)
        file.flush()
    except OSError as error:  # a disk error, not a network error
        raise LimbeckError(f"{url}: cannot be stored: {error.strerror}; set LIMBECK_DATA to another folder") from error


def check_sha256(file: IO[bytes], expected: str, where: Path | str) -> None:
    """Hash an open file to its end. Raises LimbeckError that names both checksums if they differ."""
    actual = hashlib.file_digest(file, "sha256").hexdigest()  # pyright: ignore[reportArgumentType]
    if actual != expected:
        raise LimbeckError(
            f"{where}: not the official file: its SHA-256 is {actual}, expected {expected}; nothing was read"
        )
