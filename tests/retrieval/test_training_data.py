"""Examples on disk: nothing lost, the held-out part drawn by query and seed, and bad data named."""

import gzip
import json
import logging
from pathlib import Path

import pytest
from datasets import Dataset

from modernir.errors import InputError
from modernir.retrieval.readers.rows import RowOptions
from modernir.retrieval.training.data import (
    held_out_collection,
    open_examples,
    sample_texts,
    sets_by_source,
    split_held_out,
)
from modernir.retrieval.training.false_negatives import FalseNegativeFilter
from modernir.retrieval.training.writing import ReadingPlan, write_examples


def write_rows(path: Path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def pairs(tmp_path: Path, count: int, name: str = "pairs.jsonl") -> str:
    return write_rows(tmp_path / name, [{"query": f"q{i}", "positive": f"p{i}"} for i in range(count)])


def stored(tmp_path: Path, sources: list[str], negatives: int | None = None, scored: int = 0) -> Dataset:
    return planned(tmp_path, sources, ReadingPlan(negatives, scored))


def planned(tmp_path: Path, sources: list[str], plan: ReadingPlan) -> Dataset:
    write_examples(sources, RowOptions(), plan, tmp_path / "examples")
    return open_examples(tmp_path / "examples")


def test_every_example_of_every_source_is_kept_in_order(tmp_path: Path) -> None:
    examples = stored(tmp_path, [pairs(tmp_path, 1500, "a.jsonl"), pairs(tmp_path, 3, "b.jsonl")])
    assert examples.column_names == ["query", "positive"]
    assert examples["query"][:] == [f"q{i}" for i in range(1500)] + ["q0", "q1", "q2"]


def test_the_real_pairs_are_read_compressed() -> None:
    real = Path(__file__).parents[3] / "shared/data/train/code_docstring.jsonl.gz"
    if not real.exists():
        pytest.skip("no training data beside the checkout")
    with gzip.open(real, "rt") as stream:
        assert {"query", "positive"} <= set(json.loads(next(stream)))


def test_one_negative_is_used_where_the_data_has_some(tmp_path: Path) -> None:
    rows = [{"query": "q", "positive": "p", "negatives": [f"n{i}", f"m{i}"]} for i in range(4)]
    examples = stored(tmp_path, [write_rows(tmp_path / "t.jsonl", rows)])
    assert examples[2] == {"query": "q", "positive": "p", "negative_1": "n2"}


def test_examples_with_fewer_negatives_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{"query": f"q{i}", "positive": "p", "negatives": ["n"] * i} for i in range(4)]
    with caplog.at_level(logging.WARNING):
        examples = stored(tmp_path, [write_rows(tmp_path / "t.jsonl", rows)], negatives=2)
    assert examples["query"][:] == ["q2", "q3"]
    assert "used 2 of 4 examples: the others have fewer than 2 negatives" in caplog.text


def test_negatives_that_no_example_has_are_refused_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="3 negatives are asked for, but no example has more than 0"):
        stored(tmp_path, [pairs(tmp_path, 5)], negatives=3)
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.jsonl"]


def test_scores_stay_with_their_documents_and_are_no_texts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [{"query": f"q{i}", "positive": "p", "negatives": ["n", "m"], "scores": [3, i, 1]} for i in range(4)]
    source = write_rows(tmp_path / "t.jsonl", [*rows, {"query": "q", "positive": "p", "negatives": ["n", "m"]}])
    with caplog.at_level(logging.WARNING):
        examples = stored(tmp_path, [source], scored=1)
    wanted = {"query": "q2", "positive": "p", "negative_1": "n", "negative_2": "m", "scores": [3.0, 2.0, 1.0]}
    assert examples[2] == wanted
    assert "used 4 of 5 examples: the others have fewer than 2 negatives or no scores" in caplog.text
    assert set(sample_texts(examples, 100)) == {"q0", "q1", "q2", "q3", "p", "n", "m"}
    assert stored(tmp_path / "first", [source], negatives=1, scored=1)[0]["scores"] == [3.0, 0.0]
    assert "scores" not in stored(tmp_path / "plain", [source], negatives=1).column_names


def scored_rows(sizes: list[int]) -> list[dict]:
    return [
        {"query": f"q{i}", "positive": "p", "negatives": [f"n{j}" for j in range(size)], "scores": [1.0] * (1 + size)}
        for i, size in enumerate(sizes)
    ]


@pytest.mark.parametrize(
    ("sizes", "least", "wanted", "said"),
    [
        ([1] + [7] * 9, 2, 7, ["used 9 of 10 examples: the others have fewer than 7 negatives"]),
        ([2] * 6 + [3] * 2, 2, 2, ["used the first 2 negatives an example: 2 more are cut off"]),
        ([1, 1, 3], 1, 1, ["used the first 1 negatives an example: 2 more are cut off"]),
        ([1, 1, 3], 2, 3, ["used 1 of 3 examples"]),
        ([4] * 3, 2, 4, []),
    ],
)
def test_scored_examples_of_many_sizes_lose_least_whatever_their_order(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, sizes: list[int], least: int, wanted: int, said: list[str]
) -> None:
    rows = scored_rows(sizes)
    for name, ordered in (("a", rows), ("b", rows[::-1])):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            examples = stored(tmp_path / name, [write_rows(tmp_path / f"{name}.jsonl", ordered)], scored=least)
        assert examples.column_names == ["query", "positive", *(f"negative_{n + 1}" for n in range(wanted)), "scores"]
        assert {len(scores) for scores in examples["scores"][:]} == {1 + wanted}
        assert len(examples) == sum(size >= wanted for size in sizes)
        assert len(caplog.messages) == len(said)
        assert all(text in caplog.text for text in said)


def test_two_scored_documents_where_three_are_needed_name_the_loss_for_them(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "t.jsonl", scored_rows([1, 1]))
    said = "no example has scores of 3 documents or more, .* but at most of 2; use margin-mse, which compares two"
    with pytest.raises(InputError, match=said):
        stored(tmp_path, [source], scored=2)
    with pytest.raises(InputError, match=r"no example has scores of 2 documents or more, .* at most of 1$"):
        stored(tmp_path, [write_rows(tmp_path / "u.jsonl", scored_rows([0]))], scored=1)


def test_scores_that_no_example_has_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"pairs\.jsonl: no example has a teacher's scores"):
        stored(tmp_path, [pairs(tmp_path, 5)], scored=1)
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.jsonl"]


def test_a_bad_line_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    source = tmp_path / "broken.jsonl"
    source.write_text('{"query": "q", "positive": "p"}\n{"query": "q"}\n')
    with pytest.raises(InputError, match=r"broken\.jsonl:2: expected a text or a list of texts under positive"):
        stored(tmp_path, [str(source)])
    assert [path.name for path in tmp_path.iterdir()] == ["broken.jsonl"]


def test_no_examples_at_all_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(InputError, match=r"no training examples in .*empty\.jsonl"):
        stored(tmp_path, [str(tmp_path / "empty.jsonl")])


@pytest.mark.parametrize(("holdout", "expected"), [(0, 0), (7, 7), (0.25, 25)])
def test_the_asked_number_or_share_of_queries_is_held_out(tmp_path: Path, holdout: float, expected: int) -> None:
    train, held_out = split_held_out(stored(tmp_path, [pairs(tmp_path, 100)]), holdout, seed=1)
    assert (len(train), len(held_out)) == (100 - expected, expected)
    assert not set(train["query"][:]) & set(held_out["query"][:])


def test_all_examples_of_a_query_stay_on_one_side(tmp_path: Path) -> None:
    rows = [{"query": f"q{i % 20}", "positive": f"p{i}"} for i in range(100)]
    train, held_out = split_held_out(stored(tmp_path, [write_rows(tmp_path / "t.jsonl", rows)]), 5, seed=1)
    assert (len(train), len(held_out)) == (75, 25)
    collection = held_out_collection(held_out)
    assert len(collection.queries) == 5
    assert all(len(documents) == 5 for documents in collection.relevant.values())


def test_the_held_out_part_depends_on_the_seed_and_not_on_the_order(tmp_path: Path) -> None:
    rows = [{"query": f"q{i}", "positive": f"p{i}"} for i in range(50)]
    forward = stored(tmp_path, [write_rows(tmp_path / "t.jsonl", rows)])
    backward = stored(tmp_path / "other", [write_rows(tmp_path / "u.jsonl", rows[::-1])])

    def held(examples: Dataset, seed: int) -> set[str]:
        return set(split_held_out(examples, 10, seed)[1]["query"][:])

    assert held(forward, 1) == held(backward, 1) != held(forward, 2)


def test_as_many_queries_held_out_as_there_are_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="10 queries are to be held out, but the examples have only 10"):
        split_held_out(stored(tmp_path, [pairs(tmp_path, 10)]), 10, seed=1)


def test_a_sample_of_the_texts_is_spread_over_all_and_bounded(tmp_path: Path) -> None:
    texts = list(sample_texts(stored(tmp_path, [pairs(tmp_path, 100)]), 10))
    assert len(texts) == 20
    assert "q90" in texts


def mixed(tmp_path: Path, sources: list[str], negatives: int | None = None) -> Dataset:
    return planned(tmp_path, sources, ReadingPlan(negatives, mixed=True))


def test_mixed_sources_keep_apart_and_have_their_own_negatives(tmp_path: Path) -> None:
    triplets = [{"query": f"t{i}", "positive": "p", "negatives": ["n", "m", "o"]} for i in range(5)]
    sources = [pairs(tmp_path, 3), write_rows(tmp_path / "t.jsonl", triplets)]
    for negatives, names in ((None, ["negative_1"]), (2, ["negative_1", "negative_2"]), (0, [])):
        sets = sets_by_source(mixed(tmp_path, sources, negatives), sources)
        first, second = sets.values()
        assert first["query"][:] == ["q0", "q1", "q2"]
        assert second["query"][:] == [f"t{i}" for i in range(5)]
        assert first.column_names == ["query", "positive"]
        assert second.column_names == ["query", "positive", *names]
    assert None not in list(sample_texts(mixed(tmp_path, sources), 100))


def test_held_out_queries_come_out_of_all_mixed_sources(tmp_path: Path) -> None:
    sources = [pairs(tmp_path, 40, "a.jsonl"), pairs(tmp_path, 60, "b.jsonl")]
    train, held_out = split_held_out(mixed(tmp_path, sources), 10, seed=3)
    sets = sets_by_source(train, sources)
    assert not {query for members in sets.values() for query in members["query"][:]} & set(held_out["query"][:])
    assert sum(map(len, sets.values())) + len(held_out) == 100
    pooled = split_held_out(stored(tmp_path / "pool", sources), 10, seed=3)[1]
    assert pooled["query"][:] == held_out["query"][:]


def test_a_mixed_source_without_examples_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(InputError, match=r"no training examples in [^,]*empty\.jsonl$"):
        mixed(tmp_path, [pairs(tmp_path, 3), str(tmp_path / "empty.jsonl")])
    assert not (tmp_path / "examples").exists()


def test_likely_false_negatives_go_and_the_next_take_their_place(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{"query": "q", "positive": "p", "negatives": ["a", "b", "c", "d"], "scores": [10, 9.6, 9.5, 11, 2]}]
    source = write_rows(tmp_path / "t.jsonl", rows)
    with caplog.at_level(logging.WARNING):
        found = planned(tmp_path, [source], ReadingPlan(2, false_negatives=FalseNegativeFilter(ratio=0.95)))
    assert found[0] == {"query": "q", "positive": "p", "negative_1": "b", "negative_2": "d"}
    assert "left out 2 of 4 negatives, that score too near to their positive" in caplog.text
    kept = planned(tmp_path, [source], ReadingPlan(None, 1, false_negatives=FalseNegativeFilter(margin=1)))
    assert kept[0] == {"query": "q", "positive": "p", "negative_1": "d", "scores": [10.0, 2.0]}


def test_a_negative_that_is_its_positive_goes_whatever_the_settings(tmp_path: Path) -> None:
    rows = [{"query": "q", "positive": "p", "negatives": ["p", "n", "m"]}]
    found = stored(tmp_path, [write_rows(tmp_path / "t.jsonl", rows)], negatives=2)
    assert found[0] == {"query": "q", "positive": "p", "negative_1": "n", "negative_2": "m"}


def test_false_negatives_cannot_be_told_without_scores(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "t.jsonl", [{"query": "q", "positive": "p", "negatives": ["n"]}])
    with pytest.raises(InputError, match=r"t\.jsonl: no example has a teacher's scores, which --false-negative-ratio"):
        planned(tmp_path, [source], ReadingPlan(false_negatives=FalseNegativeFilter(margin=0)))
    planned(tmp_path, [pairs(tmp_path, 3)], ReadingPlan(false_negatives=FalseNegativeFilter(margin=0)))


@pytest.mark.parametrize(
    ("ratio", "margin", "positive", "limit"),
    [(0.95, None, 0.8, 0.76), (0.95, None, -2.0, -2.1), (None, 0.5, -2.0, -2.5), (0.9, 3, 10, 7), (0.5, 3, 10, 5)],
)
def test_the_limit_is_that_of_the_paper_and_below_the_positive_whatever_its_sign(
    ratio: float | None, margin: float | None, positive: float, limit: float
) -> None:
    assert FalseNegativeFilter(ratio, margin).limit(positive) == pytest.approx(limit)
