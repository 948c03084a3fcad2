"""The table of results: BM25, dense and ColBERT models, hybrids and reranking on all sets, run and written.

    python benchmarks/results.py --data DIR --output RESULTS [--systems bm25,minilm] [--sets beir,code/cosqa]
        [--models DIR] [--cache DIR]
    python benchmarks/results.py --data DIR --output RESULTS --write docs [--cost-set beir/scifact] [--machine TEXT]

The first runs `modernir eval local` for each system and group of sets; what is finished is not done again, and an
interrupted one goes on where it stopped. All ways of searching share one index of a model and a set, in
`RESULTS/indexes`. The second evaluates nothing: it writes `results.md` and `results.html` of what the first saved.
`--models` takes models from folders of their names, in place of those that ship.
"""

import argparse
import contextlib
import io
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import typer
from command import exit_code
from scores.markdown import markdown
from scores.page import html_page
from scores.saved import read_saved
from scores.systems import GROUPS, System, choose_systems, find_sets

from modernir.cli import app
from modernir.errors import InputError
from modernir.files import write_text


def model_folder(system: System, models: Path | None) -> str | None:
    """Return the folder of a system's model in `models`, or None to take what its name says."""
    folder = models / system.model if models and system.model else None
    return str(folder) if folder and folder.is_dir() else None


def evaluate(options: argparse.Namespace) -> None:
    """Run the evaluations that are not finished yet."""
    sets = find_sets(options.data, options.sets)
    for system in choose_systems(options.systems):
        for group in GROUPS:
            folders = [str(options.data / one) for one in sets if one.startswith(f"{group}/")]
            if not folders:
                continue
            model = model_folder(system, options.models)
            command = system.command(group, folders, str(options.output), model)
            command += ["--index-folder", str(options.output / "indexes")]
            if options.cache and system.model:
                command += ["--cache", str(options.cache)]
            run(command)


def run(arguments: Sequence[str]) -> None:
    """Run `modernir` with arguments in this process, without its table."""
    sys.stderr.write(f"modernir {shlex.join(arguments)}\n")
    with contextlib.redirect_stdout(io.StringIO()):
        typer.main.get_command(app).main([*arguments], prog_name="modernir", standalone_mode=False)


def write(options: argparse.Namespace) -> None:
    """Write the tables of what was saved.

    Raises:
        InputError: An evaluation is lacking, or the set whose costs are to be shown is none of those.
    """
    sets = find_sets(options.data, options.sets)
    if options.cost_set not in sets:
        raise InputError(f"--cost-set {options.cost_set}: none of the sets of the table; there are: {', '.join(sets)}")
    saved = read_saved(options.output, choose_systems(options.systems), sets)
    for name, text in (("results.md", markdown), ("results.html", html_page)):
        write_text(options.write / name, text(saved, options.cost_set, options.machine))
        sys.stderr.write(f"wrote {options.write / name}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the evaluations, or write the tables; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="holds beir/, code/ and longdoc/ with sets in them")
    parser.add_argument("--output", type=Path, required=True, help="folder of the saved evaluations")
    parser.add_argument("--systems", type=names, default=[], help="only these, with commas between them")
    parser.add_argument("--sets", type=names, default=[], help="only these sets or groups, with commas between them")
    parser.add_argument("--models", type=Path, help="folder with models, in place of those that ship")
    parser.add_argument("--cache", type=Path, help="folder that keeps the vectors of all texts")
    parser.add_argument("--write", type=Path, help="folder to write results.md and results.html to")
    parser.add_argument("--cost-set", default="beir/scifact", help="set whose costs are shown")
    parser.add_argument("--machine", default=f"{os.cpu_count()} CPU cores", help="what it ran on, as the text calls it")
    options = parser.parse_args(arguments)
    return exit_code(write if options.write else evaluate, options)


def names(text: str) -> list[str]:
    """Read names with commas between them."""
    return [part.strip() for part in text.split(",") if part.strip()]


if __name__ == "__main__":
    sys.exit(main())
