"""Saved runs fused into one: what several systems found for the same queries, without searching again."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from ..errors import InputError
from ..retrieval.fusion import Normalisation, Ranking, reciprocal_rank_fusion, weighted_sum
from .results import run_file
from .runs import Run, ranked, read_run, write_run

Method = Literal["rrf", "weighted"]
RRF_K = 60


def fuse_runs(
    runs: Sequence[Run],
    method: Method = "rrf",
    weights: Sequence[float] | None = None,
    depth: int | None = None,
    k: int = RRF_K,
    normalise: Normalisation = "minmax",
) -> Run:
    """Fuse runs query by query; ranks are trec_eval's, in what goes in and where the result is cut.

    Args:
        runs: Two or more, in any order; a query that a run lacks is one for which it found nothing.
        method: "rrf" goes by ranks, see `reciprocal_rank_fusion`; "weighted" by scores, see `weighted_sum`.
        weights: One a run, 0 or more; all alike if not given.
        depth: Number of each run's first documents that count, and of documents in the result; all if not given.
        k: Of reciprocal rank fusion.
        normalise: What happens to scores before they are summed.

    Returns:
        Every query of any run, with its documents best first.

    Raises:
        InputError: There is one run only, two have no query in common, or a number is out of its range.
    """
    if len(runs) < 2:
        raise InputError("expected at least two runs to fuse")
    for number, run in enumerate(runs[1:], 2):
        if not runs[0].keys() & run.keys():
            raise InputError(f"runs 1 and {number} have no query in common, and cannot be of one set")
    if depth is not None and depth < 1:
        raise InputError(f"depth {depth}: expected at least 1 result a query")
    if weights is not None and len(weights) != len(runs):
        raise InputError(f"{len(weights)} weights for {len(runs)} runs; give one for each, in their order")
    fuse = _fusion(method, [1.0] * len(runs) if weights is None else weights, k, normalise)
    fused: Run = {}
    for query in dict.fromkeys(query for run in runs for query in run):
        try:
            scores = dict(fuse([_ranking(run.get(query, {}), depth) for run in runs]))
        except InputError as error:
            raise InputError(f"query {query!r}: {error}") from error
        fused[query] = dict(_ranking(scores, depth))
    return fused


def fuse_files(
    sources: Sequence[Path],
    output: Path,
    method: Method = "rrf",
    weights: Sequence[float] | None = None,
    depth: int | None = None,
    k: int = RRF_K,
    normalise: Normalisation = "minmax",
) -> tuple[dict[str, Run], Run]:
    """Fuse run files, or the runs of results folders of one set, into a run file; see `fuse_runs`.

    Returns:
        The runs by their places as given, and the fused one.

    Raises:
        InputError: A source is no run, comes twice or is of several sets, or the runs cannot be fused.
    """
    runs: dict[str, Run] = {}
    for source in sources:
        if source.resolve() in [Path(name).resolve() for name in runs]:
            raise InputError(f"{source}: named twice; fuse different runs")
        runs[str(source)] = read_run(run_file(source))
    fused = fuse_runs(list(runs.values()), method, weights, depth, k, normalise)
    write_run(output, fused, output.stem)
    return runs, fused


def _fusion(
    method: Method, weights: Sequence[float], k: int, normalise: Normalisation
) -> Callable[[Sequence[Ranking]], Ranking]:
    if method == "rrf":
        return lambda lists: reciprocal_rank_fusion(lists, k, weights)
    if method == "weighted":
        return lambda lists: weighted_sum(lists, weights, normalise)
    raise InputError(f"method {method!r}: expected rrf or weighted")


def _ranking(scores: dict[str, float], depth: int | None) -> list[tuple[str, float]]:
    return [(document, scores[document]) for document in ranked(scores)[:depth]]
