"""An evaluation counts every judged query, and says what it depends on."""

import json
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from modernir.errors import InputError
from modernir.eval.benchmarks import BENCHMARKS
from modernir.eval.evaluate import evaluate
from modernir.eval.loading import Benchmark, load_benchmark
from modernir.eval.report import show_reports
from modernir.eval.runs import write_run

RESULTS = {"apples": [("d1", 0.9), ("d2", 0.5)], "pears": [("d4", 0.8), ("d2", 0.7)]}


@pytest.fixture
def benchmark(tmp_path: Path, make_beir: Callable[..., Path]) -> Benchmark:
    return load_benchmark(make_beir(tmp_path / "mine"))


def test_the_report_has_metrics_under_their_names_and_is_json(
    benchmark: Benchmark, fake_retriever: Callable[..., Any]
) -> None:
    report = evaluate(fake_retriever(RESULTS), benchmark, ["MRR@10", "R@100"], depth=5)
    written = json.loads(json.dumps(report.to_json()))
    assert written["metrics"] == {"MRR@10": 0.75, "Recall@100": 0.75}
    assert (written["benchmark"], written["split"], written["model"]) == ("mine", "test", "fake/encoder")
    assert written["counts"]["queries"] == 2
    assert written["counts"]["documents"] == 4
    assert written["settings"]["depth"] == 100  # Recall@100 needs as many
    assert {"modernir", "python", "pytrec-eval-terrier"} <= set(written["versions"])
    assert written["seconds"]["search"] >= 0
    assert "per_query" not in written and "run" not in written
    assert report.per_query["q2"] == {"MRR@10": 0.5, "Recall@100": 1.0}
    assert written["intervals"] == {"MRR@10": [0.5, 1.0], "Recall@100": [0.5, 1.0]}  # of two queries, 1/2 and 1
    assert written["folder"] == str(benchmark.folder.path)
    assert report.run == {"q1": {"d1": 0.9, "d2": 0.5}, "q2": {"d4": 0.8, "d2": 0.7}}


def test_a_retriever_a_run_and_its_file_score_the_same(
    benchmark: Benchmark, fake_retriever: Callable[..., Any], tmp_path: Path
) -> None:
    report = evaluate(fake_retriever(RESULTS), benchmark)
    write_run(tmp_path / "run.trec", report.run)
    assert evaluate(report.run, benchmark).metrics == report.metrics
    assert evaluate(tmp_path / "run.trec", str(tmp_path / "mine")).metrics == report.metrics
    pairs = {"q1": RESULTS["apples"], "q2": RESULTS["pears"]}
    assert evaluate(pairs, benchmark).metrics == report.metrics


def test_a_query_without_results_counts_zero(benchmark: Benchmark, fake_retriever: Callable[..., Any]) -> None:
    report = evaluate(fake_retriever({"pears": [("d2", 1.0)]}), benchmark, ["MRR@10"])
    assert report.metrics == {"MRR@10": 0.5}
    assert report.counts["queries_without_results"] == 1


def test_a_judged_query_without_text_counts_zero(
    tmp_path: Path, make_beir: Callable[..., Path], fake_retriever: Callable[..., Any]
) -> None:
    qrels = {"test": {"q2": {"d2": 1}, "lost": {"d1": 1}}}
    benchmark = load_benchmark(make_beir(tmp_path / "lossy", qrels=qrels))
    report = evaluate(fake_retriever({"pears": [("d2", 1.0)]}), benchmark, ["MRR@10"])
    assert report.metrics == {"MRR@10": 0.5}
    assert report.counts["queries_without_text"] == 1


def test_identical_ids_are_dropped_only_where_the_benchmark_says_so(
    tmp_path: Path, make_beir: Callable[..., Path], fake_retriever: Callable[..., Any]
) -> None:
    corpus = {"q1": "apples", "d1": "red apples", "d2": "green"}
    folder = make_beir(tmp_path / "same", corpus=corpus, qrels={"test": {"q1": {"d1": 1}}})
    plain = load_benchmark(folder)
    flagged = replace(plain, entry=BENCHMARKS["arguana"])
    retriever = fake_retriever({"apples": [("q1", 1.0), ("d1", 0.9), ("d2", 0.8)]})
    assert evaluate(retriever, plain, ["MRR@2"], depth=2).metrics == {"MRR@2": 0.5}
    report = evaluate(retriever, flagged, ["MRR@2"], depth=2)
    assert report.metrics == {"MRR@2": 1.0}
    assert report.run == {"q1": {"d1": 0.9, "d2": 0.8}}
    assert retriever.depths == [2, 3]
    run = {"q1": {"q1": 1.0, "d1": 0.9}}
    assert evaluate(run, flagged, ["MRR@2"]).metrics == {"MRR@2": 1.0}
    assert run == {"q1": {"q1": 1.0, "d1": 0.9}}


def test_a_depth_of_zero_is_refused(benchmark: Benchmark, fake_retriever: Callable[..., Any]) -> None:
    with pytest.raises(InputError, match="depth 0"):
        evaluate(fake_retriever({}), benchmark, depth=0)


def test_published_figures_are_shown_only_for_the_split_they_belong_to(
    benchmark: Benchmark, fake_retriever: Callable[..., Any]
) -> None:
    known = replace(benchmark, name="scifact", entry=BENCHMARKS["scifact"])
    report = evaluate(fake_retriever(RESULTS), known)
    figures = {figure["system"]: figure["value"] for figure in report.published}
    assert figures["all-MiniLM-L6-v2"] == 0.645
    assert evaluate(fake_retriever(RESULTS), replace(known, split="train")).published == []


def test_the_table_shows_sets_their_mean_and_published_figures(
    benchmark: Benchmark, fake_retriever: Callable[..., Any]
) -> None:
    known = replace(benchmark, name="scifact", entry=BENCHMARKS["scifact"])
    reports = [
        evaluate(fake_retriever(RESULTS), known, ["nDCG@10", "MRR@10"]),
        evaluate(fake_retriever({}), replace(benchmark, name="mine [b]"), ["nDCG@10", "MRR@10"]),
    ]
    console = Console(file=StringIO(), width=100)
    show_reports(reports, console)
    lines = [line.split() for line in console.file.getvalue().splitlines()]
    assert ["fake/encoder"] in lines
    assert ["mine", "[b]", "(test)", "2", "0.0000", "0.0000"] in lines
    assert ["all-MiniLM-L6-v2", "*", "0.645"] in lines
    assert next(line for line in lines if line[:1] == ["mean"])[-1] == "0.3750"
    ends = [line[3:] for line in lines if line[:3] == ["95", "%", "interval"]]
    assert len(ends) == 3
    assert ends[1] == [".000"] * 4
