"""Late-interaction search, ours beside its peers, on real token vectors, against exact MaxSim.

    python benchmarks/late_interaction.py --data FOLDER_OF_SCIFACT --cache FOLDER [--peers-python PYTHON]
        [--sizes 1m,4m,10m] [--threads 1,2] [--only modernir,fast-plaid] [--indexes FOLDER] [--json FILE]

The vectors are made once, some minutes for SciFact, and kept in the cache: every word piece of its documents through
all-MiniLM-L6-v2, cut to 128 dimensions, 1.2 million tokens; 4m and 10m add noisy copies of them, which are distractors
(3 GB more). Recall counts how much of the exact best 10 and 100 a system finds among its first 10 and 100.

Every system runs in a process of its own, on as many processors as it may have threads. Searches are of one query at a
time, in turns of ten queries, after a warm-up; a setting that has used its --seconds gets no more queries, and is
compared on those that it had. Builds, adds and deletes have one thread; adds and deletes are as durable as the system
makes them. Files are in the page cache.

Peers want packages that are not those of modernir, so they run with an interpreter of their own:
`python -m venv PEERS; PEERS/bin/pip install fast-plaid==1.7.0.2110 maxsim-cpu==0.1.0 lancedb==0.40.0`, then
`--peers-python PEERS/bin/python`. fast-plaid gets centroids that FAISS trained, see `late/plaid.py`; as it comes, it is
"fast-plaid (own k-means)", and measured when --only names it.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from command import exit_code, positive, positives
from late.cached import SIZES, load
from late.centroids import train
from late.measure import Outcome, Plan, measure
from late.prepare import prepare
from late.quality import Scored
from late.report import report, scored, to_json
from late.systems import SYSTEMS, Entry

from modernir.bench.report import environment
from modernir.errors import InputError
from modernir.files import write_json


def chosen(options: argparse.Namespace) -> list[Entry]:
    """Return the systems that are asked for.

    Raises:
        InputError: There is none.
    """
    parts = [part.strip().lower() for part in options.only.split(",") if part.strip()]
    named = [entry for entry in SYSTEMS if any(part in entry.name.lower() for part in parts)]
    entries = named if parts else [entry for entry in SYSTEMS if entry.usual]
    if not options.peers_python:
        entries = [entry for entry in entries if not entry.peer]
    if not entries:
        names = "; ".join(entry.name for entry in SYSTEMS)
        raise InputError(f"--only {options.only}: no system is left; all but modernir need --peers-python; {names}")
    return entries


def run(options: argparse.Namespace) -> None:
    """Prepare the vectors, measure and print."""
    unknown = [size for size in options.sizes if size not in SIZES]
    if unknown:
        raise InputError(f"--sizes {','.join(unknown)}: unknown; there are {', '.join(SIZES)}")
    entries = chosen(options)
    prepare(options.data, options.cache, options.sizes)
    if any(entry.module == "plaid" for entry in entries):
        train(options.cache)
    outcome, collections = Outcome(), {}
    results: list[Scored] = []
    about = environment("all-MiniLM-L6-v2, last hidden states, 128 dimensions", "cpu", None, ("faiss-cpu", "numba"))
    with tempfile.TemporaryDirectory(dir=options.cache, prefix="indexes-") as temporary:
        for size in options.sizes:
            collections[size] = load(options.cache, size)
            queries = min(options.queries, SIZES[size].queries)
            indexes = options.indexes or Path(temporary)
            plan = Plan(options.cache, indexes, options.peers_python, options.limit, options.seconds, queries)
            measure(entries, size, options.threads, plan, outcome)
            results = scored(outcome, collections)
            if options.json:  # after each size, so that an interrupted run leaves what it found
                write_json(options.json, to_json(outcome, results, about))
    sys.stdout.write(report(outcome, results))


def main() -> int:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="SciFact in BEIR's layout")
    parser.add_argument("--cache", type=Path, required=True, help="where the vectors are kept")
    parser.add_argument("--peers-python", help="interpreter with the peers' packages")
    parser.add_argument("--sizes", type=lambda text: text.split(","), default=list(SIZES))
    parser.add_argument("--threads", type=positives(","), default=[1, 2])
    parser.add_argument("--only", default="", help="parts of systems' names")
    parser.add_argument("--queries", type=positive, default=300, help="of a collection at most")
    parser.add_argument("--seconds", type=positive, default=60, help="of searching for a setting")
    parser.add_argument("--limit", type=positive, default=1800, help="seconds that a build may take")
    parser.add_argument("--indexes", type=Path, help="keep the indexes here, and use those that are there")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    return exit_code(run, parser.parse_args())


if __name__ == "__main__":
    raise SystemExit(main())
