import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from late.cached import Tokens

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(autouse=True)
def benchmarks_importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(BENCHMARKS)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.split(".")[0] in ("late", "late_interaction", "command"):
            del sys.modules[name]


def random_texts(random: np.random.Generator, lengths: np.ndarray) -> "Tokens":
    from late.cached import DIM, Tokens

    values = random.standard_normal((lengths.sum(), DIM), np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return Tokens(values.astype(np.float16).astype(np.float32), np.append(0, lengths.cumsum()))


def maxsim_by_definition(query: np.ndarray, document: np.ndarray) -> float:
    return sum(max(float(token @ other) for other in document) for token in query)


def test_exact_answers_are_maxsim_by_its_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    from late import truth

    random = np.random.default_rng(0)
    documents = random_texts(random, random.integers(1, 9, 40))
    queries = random_texts(random, random.integers(1, 5, 7))
    expected = [[maxsim_by_definition(queries[q], documents[d]) for d in range(40)] for q in range(7)]

    for block, run in ((truth.BLOCK_TOKENS, truth.QUERY_TOKENS), (10, 6)):
        monkeypatch.setattr(truth, "BLOCK_TOKENS", block)
        monkeypatch.setattr(truth, "QUERY_TOKENS", run)
        np.testing.assert_allclose(truth.maxsim(queries, documents), expected, atol=1e-5)


def test_a_setting_matches_a_peer_only_with_both_recalls_on_the_peers_queries() -> None:
    from late.cached import Collection, Tokens
    from late.measure import Track
    from late.quality import Scored, matching

    nothing = Tokens(np.empty((0, 1)), np.zeros(1, np.int64))
    exact = np.tile(np.arange(100), (4, 1))
    collection = Collection(nothing, nothing, exact, exact.astype(np.float32), [[0]] * 4)

    def result(name: str, seconds: float, found: list[list[int]]) -> Scored:
        return Scored(
            Track(name, "1m", 1, {}, [seconds] * len(found), [seconds] * len(found), found), collection, len(found)
        )

    best, first_ten, nothing_found = list(range(100)), list(range(10)), [-1] * 100
    peer = result("peer", 1.0, [best, best])
    shallow = result("shallow", 0.1, [first_ten] * 4)
    short = result("short", 0.1, [best])
    good = result("good", 0.3, [best, best, nothing_found, nothing_found])
    slower = result("slower", 0.4, [best] * 4)

    assert shallow.recalls == (1.0, 0.1)
    assert matching(peer, [shallow, short]) is None
    found = matching(peer, [shallow, short, slower, good])
    assert found is not None
    assert found.track.system == "good"


def test_the_benchmark_runs_on_a_small_collection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import late_interaction
    from late.prepare import save, save_top
    from late.truth import best_of, maxsim

    random = np.random.default_rng(0)
    documents = random_texts(random, random.integers(2, 9, 320))
    queries = random_texts(random, random.integers(1, 9, 300))
    save(tmp_path / "tokens.npy", documents.values.astype(np.float16))
    save(tmp_path / "offsets.npy", documents.offsets)
    save(tmp_path / "query_tokens.npy", queries.values)
    save(tmp_path / "query_offsets.npy", queries.offsets)
    save_top(tmp_path / "exact_1m_top.npz", *best_of(maxsim(queries, documents)))
    names = {"ids.json": [f"d{row}" for row in range(320)], "query_ids.json": [f"q{row}" for row in range(300)]}
    for name, value in (names | {"qrels.json": {f"q{row}": {"d0": 1} for row in range(300)}}).items():
        (tmp_path / name).write_text(json.dumps(value))

    options = ["--data", "none", "--cache", str(tmp_path), "--sizes", "1m", "--threads", "1", "--only", "modernir 4"]
    monkeypatch.setattr(
        sys, "argv", ["late_interaction.py", *options, "--queries", "12", "--json", str(tmp_path / "out")]
    )
    assert late_interaction.main() == 0

    found = json.loads((tmp_path / "out").read_text())
    assert found["failures"] == []
    assert all(search["recall@100"] > 0.9 for search in found["searches"] if search["setting"] == {"exact": True})
    assert {len(search["seconds"]) for search in found["searches"]} == {12}
    assert sum(len(fact.get("add", [])) for fact in found["facts"]) == 3
    assert "| modernir 4 bit" in capfd.readouterr().out
    assert not list(tmp_path.glob("indexes-*"))
