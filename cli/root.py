"""The app that the commands join, and how its failures end."""

import gc
import os
import sqlite3
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from ..errors import ModernirError, explain


class InterruptError(ModernirError):
    """Ctrl-C, with what is kept; the exit code is the shell's for it."""

    exit_code = 130


class CommandGroup(typer.core.TyperGroup):
    """Commands whose Ctrl-C keeps its message, which Typer would drop."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - click's, which some releases of Typer bring themselves
        """Run the chosen command.

        Raises:
            InterruptError: In place of KeyboardInterrupt.
        """
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            raise InterruptError(str(interrupt)) from interrupt


app = typer.Typer(
    name="modernir",
    cls=CommandGroup,
    help="Train, index, search and evaluate text retrievers.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from .. import __version__

        sys.stdout.write(f"modernir {__version__}\n")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Train, index, search and evaluate text retrievers."""


index_app = typer.Typer(help="Build and look after indexes.", no_args_is_help=True)
app.add_typer(index_app, name="index")
eval_app = typer.Typer(help="Measure retrievers on benchmarks.", no_args_is_help=True)
app.add_typer(eval_app, name="eval")
bench_app = typer.Typer(help="Measure speed and memory on this machine.", no_args_is_help=True)
app.add_typer(bench_app, name="bench")


def main() -> None:
    """Run the command line and turn failures that a user can mend into one line and an exit code."""
    try:
        try:
            app()
        finally:
            sys.stdout.flush()  # here, where what cannot be written has a message
            gc.freeze()  # spares Python the half second in which it looks for cycles in torch when it ends
    except InterruptError as interrupt:
        sys.stderr.write(f"interrupted{f': {interrupt}' if str(interrupt) else ''}\n")
        sys.exit(interrupt.exit_code)
    except ModernirError as error:
        _fail(error)
    except BrokenPipeError:  # who reads the results has seen enough
        _drop_output()
        sys.exit(1)
    except (OSError, sqlite3.Error) as error:
        failure = explain(error)
        if failure is None:
            raise
        _drop_output()
        _fail(failure)


def _drop_output() -> None:
    """Forget results that could not be written, or Python would try once more when it ends."""
    sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - open until the end


def _fail(error: ModernirError) -> NoReturn:
    sys.stderr.write(f"error: {error}\n")
    sys.exit(error.exit_code)
