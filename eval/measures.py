"""Measures as values, written as people write them (`nDCG@10`), computed by trec_eval where it has them.

Two rules that evaluation scripts often break hold here: a judged query without results counts as zero in every
mean, and a query without judgements does not count at all. nDCG has trec_eval's linear gain.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from typing import Self

from ..errors import InputError
from .runs import Run, ranked

FAMILIES = {
    "nDCG": "ndcg_cut",
    "Recall": "recall",
    "MAP": "map_cut",
    "MRR": "recip_rank",
    "P": "P",
    "Success": "success",
}
"""Our name of a family of measures to trec_eval's."""


def capped_recall(ranking: Sequence[str], grades: Mapping[str, int], cutoff: int) -> float:
    """Return recall with at most `cutoff` relevant documents counted, as BEIR scores TREC-COVID.

    It is the number of relevant documents in the first `cutoff` places, divided by min(cutoff, all relevant ones), so
    that 1 can be reached where more are relevant than are looked at (Thakur et al. 2021).
    """
    relevant = sum(grade > 0 for grade in grades.values())
    found = sum(grades.get(document, 0) > 0 for document in ranking[:cutoff])
    return found / min(cutoff, relevant) if relevant else 0.0


def judged_share(ranking: Sequence[str], grades: Mapping[str, int], cutoff: int) -> float:
    """Return the share of the first `cutoff` results that were judged at all, whatever their grade."""
    looked_at = ranking[:cutoff]
    return sum(document in grades for document in looked_at) / len(looked_at) if looked_at else 0.0


OWN: dict[str, Callable[[Sequence[str], Mapping[str, int], int], float]] = {
    "R_cap": capped_recall,
    "Judged": judged_share,
}
"""Families that trec_eval lacks: documents best first, grades and cut-off to value."""

ALIASES = {"R": "Recall", "AP": "MAP", "RR": "MRR"}

_SPELLINGS = {name.lower(): name for name in (*FAMILIES, *OWN)} | {
    short.lower(): name for short, name in ALIASES.items()
}

PerQuery = dict[str, dict[str, float]]
"""Scores: query id to measure's name to value."""


@dataclass(frozen=True)
class Measure:
    """A measure with its cut-off.

    Attributes:
        family: One of `FAMILIES` or `OWN`.
        cutoff: Number of results that it looks at.
    """

    family: str
    cutoff: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a measure from its name, such as `nDCG@10` or `R@100`; case does not matter.

        Raises:
            InputError: There is no such measure.
        """
        match = re.fullmatch(r"([a-z_]+)@([1-9][0-9]{0,8})", text.strip().lower())
        if match is None or match[1] not in _SPELLINGS:
            known = ", ".join(f"{name}@k" for name in (*FAMILIES, *OWN, *ALIASES))
            raise InputError(f"unknown measure {text!r}; expected one of {known}, for instance nDCG@10")
        return cls(_SPELLINGS[match[1]], int(match[2]))

    def __str__(self) -> str:
        return f"{self.family}@{self.cutoff}"


DEFAULT_MEASURES = (Measure("nDCG", 10), Measure("Recall", 100), Measure("MAP", 100), Measure("MRR", 10))


def parse_measures(measures: Iterable[Measure | str]) -> tuple[Measure, ...]:
    """Return measures from their names, each once, in the order given.

    Raises:
        InputError: One is unknown, or there is none.
    """
    parsed = tuple(dict.fromkeys(m if isinstance(m, Measure) else Measure.parse(m) for m in measures))
    if not parsed:
        raise InputError("no measure given; name one, for instance nDCG@10")
    return parsed


def score_run(run: Run, qrels: Mapping[str, Mapping[str, int]], measures: Sequence[Measure]) -> PerQuery:
    """Score every judged query by every measure, as trec_eval does.

    Args:
        run: Query id to document id to score; it is not changed.
        qrels: Query id to document id to grade; relevant from 1 on, and the grade is nDCG's gain. Grades below zero
            count as not relevant.
        measures: What to compute.

    Raises:
        InputError: There is no judged query.
    """
    if not qrels:
        raise InputError("no judgements to score the run by")
    judged = {query: run.get(query, {}) for query in qrels}
    plain = {f"{FAMILIES[m.family]}_{m.cutoff}": m for m in measures if m.family not in ("MRR", *OWN)}
    passes = [(judged, plain)]
    for measure in measures:
        if measure.family == "MRR":  # trec_eval has no cut-off here, so the run is cut instead
            passes.append((_cut(judged, measure.cutoff), {"recip_rank": measure}))
    # pytrec_eval reads outside its arrays on a negative grade, which for these measures means what zero does
    grades = {query: {doc: max(grade, 0) for doc, grade in docs.items()} for query, docs in qrels.items()}
    scores: PerQuery = {query: {str(measure): 0.0 for measure in measures} for query in qrels}
    for results, names in passes:
        for query, values in _trec_eval(results, grades, names).items():
            scores[query] |= {str(measure): values[name] for name, measure in names.items()}
    _score_own(scores, judged, qrels, [measure for measure in measures if measure.family in OWN])
    return scores


def means(per_query: PerQuery, measures: Sequence[Measure]) -> dict[str, float]:
    """Return each measure's mean over all queries of `per_query`."""
    names = [str(measure) for measure in measures]
    return {name: fsum(values[name] for values in per_query.values()) / len(per_query) for name in names}


def _trec_eval(run: Run, qrels: Mapping[str, Mapping[str, int]], names: Iterable[str]) -> PerQuery:
    import pytrec_eval

    wanted = set(names)
    return pytrec_eval.RelevanceEvaluator(qrels, wanted).evaluate(run) if wanted else {}


def _score_own(scores: PerQuery, run: Run, qrels: Mapping[str, Mapping[str, int]], measures: Sequence[Measure]) -> None:
    for query, results in run.items() if measures else ():
        ranking = ranked(results)
        for measure in measures:
            scores[query][str(measure)] = OWN[measure.family](ranking, qrels[query], measure.cutoff)


def _cut(run: Run, depth: int) -> Run:
    return {query: {doc: scores[doc] for doc in ranked(scores)[:depth]} for query, scores in run.items()}
