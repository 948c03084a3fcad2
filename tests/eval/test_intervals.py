"""Bootstrap intervals equal scipy's within their Monte-Carlo error, and are the same every time."""

import numpy as np
import pytest
from scipy import stats

from modernir.eval import intervals
from modernir.eval.intervals import (
    RESAMPLES,
    mean_intervals,
    means_of_sets,
    percentile_intervals,
    resampled_means,
    shown,
)


def scores(n_queries: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).beta(0.5, 0.5, (n_queries, 2))


def test_intervals_equal_scipys_percentile_bootstrap() -> None:
    values = scores(80)
    ours = percentile_intervals(resampled_means(values))
    for column, interval in zip(values.T, ours, strict=True):
        theirs = stats.bootstrap((column,), np.mean, n_resamples=10_000, method="percentile", rng=1)
        density = stats.norm.pdf(1.96) / (column.std() / np.sqrt(80))  # of the means at the ends
        error = np.sqrt(2 * 0.025 * 0.975 / RESAMPLES) / density
        assert interval == pytest.approx(tuple(theirs.confidence_interval), abs=4 * error)


def test_every_resample_is_n_draws_of_the_queries_and_shared_by_the_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    n_queries = 7
    counts = resampled_means(np.eye(n_queries), 500) * n_queries  # the mean of an indicator counts its draws
    assert counts.sum(axis=1) == pytest.approx(np.full(500, n_queries))
    assert counts == pytest.approx(np.round(counts))
    assert counts.mean(axis=0) == pytest.approx(np.ones(n_queries), abs=0.2)
    values = scores(n_queries)
    assert resampled_means(values, 500) == pytest.approx(counts @ values / n_queries)
    monkeypatch.setattr(intervals, "BLOCK_BYTES", 1000)  # blocks of 8 resamples draw the same numbers
    assert np.array_equal(resampled_means(values, 500), resampled_means(values, 500))
    assert resampled_means(values, 500) == pytest.approx(counts @ values / n_queries)


def test_the_same_scores_always_have_the_same_interval() -> None:
    per_query = {f"q{number}": {"nDCG@10": value, "MRR@10": 0.5} for number, (value, _) in enumerate(scores(30))}
    found = mean_intervals(per_query, ["nDCG@10", "MRR@10"])
    assert found == mean_intervals(per_query, ["nDCG@10", "MRR@10"])
    low, high = found["nDCG@10"]
    assert 0 < low < np.mean([values["nDCG@10"] for values in per_query.values()]) < high < 1
    assert found["MRR@10"] == [0.5, 0.5]


def test_about_95_of_100_intervals_hold_the_true_mean() -> None:
    held = 0
    for seed in range(200):
        [(low, high), _] = percentile_intervals(resampled_means(scores(100, seed), 500))
        held += low <= 0.5 <= high
    assert 180 <= held <= 198


def test_sets_are_resampled_independently_also_where_they_are_of_one_size() -> None:
    values = scores(50)
    alike = resampled_means(values)
    mean = means_of_sets([alike, alike, alike, alike])
    assert mean.mean(axis=0) == pytest.approx(alike.mean(axis=0))
    assert mean.std(axis=0) == pytest.approx(alike.std(axis=0) / 2, rel=0.05)  # a half: four independent sets
    columns_move_together = means_of_sets([alike[:, [0, 0]], alike[:, [0, 0]]])
    assert columns_move_together[:, 0] == pytest.approx(columns_move_together[:, 1])


def test_intervals_are_shown_in_few_signs() -> None:
    assert shown((0.64649, 1.0)) == ".646 1.000"
    assert shown((-0.01234, 0.0341), "+") == "-.012 +.034"
