"""Serve pages on this machine only."""

from __future__ import annotations

import functools
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from limbeck.errors import LimbeckError

HOST = "127.0.0.1"


class _Handler(SimpleHTTPRequestHandler):
    extensions_map = {  # noqa: RUF012 - the base class's own attribute
        **SimpleHTTPRequestHandler.extensions_map,
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def log_message(self, format: str, *args: Any) -> None:
        """No line for each request."""


def serve(folder: Path, port: int) -> None:
    """Print the address and serve a folder until Ctrl-C. Raises LimbeckError where the port is taken."""
    serve_with(functools.partial(_Handler, directory=str(folder)), port)


def serve_with(handler: Callable[..., BaseHTTPRequestHandler], port: int) -> None:
    """Print the address and answer requests until Ctrl-C. Raises LimbeckError where the port is taken."""
    try:
        server = ThreadingHTTPServer((HOST, port), handler)
    except OSError as error:
        raise LimbeckError(f"--port {port}: {error.strerror or error}; give another, or 0 for any") from error
    with server:
        print(f"http://{HOST}:{server.server_address[1]}/  (Ctrl-C ends it)", flush=True)
        server.serve_forever()
