"""What the registry says of published figures adds up, and tables show the best of them."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import mean

import pytest
from rich.console import Console

from modernir.eval.benchmarks import BENCHMARKS, SOURCES, parts
from modernir.eval.evaluate import evaluate
from modernir.eval.loading import load_benchmark
from modernir.eval.registry.published import M3_SYSTEMS, TABLE_1
from modernir.eval.report import PUBLISHED_ROWS, results_table


@pytest.mark.parametrize(("system", "published"), zip(M3_SYSTEMS, (0.536, 0.525, 0.576), strict=True))
def test_figures_of_mldrs_languages_have_the_published_mean(system: str, published: float) -> None:
    figures = [BENCHMARKS[name].published[system] for name in parts("mldr")]
    assert len(figures) == 13
    assert mean(figures) == pytest.approx(published, abs=0.0006)


def test_every_model_of_the_papers_table_stands_at_its_sets() -> None:
    assert set(BENCHMARKS["stackoverflow-qa"].published) == set(TABLE_1)
    english = [system for system in BENCHMARKS["mldr/en"].published if system not in M3_SYSTEMS]
    assert len(english) == 3 * len(TABLE_1)
    assert all("2412.13663" in SOURCES[system] for system in (*english, *TABLE_1))


def test_a_table_shows_the_best_published_figures_and_the_report_all(
    tmp_path: Path, make_beir: Callable[..., Path]
) -> None:
    benchmark = replace(load_benchmark(make_beir(tmp_path / "mine")), entry=BENCHMARKS["mldr/en"])
    report = evaluate({"q1": {"d1": 1.0}}, benchmark)
    assert len(report.published) == len(BENCHMARKS["mldr/en"].published) > PUBLISHED_ROWS
    console = Console(file=io.StringIO(), width=200)
    console.print(results_table([report]))
    shown = [line.split("*")[0].strip() for line in console.file.getvalue().splitlines() if " * " in line]
    assert len(shown) == PUBLISHED_ROWS
    assert {"ModernBERT-base, ColBERT, out of domain", "ModernBERT-large, ColBERT, out of domain"} <= set(shown)
    assert "BERT-base, single vector, out of domain" not in shown


def test_a_set_published_in_another_measure_is_compared_in_it(tmp_path: Path, make_beir: Callable[..., Path]) -> None:
    known = replace(BENCHMARKS["longembed/needle-256"], published={"all-MiniLM-L6-v2": 0.5})
    benchmark = replace(load_benchmark(make_beir(tmp_path / "mine")), entry=known)
    assert [figure["measure"] for figure in evaluate({"q1": {"d1": 1.0}}, benchmark).published] == ["nDCG@1"]
