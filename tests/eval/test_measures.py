"""Measures equal trec_eval's definitions, written out here a second time in plain Python."""

import copy
from math import log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modernir.errors import InputError
from modernir.eval.measures import DEFAULT_MEASURES, Measure, means, parse_measures, score_run
from modernir.eval.runs import Run

COMMON = ("nDCG@3", "nDCG@10", "R@2", "R@100", "AP@3", "AP@100", "RR@1", "RR@10", "P@1", "P@5", "Success@1")
MEASURES = parse_measures([*COMMON, "Success@5", "R_cap@1", "R_cap@3", "R_cap@100", "Judged@4"])


def order(scores: dict[str, float]) -> list[str]:
    """Best first: score in single precision, then document id, both descending."""
    return sorted(scores, key=lambda doc: (np.float32(scores[doc]), doc.encode()), reverse=True)


def reference(family: str, k: int, scores: dict[str, float], grades: dict[str, int]) -> float:
    ranking = order(scores)[:k]
    relevant = {doc for doc, grade in grades.items() if grade > 0}
    hits = [doc in relevant for doc in ranking]
    first = hits.index(True) + 1 if any(hits) else None
    if family == "nDCG":
        gains = [max(grades.get(doc, 0), 0) for doc in ranking]
        best = sorted((max(grade, 0) for grade in grades.values()), reverse=True)[:k]
        dcg, ideal = (sum(gain / log2(rank + 1) for rank, gain in enumerate(values, 1)) for values in (gains, best))
        return dcg / ideal if ideal else 0.0
    if family == "MAP":
        precisions = [sum(hits[:rank]) / rank for rank, hit in enumerate(hits, 1) if hit]
        return sum(precisions) / len(relevant) if relevant else 0.0
    if family == "Recall":
        return sum(hits) / len(relevant) if relevant else 0.0
    if family == "R_cap":
        return sum(hits) / min(len(relevant), k) if relevant else 0.0
    if family == "Judged":
        return sum(doc in grades for doc in ranking) / len(ranking) if ranking else 0.0
    return {"MRR": 1 / first if first else 0.0, "P": sum(hits) / k, "Success": float(any(hits))}[family]


DOCS = st.sampled_from(["a", "b", "c", "d", "e", "f", "g", "A", "é", "10", "9"])
NEAR = st.sampled_from([0.0, -0.0, 1.0, 1.0 + 1e-9, 1.0 + 1e-6, 2.0, -3.5, 0.1, 1e-30])
SCORES = st.one_of(NEAR, st.floats(-1e6, 1e6))
QUERY_IDS = st.sampled_from(["q1", "q2", "q3", "q4"])
RUNS = st.dictionaries(QUERY_IDS, st.dictionaries(DOCS, SCORES, max_size=11), max_size=4)


def qrels_from(lowest: int) -> st.SearchStrategy:
    grades = st.dictionaries(DOCS, st.integers(lowest, 3), min_size=1, max_size=8)
    return st.dictionaries(QUERY_IDS, grades, min_size=1, max_size=4)


QRELS = qrels_from(-2)
SAFE_QRELS = qrels_from(0)  # a negative grade makes pytrec_eval itself read outside its arrays


@settings(max_examples=300, deadline=None)
@given(run=RUNS, qrels=QRELS)
def test_scores_equal_the_definitions(run: Run, qrels: dict[str, dict[str, int]]) -> None:
    scores = score_run(run, qrels, MEASURES)
    assert set(scores) == set(qrels)
    for query, grades in qrels.items():
        for measure in MEASURES:
            expected = reference(measure.family, measure.cutoff, run.get(query, {}), grades)
            assert scores[query][str(measure)] == pytest.approx(expected, abs=1e-6), (query, str(measure))


@settings(max_examples=100, deadline=None)
@given(run=RUNS, qrels=SAFE_QRELS)
def test_scores_equal_trec_eval_asked_directly(run: Run, qrels: dict[str, dict[str, int]]) -> None:
    pytrec_eval = pytest.importorskip("pytrec_eval")
    names = {"nDCG@10": "ndcg_cut_10", "Recall@100": "recall_100", "MAP@100": "map_cut_100", "P@5": "P_5"}
    raw = pytrec_eval.RelevanceEvaluator(qrels, set(names.values())).evaluate(run)
    scores = score_run(run, qrels, parse_measures(names))
    for query, values in raw.items():
        for name, raw_name in names.items():
            assert scores[query][name] == pytest.approx(values[raw_name], abs=1e-9)


def test_doubles_that_are_one_float_are_a_tie_broken_by_document_id_descending() -> None:
    run = {"q": {"a": 1.0 + 1e-9, "b": 1.0}}
    scores = score_run(run, {"q": {"a": 1}}, parse_measures(["MRR@10", "MRR@1", "P@1"]))
    assert scores["q"] == {"MRR@10": 0.5, "MRR@1": 0.0, "P@1": 0.0}


def test_judged_query_without_results_counts_as_zero_and_unjudged_query_does_not_count() -> None:
    run = {"q1": {"d": 1.0}, "unjudged": {"d": 1.0}, "empty": {}}
    qrels = {"q1": {"d": 1}, "missing": {"d": 1}, "empty": {"d": 1}, "nothing relevant": {"d": 0}}
    scores = score_run(run, qrels, DEFAULT_MEASURES)
    assert list(scores) == list(qrels)
    assert means(scores, DEFAULT_MEASURES) == dict.fromkeys(map(str, DEFAULT_MEASURES), 0.25)


def test_the_callers_run_and_judgements_are_left_as_they_were() -> None:
    run = {"q1": {f"d{i}": float(i) for i in range(30)}}
    qrels = {"q1": {"d3": 1}, "q2": {"d1": 1}}
    before = copy.deepcopy((run, qrels))
    score_run(run, qrels, DEFAULT_MEASURES)
    assert (run, qrels) == before


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("nDCG@10", "nDCG@10"),
        ("ndcg@5", "nDCG@5"),
        ("R@100", "Recall@100"),
        ("AP@7", "MAP@7"),
        ("rr@10", "MRR@10"),
        ("R_cap@100", "R_cap@100"),
        ("r_CAP@5", "R_cap@5"),
        ("judged@10", "Judged@10"),
    ],
)
def test_names_and_aliases_are_understood(text: str, name: str) -> None:
    assert str(Measure.parse(text)) == name


@pytest.mark.parametrize("text", ["nDCG", "nDCG@0", "nDCG@-1", "nDCG@ten", "bpref@10", "", "@10", "nDCG@10.5"])
def test_an_unknown_measure_is_refused_with_the_known_ones(text: str) -> None:
    with pytest.raises(InputError, match=r"unknown measure .* expected one of nDCG@k, Recall@k"):
        Measure.parse(text)


def test_the_same_measure_under_two_names_is_computed_once() -> None:
    assert parse_measures(["R@10", "Recall@10", Measure("Recall", 10)]) == (Measure("Recall", 10),)
    with pytest.raises(InputError, match="no measure"):
        parse_measures([])


def test_agrees_with_ir_measures() -> None:
    import ir_measures

    rng = np.random.default_rng(7)
    docs = [f"d{i}" for i in range(40)]
    run = {f"q{i}": dict(zip(docs, rng.integers(0, 9, 40).astype(float).tolist(), strict=True)) for i in range(9)}
    qrels = {f"q{i}": dict(zip(docs[:20], rng.integers(0, 4, 20).tolist(), strict=True)) for i in range(1, 12)}
    names = ("nDCG@10", "R@20", "AP@20", "P@5", "Success@1", "Judged@50")
    theirs = [ir_measures.parse_measure(name) for name in names]
    ours = parse_measures(names)
    expected = ir_measures.calc_aggregate(theirs, qrels, run)
    found = means(score_run(run, qrels, ours), ours)
    for their, our in zip(theirs, ours, strict=True):
        assert found[str(our)] == pytest.approx(expected[their], abs=1e-6)


def test_capped_recall_equals_beirs_own() -> None:
    from beir.retrieval.custom_metrics import recall_cap

    rng = np.random.default_rng(3)
    docs = [f"d{i}" for i in range(60)]
    run = {f"q{i}": dict(zip(docs, rng.permutation(60).astype(float).tolist(), strict=True)) for i in range(12)}
    qrels = {query: {doc: int(rng.integers(0, 3)) for doc in docs[:30]} | {"d0": 1} for query in run}
    cutoffs = [1, 5, 20, 50]
    theirs = recall_cap(qrels, run, cutoffs)
    ours = parse_measures([f"R_cap@{cutoff}" for cutoff in cutoffs])
    assert means(score_run(run, qrels, ours), ours) == pytest.approx(theirs, abs=1e-5)  # rounded to 5 digits there
