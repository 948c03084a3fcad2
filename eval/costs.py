"""What an evaluation costs: encoding, latency, memory, bytes and what an index loses, recorded beside the scores.

They are of this machine and this run, and take no part in whether a report answers the same question.
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..index.recall import measure_recall
from ..resident import resident_bytes

if TYPE_CHECKING:
    from ..index.index import Index
    from ..retrieval.encoder import Encoder

LATENCY_QUERIES = 100
LATENCY_SECONDS = 10.0
WARM_UP = 3
RECALL_CUTS = (10, 100)


def index_costs(index: Any, vectors: bool = True) -> dict[str, Any]:  # noqa: ANN401 - or what stands in for an index
    """Return bytes on disk and the speed of encoding; an index that does not tell them has none.

    Args:
        index: Where was searched.
        vectors: Whether its vectors are an encoder's; without, only `index_bytes` says anything.

    Returns:
        `index_bytes` (all files), `vector_bytes` (without texts), and of the build that made the index
        `encoded_documents`, `encode_seconds` and `documents_per_second`, unless all vectors came from a cache.
    """
    if not hasattr(index, "info"):
        return {}
    info, encoding = index.info(), index.setting("encoding")
    if not vectors:
        return {"index_bytes": info["bytes"]}
    costs = {"index_bytes": info["bytes"], "vector_bytes": info["vector_bytes"]}
    if encoding and encoding["seconds"] > 0 and encoding["documents"]:
        documents, seconds = encoding["documents"], encoding["seconds"]
        rate = round(documents / seconds, 1)
        costs |= {"encoded_documents": documents, "encode_seconds": seconds, "documents_per_second": rate}
    return costs


def latency(search: Callable[[list[str]], object], queries: Sequence[str]) -> dict[str, Any]:
    """Time queries one at a time, from text to results: the first hundred, or as many as ten seconds hold.

    Args:
        search: Searches with a list of queries.
        queries: Texts.

    Returns:
        `latency_queries`, `p50_ms` and `p95_ms`; empty where there are no queries.
    """
    times: list[float] = []
    for query in queries[:WARM_UP]:
        search([query])
    until = time.perf_counter() + LATENCY_SECONDS
    for query in queries[:LATENCY_QUERIES]:
        began = time.perf_counter()
        search([query])
        times.append((time.perf_counter() - began) * 1000)
        if time.perf_counter() > until:
            break
    if not times:
        return {}
    p50, p95 = np.percentile(times, [50, 95]).round(3).tolist()
    return {"latency_queries": len(times), "p50_ms": p50, "p95_ms": p95}


def exact_recall(
    index: "Index", encoder: "Encoder", queries: Sequence[str], options: Mapping[str, Any]
) -> dict[str, Any]:
    """Compare a search by vectors with the exact one over the same index, as `modernir index recall` does.

    Args:
        index: Where was searched, or what stands in for an index.
        encoder: Encodes the queries.
        queries: Texts, of which the first hundred are taken, or as many as exact searches fit into ten seconds.
        options: Settings of the search.

    Returns:
        `recall_queries`, and `exact_recall@10` and `exact_recall@100`, the mean share of the exact best that was found;
        empty where the search was exact or there are no queries.
    """
    texts = [query for query in queries if query.strip()][:LATENCY_QUERIES]
    if options.get("exact") or not texts or not hasattr(index, "search"):  # what stands in for an index has none
        return {}
    vectors = encoder.encode_queries(texts)
    began = time.perf_counter()
    index.search(vectors[:1], max(RECALL_CUTS), exact=True)
    fit = int(LATENCY_SECONDS / max(time.perf_counter() - began, 1e-6))
    each = [vectors[place : place + 1] for place in range(min(len(texts), max(fit, 1)))]
    measured = measure_recall(index, each, RECALL_CUTS, [options])[0]
    return {"recall_queries": len(each), **{f"exact_recall@{k}": measured.recall[k] for k in RECALL_CUTS}}


def reset_device_peak(device: str) -> None:
    """Forget the most memory so far of a CUDA device; others keep none."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: str) -> dict[str, int]:
    """Return `peak_memory_bytes` of this process and, on CUDA, `peak_device_bytes`, where they are known.

    Args:
        device: The encoder's.
    """
    costs = {}
    peak = resident_bytes(peak=True)
    if peak is not None:
        costs["peak_memory_bytes"] = peak
    if device.startswith("cuda") and "torch" in sys.modules:
        import torch

        costs["peak_device_bytes"] = torch.cuda.max_memory_allocated(device)
    return costs
