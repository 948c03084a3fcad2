"""Compared results pair the same queries of the same data, or are refused; the figures equal plain computations."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from modernir.errors import InputError
from modernir.eval.comparing.comparison import ComparedSet, Comparison, compare
from modernir.eval.comparing.inputs import Reader
from modernir.eval.comparing.saved import compare_saved
from modernir.eval.evaluate import evaluate
from modernir.eval.loading import load_benchmark
from modernir.eval.measures import Measure
from modernir.eval.runs import write_run
from modernir.eval.scoring import score_saved_run

NDCG, MRR = Measure("nDCG", 10), Measure("MRR", 10)
GOOD = {"q1": {"d1": 2.0, "d3": 1.0}, "q2": {"d2": 1.0}}
POOR = {"q1": {"d4": 2.0, "d1": 1.0}, "q2": {"d4": 2.0, "d3": 1.0}}


@pytest.fixture
def sets(tmp_path: Path, make_beir: Callable[..., Path]) -> Path:
    for name in ("one", "two"):
        make_beir(tmp_path / "sets" / name)
    return tmp_path / "sets"


@pytest.fixture
def saved(sets: Path, tmp_path: Path) -> Callable[..., Path]:
    """Save the results of a run on some sets under a system's name, and return their folder."""

    def save_results(system: str, run: dict, *names: str, measures: tuple = (NDCG,), split: str | None = None) -> Path:
        for name in names or ("one", "two"):
            write_run(tmp_path / f"{system}.trec", run)
            score_saved_run(
                tmp_path / f"{system}.trec", sets / name, split=split, output=tmp_path / system, measures=measures
            )
        return tmp_path / system

    return save_results


def scores(n_systems: int, n_queries: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    base = rng.beta(0.6, 0.6, n_queries)
    noise = rng.normal(0.02, 0.2, (n_systems - 1, n_queries)) * (rng.random((n_systems - 1, n_queries)) < 0.6)
    return np.vstack([base, np.clip(base + noise, 0, 1)])


def compared(name: str, values: np.ndarray, texts: dict[str, str] | None = None) -> ComparedSet:
    return ComparedSet(name, "test", tuple(f"q{n}" for n in range(values.shape[1])), values, texts or {})


@pytest.fixture(scope="module")
def large() -> Comparison:
    texts = {"q0": 'who is <b>"Ann"</b> & why\nnot?'}
    sets = [compared("first", scores(3, 120, 0), texts), compared("sec_ond", scores(3, 40, 1))]
    return compare("nDCG@10", ["base & line", "<script>alert(1)</script>", "100%_$best"], sets, top=5)


# Figures


def test_figures_equal_plain_computations(large: Comparison) -> None:
    for row, one in zip(large.rows, large.sets, strict=False):
        assert row.means == pytest.approx(one.scores.mean(axis=1).tolist())
        for number, difference in enumerate(row.differences, 1):
            apart = one.scores[number] - one.scores[0]
            assert difference.mean == pytest.approx(apart.mean())
            assert difference.p_t == pytest.approx(stats.ttest_rel(one.scores[number], one.scores[0]).pvalue)
            assert difference.p_randomization == pytest.approx(difference.p_t, abs=0.02)
            low, high = difference.interval
            half = 1.96 * apart.std() / np.sqrt(len(apart))
            assert (low, high) == pytest.approx((apart.mean() - half, apart.mean() + half), abs=0.1 * half + 0.002)
            counts = (int((apart > 0).sum()), int((apart == 0).sum()), int((apart < 0).sum()))
            assert (difference.wins, difference.ties, difference.losses) == counts


def test_the_mean_counts_every_set_once(large: Comparison) -> None:
    first, second, mean = large.rows
    assert (mean.name, mean.queries) == ("mean of 2 sets", 160)
    assert mean.means == pytest.approx([(a + b) / 2 for a, b in zip(first.means, second.means, strict=True)])
    for a, b, both in zip(first.differences, second.differences, mean.differences, strict=True):
        assert both.mean == pytest.approx((a.mean + b.mean) / 2)
        assert both.wins == a.wins + b.wins
        assert both.interval[0] < both.mean < both.interval[1]


def test_p_values_are_corrected_for_all_sets_and_systems_together_and_the_mean_apart(large: Comparison) -> None:
    for name in ("randomization", "t"):
        single = [difference for row in large.rows[:2] for difference in row.differences]
        least = min(single, key=lambda difference: getattr(difference, f"p_{name}"))
        assert getattr(least, f"corrected_{name}") == pytest.approx(min(1, 4 * getattr(least, f"p_{name}")))
        of_mean = min(large.rows[2].differences, key=lambda difference: getattr(difference, f"p_{name}"))
        assert getattr(of_mean, f"corrected_{name}") == pytest.approx(min(1, 2 * getattr(of_mean, f"p_{name}")))


def test_the_queries_that_changed_most_come_first(large: Comparison) -> None:
    apart = np.concatenate([one.scores[1] - one.scores[0] for one in large.sets])
    largest = sorted(np.abs(apart), reverse=True)[:5]
    assert [abs(change.difference) for change in large.changes[0]] == pytest.approx(largest)
    for change in large.changes[0]:
        one = next(one for one in large.sets if one.name == change.set)
        place = one.queries.index(change.query)
        assert (change.baseline, change.score) == tuple(one.scores[:2, place].tolist())


def test_rounding_is_a_tie() -> None:
    values = np.array([[0.5, 0.5, 0.5], [0.5 + 1e-12, 0.5, 0.6]])
    [row] = compare("P@1", ["a", "b"], [compared("x", values)]).rows
    assert (row.differences[0].wins, row.differences[0].ties, row.differences[0].losses) == (1, 2, 0)


# What goes in


def test_saved_results_are_compared_set_by_set(saved: Callable[..., Path]) -> None:
    comparison = compare_saved([saved("good", GOOD), saved("poor", POOR)], Reader(NDCG))
    assert comparison.systems == ("good", "poor")
    assert [row.name for row in comparison.rows] == ["one (test)", "two (test)", "mean of 2 sets"]
    assert comparison.rows[0].means[0] == 1.0
    assert [change.text for change in comparison.changes[0]] == ["pears", "pears", "apples", "apples"]
    only = compare_saved([saved("good", GOOD), saved("poor", POOR)], Reader(NDCG, datasets=["two"]), ["A", "B"])
    assert ([row.name for row in only.rows], only.systems) == (["two (test)"], ("A", "B"))


def test_all_ways_to_name_the_same_scores_agree(sets: Path, saved: Callable[..., Path], tmp_path: Path) -> None:
    folders = [saved("good", GOOD, "one"), saved("poor", POOR, "one")]
    runs = [tmp_path / "good.trec", tmp_path / "poor.trec"]
    data, qrels = sets / "one", sets / "one" / "qrels" / "test.tsv"
    ways = [
        compare_saved(folders, Reader("nDCG@10")),
        compare_saved([folder / "one" for folder in folders], Reader(NDCG)),
        compare_saved(runs, Reader(NDCG, data=data)),
        compare_saved([folders[0], runs[1]], Reader(NDCG, data=sets, datasets=["one"])),
        compare_saved(runs, Reader(NDCG, qrels)),
        compare_saved([folders[0], runs[1]], Reader(NDCG, qrels)),
    ]
    first, *others = [comparison.to_json() for comparison in ways]
    assert first["rows"][0]["systems"][1]["difference"]["mean"] < 0
    assert others == [first] * 5


def test_a_measure_that_a_report_lacks_is_computed_from_its_run(
    sets: Path, saved: Callable[..., Path], tmp_path: Path
) -> None:
    folders = [saved("good", GOOD), saved("poor", POOR)]
    expected = evaluate(tmp_path / "poor.trec", load_benchmark(sets / "one"), [MRR]).metrics["MRR@10"]
    assert compare_saved(folders, Reader(MRR)).rows[0].means == (1.0, expected)
    moved = sets.rename(tmp_path / "moved")
    with pytest.raises(InputError, match=r"has no MRR@10 \(but nDCG@10\), and no data to score it"):
        compare_saved(folders, Reader(MRR))
    assert compare_saved(folders, Reader(MRR, data=moved)).rows[0].means == (1.0, expected)
    scores = folders[0] / "one" / "per_query.tsv"
    scores.write_text("")  # the same as a measure that is not there
    assert compare_saved(folders, Reader(NDCG, data=moved)).rows[0].means[0] == 1.0
    with pytest.raises(InputError, match="has no nDCG@10"):
        compare_saved(folders, Reader(NDCG))
    without_texts = compare_saved(folders, Reader(NDCG, datasets=["two"]))
    assert {change.text for change in without_texts.changes[0]} == {""}


def test_data_that_has_changed_is_not_the_data_of_the_results(sets: Path, saved: Callable[..., Path]) -> None:
    folders = [saved("good", GOOD, "one"), saved("poor", POOR, "one")]
    queries = sets / "one" / "queries.jsonl"
    queries.write_text(queries.read_text().replace("apples", "old apples"))
    assert {change.text for change in compare_saved(folders, Reader(NDCG)).changes[0]} == {""}
    for reader in (Reader(MRR), Reader(NDCG, data=sets)):
        with pytest.raises(InputError, match=r"one: not the one \(test\) that the results were computed on"):
            compare_saved(folders, reader)


def test_a_run_too_shallow_for_a_measure_is_not_scored_by_it(saved: Callable[..., Path]) -> None:
    folders = [saved("good", GOOD, "one"), saved("poor", POOR, "one")]
    report = folders[0] / "one" / "report.json"
    fields = json.loads(report.read_text())
    fields["settings"]["depth"] = 100
    report.write_text(json.dumps(fields))
    with pytest.raises(InputError, match="has no Recall@101, and its run stops at rank 100"):
        compare_saved(folders, Reader(Measure("Recall", 101)))
    assert compare_saved(folders, Reader(Measure("Recall", 100))).rows[0].means == (1.0, 0.25)


def test_systems_of_one_model_are_told_apart_by_their_folders(saved: Callable[..., Path], tmp_path: Path) -> None:
    first = saved("good", GOOD, "one")
    (tmp_path / "x").mkdir()
    second = (tmp_path / "x" / "good.trec", tmp_path / "x" / "out")
    write_run(second[0], POOR)
    score_saved_run(second[0], tmp_path / "sets" / "one", output=second[1], measures=[NDCG])
    assert compare_saved([first, second[1]], Reader(NDCG)).systems == (str(first), str(second[1]))


def test_a_query_without_results_is_told_of_and_counts_zero(saved: Callable[..., Path], tmp_path: Path) -> None:
    told: list[str] = []
    partial = saved("partial", {"q2": {"d2": 1.0}}, "one")
    comparison = compare_saved([saved("good", GOOD, "one"), partial], Reader(NDCG), on_message=told.append)
    assert comparison.rows[0].means == (1.0, 0.5)
    assert told == [f"{partial}: one: no results for 1 of 2 judged queries, which count as zero"]


# What is refused


def edit_report(folder: Path, **changes: object) -> None:
    fields = json.loads((folder / "report.json").read_text()) | changes
    (folder / "report.json").write_text(json.dumps(fields))


def test_what_cannot_be_paired_is_refused(saved: Callable[..., Path], sets: Path, tmp_path: Path) -> None:
    good, poor = saved("good", GOOD), saved("poor", POOR)

    def refused(message: str, *sources: Path, reader: Reader | None = None, **options: Any) -> None:  # noqa: ANN401
        with pytest.raises(InputError, match=message):
            compare_saved(sources, reader or Reader(NDCG), **options)

    refused("at least two results", good)
    refused("named twice", good, good / ".." / "good")
    refused("lacks two; name sets that both have with --dataset", good, saved("half", POOR, "one"))
    refused("also has two", saved("half", POOR, "one"), good)
    refused("half: no results of two; there: one", good, tmp_path / "half", reader=Reader(NDCG, datasets=["two"]))
    refused("scored on split dev, .*good.one on test", good / "one", saved("dev", POOR, "one", split="dev"))
    refused("1 names for 2 systems", good, poor, names=["one"])
    refused("two systems are called 'x'", good, poor, names=["x", "x"])
    refused("alpha 5", good, poor, alpha=5)
    refused("none: no such file or folder", good, tmp_path / "none")
    refused("no report.json in this folder", good, sets)
    refused("good.trec: a run file needs judgements", poor, tmp_path / "good.trec")
    refused("results of several systems", good, tmp_path)
    with pytest.raises(InputError, match="with --qrels or a benchmark with --data, not both"):
        Reader(NDCG, qrels=sets / "one" / "qrels" / "test.tsv", data=sets)
    write_run(tmp_path / "strange.trec", {"q77": {"d1": 1.0}})
    refused(
        "results for no judged query", good / "one", tmp_path / "strange.trec", reader=Reader(NDCG, data=sets / "one")
    )
    refused("results of 2 sets", good, poor, reader=Reader(NDCG, qrels=sets / "one" / "qrels" / "test.tsv"))


def test_other_data_or_queries_are_refused(saved: Callable[..., Path]) -> None:
    good, poor = saved("good", GOOD, "one"), saved("poor", POOR, "one")
    settings = json.loads((poor / "one" / "report.json").read_text())["settings"]
    edit_report(poor / "one", settings=settings | {"data": "0" * 32})
    with pytest.raises(InputError, match="poor: one: its corpus, queries or judgements are not those"):
        compare_saved([good, poor], Reader(NDCG))
    scores = poor / "one" / "per_query.tsv"
    scores.write_text(scores.read_text().replace("q2\t", "q9\t"))
    with pytest.raises(InputError, match=r"lacks 1 of the 2 judged queries of .*good and has 1 that are not .*'q2'"):
        compare_saved([good, poor], Reader(NDCG))


def test_another_systems_results_are_not_overwritten(saved: Callable[..., Path], sets: Path, tmp_path: Path) -> None:
    good = saved("good", GOOD, "one")
    write_run(tmp_path / "other.trec", POOR)
    with pytest.raises(InputError, match=r"good/one: holds the results of good; choose another --output, or --force"):
        score_saved_run(tmp_path / "other.trec", sets / "one", output=good)
    write_run(tmp_path / "strange.trec", {"q77": {"d1": 1.0}})
    with pytest.raises(InputError, match=r"no judged query of one \(test\)"):
        score_saved_run(tmp_path / "strange.trec", sets / "one", output=tmp_path / "new")
    report, _ = score_saved_run(tmp_path / "other.trec", sets / "one", output=good, force=True)
    assert report.model == "other"
    again, _ = score_saved_run(good / "one", sets / "one", output=tmp_path / "again", name="renamed")
    assert (again.model, again.metrics) == ("renamed", report.metrics)
    with pytest.raises(InputError, match="no benchmark to score the run on"):
        score_saved_run(tmp_path / "other.trec")


# From the shell


def test_the_commands_score_compare_and_write_every_form(
    call: Callable[..., SimpleNamespace], sets: Path, tmp_path: Path
) -> None:
    for name, run in (("good", GOOD), ("poor", POOR)):
        write_run(tmp_path / f"{name}.run", run)
        for one in ("one", "two"):
            scored = call(
                "eval", "run", tmp_path / f"{name}.run", "--data", sets, "--dataset", one, "-o", tmp_path / name
            )
            assert (scored.code, "nDCG@10" in scored.stdout) == (0, True), scored.stderr
    files = {form: tmp_path / f"out.{form}" for form in ("csv", "latex", "html")}
    written = [part for form, file in files.items() for part in (f"--{form}", file)]
    done = call("eval", "compare", tmp_path / "good", tmp_path / "poor", *written, "--json")
    found = json.loads(done.stdout)
    assert (found["baseline"], found["systems"], len(found["rows"])) == ("good", ["good", "poor"], 3)
    assert found["changes"]["poor"][0]["text"] == "pears"
    assert found["method"].startswith("95% percentile bootstrap intervals")
    assert all(file.stat().st_size for file in files.values())
    shown = call(
        "eval", "compare", tmp_path / "good", tmp_path / "poor", "--measure", "R@100", "--name", "A", "--name", "B"
    )
    assert "Recall@100, compared with A" in shown.stdout
    assert "win/tie/loss" in shown.stdout
    refused = call("eval", "compare", tmp_path / "good", "--measure", "R@100")
    assert (refused.code, refused.stderr) == (
        2,
        "error: expected at least two results to compare, the baseline first\n",
    )
