"""Progress and notices on stderr: a bar on a terminal, elsewhere a line every few seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

INTERVAL = 5.0  # seconds between two lines; shorter work prints none


def notice(message: str) -> None:
    """Print one line."""
    with suppress(OSError):  # stderr may be closed
        print(message, file=sys.stderr, flush=True)


@contextmanager
def bar(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show progress. Yields a function to call with the number of newly finished items, out of `total`."""
    shown = _rich_bar if sys.stderr.isatty() else _plain_lines
    with shown(description, total) as advance:
        yield advance


@contextmanager
def _rich_bar(description: str, total: int) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as display:
        task = display.add_task(escape(description), total=total)
        yield lambda count: display.update(task, advance=count)


@contextmanager
def _plain_lines(description: str, total: int) -> Iterator[Callable[[int], None]]:
    done, last = 0, time.monotonic()

    def advance(count: int) -> None:
        nonlocal done, last
        done += count
        if time.monotonic() - last >= INTERVAL:
            last = time.monotonic()
            notice(f"{description}: {done:,} of {total:,}" if total else f"{description}: {done:,}")

    yield advance
