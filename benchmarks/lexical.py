"""Lexical search: nDCG@10 and speed, FTS5's own ranking and bm25s beside it, and hybrids with a dense encoder.

    python benchmarks/lexical.py --data FOLDER_OF_SETS [--only scifact,nfcorpus] [--hybrid MODEL] [--json]

The folder holds the sets of `GIVEN` in BEIR's layout, each with a figure of Lucene's BM25 (k1 = 0.9, b = 0.4, English
stemming and stop words, title and text in one field) to compare with. Every query runs alone, on one thread: median
milliseconds of its processor time, postings read from the file each time (cold) or kept. bm25s is measured where it
and PyStemmer are installed. `--hybrid` encodes the corpora, which takes minutes, and fuses both lists in several ways.
"""

import argparse
import json
import re
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from command import exit_code, matching

from modernir import load_encoder
from modernir.eval.loading import Benchmark, load_benchmark
from modernir.eval.measures import Measure, means, score_run
from modernir.index import lexical
from modernir.index.documents import Document
from modernir.index.lexical_terms import STOP_WORDS
from modernir.retrieval.fusion import Ranking, reciprocal_rank_fusion, weighted_sum

GIVEN = {
    "beir/scifact": 0.680,
    "beir/nfcorpus": 0.321,
    "beir/cranfield": 0.342,
    "beir/cisi": 0.361,
    "beir/nq_utd": 0.805,
    "beir/adi": 0.479,
    "code/cosqa": 0.36,
    "code/docstring_python": 0.555,
    "code/docstring_go": 0.668,
    "code/docstring_ruby": 0.482,
    "code/docstring_php": 0.250,
    "code/csn_challenge_python": 0.487,
    "code/csn_challenge_go": 0.578,
    "code/csn_challenge_ruby": 0.626,
    "longdoc/qmsum": 0.385,
    "longdoc/openstax": 0.593,
}
"""Set, as a path in the data folder, to nDCG@10 of Lucene's BM25."""

DEPTH = 1000
DOCUMENTS = "CREATE TABLE documents (key INTEGER PRIMARY KEY, id TEXT UNIQUE, title TEXT, text TEXT, metadata TEXT);"

FUSIONS: dict[str, Callable[[Ranking, Ranking], list[tuple[str, float]]]] = {
    "RRF, all 1,000": lambda dense, words: reciprocal_rank_fusion([dense, words]),
    "RRF, depth 100": lambda dense, words: reciprocal_rank_fusion([dense, words], depth=100),
    "RRF, depth 20": lambda dense, words: reciprocal_rank_fusion([dense, words], depth=20),
    "RRF, depth 100, k 20": lambda dense, words: reciprocal_rank_fusion([dense, words], k=20, depth=100),
    "minmax 0.5 : 0.5, 100 each": lambda dense, words: weighted_sum([dense[:100], words[:100]], [0.5, 0.5]),
    "minmax 0.6 : 0.4, 100 each": lambda dense, words: weighted_sum([dense[:100], words[:100]], [0.6, 0.4]),
    "minmax 0.7 : 0.3, 100 each": lambda dense, words: weighted_sum([dense[:100], words[:100]], [0.7, 0.3]),
    "minmax 0.6 : 0.4, 1,000 each": lambda dense, words: weighted_sum([dense, words], [0.6, 0.4]),
    "minmax 0.5 : 0.5, 1,000 each": lambda dense, words: weighted_sum([dense, words], [0.5, 0.5]),
    "zscore 0.5 : 0.5, 100 each": lambda dense, words: weighted_sum([dense[:100], words[:100]], [0.5, 0.5], "zscore"),
    "zscore 0.6 : 0.4, 100 each": lambda dense, words: weighted_sum([dense[:100], words[:100]], [0.6, 0.4], "zscore"),
}
"""Ways to make one ranking of a dense and a lexical one; weights are dense : lexical."""


@dataclass(frozen=True)
class Row:
    """One way of searching one set; milliseconds are of one query at k = 10."""

    set: str
    search: str
    ndcg: float
    given: float | None = None
    ms: float | None = None
    docs_per_second: float | None = None
    bytes_per_document: float | None = None


Search = Callable[[str, int], list[tuple[str, float]]]


def quality(benchmark: Benchmark, rankings: Mapping[str, Ranking]) -> float:
    """Return nDCG@10 over the judged queries."""
    measure = Measure("nDCG", 10)
    run = {query: {name: -float(rank) for rank, (name, _) in enumerate(found)} for query, found in rankings.items()}
    return next(iter(means(score_run(run, benchmark.qrels, [measure]), [measure]).values()))


def searched(search: Search, benchmark: Benchmark, k: int = 10) -> tuple[dict[str, list[tuple[str, float]]], float]:
    """Return each query's ranking and the median milliseconds of a query."""
    rankings, milliseconds = {}, []
    for query, text in benchmark.queries.items():
        started = time.thread_time()
        rankings[query] = search(text, k)
        milliseconds.append((time.thread_time() - started) * 1000)
    return rankings, statistics.median(milliseconds)


class Catalog:
    """Documents with their full-text index in a file, and the figures of its building."""

    def __init__(self, path: Path, documents: Sequence[Document]) -> None:
        self.names = [document.id for document in documents]
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.execute("PRAGMA journal_mode = WAL")
        lexical.register(self.connection)
        self.connection.executescript(DOCUMENTS + lexical.SCHEMA)
        rows = [(key, each.id, each.title, each.text, "{}") for key, each in enumerate(documents)]
        started = time.thread_time()
        self.connection.execute("BEGIN")
        self.connection.executemany("INSERT INTO documents VALUES (?, ?, ?, ?, ?)", rows)
        self.connection.execute("COMMIT")
        self.docs_per_second = len(rows) / (time.thread_time() - started)
        lexical.optimize(self.connection)
        tables = "SELECT sum(pgsize) FROM dbstat WHERE name LIKE 'lexical%'"
        self.bytes_per_document = self.connection.execute(tables).fetchone()[0] / len(rows)
        self._reader = sqlite3.connect(path, isolation_level=None)
        self._kept = lexical.Lexical(self._reader)

    def kept(self, query: str, k: int) -> list[tuple[str, float]]:
        """Search with the postings of earlier queries in memory."""
        return [(self.names[key], score) for key, score in self._kept.search(query, k)]

    def cold(self, query: str, k: int) -> list[tuple[str, float]]:
        """Search as the first query after a commit does."""
        return [(self.names[key], score) for key, score in lexical.search(self._reader, query, k)]

    def fts5(self, query: str, k: int) -> list[tuple[str, float]]:
        """Search with FTS5's own ranking of the same terms."""
        text = f"{query} {lexical.identifier_words('', query)}"
        terms = [word for word in re.findall(r"[^\W_]+", text) if word.lower() not in STOP_WORDS]
        words = " OR ".join(f'"{term}"' for term in terms)
        found = "SELECT rowid, -rank FROM lexical WHERE lexical MATCH ? ORDER BY rank LIMIT ?"
        rows = self._reader.execute(found, (words, k)).fetchall() if words else []
        return [(self.names[key], score) for key, score in rows]


def bm25s_search(documents: Sequence[Document]) -> tuple[Search, float] | None:
    """Return bm25s's search with its defaults, and documents indexed a second, or None if it is not installed."""
    try:
        import bm25s
        import Stemmer
    except ImportError:
        return None
    stemmer = Stemmer.Stemmer("english")

    def tokens(texts: list[str]) -> object:
        return bm25s.tokenize(texts, stopwords="en", stemmer=stemmer, show_progress=False)

    started = time.thread_time()
    retriever = bm25s.BM25()
    retriever.index(tokens([document.content for document in documents]), show_progress=False)
    rate = len(documents) / (time.thread_time() - started)

    def search(query: str, k: int) -> list[tuple[str, float]]:
        rows, scores = retriever.retrieve(tokens([query]), k=min(k, len(documents)), show_progress=False)
        found = zip(rows[0].tolist(), scores[0].tolist(), strict=True)
        return [(documents[row].id, score) for row, score in found if score > 0]

    return search, rate


def lexical_rows(name: str, benchmark: Benchmark, documents: Sequence[Document], catalog: Catalog) -> Iterator[Row]:
    """Measure every lexical search on one set."""
    given = GIVEN[name]
    for label, search in (("modernir, cold", catalog.cold), ("modernir, kept", catalog.kept), ("FTS5", catalog.fts5)):
        if label == "modernir, kept":
            searched(search, benchmark)
        rankings, milliseconds = searched(search, benchmark)
        size = (catalog.docs_per_second, catalog.bytes_per_document) if label != "FTS5" else (None, None)
        yield Row(name, label, quality(benchmark, rankings), given, milliseconds, *size)
    peer = bm25s_search(documents)
    if peer:
        rankings, milliseconds = searched(peer[0], benchmark)
        yield Row(name, "bm25s", quality(benchmark, rankings), given, milliseconds, peer[1])


def hybrid_rows(
    name: str, benchmark: Benchmark, documents: Sequence[Document], catalog: Catalog, model: str
) -> Iterator[Row]:
    """Measure dense search and every fusion on one set."""
    encoder = load_encoder(model)
    vectors = encoder.encode_documents([document.content for document in documents])
    queries = encoder.encode_queries(list(benchmark.queries.values()))
    dense = {}
    for query, scores in zip(benchmark.queries, queries @ vectors.T, strict=True):
        best = np.argsort(-scores, kind="stable")[:DEPTH]
        dense[query] = [(documents[row].id, float(scores[row])) for row in best]
    words, _ = searched(catalog.kept, benchmark, DEPTH)
    yield Row(name, f"dense {model}", quality(benchmark, dense))
    yield Row(name, "lexical", quality(benchmark, words))
    for label, fuse in FUSIONS.items():
        yield Row(name, label, quality(benchmark, {query: fuse(dense[query], words[query]) for query in dense}))


def measure(options: argparse.Namespace) -> None:
    """Measure and print."""
    rows: list[Row] = []
    for name in matching(list(GIVEN), options.only):
        benchmark = load_benchmark(Path(options.data) / name)
        documents = [document for document, _ in benchmark.folder.documents()]
        with tempfile.TemporaryDirectory() as folder:
            catalog = Catalog(Path(folder) / "catalog.sqlite", documents)
            rows += lexical_rows(name, benchmark, documents, catalog)
            if options.hybrid:
                rows += hybrid_rows(name, benchmark, documents, catalog, options.hybrid)
        sys.stderr.write(f"{name}: done\n")
    if options.json:
        sys.stdout.write(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
        return
    sys.stdout.write(
        "| set | search | nDCG@10 | Lucene | ms a query | docs/s | bytes a document |\n|---|---|---|---|---|---|---|\n"
    )
    for row in rows:
        rest = (_cell(row.given, ".3f"), _cell(row.ms, ".2f"), _cell(row.docs_per_second, ",.0f"))
        cells = (row.set, row.search, f"{row.ndcg:.4f}", *rest, _cell(row.bytes_per_document, ",.0f"))
        sys.stdout.write(f"| {' | '.join(cells)} |\n")


def _cell(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder that holds the sets")
    parser.add_argument("--only", default="", help="parts of names of sets, separated by commas")
    parser.add_argument("--hybrid", metavar="MODEL", help="encoder to fuse with, for instance all-MiniLM-L6-v2")
    parser.add_argument("--json", action="store_true")
    sys.exit(exit_code(measure, parser.parse_args()))
