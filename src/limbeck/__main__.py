"""The process: parse the command line, run one command, and turn errors into one line and an exit code."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from typer.exceptions import TyperException

from limbeck.cli import app, commands
from limbeck.console.terminal import replace_unencodable, width_of, wrapped
from limbeck.errors import LimbeckError, did_you_mean, one_line


def main() -> None:
    """Run the command in `sys.argv`.

    Exit codes:
        0: done, or stopped by SIGTERM with all progress saved.
        1: internal error, or the reader of the output closed the pipe.
        2: user error, explained in one line.
        3: a run or sweep finished, but a learner failed (it or its teacher diverged).
        4: `predict` skipped files that it could not read.
        130: stopped by Ctrl-C with all progress saved.
        137: a second signal ended the process at once.

    `--debug`, anywhere on the command line, shows the traceback of any error.
    """
    replace_unencodable((sys.stdout, sys.stderr))
    debug = "--debug" in sys.argv
    sys.argv = [word for word in sys.argv if word != "--debug"]
    command = next((word for word in sys.argv[1:] if not word.startswith("-")), None)
    try:
        if command is not None and command not in commands():
            raise LimbeckError(f"unknown command {command!r}{did_you_mean(command, commands())}")
        sys.exit(app(sys.argv[1:] or ["--help"], prog_name="limbeck", standalone_mode=False) or 0)
    except BrokenPipeError:  # the reader of our output closed it, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        _exit(130, "stopped")
    except Exception as error:
        if debug:
            raise
        if isinstance(error, LimbeckError):
            _exit(2, str(error))
        if isinstance(error, TyperException):
            usage = " ".join(error.format_message().split()).removesuffix(".")
            _exit(2, f"{usage}; see `{f'limbeck {command}' if command else 'limbeck'} --help`")
        found = f"{type(error).__name__}: {one_line(error, 500)}"
        _exit(1, f"internal error; please report it with the output of --debug: {found}")


def _exit(code: int, message: str) -> NoReturn:
    print("\n".join(wrapped(f"limbeck: {message}".split("\n"), width_of(sys.stderr))), file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
