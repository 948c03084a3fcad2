"""What each part of the mini models' training is worth: runs of one budget that differ in one thing, and their cost.

    python benchmarks/mini/ablations.py PREPARED SCIFACT WORK --text code.txt.zst --text books.txt.zst \
        [--teacher-cache DIR] [--only NAME,NAME]
    python benchmarks/mini/ablations.py PREPARED SCIFACT WORK --write

PREPARED is what prepare.py makes, SCIFACT the folder of that set, WORK is where runs are kept: what is done is not done
again, what was cut short begins anew, so that its cost is that of a whole run. --write prints the table of what is
done and runs nothing. Scores are nDCG@10 by exact search on 300 claims of SciFact's train split and on 400 functions of
repositories that are not trained on. Each step is a command of modernir; core-seconds are its processor time, its start
included, of all that an arm needs; the teacher's embeddings of the pairs, which all share, are not in it.
"""

import argparse
import resource
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from arms import ARMS, COLUMNS, LEXICAL, Place, Step, wanted
from command import exit_code, matching
from devsets import CODE, write_claims, write_functions, write_pairs, write_text_sample

from modernir.bench.report import table
from modernir.errors import InputError
from modernir.files import read_json, write_json

MOST = 2000
"""Pairs of each file: more than one of these short runs reads of it."""
TEXT = "text.txt"
CHARACTERS = 5_000_000
"""Of each plain text: together more than pre-training reads here."""
SETS = ("claims", "functions")


def run(options: argparse.Namespace) -> None:
    """Run the arms that are not done, and print the table.

    Raises:
        InputError: A folder lacks something, or a command failed.
    """
    names = matching([arm.name for arm in ARMS], options.only)
    chosen = [arm for arm in ARMS if arm.name in names]
    work = options.work.resolve()
    place = Place(options.prepared.resolve(), work, options.teacher_cache, (work / TEXT,))
    if not options.write:
        prepare(options, place.work)
        steps = [step for arm in chosen for step in wanted(arm.step)]
        for step in dict.fromkeys(steps):
            do(step, place)
        for arm in chosen:
            score(arm.name, place.work)
    sys.stdout.write(written(place.work))


def prepare(options: argparse.Namespace, work: Path) -> None:
    """Make the collections and the pairs."""
    ready = work / "pairs" / "ready.json"
    if ready.is_file():
        return
    sources = sorted(options.prepared.glob("*.jsonl.gz"))
    if not (options.prepared / CODE).is_file():
        raise InputError(f"{options.prepared}: no {CODE}; make the folder with benchmarks/mini/prepare.py")
    write_claims(options.scifact, work / "claims")
    held_out = write_functions(options.prepared / CODE, work / "functions")
    ready.parent.mkdir(parents=True, exist_ok=True)
    for source in sources:
        write_pairs(source, ready.parent / source.name, MOST, held_out)
    write_text_sample(options.text, work / TEXT, CHARACTERS)
    write_json(ready, {"repositories held out": len(held_out)})


def do(step: Step, place: Place) -> None:
    """Run the commands of a step, unless it is done, and keep what they cost."""
    done = place.work / "costs" / f"{step.name}.json"
    if done.is_file():
        return
    output = place.work / step.name
    shutil.rmtree(output, ignore_errors=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    before = spent()
    for command in step.commands(place, output):
        call(command, place.work)
    done.parent.mkdir(parents=True, exist_ok=True)
    write_json(done, {"core_seconds": spent() - before})


def spent() -> float:
    """Return the processor time of all processes that were started and have ended, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def call(arguments: list[object], folder: Path, output: object = sys.stderr) -> None:
    """Run a command of modernir.

    Raises:
        InputError: It failed.
    """
    sys.stderr.write(f"modernir {' '.join(map(str, arguments))}\n")
    command = [sys.executable, "-m", "modernir", *map(str, arguments)]
    if subprocess.run(command, cwd=folder, stdout=output, check=False).returncode:  # type: ignore[call-overload]
        raise InputError(f"modernir {arguments[0]} failed; see above")


def score(model: str, work: Path) -> None:
    """Measure a model, or BM25 by the name LEXICAL, on the collections; `eval local` keeps what is done."""
    results = work / "scores" / f"{model}.json"
    if results.is_file():
        return
    results.parent.mkdir(parents=True, exist_ok=True)
    how = ["--mode", "lexical"] if model == LEXICAL else ["--model", work / model, "--exact"]
    partial = results.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as out:
        folders = [work / name for name in SETS]
        call(
            ["eval", "local", *folders, "--split", "dev", *how, "--output", work / "runs" / model, "--json"], work, out
        )
    partial.rename(results)


def written(work: Path) -> str:
    """Return the table of the arms that are done, in markdown."""
    rows = [COLUMNS]
    for arm in ARMS:
        results = work / "scores" / f"{arm.name}.json"
        if not results.is_file():
            continue
        scores = [f"{report['metrics']['nDCG@10']:.3f}" for report in read_json(results)]
        steps = [step for step in wanted(arm.step) if not step.shared]
        costs = [read_json(work / "costs" / f"{step.name}.json")["core_seconds"] for step in steps]
        rows.append((*arm.cells, *scores, f"{sum(costs):,.0f}" if costs else ""))
    return "".join(f"{line}\n" for line in table(rows))


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prepared", type=Path, metavar="PREPARED")
    parser.add_argument("scifact", type=Path, metavar="SCIFACT")
    parser.add_argument("work", type=Path, metavar="WORK")
    parser.add_argument("--text", type=Path, action="append", default=[], help="plain text to pre-train on; repeatable")
    parser.add_argument("--teacher-cache", type=Path, help="default: PREPARED/teacher")
    parser.add_argument("--only", default="", help="parts of names of arms, with commas")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    options.teacher_cache = (options.teacher_cache or options.prepared / "teacher").resolve()
    options.text = [path.resolve() for path in options.text]
    return exit_code(run, options)


if __name__ == "__main__":
    sys.exit(main())
