"""Saved results put side by side: read, seen to be of the same queries and judgements, and compared.

Whatever would give a number that is no comparison is refused here: other data, splits or queries, or a folder twice.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ...errors import InputError
from .comparison import ALPHA, TOP, ComparedSet, Comparison, compare
from .inputs import Reader, System, named


def compare_saved(
    sources: Sequence[str | Path],
    reader: Reader,
    names: Sequence[str] = (),
    alpha: float = ALPHA,
    top: int = TOP,
    on_message: Callable[[str], object] = lambda message: None,
) -> Comparison:
    """Compare saved results and run files; the first is the baseline.

    Args:
        sources: Results folders of `modernir eval`, of one set or several, and TREC run files.
        reader: By which measure they are scored, and what with.
        names: What to call them; by default their models' names.
        alpha: A corrected p value below it is called significant.
        top: Number of queries that changed most.
        on_message: Is told of systems that found nothing for some queries.

    Raises:
        InputError: One cannot be read, comes twice, or was not scored on the same data, split and queries as the first.
    """
    places = [Path(source) for source in sources]
    if len(places) < 2:
        raise InputError("expected at least two results to compare, the baseline first")
    for number, place in enumerate(places):
        if place.resolve() in [other.resolve() for other in places[:number]]:
            raise InputError(f"{place}: named twice; compare different results")
    if not 0 < alpha < 1:
        raise InputError(f"alpha {alpha}: expected a number between 0 and 1")
    systems = named([reader.read(place) for place in places], names)
    for other in systems[1:]:
        _check_comparable(systems[0], other)
    for system in systems:
        _tell_of_gaps(system, on_message)
    sets = [_aligned(name, systems, reader) for name in systems[0].sets]
    return compare(str(reader.measure), [system.name for system in systems], sets, alpha, top)


def _check_comparable(baseline: System, other: System) -> None:
    lacking = [name for name in baseline.sets if name not in other.sets]
    beyond = [name for name in other.sets if name not in baseline.sets]
    if lacking or beyond:
        parts = [f"lacks {', '.join(lacking)}"] * bool(lacking) + [f"also has {', '.join(beyond)}"] * bool(beyond)
        raise InputError(
            f"{other.source}: not of the sets of {baseline.source}: {' and '.join(parts)}; name sets that both have "
            "with --dataset"
        )
    for name, ours in baseline.sets.items():
        theirs = other.sets[name]
        where = f"{other.source}: {name}"
        if ours.split != theirs.split:
            raise InputError(f"{where}: scored on split {theirs.split}, {baseline.source} on {ours.split}")
        missing = [query for query in ours.values if query not in theirs.values]
        more = [query for query in theirs.values if query not in ours.values]
        if missing or more:
            example = (missing or more)[0]
            raise InputError(
                f"{where}: lacks {len(missing)} of the {len(ours.values)} judged queries of {baseline.source} and has "
                f"{len(more)} that are not there, such as {example!r}; score both with the same judgements"
            )
        if ours.data != theirs.data:
            raise InputError(
                f"{where}: its corpus, queries or judgements are not those that {baseline.source} was scored on; "
                "evaluate both on one copy of the data"
            )


def _tell_of_gaps(system: System, on_message: Callable[[str], object]) -> None:
    for name, scores in system.sets.items():
        if scores.without_results == len(scores.values):
            raise InputError(f"{system.source}: {name}: has results for no judged query")
        if scores.without_results:
            counts = f"{scores.without_results} of {len(scores.values)} judged queries"
            on_message(f"{system.source}: {name}: no results for {counts}, which count as zero")


def _aligned(name: str, systems: Sequence[System], reader: Reader) -> ComparedSet:
    first = systems[0].sets[name]
    queries = tuple(first.values)
    scores = np.array([[system.sets[name].values[query] for query in queries] for system in systems], np.float64)
    return ComparedSet(name, first.split, queries, scores, reader.texts(name, first))
