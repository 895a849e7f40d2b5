from __future__ import annotations

import fcntl
import hashlib
import http.server
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from limbeck.data import download
from limbeck.errors import LimbeckError

DATA = bytes(range(256)) * 9000
SHA256 = hashlib.sha256(DATA).hexdigest()


class Server(http.server.BaseHTTPRequestHandler):
    """Serves DATA: whole, from a place on, cut short, or from elsewhere."""

    asked: list[str | None]

    def do_GET(self):
        wanted = self.headers.get("Range")
        self.asked.append(wanted)
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/data.bin")
            self.end_headers()
            return
        if self.path == "/missing":
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.path != "/no-ranges" else 0
        if start >= len(DATA):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(DATA) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(DATA) - 1}/{len(DATA)}")
        self.end_headers()
        self.wfile.write(DATA[start : start + 1_500_000] if self.path == "/cut" else DATA[start:])

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    Server.asked = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def plain_opener() -> urllib.request.OpenerDirector:
    """What `download` uses, but for http, which a test server speaks without a certificate."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.HTTPHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        download.HttpsOnly(),
    ):
        opener.add_handler(handler)
    return opener


def fetch(url: str, target: Path, sha256: str = SHA256) -> None:
    download.stream(plain_opener(), url, target, sha256=sha256)


def test_a_file_arrives_whole_and_alone(server, tmp_path):
    fetch(f"{server}/data.bin", tmp_path / "new" / "data.bin")
    assert (tmp_path / "new" / "data.bin").read_bytes() == DATA
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["data.bin"]


def test_a_connection_that_breaks_is_taken_up_where_it_stopped(server, tmp_path):
    target = tmp_path / "data.bin"
    with pytest.raises(LimbeckError, match="try again"):
        fetch(f"{server}/cut", target)
    assert not target.exists()
    got = (tmp_path / "data.bin.part").stat().st_size
    assert 0 < got <= 1_500_000
    fetch(f"{server}/data.bin", target)
    assert target.read_bytes() == DATA
    assert Server.asked == [None, f"bytes={got}-"]


def test_a_server_without_ranges_starts_anew(server, tmp_path):
    (tmp_path / "data.bin.part").write_bytes(DATA[:1000])
    fetch(f"{server}/no-ranges", tmp_path / "data.bin")
    assert (tmp_path / "data.bin").read_bytes() == DATA


def test_a_part_that_is_already_whole_is_taken(server, tmp_path):
    (tmp_path / "data.bin.part").write_bytes(DATA)
    fetch(f"{server}/data.bin", tmp_path / "data.bin")
    assert (tmp_path / "data.bin").read_bytes() == DATA


def test_another_file_than_the_known_one_is_thrown_away(server, tmp_path):
    with pytest.raises(LimbeckError, match=f"{SHA256}.*{'0' * 64}"):
        fetch(f"{server}/data.bin", tmp_path / "data.bin", "0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_end_is_refused(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "MAX_BYTES", 2_000_000)
    with pytest.raises(LimbeckError, match="more than"):
        fetch(f"{server}/data.bin", tmp_path / "data.bin")
    assert not (tmp_path / "data.bin").exists()


def test_only_https_is_fetched(tmp_path):
    for url in ("http://example.org/a.tar.gz", "file:///etc/passwd", "ftp://example.org/a.tar.gz"):
        with pytest.raises(LimbeckError, match="not HTTPS"):
            download.download(url, tmp_path / "x", sha256=SHA256)
    assert list(tmp_path.iterdir()) == []


def test_a_redirect_to_http_is_refused(server, tmp_path):
    with pytest.raises(LimbeckError, match=r"redirects to http://.*not HTTPS"):
        fetch(f"{server}/moved", tmp_path / "data.bin")
    assert Server.asked == [None]  # the second address was never asked


@pytest.mark.parametrize("path", ["missing", None])
def test_no_file_and_no_network_say_what_to_do(server, path, tmp_path):
    url = f"{server}/{path}" if path else "http://127.0.0.1:9/data.bin"
    with pytest.raises(LimbeckError, match="cannot be downloaded") as caught:
        fetch(url, tmp_path / "data.bin")
    assert "path:" in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_who_fetch_the_same_file_both_get_it(server, tmp_path):
    target = tmp_path / "data.bin"
    threads = [threading.Thread(target=fetch, args=(f"{server}/data.bin", target)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert target.read_bytes() == DATA
    assert Server.asked == [None]  # one of them asked


def test_a_part_that_is_removed_while_another_waits_for_it_is_begun_anew(server, tmp_path):
    target, part = tmp_path / "data.bin", tmp_path / "data.bin.part"
    thread = threading.Thread(target=fetch, args=(f"{server}/data.bin", target))
    with part.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        thread.start()
        time.sleep(0.2)
        part.unlink()  # as one does who has found wrong bytes in it
    thread.join()
    assert target.read_bytes() == DATA
    assert [path.name for path in tmp_path.iterdir()] == ["data.bin"]


def test_a_folder_that_cannot_be_written_says_what_to_do(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LimbeckError, match="LIMBECK_DATA"):
        fetch(f"{server}/data.bin", tmp_path / "file" / "data.bin")
