"""How a ColBERT reads documents is part of an index: recorded, applied to what is added, and never mixed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from modernir import load_encoder
from modernir.encoders.colbert import ColbertEncoder
from modernir.encoders.colbert import encoder as colbert_encoder
from modernir.errors import InputError
from modernir.eval.measures import parse_measures, score_run
from modernir.index.documents import Document
from modernir.index.index import Index
from modernir.retrieval.build import build_index
from modernir.retrieval.document_options import difference
from modernir.retrieval.retriever import Retriever

Call = Callable[..., SimpleNamespace]
Jsonl = Callable[[Path, list[dict]], Path]
OPTIONS = {"document_length": 24, "overlap": 5, "pool_factor": 2}
FLAGS = ("--document-length", 24, "--overlap", 5, "--pool-factor", 2)
ROWS = [
    {"id": f"d{number}", "text": f"{number} red apples grow on old trees in the garden. " * (1 + number % 5)}
    for number in range(12)
]


def load(folder: Path, **settings: object) -> ColbertEncoder:
    encoder = load_encoder(folder, device="cpu", precision="fp32", kind="late", **settings)
    assert isinstance(encoder, ColbertEncoder)
    return encoder


@pytest.fixture
def corpus(tmp_path: Path, jsonl: Jsonl) -> Path:
    return jsonl(tmp_path / "corpus.jsonl", ROWS)


def told(done: SimpleNamespace, *said: str) -> None:
    """Check that a command failed as users' mistakes do, with one line."""
    assert (done.code, done.stderr.count("\n")) == (2, 1), done.stderr
    for part in said:
        assert part in done.stderr


def maxsim(query: np.ndarray, document: np.ndarray) -> float:
    return float((query @ document.T).max(axis=1).sum())


def rows_of(path: Path) -> dict[str, np.ndarray]:
    """Return the token vectors of each document of an index."""
    found = {}
    with Index.open(path) as index:
        for ids, (values, offsets) in index.vectors():
            found |= dict(zip(ids, np.split(values, offsets[1:-1]), strict=True))
    return found


def test_what_is_added_is_read_as_what_is_there(call: Call, corpus: Path, tiny_colbert: Path, tmp_path: Path) -> None:
    lines = corpus.read_text().splitlines(keepends=True)
    (tmp_path / "first.jsonl").write_text("".join(lines[:5]))
    (tmp_path / "rest.jsonl").write_text("".join(lines[5:]))
    whole, grown = tmp_path / "whole", tmp_path / "grown"
    common = ("-m", tiny_colbert, "--precision", "fp32", "--nbits", 32)
    assert call("index", "corpus", corpus, "-i", whole, *common, *FLAGS).code == 0
    assert call("index", "corpus", tmp_path / "first.jsonl", "-i", grown, *common, *FLAGS).code == 0
    assert call("index", "add", tmp_path / "rest.jsonl", "-i", grown).code == 0
    found, expected = rows_of(grown), rows_of(whole)
    encoded = load(tiny_colbert, **OPTIONS).encode_documents([row["text"] for row in ROWS])
    plain = load(tiny_colbert).encode_documents([row["text"] for row in ROWS])
    assert not np.array_equal(encoded.lengths, plain.lengths)
    for row, rows in zip(ROWS, encoded, strict=True):
        np.testing.assert_allclose(found[row["id"]], rows, atol=1e-5)
        np.testing.assert_allclose(expected[row["id"]], rows, atol=1e-5)
    assert "documents: document_length 24, overlap 5, pool_factor 2\n" in call("index", "info", "-i", whole).stdout
    told = json.loads(call("index", "info", "-i", whole, "--json").stdout)
    assert told["encoder"]["documents"] == OPTIONS


def test_defaults_are_recorded_as_what_they_are(corpus: Path, tiny_colbert: Path, tmp_path: Path) -> None:
    build_index(corpus, load(tiny_colbert), tmp_path / "index", quiet=True).close()
    with Retriever.open(tmp_path / "index", writable=True) as retriever:
        recorded = retriever.index.setting("encoder")["documents"]
        assert recorded == {"document_length": 48, "overlap": None, "pool_factor": 1.0}
        assert retriever.encoder.pooling is None
        retriever.add([Document("new", "a ship crosses the sea")])
        assert retriever.search_ids(["a ship crosses the sea"], 1)[0][0][0] == "new"
    # the same settings, said aloud
    same = load(tiny_colbert, document_length=48, pool_factor=1)
    Retriever.open(tmp_path / "index", same, writable=True).close()


def test_numbers_are_told_in_full() -> None:
    encoder = SimpleNamespace(kind="late", document_length=1048577, overlap=None, pool_factor=1.5)
    recorded = {"document_length": 1048576, "overlap": None, "pool_factor": 1.5}
    assert difference({"documents": recorded}, encoder) == "made with document_length 1048576, not 1048577"
    recorded = {"document_length": 1048577, "overlap": None, "pool_factor": 2.0}
    assert difference({"documents": recorded}, encoder) == "made with pool_factor 2, not 1.5"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "made with document_length 24, not 48"),
        (OPTIONS | {"overlap": None}, "made with overlap 5, not none"),
        (OPTIONS | {"pool_factor": 3.5}, "made with pool_factor 2, not 3.5"),
    ],
    ids=str,
)
def test_documents_read_otherwise_are_not_mixed_in(
    settings: dict,
    said: str,
    corpus: Path,
    tiny_colbert: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path, other = tmp_path / "index", load(tiny_colbert, **settings)
    with build_index(corpus, load(tiny_colbert, **OPTIONS), path, quiet=True) as built:
        expected = built.search_ids(["red apples"])
    with pytest.raises(InputError, match=f"{said} as in this encoder; add with the former"):
        Retriever.open(path, other, writable=True)
    with Retriever.open(path, other) as retriever:  # queries are the same
        assert retriever.search_ids(["red apples"]) == expected

    # an unfinished build, of which the second block is broken
    monkeypatch.setitem(colbert_encoder.TEXTS_PER_BLOCK, "cpu", 4)
    text = corpus.read_text()
    corpus.write_text(text.replace('"d6"', '"d1"'))
    unfinished = tmp_path / "unfinished"
    with pytest.raises(InputError, match="comes twice"):
        build_index(corpus, load(tiny_colbert, **OPTIONS), unfinished, quiet=True)
    corpus.write_text(text)
    with pytest.raises(InputError, match=f"an unfinished index {said}; finish it, or replace it with --overwrite"):
        build_index(corpus, other, unfinished, quiet=True)
    with build_index(corpus, load(tiny_colbert, **OPTIONS), unfinished, quiet=True) as resumed:
        assert resumed.search_ids(["red apples"]) == expected
    with build_index(corpus, other, unfinished, quiet=True, overwrite=True, reuse=True) as again:
        recorded = again.index.setting("encoder")["documents"]
        assert (recorded["overlap"], recorded["pool_factor"]) == (other.overlap, other.pool_factor)


def test_an_evaluation_of_a_colbert_is_that_of_exact_maxsim(
    call: Call, tiny_colbert: Path, tiny_beir: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    common = ("eval", "beir", "-m", tiny_colbert, "--data", tiny_beir, "-o", out, "--precision", "fp32")
    done = call(*common, "--json")
    assert done.code == 0, done.stderr
    report = json.loads(done.stdout)[0]
    corpus = [json.loads(line) for line in (tiny_beir / "corpus.jsonl").read_text().splitlines()]
    asked = [json.loads(line) for line in (tiny_beir / "queries.jsonl").read_text().splitlines()]
    encoder = load(tiny_colbert)
    documents = encoder.encode_documents([f"{row['title']} {row['text']}".strip() for row in corpus])
    queries = encoder.encode_queries([row["text"] for row in asked])
    run = {
        query["_id"]: {row["_id"]: maxsim(one, rows) for row, rows in zip(corpus, documents, strict=True)}
        for query, one in zip(asked, queries, strict=True)
    }
    lines = [line.split() for line in next(out.rglob("run.trec")).read_text().splitlines()]
    for query, _, document, _, score, _ in lines:
        assert float(score) == pytest.approx(run[query][document], abs=1e-4)
    qrels = {"q1": {"d1": 1}, "q2": {"d4": 2, "d2": 0}, "q3": {"d6": 1}}
    measures = parse_measures(["nDCG@10"])
    expected = score_run(run, qrels, measures)
    assert report["metrics"]["nDCG@10"] == pytest.approx(np.mean([found["nDCG@10"] for found in expected.values()]))
    with Index.open(next(out.rglob("index@precision=fp32"))) as index:
        assert index.kind == "late"

    assert "finished before" in call(*common).stderr
    merged = call(*common, "--pool-factor", 2, "--overlap", 3, "--json")
    assert "finished before" not in merged.stderr
    assert json.loads(merged.stdout)[0]["settings"] == report["settings"] | {"pool_factor": 2, "overlap": 3}
    with Index.open(next(out.rglob("index@*overlap=3*"))) as index:
        assert index.setting("encoder")["documents"] == {"document_length": 48, "overlap": 3, "pool_factor": 2}


@pytest.mark.parametrize("mode", [None, "late", "lexical", "hybrid"])
def test_a_blank_query_finds_nothing(mode: str | None, corpus: Path, tiny_colbert: Path, tmp_path: Path) -> None:
    with build_index(corpus, load(tiny_colbert), tmp_path / "index", quiet=True) as retriever:
        found = retriever.search(["", " \n", "red apples"], 3, mode)
        assert [len(hits) for hits in found] == [0, 0, 3]
        assert [len(hits) for hits in retriever.search([""], 3, mode, rerank=5)] == [0]


class TestBadInput:
    def test_a_blank_query_in_a_shell(self, call: Call, corpus: Path, tiny_colbert: Path, tmp_path: Path) -> None:
        build_index(corpus, load(tiny_colbert), tmp_path / "index", quiet=True).close()
        for query in ("", "  "):
            told(call("search", query, "-i", tmp_path / "index"), "no query")

    def test_models_of_the_other_kind(
        self, call: Call, corpus: Path, tiny_model: Path, tiny_colbert: Path, tmp_path: Path
    ) -> None:
        index = tmp_path / "index"
        build = ("index", "corpus", corpus, "-i", index)
        told(call(*build, "-m", tiny_model, "--kind", "late"), "makes one vector a text", "choose --kind dense")
        told(call(*build, "-m", tiny_colbert, "--kind", "dense"), "makes one vector a token", "choose --kind late")
        told(call(*build, "-m", tiny_model, "--overlap", 3), "a dense model; overlap is for multi-vector ones")
        assert not index.exists()
        assert call(*build, "-m", tiny_colbert).code == 0
        for command in (("search", "apples"), ("index", "add", corpus)):
            done = call(*command, "-i", index, "-m", tiny_model)
            told(done, "a dense (single-vector) checkpoint, where a multi-vector (ColBERT) one was expected")

    def test_lengths_that_cannot_be_read(self, call: Call, corpus: Path, tiny_colbert: Path, tmp_path: Path) -> None:
        build = ("index", "corpus", corpus, "-i", tmp_path / "index", "-m", tiny_colbert)
        told(call(*build, "--document-length", 65), "65 tokens of a document", "the network has 64 positions")
        told(call(*build, "--document-length", 2), "leaves none for text")
        told(call(*build, "--overlap", 46), "room for 46 tokens of text")
        told(call(*build, "--pool-factor", 0.5), "pool_factor is 0.5; expected a number of at least 1")
        assert not (tmp_path / "index").exists()

    def test_documents_without_a_vector_are_found_by_their_words(
        self, call: Call, tiny_colbert: Path, tmp_path: Path, jsonl: Jsonl
    ) -> None:
        model = shutil.copytree(tiny_colbert, tmp_path / "model")
        mask = next(file for file in model.glob("*/config.json") if "skiplist_words" in file.read_text())
        encoder = load(model)
        rows = [
            {"id": "fruit", "text": "apples on trees"},
            {"id": "bread", "text": "bread , salt and yeast"},
            {"id": "dots", "text": "... , ! ?"},
        ]
        fruit, *others = (set(encoder._readers["document"].read([row["text"]]).ids.tolist()) for row in rows)
        kept = sorted(fruit.difference(*others))
        mask.write_text(json.dumps(json.loads(mask.read_text()) | {"keep_only_token_ids": kept}))
        corpus, index = jsonl(tmp_path / "few.jsonl", rows), tmp_path / "index"
        assert load(model).encode_documents([row["text"] for row in rows]).lengths[1:].tolist() == [0, 0]
        assert call("index", "corpus", corpus, "-m", model, "-i", index).code == 0
        with Retriever.open(index) as retriever:
            assert [hit for hit, _ in retriever.search_ids(["bread"], 10)[0]] == ["fruit"]
            assert [hit for hit, _ in retriever.search_ids(["bread"], 10, "lexical")[0]] == ["bread"]
            assert {hit for hit, _ in retriever.search_ids(["bread"], 10, "hybrid")[0]} == {"bread", "fruit"}
        done = call("search", "bread", "-i", index, "--mode", "hybrid", "--json")
        assert {hit["id"] for hit in json.loads(done.stdout)[0]["hits"]} == {"bread", "fruit"}
        assert call("index", "verify", "-i", index).code == 0

    def test_a_document_of_punctuation(self, call: Call, tiny_colbert: Path, tmp_path: Path, jsonl: Jsonl) -> None:
        corpus = jsonl(tmp_path / "c.jsonl", [{"id": "dots", "text": "... , ! ?"}, {"id": "b", "text": "bread"}])
        assert call("index", "corpus", corpus, "-m", tiny_colbert, "-i", tmp_path / "index").code == 0
        hits = json.loads(call("search", "bread", "-i", tmp_path / "index", "--json").stdout)[0]["hits"]
        assert {hit["id"] for hit in hits} == {"dots", "b"}  # [CLS] and [SEP] have rows whatever the text
