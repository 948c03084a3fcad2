"""Any program of adds, updates, deletes and batches ends as a fresh build on what is left, also after reopening."""

import itertools
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from modernir.index.documents import Document
from modernir.index.index import Index

NAMES = [f"d{number}" for number in range(8)]
PLACES = st.tuples(st.integers(-2, 2), st.integers(-2, 2))  # few values: many ties
ADD = st.tuples(st.just("add"), st.dictionaries(st.sampled_from(NAMES), PLACES, min_size=1, max_size=6))
DELETE = st.tuples(st.just("delete"), st.lists(st.sampled_from([*NAMES, "never"]), max_size=4, unique=True))
STEPS = st.lists(st.one_of(ADD, DELETE), max_size=4)
BATCHES = st.lists(st.tuples(STEPS, st.sampled_from(["commit", "fail", "reopen"])), max_size=6)
QUERIES = np.array(list(itertools.product([-1.0, 0.0, 1.0], repeat=2)))

Model = dict[str, tuple[tuple[int, int], str]]


class PlannedError(Exception):
    """What undoes a batch in these tests."""


def apply(index: Index, model: Model, steps: list, stamp: str) -> None:
    for kind, what in steps:
        if kind == "add":
            documents = [Document(name, f"{stamp} {place}") for name, place in what.items()]
            index.add(list(what), np.array(list(what.values()), np.float32), documents)
            for name, place in what.items():
                model.pop(name, None)
                model[name] = (place, f"{stamp} {place}")
        else:
            missing = index.delete(what)
            assert missing == [name for name in what if name not in model]
            for name in what:
                model.pop(name, None)


def run_batch(index: Index, model: Model, steps: list, end: str, stamp: str) -> Model:
    after = dict(model)
    try:
        with index.batch():
            apply(index, after, steps, stamp)
            assert [name for name in NAMES if index.holds(name)] == [name for name in NAMES if name in after]
            if end == "fail":
                raise PlannedError
    except PlannedError:
        return model
    return after


def check(index: Index, model: Model) -> None:
    by_hand = [
        sorted(model, key=lambda name: -float(query @ np.array(model[name][0]))) for query in QUERIES
    ]  # sorted is stable, and a dict keeps the order of adding
    for k in (1, 3, 20):
        assert index.search(QUERIES, k)[0] == [names[:k] for names in by_hand]
    assert {name: document.text for name, document in index.documents(NAMES).items()} == {
        name: text for name, (_, text) in model.items()
    }
    assert len(index) == len(model)
    assert index.verify() == []


def check_fresh_build(index: Index, model: Model, fresh: Path) -> None:
    with Index.create(fresh, dim=2, metric="dot") as rebuilt:
        if model:
            rebuilt.add(list(model), np.array([place for place, _ in model.values()], np.float32))
        (ids, scores), (expected_ids, expected_scores) = index.search(QUERIES, 5), rebuilt.search(QUERIES, 5)
    assert ids == expected_ids
    assert all(np.array_equal(one, other) for one, other in zip(scores, expected_scores, strict=True))


@settings(max_examples=30, deadline=None)
@given(BATCHES)
def test_any_program_ends_as_a_fresh_build(program: list) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index"
        index = Index.create(path, dim=2, metric="dot")
        model: Model = {}
        reader = Index.open(path)
        for number, (steps, end) in enumerate(program):
            model = run_batch(index, model, steps, end, f"step {number}")
            if end == "reopen":
                index.close()
                index = Index.open(path, writable=True)
            check(reader, model)
        check(index, model)
        assert {file.name for file in path.glob("*.faiss")} == {row.file for row in index._catalog.segments()}
        index.close()
        with Index.open(path) as reopened:
            check(reopened, model)
            check_fresh_build(reopened, model, Path(folder) / "fresh")
        reader.close()
