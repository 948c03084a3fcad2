"""Any program of adds, updates, deletes, batches and compactions ends as a fresh build on what is left."""

import itertools
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modernir.index.documents import Document
from modernir.index.index import Index

NAMES = [f"d{number}" for number in range(8)]
PLACE = st.tuples(st.integers(-2, 2), st.integers(-2, 2))  # few values: many ties
PLACES = st.lists(PLACE, min_size=1, max_size=3)  # tokens; a dense index takes the first
ADD = st.tuples(st.just("add"), st.dictionaries(st.sampled_from(NAMES), PLACES, min_size=1, max_size=6))
DELETE = st.tuples(st.just("delete"), st.lists(st.sampled_from([*NAMES, "never"]), max_size=4, unique=True))
STEPS = st.lists(st.one_of(ADD, DELETE), max_size=4)
ENDS = st.sampled_from(["commit", "commit", "fail", "reopen", "compact"])
BATCHES = st.lists(st.tuples(STEPS, ENDS), max_size=12)
QUERIES = np.array(list(itertools.product([-1.0, 0.0, 1.0], repeat=2)), np.float32)

Vectors = np.ndarray | tuple[np.ndarray, np.ndarray]
Model = dict[str, tuple[list[tuple[int, int]], str]]


class PlannedError(Exception):
    """What undoes a batch in these tests."""


class Kind:
    """A kind of index with the brute force that it must equal."""

    def __init__(self, name: str, **engine: object) -> None:
        self.name = name
        self.engine = engine

    def create(self, path: Path) -> Index:
        return Index.create(path, self.name, dim=2, metric="dot", **self.engine)

    def vectors(self, places: list[list[tuple[int, int]]]) -> Vectors:
        if self.name == "dense":
            return np.array([tokens[0] for tokens in places], np.float32)
        return np.array(list(itertools.chain(*places)), np.float32), np.cumsum([0, *map(len, places)])

    def queries(self) -> Vectors:
        """Return QUERIES, for a late index in pairs of tokens that overlap."""
        if self.name == "dense":
            return QUERIES
        pairs = [QUERIES[[row, (row + 1) % len(QUERIES)]] for row in range(len(QUERIES))]
        return np.concatenate(pairs), np.arange(0, 2 * len(pairs) + 1, 2)

    def score(self, number: int, places: list[tuple[int, int]]) -> float:
        if self.name == "dense":
            return float(QUERIES[number] @ np.array(places[0]))
        tokens = QUERIES[[number, (number + 1) % len(QUERIES)]]
        return float((tokens @ np.array(places).T).max(axis=1).sum())


KINDS = [Kind("dense"), Kind("late", nbits=32)]


def apply(kind: Kind, index: Index, model: Model, steps: list, stamp: str) -> None:
    for name, what in steps:
        if name == "add":
            documents = [
                Document(one, f"{stamp} {places}", "", {"tokens": len(places)}) for one, places in what.items()
            ]
            index.add(list(what), kind.vectors(list(what.values())), documents)
            for one, places in what.items():
                model.pop(one, None)
                model[one] = (places, f"{stamp} {places}")
        else:
            missing = index.delete(what)
            assert missing == [one for one in what if one not in model]
            for one in what:
                model.pop(one, None)


def run_batch(kind: Kind, index: Index, model: Model, steps: list, end: str, stamp: str) -> Model:
    after = dict(model)
    try:
        with index.batch():
            apply(kind, index, after, steps, stamp)
            assert [name for name in NAMES if index.holds(name)] == [name for name in NAMES if name in after]
            if end == "fail":
                raise PlannedError
    except PlannedError:
        return model
    return after


def by_hand(kind: Kind, model: Model, names: list[str]) -> list[list[str]]:
    """Return the names in the order of their scores; sorted is stable, and a dict keeps the order of adding."""
    return [
        sorted(names, key=lambda name, number=number: -kind.score(number, model[name][0]))
        for number in range(len(QUERIES))
    ]


def check(kind: Kind, index: Index, model: Model) -> None:
    expected = by_hand(kind, model, list(model))
    for k in (1, 3, 20):
        assert index.search(kind.queries(), k)[0] == [names[:k] for names in expected]
    few = [name for name, (places, _) in model.items() if len(places) < 2]
    assert index.search(kind.queries(), 20, filter="tokens < 2")[0] == by_hand(kind, model, few)
    assert sorted(index.matching("tokens >= 2")) == sorted(set(model) - set(few))
    scores = index.score(kind.queries(), [NAMES] * len(QUERIES))
    for number, row in enumerate(scores):
        assert row.tolist() == [kind.score(number, model[name][0]) if name in model else -np.inf for name in NAMES]
    assert {name: document.text for name, document in index.documents(NAMES).items()} == {
        name: text for name, (_, text) in model.items()
    }
    words = index.search_text(["step"], 20)[0][0]
    assert sorted(words) == sorted(model)
    assert [name for ids, _ in index.vectors() for name in ids] == list(model)
    assert len(index) == len(model)
    assert index.verify() == []


def check_fresh_build(kind: Kind, index: Index, model: Model, fresh: Path) -> None:
    with kind.create(fresh) as rebuilt:
        if model:
            rebuilt.add(list(model), kind.vectors([places for places, _ in model.values()]))
        (ids, scores), (expected_ids, expected_scores) = index.search(kind.queries()), rebuilt.search(kind.queries())
    assert ids == expected_ids
    assert all(np.array_equal(one, other) for one, other in zip(scores, expected_scores, strict=True))


def files_on_disk(path: Path) -> set[str]:
    return {file.name for file in path.iterdir() if not file.name.startswith(("catalog.sqlite", "writer.lock"))}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@settings(max_examples=25, deadline=None)
@given(program=BATCHES)
def test_any_program_ends_as_a_fresh_build(kind: Kind, program: list) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index"
        index = kind.create(path)
        model: Model = {}
        reader = Index.open(path)
        for number, (steps, end) in enumerate(program):
            model = run_batch(kind, index, model, steps, end, f"step {number}")
            if end == "reopen":
                index.close()
                index = Index.open(path, writable=True)
            if end == "compact":
                index.compact()
                assert (index.info()["segments"], index.info()["deleted"]) == (bool(model), 0)
            check(kind, reader, model)
        check(kind, index, model)
        shared = index._catalog.shared_file()
        named = {file.name for row in index._catalog.segments() for file in row.files}
        assert files_on_disk(path) == named | ({shared.name} if shared else set())
        index.close()
        with Index.open(path) as reopened:
            check(kind, reopened, model)
            check_fresh_build(kind, reopened, model, Path(folder) / "fresh")
        reader.close()
