"""What is shown of one system's saved results are the figures of its reports, whatever the form."""

import csv
import json
import re
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from modernir.errors import InputError
from modernir.eval.comparing.inputs import Reader
from modernir.eval.comparing.saved import compare_saved
from modernir.eval.evaluate import Report
from modernir.eval.intervals import mean_intervals
from modernir.eval.reporting.costs import COSTS
from modernir.eval.reporting.export import to_csv, to_latex
from modernir.eval.reporting.page import page
from modernir.eval.reporting.results import SystemResults, read_results
from modernir.eval.results import load, save

Call = Callable[..., SimpleNamespace]
NASTY = "<b>m_o</b> & 100%"
MEASURES = ("nDCG@10", "Recall@100")
COST = {
    "encoded_documents": 40, "encode_seconds": 2.0, "documents_per_second": 20.0, "index_bytes": 3_000_000,
    "vector_bytes": 80_000, "latency_queries": 5, "p50_ms": 1.25, "p95_ms": 2.5, "peak_memory_bytes": 90_000_000,
}  # fmt: skip


def made(name: str, queries: int, **changes: object) -> Report:
    rng = np.random.default_rng(queries)
    per_query = {f"q{n}": dict(zip(MEASURES, rng.random(2).tolist(), strict=True)) for n in range(queries)}
    report = Report(
        benchmark=name,
        split="test",
        folder="nowhere",
        model=NASTY,
        fingerprint="f" * 32,
        settings={"precision": "fp32", "depth": 100, "measures": list(MEASURES), "data": name, "corpus": name},
        metrics={m: float(np.mean([scores[m] for scores in per_query.values()])) for m in MEASURES},
        intervals=mean_intervals(per_query, MEASURES),
        counts={"queries": queries, "queries_without_text": 0, "queries_without_results": 0, "documents": 40},
        seconds={"search": 0.5},
        versions={"modernir": "0"},
        published=[{"system": "BM25", "measure": "nDCG@10", "value": 0.33, "source": "a paper"}],
        per_query=per_query,
        run={query: {"d": 1.0} for query in per_query},
        costs=COST,
    )
    return replace(report, **changes)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Save results of two sets, and return their folder."""
    for report in (made("first", 20), made("sec_ond", 30)):
        save(report, tmp_path / "res")
    return tmp_path / "res"


def reports(saved: Path) -> list[dict]:
    return [json.loads((saved / name / "report.json").read_text()) for name in ("first", "sec_ond")]


def test_rows_are_the_reports_and_the_mean_is_that_of_a_comparison(saved: Path, tmp_path: Path) -> None:
    found = read_results([saved])
    assert (found.name, found.measures, len(found.rows)) == (made("x", 2).system, MEASURES, 3)
    for row, report in zip(found.rows, reports(saved), strict=False):
        assert row.means == report["metrics"]
        assert {name: list(ends) for name, ends in row.intervals.items()} == report["intervals"]
        assert row.costs["queries_per_second"] == report["counts"]["queries"] / 0.5
        assert (row.costs["bytes_per_document"], row.costs["p50_ms"]) == (2000, 1.25)
    for report in (made("first", 20, model="other"), made("sec_ond", 30, model="other")):
        save(report, tmp_path / "other")
    compared = compare_saved([saved, tmp_path / "other"], Reader("nDCG@10")).rows[-1]
    assert found.rows[-1].name == compared.name
    assert found.rows[-1].means["nDCG@10"] == pytest.approx(compared.means[0])
    assert found.rows[-1].intervals["nDCG@10"] == pytest.approx(compared.intervals[0])
    assert not found.rows[-1].costs


def test_csv_reads_back_with_all_digits(saved: Path) -> None:
    rows = list(csv.DictReader(StringIO(to_csv(read_results([saved])))))
    assert [row["set"] for row in rows] == ["first (test)", "sec_ond (test)", "mean of 2 sets"]
    for row, report in zip(rows, reports(saved), strict=False):
        assert row["system"] == made("x", 2).system
        for name in MEASURES:
            assert float(row[name]) == report["metrics"][name]
            assert [float(row[f"{name} low"]), float(row[f"{name} high"])] == report["intervals"][name]
        assert float(row["index_mb"]) == report["costs"]["index_bytes"] / 1e6
        assert row["peak_device_mb"] == ""
    assert all(rows[2][cost.name] == "" for cost in COSTS)


def test_latex_is_balanced_and_escaped(saved: Path) -> None:
    text = to_latex(read_results([saved], name=NASTY))
    opened, closed = re.findall(r"\\begin\{(\w+)\}", text), re.findall(r"\\end\{(\w+)\}", text)
    assert opened == closed[::-1] == ["table", "tabular"]
    bare = re.sub(r"\\[\\{}&%$#_]", "", text)
    assert bare.count("{") == bare.count("}")
    body = text.split(r"\midrule", 1)[1].split(r"\bottomrule")[0]
    columns = len(re.search(r"\\begin\{tabular\}\{(\w+)\}", text)[1])
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 6
    assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {columns}
    assert r"sec\_ond (test)" in body
    assert r"\textless{}b\textgreater{}m\_o" in text and r"\& 100\%" in text
    assert not re.search(r"(?<!\\)[%_#]", text)
    for report in reports(saved):
        assert all(f"& {report['metrics'][name]:.3f} " in body for name in MEASURES)


def test_the_page_holds_the_figures_of_the_reports(saved: Path) -> None:
    text = page(read_results([saved]))
    values = {float(value) for value in re.findall(r'data-value="([^"]+)"', text)}
    for report in reports(saved):
        for name in MEASURES:
            assert report["metrics"][name] in values
            mean, (low, high) = report["metrics"][name], report["intervals"][name]
            assert f'aria-label="{mean:.4f}, interval {low:.4f} to {high:.4f}"' in text
    assert {0.33, 20.0, 1.25, 2000.0, 90.0} <= values
    assert text.count('<table class="sortable">') == 2
    assert "<b>" not in text and "src=" not in text and "href=" not in text


def test_only_the_measures_and_sets_that_were_asked_for_are_shown(saved: Path) -> None:
    found = read_results([saved], ["Recall@100"], ["sec_ond"], "ours")
    assert (found.name, found.measures, [row.name for row in found.rows]) == (
        "ours",
        ("Recall@100",),
        ["sec_ond (test)"],
    )
    assert "nDCG@10" not in to_csv(found) + to_latex(found)
    assert "nDCG@10" not in page(found)


def test_sets_in_folders_of_their_own_are_one_system(saved: Path) -> None:
    apart = read_results([saved / "first", saved / "sec_ond"])
    assert to_csv(apart) == to_csv(read_results([saved]))


def test_results_without_costs_are_shown_without(tmp_path: Path) -> None:
    plain = made("first", 20, costs={}, seconds={}, published=[], counts={"queries": 20, "queries_without_text": 0})
    found = SystemResults("plain", (plain,), MEASURES)
    assert "Beside published" not in page(found) and "docs/s" not in page(found)
    assert "p50" not in to_latex(found)


def test_what_is_no_one_system_is_refused(saved: Path, tmp_path: Path) -> None:
    def refused(match: str, *sources: Path, **options: object) -> None:
        with pytest.raises(InputError, match=match):
            read_results(sources, **options)

    (tmp_path / "empty").mkdir()
    refused("no report.json in this folder", tmp_path / "empty")
    refused("no such folder", tmp_path / "nope")
    refused(r"first \(test\) is in .* too", saved, saved / "first")
    refused("no results of third; there: first, sec_ond", saved, datasets=["third"])
    refused(r"has no P@5 \(but nDCG@10, Recall@100\)", saved, measures=["P@5"])
    other = save(made("third", 10, fingerprint="0" * 32), tmp_path / "other")
    refused("`modernir eval compare`", saved, other)
    low = save(made("third", 10, settings=made("third", 10).settings | {"precision": "bf16"}), tmp_path / "low")
    refused("evaluated with precision bf16", saved, low)
    (saved / "first" / "per_query.tsv").unlink()
    refused("per_query.tsv", saved)


def test_a_real_evaluation_is_shown(
    call: Call, tiny_model: Path, make_beir: Callable[..., Path], tmp_path: Path
) -> None:
    data, out = make_beir(tmp_path / "fruit"), tmp_path / "res"
    assert call("eval", "beir", "--model", tiny_model, "--data", data, "--output", out).code == 0
    files = [tmp_path / f"report.{ending}" for ending in ("csv", "tex", "html")]
    done = call("eval", "report", out, "--csv", files[0], "--latex", files[1], "--html", files[2], "--json")
    assert done.code == 0, done.stderr
    report = load(out / "fruit")
    shown = json.loads(done.stdout)["rows"]
    assert [row["means"] for row in shown] == [report.metrics]
    assert {"documents", "queries_per_second", "p50_ms", "bytes_per_document"} <= set(shown[0]["costs"])
    row = next(csv.DictReader(files[0].open()))
    assert float(row["nDCG@10"]) == report.metrics["nDCG@10"]
    assert repr(report.metrics["nDCG@10"]) in files[2].read_text()
    assert "fruit (test)" in call("eval", "report", out).stdout
    bad = call("eval", "report", tmp_path / "fruit")
    assert (bad.code, bad.stdout) == (2, "") and "no report.json" in bad.stderr.splitlines()[-1]
    folder = call("eval", "report", out, "--csv", files[0], "--html", tmp_path)
    assert folder.code == 2 and "is a folder" in folder.stderr
