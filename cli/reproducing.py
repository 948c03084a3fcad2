"""The command that runs recorded evaluations again and says whether they come out as they should."""

import contextlib
import io
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from .options import AsJson, print_json, tell
from .root import InterruptError, app, eval_app

if TYPE_CHECKING:
    from ..eval.reproducing import Outcome, Reproduction


@eval_app.command("reproduce")
def eval_reproduce(
    name: Annotated[list[str] | None, typer.Argument(help="Which; by default all that can run here.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder with collections in BEIR's layout below it.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Keep results here, where finished ones are not run again."),
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Show what there is and run nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run recorded evaluations and compare their scores with those expected; exit code 1 if one fails or is off."""
    from ..eval.reproducing import Outcome, choose_reproductions, read_reproductions

    if data is not None and not data.is_dir():
        raise InputError(f"{data}: no such folder")
    chosen = choose_reproductions(name or [], read_reproductions())
    if list_:
        outcomes = [Outcome(one, problem=one.obstacle(data)) for one in chosen]
    else:
        with _place(output) as place:
            for one in chosen if name else []:
                one.command(data, place)  # who named what cannot run is told before the first one runs
            outcomes = [_outcome(one, bool(name), data, place) for one in chosen]
    if as_json:
        print_json([outcome.to_json() for outcome in outcomes])
    else:
        _show(outcomes)
    if any((outcome.ran or outcome.failed) and not outcome.passed for outcome in outcomes):
        raise typer.Exit(1)


@contextlib.contextmanager
def _place(output: Path | None) -> Iterator[Path]:
    if output is not None:
        yield output
        return
    with tempfile.TemporaryDirectory(prefix="modernir-reproduce-") as folder:
        yield Path(folder)


def _outcome(one: "Reproduction", by_name: bool, data: Path | None, output: Path) -> "Outcome":
    from ..eval.reproducing import Outcome, reproduce

    obstacle = one.obstacle(data)
    if obstacle is not None and not by_name:
        return Outcome(one, problem=obstacle)
    outcome = reproduce(one, data, output, _run)
    if outcome.failed:
        tell(f"{one.name} failed: {outcome.problem}")
    return outcome


def _run(arguments: Sequence[str]) -> None:
    """Run a command of this app in this process; its table is not shown.

    Raises:
        ModernirError: As the command does.
        KeyboardInterrupt: Ctrl-C came.
    """
    tell(f"modernir {shlex.join(arguments)}")
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            typer.main.get_command(app).main([*arguments], prog_name="modernir", standalone_mode=False)
    except InterruptError as interrupt:  # which is no failure of this command alone
        raise KeyboardInterrupt(str(interrupt)) from interrupt


def _show(outcomes: "Sequence[Outcome]") -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE, pad_edge=False)
    for heading in ("reproduction", "measure", "expected", "found", "off by", ""):
        number = heading in ("expected", "found", "off by")
        table.add_column(heading, justify="right" if number else "left", no_wrap=number, overflow="fold")
    for outcome in outcomes:
        one = outcome.reproduction
        for measure, expected in one.expected.items():
            found = outcome.found.get(measure)
            scores = ("", "") if found is None else (f"{found:.4f}", f"{found - expected:+.4f}")
            table.add_row(
                Text(one.name), measure, f"{expected} ± {one.tolerance}", *scores, Text(_verdict(outcome, measure))
            )
    Console(file=sys.stdout).print(table)


def _verdict(outcome: "Outcome", measure: str) -> str:
    if outcome.problem is not None:
        return f"failed: {outcome.problem}" if outcome.failed else outcome.problem
    if not outcome.ran:
        return ""
    off = abs(outcome.found[measure] - outcome.reproduction.expected[measure])
    return "pass" if off <= outcome.reproduction.tolerance else "too far off"
