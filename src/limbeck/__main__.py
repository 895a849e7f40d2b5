"""`limbeck`, or `python -m limbeck`: the command line as a process, with its exit codes and errors for people."""

from __future__ import annotations

import os
import sys

from typer.exceptions import TyperException

from limbeck.cli import app, commands
from limbeck.console.encoding import show_what_can_be_shown
from limbeck.console.wrapping import width_of, wrapped
from limbeck.errors import LimbeckError, did_you_mean, in_a_line


def main() -> None:
    """The entry point.

    Exit codes: 0 done, or stopped by SIGTERM with all saved; 2 what a person can mend, told in one line; 3 a run
    or a sweep that finished, but in which a learner failed (it diverged, or its teacher did), said last; 4 a
    `predict` that passed over files that could not be read; 130 stopped by Ctrl-C with all saved; 137 a second
    signal, at once; 1 a defect of Limbeck's own, or a reader of its output that went away. `--debug` shows the trace
    of any error.
    """
    show_what_can_be_shown((sys.stdout, sys.stderr))
    debug = "--debug" in sys.argv
    sys.argv = [word for word in sys.argv if word != "--debug"]
    try:
        sys.exit(_obey(sys.argv[1:]))
    except LimbeckError as error:
        if debug:
            raise
        lines = wrapped(f"limbeck: {error}".split("\n"), width_of(sys.stderr))
        print("\n".join(lines), file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        print("limbeck: stopped", file=sys.stderr)
        sys.exit(130)
    except Exception as error:  # whatever else: a defect, of which a person gets one line and not a trace
        if debug:
            raise
        said = in_a_line(error, 500)
        print(
            f"limbeck: a defect of its own, please report it with what --debug shows: {type(error).__name__}: {said}",
            file=sys.stderr,
        )
        sys.exit(1)


def _obey(words: list[str]) -> int:
    """Run a command; returns the exit code. Raises LimbeckError where the words make none."""
    first = next((word for word in words if not word.startswith("-")), None)
    if first is not None and first not in commands():
        raise LimbeckError(f"no command {first!r}{did_you_mean(first, commands())}")
    try:
        return app(words or ["--help"], prog_name="limbeck", standalone_mode=False) or 0
    except TyperException as error:
        command = f"limbeck {first}" if first else "limbeck"
        said = " ".join(error.format_message().split()).removesuffix(".")
        raise LimbeckError(f"{said}; `{command} --help` says what it takes") from error


if __name__ == "__main__":
    main()
