"""Fused runs equal the definitions written out, hold together with trec_eval's order, and come from files."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modernir.errors import InputError
from modernir.eval.fuse import fuse_files, fuse_runs
from modernir.eval.runs import Run, ranked, read_run, write_run

A = {"q1": {"d1": 3.0, "d2": 2.0, "d3": 1.0}, "q2": {"d1": 0.5}}
B = {"q1": {"d3": 9.0, "d4": 8.0}, "q3": {"d9": 1.0}}

DOCS = st.sampled_from(["a", "b", "c", "d", "e", "é"])
RUNS = st.dictionaries(
    st.sampled_from(["q1", "q2"]), st.dictionaries(DOCS, st.sampled_from([0.0, 1.0, 1.0 + 1e-9, 2.5, -3.0]), max_size=6)
)


def test_reciprocal_ranks_are_summed_and_queries_of_any_run_kept() -> None:
    fused = fuse_runs([A, B])
    assert list(fused) == ["q1", "q2", "q3"]
    assert fused["q1"] == pytest.approx({"d3": 1 / 63 + 1 / 61, "d1": 1 / 61, "d2": 1 / 62, "d4": 1 / 62})
    assert (fused["q2"], fused["q3"]) == ({"d1": 1 / 61}, {"d9": 1 / 61})


def test_weights_depth_and_scores_do_what_they_say() -> None:
    assert fuse_runs([A, B], weights=[1, 0], k=1)["q1"] == pytest.approx({"d1": 0.5, "d2": 1 / 3, "d3": 0.25, "d4": 0})
    assert fuse_runs([A, B], depth=1)["q1"] == {"d3": 1 / 61}  # of d1 and d3, each first once, the larger id
    summed = fuse_runs([A, B], "weighted", [0.25, 0.75])
    assert summed["q1"] == pytest.approx({"d3": 0.75, "d1": 0.25, "d2": 0.125, "d4": 0.0})
    plain = fuse_runs([A, B], "weighted", [1, 2], normalise="none")
    assert plain["q1"]["d3"] == 1 + 2 * 9


@settings(max_examples=100, deadline=None)
@given(first=RUNS, second=RUNS, depth=st.one_of(st.none(), st.integers(1, 4)))
def test_any_runs_fuse_by_the_ranks_that_trec_eval_gives_them(first: Run, second: Run, depth: int | None) -> None:
    if not first.keys() & second.keys():
        return
    fused = fuse_runs([first, second], depth=depth)
    for query in first.keys() | second.keys():
        expected: dict[str, float] = {}
        for run in (first, second):
            scores = run.get(query, {})
            order = sorted(scores, key=lambda doc: (np.float32(scores[doc]), doc.encode()), reverse=True)
            for rank, doc in enumerate(order[:depth], 1):
                expected[doc] = expected.get(doc, 0) + 1 / (60 + rank)
        kept = ranked(expected)[:depth]
        assert list(fused[query]) == kept
        assert fused[query] == pytest.approx({doc: expected[doc] for doc in kept})


def test_a_run_and_its_fusion_with_itself_rank_alike(tmp_path: Path) -> None:
    write_run(tmp_path / "a.trec", A)
    write_run(tmp_path / "b.trec", A)
    inputs, fused = fuse_files([tmp_path / "a.trec", tmp_path / "b.trec"], tmp_path / "fused.trec")
    assert list(inputs) == [str(tmp_path / "a.trec"), str(tmp_path / "b.trec")]
    assert {query: list(scores) for query, scores in fused.items()} == {q: ranked(scores) for q, scores in A.items()}
    assert read_run(tmp_path / "fused.trec") == fused


@pytest.mark.parametrize(
    ("runs", "given", "message"),
    [
        ([A], {}, "at least two runs"),
        ([A, {"other": {"d": 1.0}}], {}, "runs 1 and 2 have no query in common"),
        ([A, B], {"weights": [1.0]}, "1 weights for 2 runs"),
        ([A, B], {"weights": [1.0, -1.0]}, "each must be a finite number of at least 0"),
        ([A, B], {"depth": 0}, "depth 0"),
        ([A, B], {"method": "best"}, "method 'best': expected rrf or weighted"),
        ([A, {"q1": {"d1": float("inf")}}], {"method": "weighted"}, "query 'q1': .*'d1' is not a finite number"),
    ],
)
def test_what_cannot_be_fused_is_refused(runs: list[Run], given: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fuse_runs(runs, **given)


def test_the_command_fuses_and_scores(
    call: Callable[..., SimpleNamespace], make_beir: Callable[..., Path], tmp_path: Path
) -> None:
    import json

    qrels = make_beir(tmp_path / "mine") / "qrels" / "test.tsv"  # q1: d1 2, d3 1; q2: d2 1
    write_run(tmp_path / "a.trec", {"q1": {"d2": 2.0, "d1": 1.0}, "q2": {"d2": 1.0}})
    write_run(tmp_path / "b.trec", {"q1": {"d3": 2.0, "d1": 1.0}, "q2": {"d9": 1.0}})
    runs, fused = (tmp_path / "a.trec", tmp_path / "b.trec"), tmp_path / "fused.trec"
    done = call("eval", "fuse", *runs, "-o", fused, "--qrels", qrels, "--measure", "RR@10", "--json")
    scores = json.loads(done.stdout)
    assert {Path(name).name: found["metrics"]["MRR@10"] for name, found in scores.items()} == {
        "a.trec": 0.75, "b.trec": 0.5, "fused.trec": 0.75,
    }  # fmt: skip
    assert read_run(fused)["q1"] == pytest.approx({"d1": 2 / 62, "d3": 1 / 61, "d2": 1 / 61})
    weighted = call("eval", "fuse", *runs, "-o", fused, "--method", "weighted", "--weight", 1, "--weight", 0)
    assert (weighted.code, weighted.stdout) == (0, "")
    assert read_run(fused)["q1"] == {"d2": 1.0, "d3": 0.0, "d1": 0.0}
    shown = call("eval", "fuse", *runs, "-o", fused, "--qrels", qrels, "--measure", "RR@10").stdout
    assert "MRR@10" in shown and "0.7500" in shown
    for wrong, message in (
        ((runs[0], runs[0]), "named twice"),
        ((runs[0], tmp_path / "none.trec"), "none.trec: no such file"),
        ((runs[0], tmp_path / "mine"), "mine: no report.json in this folder"),
    ):
        refused = call("eval", "fuse", *wrong, "-o", tmp_path / "no.trec")
        assert (refused.code, message in refused.stderr) == (2, True), refused.stderr
    assert not (tmp_path / "no.trec").exists()
