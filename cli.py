"""The command line: one Typer app, each command a few lines that call a part of the package.

Results go to stdout, progress and messages to stderr. Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted.
"""

import errno
import sqlite3
import sys
from typing import Annotated

import typer

from .errors import ModernirError

app = typer.Typer(
    name="modernir",
    help="Train, index, search and evaluate dense and late-interaction retrievers.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from . import __version__

        sys.stdout.write(f"modernir {__version__}\n")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Train, index, search and evaluate dense and late-interaction retrievers."""


def _out_of_space(error: Exception) -> bool:
    if isinstance(error, sqlite3.Error):
        return "disk is full" in str(error)
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def main() -> None:
    """Run the command line and turn failures that a user can mend into one line and an exit code."""
    try:
        app(standalone_mode=True)
    except ModernirError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt as interrupt:
        sys.stderr.write(f"interrupted{f': {interrupt}' if str(interrupt) else ''}\n")
        sys.exit(130)
    except (OSError, sqlite3.Error) as error:
        if not _out_of_space(error):
            raise
        sys.stderr.write(
            "error: no space left on the disk; what was finished is kept: free some and run the same command again\n"
        )
        sys.exit(2)
