"""Commands for whoever has just installed the package."""

from pathlib import Path
from typing import Annotated

import typer

from .options import AsJson, Device, Precision, print_json
from .root import app


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Say what this machine has for modernir, what is missing, and the command that adds it."""
    from ..doctor import examine, print_findings

    findings = examine()
    if as_json:
        print_json([finding.to_json() for finding in findings])
    else:
        print_findings(findings)


@app.command()
def quickstart(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the index and the report.")] = Path(
        "modernir-quickstart"
    ),
    model: Annotated[str | None, typer.Option("--model", "-m", help="Another encoder than the one that ships.")] = None,
    device: Device = None,
    precision: Precision = None,
) -> None:
    """Index SciFact, search it and evaluate, with a model that ships; no network needed."""
    from ..quickstart import run

    run(output, model, device, precision)
