"""Indexes of both kinds from the command line: built, changed, searched in every mode, measured, taken out again."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from modernir.index.index import Index
from modernir.index.late.muvera import Muvera, document_encodings

Call = Callable[..., SimpleNamespace]
WORDS = ["apples", "pears", "ships", "lemons", "bread", "masts", "winter"]
ROWS = [
    {"id": f"d{n}", "title": f"about {WORDS[n % 7]}", "text": f"text {n} of {WORDS[n * n % 7]}", "year": 1990 + n}
    for n in range(60)
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(params=["dense", "late"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def model(kind: str, tiny_model: Path, tiny_colbert: Path) -> Path:
    return tiny_model if kind == "dense" else tiny_colbert


@pytest.fixture
def built(call: Call, kind: str, model: Path, tmp_path: Path) -> Path:
    """Return an index of sixty documents, made by the command line."""
    corpus, index = write(tmp_path / "c.jsonl", ROWS), tmp_path / "ix"
    done = call("index", "corpus", corpus, "-m", model, "-i", index, "--kind", kind, "--memory", "256MB")
    assert done.code == 0, done.stderr
    assert f"60 documents, {kind}, " in done.stdout
    return index


def hits(call: Call, *args: object) -> list[str]:
    done = call("search", *args, "--json")
    assert done.code == 0, done.stderr
    return [hit["id"] for hit in json.loads(done.stdout)[0]["hits"]]


def told(done: SimpleNamespace, *parts: str) -> None:
    """Assert exit code 2 and one line on stderr with these parts."""
    assert done.code == 2, done.stderr
    assert done.stdout == ""
    line = done.stderr.splitlines()[-1]
    assert line.startswith("error: ")
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part in line


def test_every_mode_finds_and_filters(call: Call, kind: str, built: Path) -> None:
    by_default = hits(call, "text of ships", "-i", built)
    assert by_default == hits(call, "text of ships", "-i", built, "--mode", kind)
    assert by_default == hits(call, "text of ships", "-i", built, "--exact")
    for mode in (kind, "lexical", "hybrid"):
        found = hits(call, "text of ships", "-i", built, "--mode", mode, "--filter", "year >= 2000 and year < 2005")
        assert 0 < len(found) <= 5
        assert {int(name[1:]) for name in found} <= set(range(10, 15))
    about_ships = {row["id"] for row in ROWS if "ships" in str(row)}
    assert set(hits(call, "ships", "-i", built, "--mode", "lexical", "-k", 60)) == about_ships
    reranked = hits(call, "ships", "-i", built, "--mode", "lexical", "--rerank", 60)
    every = hits(call, "ships", "-i", built, "--exact", "-k", 60)
    assert reranked == [name for name in every if name in about_ships][:10]


def test_documents_come_and_go(call: Call, built: Path, tmp_path: Path) -> None:
    more = write(tmp_path / "more.jsonl", [{"id": "new", "text": "a zeppelin"}, {"id": "d3", "text": "a zeppelin too"}])
    added = call("index", "add", more, "-i", built, "--json")
    assert json.loads(added.stdout) == {"path": str(built), "added": 2, "documents": 61}
    assert set(hits(call, "zeppelin", "-i", built, "--mode", "lexical")) == {"new", "d3"}
    assert {"new", "d3"} <= set(hits(call, "a zeppelin", "-i", built, "-k", 61))
    gone = call("index", "delete", "d3", "nope", "-i", built, "--filter", "year >= 2040", "--json")
    found = json.loads(gone.stdout)
    assert (found["deleted"], found["missing"], found["documents"]) == (11, ["nope"], 50)
    listed = call("index", "delete", "--ids", "-", "-i", built, stdin="d1\nd2\n\nnope\n")
    assert (listed.code, "2 documents deleted, 48 left" in listed.stdout) == (0, True)
    assert "nope: no document of this id" in listed.stderr
    compacted = json.loads(call("index", "compact", "-i", built, "--json").stdout)["after"]
    assert (compacted["documents"], compacted["segments"], compacted["deleted"]) == (48, 1, 0)
    left = hits(call, "text", "-i", built, "-k", 100)
    assert len(left) == 48
    assert not {"d1", "d2", "d3", "d59"} & set(left)
    assert call("index", "verify", "-i", built).code == 0


def test_recall_of_an_exact_index_is_one(call: Call, built: Path, tmp_path: Path) -> None:
    queries = tmp_path / "q.txt"
    queries.write_text("ships\nbread and pears\n")
    for more in ([], ["--queries", queries]):
        done = call("index", "recall", "-i", built, "-k", 5, "--sample", 20, "--json", *more)
        rows = json.loads(done.stdout)["settings"]
        assert [row["R@5"] for row in rows] == [1.0] * len(rows)
        assert all(0 < row["p50_ms"] <= row["p95_ms"] for row in rows)
    assert "recall against exact search" in call("index", "recall", "-i", built).stdout


def test_export_gives_back_what_was_put_in(call: Call, kind: str, built: Path, tmp_path: Path) -> None:
    call("index", "delete", "d0", "d30", "-i", built)
    out = tmp_path / "out"
    assert call("index", "export", "-i", built, "-o", out).code == 0
    rows = [json.loads(line) for line in (out / "corpus.jsonl").read_text().splitlines()]
    assert [row["_id"] for row in rows] == [f"d{n}" for n in range(60) if n not in (0, 30)]
    assert [row["metadata"]["year"] for row in rows] == [1990 + int(row["_id"][1:]) for row in rows]
    with Index.open(built) as index:
        if kind == "dense":
            vectors: Any = np.load(out / "vectors.npy")
        else:
            vectors = np.load(out / "tokens.npy"), np.load(out / "offsets.npy")
        ids, _ = index.search(vectors, 3, exact=True)
        scores = index.score(vectors, [[row["_id"]] for row in rows])
        best = [float(score[0]) for score in index.search(vectors, 1, exact=True)[1]]
    assert len(ids) == 58
    assert np.concatenate(scores) == pytest.approx(best, abs=1e-3)  # each is nearest to itself, or to its like
    told(call("index", "export", "-i", built, "-o", out), "is there already")


def test_muvera_exports_one_vector_a_document(call: Call, kind: str, built: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = call("index", "export", "-i", built, "-o", out, "--muvera", "--repetitions", 8)
    if kind == "dense":
        told(done, "one vector a document already")
        return
    parameters = Muvera(**json.loads((out / "muvera.json").read_text()))
    vectors = np.load(out / "vectors.npy")
    assert vectors.shape == (60, parameters.size)
    with Index.open(built) as index:
        (_, (values, offsets)) = next(index.vectors())
    assert np.allclose(vectors, document_encodings(values, offsets, parameters), atol=1e-6)


def test_wrong_searches_are_one_line(call: Call, kind: str, built: Path) -> None:
    other = {"dense": "late", "late": "dense"}[kind]
    told(call("search", "x", "-i", built, "--mode", other), f"holds {kind} vectors")
    told(call("search", "x", "-i", built, "--filter", "year >"), "filter, column 7")
    told(call("search", "x", "-i", built, "--rerank", 3), "at least the k = 10")
    told(call("search", "x", "-i", built, "--mode", "lexical", "--filter", "and"), "filter")
    if kind == "dense":
        told(call("search", "x", "-i", built, "--candidates", 5), "unknown search option 'candidates'")


def test_wrong_builds_are_one_line_and_leave_nothing(call: Call, kind: str, model: Path, tmp_path: Path) -> None:
    corpus, index = write(tmp_path / "c.jsonl", ROWS), tmp_path / "ix"
    other = {"dense": "late", "late": "dense"}[kind]
    wrong = {
        "dense": (["--nbits", 4], ["--structure", "PQ7x99zz"], ["--target-recall", 3]),
        "late": (["--nbits", 5], ["--structure", "flat"], ["--target-recall", 3]),
    }
    for options in wrong[kind]:
        told(call("index", "corpus", corpus, "-m", model, "-i", index, *options), options[0][2:].replace("-", "_"))
        assert not index.exists()
    told(call("index", "corpus", corpus, "-m", model, "-i", index, "--kind", other), f"choose --kind {kind}")
    told(call("index", "corpus", corpus, "-m", model, "-i", index, "--memory", "much"), "'much' is no amount of memory")
    assert not index.exists()


def test_wrong_changes_are_one_line_and_change_nothing(call: Call, built: Path, tmp_path: Path) -> None:
    twice = write(tmp_path / "twice.jsonl", [{"id": "n", "text": "x"}, {"id": "n", "text": "y"}])
    told(call("index", "add", twice, "-i", built), "twice.jsonl:2", "comes twice")
    told(call("index", "add", tmp_path / "none.jsonl", "-i", built), "none.jsonl")
    told(call("index", "delete", "-i", built), "nothing to delete")
    told(call("index", "delete", "--ids", tmp_path / "none", "-i", built), "no such file")
    for command in ("delete", "compact", "recall", "add"):
        arguments = ["d1"] if command == "delete" else [twice] if command == "add" else []
        told(call("index", command, *arguments, "-i", tmp_path / "nowhere"), "no index here")
    with Index.open(built) as index:
        assert len(index) == 60
