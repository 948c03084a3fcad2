"""Options that several commands share, and how they print."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from ..errors import InputError
from ..files import write_text

Shown = TypeVar("Shown")

Model = Annotated[str, typer.Option("--model", "-m", help="Model folder or hub name.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps; by default the best there is.")]
Precision = Annotated[
    str | None,
    typer.Option(help="fp32, bf16, fp16 or int8 (ModernBERT on a CPU); by default the fastest that keeps quality."),
]
Attention = Annotated[
    str | None,
    typer.Option(help="Attention back-end of a ModernBERT, see doctor; on a CPU it takes the place of the engine."),
]
RemoteCode = Annotated[bool, typer.Option("--trust-remote-code", help="Run Python code that the checkpoint brings.")]
IndexFolder = Annotated[Path, typer.Option("--index", "-i", help="Index folder.")]
OtherModel = Annotated[
    str | None, typer.Option("--model", "-m", help="Encoder; by default the one that built the index.")
]
PoolFactor = Annotated[
    float | None,
    typer.Option(help="Of a ColBERT: tokens of a document that one vector stands for; the model's, if not given."),
]
DocumentLength = Annotated[
    int | None, typer.Option(help="Of a ColBERT: tokens of a document read at once; the model's, if not given.")
]
Overlap = Annotated[
    int | None,
    typer.Option(help="Of a ColBERT: read longer documents as windows that share so many tokens; else they are cut."),
]
Memory = Annotated[str | None, typer.Option(help="Memory that building may take, such as 4GB. Default 1GiB.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def print_json(value: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Print one JSON document."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def whole_numbers(text: str, flag: str) -> list[int]:
    """Read whole numbers with commas between them.

    Raises:
        InputError: It is something else.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise InputError(f"{flag} {text}: expected whole numbers with commas between them, such as 64,128")
    return [int(part) for part in parts]


def tell(message: str) -> None:
    """Write a line to stderr."""
    sys.stderr.write(f"{message}\n")


def check_files(*files: Path | None) -> None:
    """Refuse files that cannot be written, before anything is computed for them; None stands for no file.

    Raises:
        InputError: One is a folder, or lies below what is none.
    """
    for file in files:
        if file is not None and file.is_dir():
            raise InputError(f"{file}: is a folder; name a file in it")
        above = next((place for place in (file.parents if file else ()) if place.exists()), None)
        if above is not None and not above.is_dir():
            raise InputError(f"{file}: {above} is no folder; name another file")


def write_shown(shown: Shown, *files: tuple[Path | None, Callable[[Shown], str]]) -> None:
    """Write what was computed to those files that were asked for, once the contents of all of them are there.

    Args:
        shown: What was computed.
        files: Each with what makes its content.
    """
    contents = [(file, content(shown)) for file, content in files if file is not None]
    for file, text in contents:
        write_text(file, text)
        tell(f"wrote {file}")
