"""Dense search of `modernir.index` beside FAISS alone: the same structure, the same settings, the same vectors.

    pip install -e ".[test]"
    python benchmarks/dense.py --data FOLDER_OF_SCIFACT --cache FOLDER [--sizes 100000,1000000] [--json]

Vectors: means of 24 word pieces of all-MiniLM-L6-v2's last hidden states over SciFact's abstracts, every 12 pieces,
normalised, 384 dimensions; beyond 100,000 of them noisy copies, at a cosine of .86. Queries: such copies too, which lie
near what they are of; windows of abstracts that are not in the index; SciFact's claims. FAISS is built in memory
and refines over flat vectors; ours is created, filled, compacted and searched through `Index`. Overhead is the median
processor time of `Index.search` over that of FAISS on the very files of our segment, query by query in turns.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from command import exit_code, positives

from modernir.bench.report import environment, table
from modernir.encoders.bundled import bundled_folder
from modernir.index.documents import Document
from modernir.index.index import Index
from modernir.retrieval.readers.documents import read_documents

DIM, K, QUERIES = 384, 10, 300
REAL = 100_000
WINDOW, STRIDE, LONGEST = 24, 12, 300
NOISE = 0.6
PARTS = 1000
"""Values of the field that filters ask for: `part < n` lets n of so many documents be found."""
SHARES = (0.001, 0.01, 0.1, 0.5)
BLOCK = 20_000


def vectors_of(data: str, cache: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return windows and claims of SciFact, (n, 384) float32 each, encoded or from the cache."""
    files = cache / "windows.npy", cache / "queries.npy"
    if not all(file.is_file() for file in files):
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(str(bundled_folder("all-MiniLM-L6-v2")), device="cpu")
        model.max_seq_length = LONGEST
        texts = [document.content for document, _ in read_documents(data, empty="skip")]
        states = model.encode(texts, output_value="token_embeddings", batch_size=16)
        with (Path(data) / "queries.jsonl").open(encoding="utf-8") as lines:
            claims = model.encode([json.loads(line)["text"] for line in lines], normalize_embeddings=True)
        cache.mkdir(parents=True, exist_ok=True)
        np.save(files[0], np.concatenate([_windows(state.float().numpy()[1:-1]) for state in states]))
        np.save(files[1], claims.astype(np.float32))
    windows, claims = (np.load(file) for file in files)
    return windows, claims


def _windows(states: np.ndarray) -> np.ndarray:
    sums = np.vstack([np.zeros((1, DIM)), np.cumsum(states, axis=0, dtype=np.float64)])
    starts = np.arange(0, max(1, len(states) - WINDOW + 1), STRIDE)
    return _unit(sums[np.minimum(starts + WINDOW, len(states))] - sums[starts])


def _unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def corpus_of(windows: np.ndarray, size: int) -> np.ndarray:
    """Return the first windows, and as many noisy copies as it takes."""
    vectors = np.empty((size, DIM), np.float32)
    rng = np.random.default_rng(0)
    for start in range(0, size, REAL):
        block = windows[: min(REAL, size - start)]
        vectors[start : start + REAL] = noisy(block, rng) if start else block
    return vectors


def noisy(vectors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return copies of vectors at a cosine of .86."""
    return _unit(vectors + rng.standard_normal(vectors.shape, dtype=np.float32) * np.float32(NOISE / DIM**0.5))


def recall(found: Sequence[Any], truth: Sequence[Any]) -> float:
    """Return the mean share of the true rows that were found."""
    shares = [len({*one} & {*other}) / len(other) for one, other in zip(found, truth, strict=True)]
    return round(float(np.mean(shares)), 4)


def timed(searches: Sequence[Callable[[np.ndarray], object]], queries: np.ndarray) -> list[dict[str, float]]:
    """Run searches for one query after another, in turns, and return milliseconds of each: p50, p95 and CPU.

    Each is at another query than the others at any time: none finds in the cache what the one before has read.
    """
    taken: list[list[tuple[float, float]]] = [[] for _ in searches]
    apart = len(queries) // len(searches)
    for number in range(len(queries)):
        for turn, search in enumerate(searches):
            place = (number + turn * apart) % len(queries)
            started, busy = time.perf_counter(), time.thread_time()
            search(queries[place : place + 1])
            taken[turn].append((1000 * (time.perf_counter() - started), 1000 * (time.thread_time() - busy)))
    found = []
    for times in taken:
        wall, cpu = np.array(times).T
        found.append({"p50": np.median(wall), "p95": np.percentile(wall, 95), "cpu": np.median(cpu)})
    return [{name: round(float(value), 4) for name, value in one.items()} for one in found]


def build_ours(folder: Path, vectors: np.ndarray, options: argparse.Namespace) -> dict[str, Any]:
    """Fill an index through its public interface; return its seconds, bytes and structure."""
    names = [str(number) for number in range(len(vectors))]
    settings = {"structure": options.structure, "target_recall": options.target_recall}
    with Index.create(folder, kind="dense", dim=DIM, **settings) as index:
        started = time.perf_counter()
        with index.batch():
            for start in range(0, len(vectors), BLOCK):
                ids = names[start : start + BLOCK]
                documents = [Document(name, "", "", {"part": int(name) % PARTS}) for name in ids]
                index.add(ids, vectors[start : start + BLOCK], documents)
        index.compact()
        seconds = time.perf_counter() - started
        (segment,) = index.info()["structure"]["segments"]
        size = index.info()["vector_bytes"]
    return {"seconds": round(seconds, 1), "bytes": round(size / len(vectors), 1), **(segment["structure"] or {})}


def build_theirs(vectors: np.ndarray, flat: faiss.Index, factory: str) -> tuple[faiss.Index, float]:
    """Build the same structure with FAISS alone; return it with its refinement, and the seconds it took."""
    started = time.perf_counter()
    base = faiss.index_factory(DIM, factory, faiss.METRIC_INNER_PRODUCT)
    if not base.is_trained:
        base.train(vectors)
    base.add(vectors)
    return faiss.IndexRefine(base, flat), round(time.perf_counter() - started, 1)


def searched_with(effort: dict[str, Any]) -> faiss.SearchParameters:
    """Return FAISS's own parameters for what our segment is calibrated to, or for what is asked."""
    base = None
    if effort.get("nprobe"):
        base = faiss.SearchParametersIVF(nprobe=effort["nprobe"])
    elif effort.get("ef"):
        base = faiss.SearchParametersHNSW(efSearch=effort["ef"])
    return faiss.IndexRefineSearchParameters(k_factor=effort["k_factor"], base_index_params=base)


def measure(windows: np.ndarray, claims: np.ndarray, size: int, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one size."""
    vectors = corpus_of(windows, size)
    flat = faiss.IndexFlatIP(DIM)
    flat.add(vectors)
    rng = np.random.default_rng(1)
    others = windows[REAL:][rng.permutation(len(windows) - REAL)[:QUERIES]]
    near = noisy(vectors[rng.permutation(size)[:QUERIES]], rng)
    sets = {"copies": near, "windows": others, "claims": claims[:QUERIES]}
    truths = {name: flat.search(queries, K)[1] for name, queries in sets.items()}
    folder = Path(tempfile.mkdtemp(dir=options.cache)) / "index"
    try:
        ours = build_ours(folder, vectors, options)
        theirs, seconds = build_theirs(vectors, flat, ours["factory"])
        found: dict[str, Any] = {"size": size, "modernir": ours, "faiss_build_seconds": seconds, "searches": []}
        with Index.open(folder) as index:
            asked = [one for one in options.efforts if bool(one["nprobe"]) == ("IVF" in ours["factory"])]
            for effort in [ours["effort"], *asked]:
                for name, queries in sets.items():
                    found["searches"].append(
                        {"queries": name, **compare(index, folder, theirs, effort, queries, truths[name])}
                    )
            found["exact"] = timed([lambda query: index.search(query, K, exact=True)], sets["claims"][:50])[0]
            found["filters"] = [filtered(index, vectors, share, sets["claims"][:100]) for share in SHARES]
    finally:
        shutil.rmtree(folder.parent)
    return found


def compare(
    index: Index, folder: Path, theirs: faiss.Index, effort: dict[str, Any], queries: np.ndarray, truth: np.ndarray
) -> dict[str, Any]:
    """Measure recall, latency and batches of ours and of FAISS with the same settings."""
    asked = {name: value for name, value in effort.items() if value is not None}
    parameters = searched_with(effort)
    found = {"effort": asked, "recall": recall([map(int, row) for row in index.search(queries, K, **asked)[0]], truth)}
    found["faiss_recall"] = recall(theirs.search(queries, K, params=parameters)[1], truth)
    structure, flat = (
        faiss.read_index(str(next(folder.glob(f"*.{name}.faiss"))), faiss.IO_FLAG_MMAP_IFC)
        for name in ("structure", "vectors")
    )
    same = faiss.IndexRefine(structure, flat)
    for threads in (1, 2):
        faiss.omp_set_num_threads(threads)
        ways = [
            lambda query: index.search(query, K, **asked),
            lambda query: same.search(query, K, params=parameters),
            lambda query: theirs.search(query, K, params=parameters),
        ]
        timed(ways, queries[:20])
        mine, files, own = timed(ways, queries)
        batches = []
        for way in (ways[0], ways[2]):
            started = time.perf_counter()
            way(queries)
            batches.append(round((time.perf_counter() - started) * 1000 / len(queries), 4))
        found[f"threads_{threads}"] = {
            "modernir": {**mine, "batch": batches[0]},
            "faiss": {**own, "batch": batches[1]},
            "faiss_same_files": files,
            "overhead": round(mine["cpu"] / files["cpu"] - 1, 3),
        }
    faiss.omp_set_num_threads(1)
    return found


def filtered(index: Index, vectors: np.ndarray, share: float, queries: np.ndarray) -> dict[str, Any]:
    """Measure search among a share of the documents, against brute force over them."""
    condition = f"part < {round(share * PARTS)}"
    rows = np.flatnonzero(np.arange(len(vectors)) % PARTS < round(share * PARTS))
    allowed = faiss.IndexFlatIP(DIM)
    allowed.add(vectors[rows])
    truth = rows[allowed.search(queries, K)[1]]
    started = time.perf_counter()
    index.search(queries[:1], K, condition)
    first = round((time.perf_counter() - started) * 1000, 1)
    found = index.search(queries, K, condition)[0]
    times = timed([lambda query: index.search(query, K, condition)], queries)[0]
    return {"share": share, "recall": recall([map(int, row) for row in found], truth), "first": first, **times}


def show(results: Sequence[dict[str, Any]], about: dict[str, Any]) -> None:
    """Print Markdown tables."""
    lines = [f"{about['processor']}; FAISS {faiss.__version__}", ""]
    rows = [("vectors", "structure", "build s, FAISS", "build s, modernir, documents included", "bytes/vector")]
    for one in results:
        ours = one["modernir"]
        build = f"{one['faiss_build_seconds']}", f"{ours['seconds']}", f"{ours['bytes']}"
        rows.append((f"{one['size']:,}", ours["factory"], *build))
    lines += [*table(rows), ""]
    rows = [("vectors", "queries", "settings", "threads", "r@10", "p50 / p95 ms", "batch ms/q", "FAISS r@10", "FAISS p50 / p95 ms", "FAISS batch ms/q", "overhead")]  # fmt: skip  # noqa: E501
    for one in results:
        for search in one["searches"]:
            settings = " ".join(f"{name} {value:g}" for name, value in search["effort"].items())
            for threads in (1, 2):
                times = search[f"threads_{threads}"]
                ours, theirs = times["modernir"], times["faiss"]
                shown = (f"{search['recall']:.3f}", f"{ours['p50']:.3f} / {ours['p95']:.3f}", f"{ours['batch']:.3f}")
                shown += (f"{search['faiss_recall']:.3f}", f"{theirs['p50']:.3f} / {theirs['p95']:.3f}")
                shown += (f"{theirs['batch']:.3f}", f"{times['overhead']:+.0%}")
                rows.append((f"{one['size']:,}", search["queries"], settings, str(threads), *shown))
    lines += [*table(rows), ""]
    rows = [("vectors", "may be found", "r@10", "p50 / p95 ms", "first time, ms")]
    for one in results:
        rows.append((f"{one['size']:,}", "all, exact", "1", f"{one['exact']['p50']} / {one['exact']['p95']}", ""))
        for kept in one["filters"]:
            times = f"{kept['p50']:.3f} / {kept['p95']:.3f}"
            rows.append(
                (f"{one['size']:,}", f"{kept['share']:.1%}", f"{kept['recall']:.3f}", times, f"{kept['first']}")
            )
    sys.stdout.write("\n".join([*lines, *table(rows)]) + "\n")


def run(options: argparse.Namespace) -> None:
    """Measure all sizes and print."""
    windows, claims = vectors_of(options.data, options.cache)
    faiss.omp_set_num_threads(1)
    about = environment("all-MiniLM-L6-v2", "cpu", None, ("faiss-cpu", "numpy"))
    results = [measure(windows, claims, size, options) for size in options.sizes]
    if options.json:
        sys.stdout.write(json.dumps({**about, "results": results}, indent=2) + "\n")
    else:
        show(results, about)


def effort(text: str) -> dict[str, Any]:
    """Read nprobe and k_factor, such as 16,8; nprobe 0 for none."""
    nprobe, factor = text.split(",")
    return {"nprobe": int(nprobe) or None, "k_factor": float(factor)}


def main() -> int:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder of SciFact in BEIR's layout")
    parser.add_argument("--cache", type=Path, required=True, help="folder for the vectors, and for the index meanwhile")
    parser.add_argument("--sizes", type=positives(","), default=[100_000, 1_000_000])
    parser.add_argument("--structure", default="auto")
    parser.add_argument("--target-recall", type=float, default=None)
    parser.add_argument(
        "--efforts",
        type=effort,
        nargs="*",
        default=[],
        help="more settings, NPROBE,K_FACTOR: of inverted files, and with an NPROBE of 0 of others",
    )
    parser.add_argument("--json", action="store_true")
    return exit_code(run, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
