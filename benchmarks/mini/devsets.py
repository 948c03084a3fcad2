"""Small collections to choose by, and the training pairs of the ablations without what they ask for.

Claims are SciFact's train split; functions are of repositories that none of the training pairs is from. No test
judgement is read.
"""

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import xxhash

from modernir.errors import InputError
from modernir.files import atomic_write, write_text
from modernir.retrieval.readers.lines import numbered_lines

CLAIMS, ABSTRACTS = 300, 1500
FUNCTIONS, OF_A_REPOSITORY = 400, 100
CODE = "code_docstring.jsonl.gz"
Row = dict[str, Any]


def order(text: str) -> int:
    """Return a number by which texts are drawn, the same on every machine."""
    return xxhash.xxh3_64_intdigest(text.encode())


def lines(path: Path) -> Iterator[Row]:
    """Yield the objects of a file of JSON Lines, compressed or not."""
    for _, line in numbered_lines(path):
        yield json.loads(line)


def write_claims(scifact: Path, folder: Path) -> None:
    """Write 300 claims of SciFact's train split with 1,500 abstracts, among them all that are judged relevant."""
    pairs = [line.split("\t") for line in (scifact / "qrels" / "train.tsv").read_text().splitlines()[1:]]
    relevant: dict[str, set[str]] = {}
    for query, document, grade in pairs:
        if int(grade) > 0:
            relevant.setdefault(query, set()).add(document)
    chosen = sorted(relevant, key=order)[:CLAIMS]
    needed = set().union(*(relevant[query] for query in chosen))
    corpus = {row["_id"]: row for row in lines(scifact / "corpus.jsonl")}
    others = sorted(corpus.keys() - needed, key=order)[: max(0, ABSTRACTS - len(needed))]
    queries = [row for row in lines(scifact / "queries.jsonl") if row["_id"] in set(chosen)]
    judged = [(query, document) for query in chosen for document in sorted(relevant[query])]
    write_collection(folder, [corpus[key] for key in sorted(needed | set(others))], queries, judged)


def write_functions(pairs: Path, folder: Path) -> set[str]:
    """Write 400 doc comments and their functions, each of a text of its own; return the repositories they are from.

    Raises:
        InputError: The file has too few pairs.
    """
    rows = sorted(lines(pairs), key=lambda row: (order(row["repo"]), order(row["query"])))
    kept: dict[str, Row] = {}
    functions: set[str] = set()
    taken: Counter[str] = Counter()
    for row in rows:
        known = row["query"] in kept or row["positive"] in functions
        if not known and taken[row["repo"]] < OF_A_REPOSITORY:
            taken[row["repo"]] += 1
            kept[row["query"]] = row
            functions.add(row["positive"])
        if len(kept) == FUNCTIONS:
            break
    else:
        raise InputError(f"{pairs}: fewer than {FUNCTIONS} pairs of different texts")
    names = [(str(number), row) for number, row in enumerate(kept.values())]
    corpus = [{"_id": name, "title": "", "text": row["positive"]} for name, row in names]
    queries = [{"_id": name, "text": row["query"]} for name, row in names]
    write_collection(folder, corpus, queries, [(name, name) for name, _ in names])
    return {row["repo"] for row in kept.values()}


def write_collection(folder: Path, corpus: list[Row], queries: list[Row], judged: list[tuple[str, str]]) -> None:
    """Write a collection in BEIR's layout, its judgements last."""
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    write_text(folder / "corpus.jsonl", "".join(json.dumps(row) + "\n" for row in corpus))
    write_text(folder / "queries.jsonl", "".join(json.dumps(row) + "\n" for row in queries))
    rows = "".join(f"{query}\t{document}\t1\n" for query, document in judged)
    write_text(folder / "qrels" / "dev.tsv", f"query-id\tcorpus-id\tscore\n{rows}")


def write_pairs(source: Path, target: Path, most: int, without: set[str]) -> None:
    """Write so many pairs of a file, drawn by their hashes, without those of some repositories."""
    kept = [row for row in lines(source) if row.get("repo") not in without]
    kept = sorted(kept, key=lambda row: order(row["query"] + "\0" + row["positive"]))[:most]
    text = "".join(json.dumps({name: row[name] for name in ("query", "positive")}) + "\n" for row in kept)
    atomic_write(target, lambda out: out.write(gzip.compress(text.encode(), mtime=0)))


def write_text_sample(sources: list[Path], target: Path, most: int) -> None:
    """Write the first so many characters of each plain text, whole lines, one behind the other.

    Raises:
        InputError: There is no source, or one cannot be read.
    """
    if not sources:
        raise InputError("no plain text to pre-train on; name some with --text")
    parts = []
    for source in sources:
        taken = 0
        for _, line in numbered_lines(source):
            parts.append(line)
            taken += len(line)
            if taken >= most:
                break
        parts.append("\n")
    write_text(target, "".join(parts))
