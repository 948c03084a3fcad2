"""An explanation adds up to the score, and names what the vectors say, whatever the encoder puts around the texts."""

import json
import math
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from modernir import InputError, load_encoder
from modernir.encoders.colbert import ColbertEncoder
from modernir.encoders.colbert.spans import Piece
from modernir.index.documents import Document
from modernir.index.index import Index
from modernir.retrieval.explaining.explanation import Explanation
from modernir.retrieval.explaining.words import words_of
from modernir.retrieval.retriever import Retriever

DOCUMENTS = [
    Document("d1", "Red apples grow on old trees in the garden.", "Apples"),
    Document("d2", "Green pears, sweet and soft: naïve 🙂 in autumn!"),
    Document("d3", "the " * 90, "Kept for long"),
    Document("d4", ". , ."),
    Document("d5", "<script>alert(1)</script> the ship & the sea", "<b>Ships</b>"),
]
QUERIES = ["red apples in the garden", "sour lemons", "", "?!"]


@pytest.fixture(scope="module", params=[None, 2.0], ids=["as they are", "merged"])
def encoder(request: pytest.FixtureRequest, tiny_colbert: Path) -> ColbertEncoder:
    return load_encoder(tiny_colbert, device="cpu", precision="fp32", kind="late", pool_factor=request.param)


@pytest.fixture(scope="module")
def retriever(encoder: ColbertEncoder, tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    retriever = Retriever.create(tmp_path_factory.mktemp("explained") / "index", encoder)
    retriever.add(DOCUMENTS)
    return retriever


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.id)
def test_an_explanation_adds_up_to_maxsim(
    query: str, document: Document, retriever: Retriever, encoder: ColbertEncoder
) -> None:
    found = retriever.explain(query, document.id)
    asked, read = encoder.encode_queries([query])[0], encoder.encode_documents([document.content])[0]
    expected = sum(max(float(one @ other) for other in read) for one in asked)
    assert found.score == pytest.approx(expected, abs=1e-4)
    assert found.similarity.shape == (len(asked), len(read))
    products = np.asarray(asked) @ np.asarray(read).T
    assert [match.row for match in found.matches] == products.argmax(axis=1).tolist()
    np.testing.assert_allclose([match.score for match in found.matches], products.max(axis=1), atol=1e-5)
    assert sum(match.score for match in found.words) == pytest.approx(found.score, abs=1e-6)
    assert sum(found.document_scores) == pytest.approx(found.score, abs=1e-6)
    assert found.index_score == pytest.approx(found.score, rel=0.05)
    assert (found.query, found.id, found.title, found.content) == (query, document.id, document.title, document.content)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.id)
def test_words_are_words_of_the_texts(document: Document, retriever: Retriever) -> None:
    found = retriever.explain("red apples in the garden", document.id)
    assert [word.text for word in found.query_words if word.is_text] == ["red", "apples", "in", "the", "garden"]
    for word in found.document_words:
        assert word.text == found.content[word.start : word.end] or not word.is_text
    for words, rows in ((found.query_words, found.query_rows), (found.document_words, found.document_rows)):
        shares = np.zeros(len(rows))
        for word in words:
            for row, share in word.shares:
                shares[row] += share
        np.testing.assert_allclose(shares, 1)
    inside = [word for word in found.document_words if word.is_text]
    assert all(one.end <= other.start for one, other in pairwise(inside))


def piece(token: str, start: int, end: int, word: int) -> Piece:
    return Piece(token, "text", start, end, word)


def test_pieces_of_a_word_become_one_word() -> None:
    text = "don't transplant 🙂"
    rows = [
        (Piece("[CLS]", "special"),),
        (piece("don", 0, 3, 0),),
        (piece("'", 3, 4, 1),),
        (piece("t", 4, 5, 2),),
        (piece("trans", 6, 11, 3),),
        (piece("##plant", 11, 16, 3),),
        (piece("a", 17, 18, 4),),
        (piece("b", 17, 18, 4),),
        (Piece("[SEP]", "special"),),
        (Piece("[MASK]", "expansion"),),
        (Piece("[MASK]", "expansion"),),
    ]
    found = words_of(rows, text)
    assert [(word.text, word.start, [row for row, _ in word.shares]) for word in found] == [
        ("[CLS]", -1, [0]),
        ("don", 0, [1]),
        ("'", 3, [2]),
        ("t", 4, [3]),
        ("transplant", 6, [4, 5]),
        ("🙂", 17, [6, 7]),
        ("[SEP]", -1, [8]),
        ("[MASK]", -1, [9, 10]),
    ]


def test_a_marker_in_a_prompt_is_called_by_its_name_and_other_words_of_a_prompt_are_not() -> None:
    rows = [(Piece("[Q] ", "prompt"),), (Piece("what", "prompt"),), (Piece("is", "prompt"),), (piece("a", 0, 1, 0),)]
    assert [word.text for word in words_of(rows, "a")] == ["[Q]", "prompt", "a"]


def test_a_blank_that_is_a_token_of_its_own_is_no_part_of_the_word_after_it() -> None:
    text = "a  stem \n "
    rows = [(piece(*of),) for of in (("a", 0, 1, 0), ("Ġ", 1, 2, 1), ("ĠĠ", 2, 3, 2), ("st", 3, 5, 2), ("em", 5, 7, 2))]
    rows.append((piece("ĠĊĠ", 7, 10, 3),))
    found = words_of(rows, text)
    assert [(word.text, word.start, word.end) for word in found] == [
        ("a", 0, 1),
        (" ", 1, 2),
        ("stem", 3, 7),
        (" \n ", 7, 10),
    ]
    assert [row for row, _ in found[2].shares] == [2, 3, 4]


def test_words_of_one_number_with_a_blank_between_them_are_two() -> None:
    rows = [(piece("▁a", 0, 1, 0),), (piece("▁b", 2, 3, 0),)]
    assert [word.text for word in words_of(rows, "a b")] == ["a", "b"]


def test_a_merged_row_is_shared_by_its_words() -> None:
    text = "one two three"
    rows = (
        (piece("one", 0, 3, 0), piece("three", 8, 13, 2)),
        (piece("two", 4, 7, 1),),
    )
    query = ((piece("q", 0, 1, 0),), (Piece("[SEP]", "special"),))
    similarity = np.array([[0.8, 0.1], [0.2, 0.4]], np.float32)
    found = Explanation("q", "d", "", text, query, rows, similarity)
    assert found.score == pytest.approx(1.2)
    assert [(word.text, share) for word in found.document_words for _, share in word.shares] == [
        ("one", 0.5),
        ("two", 1),
        ("three", 0.5),
    ]
    assert found.document_scores == pytest.approx((0.4, 0.4, 0.4))
    first, second = found.words
    assert [(met.word, round(met.score, 6)) for met in first.met] == [(0, 0.4), (2, 0.4)]
    assert [met.word for met in second.met] == [1]


def test_json_holds_all_of_it(retriever: Retriever) -> None:
    found = retriever.explain("red apples in the garden", "d1")
    plain, whole = found.to_json(), found.to_json(matrix=True)
    assert json.loads(json.dumps(whole)) == whole
    assert {**plain, "document_tokens": whole["document_tokens"], "similarity": whole["similarity"]} == whole
    np.testing.assert_allclose(np.array(whole["similarity"]), found.similarity)
    assert len(whole["document_tokens"]) == len(found.document_rows)
    assert sum(token["score"] for token in plain["tokens"]) == pytest.approx(plain["score"])
    words = [word for word in plain["words"] if word["text"] == "apples"]
    assert [plain["query"][word["start"] : word["end"]] for word in words] == ["apples"]
    assert sum(met["score"] for met in words[0]["met"]) == pytest.approx(words[0]["score"])
    for token in plain["tokens"]:
        texts = [one for one in token["met"]["pieces"] if one["kind"] == "text"]
        assert (token["met"]["context"] is None) == (not texts)
        assert all(plain["content"][one["start"] : one["end"]] in token["met"]["context"] for one in texts[:1])


def test_what_the_encoder_does_not_read_is_told(retriever: Retriever) -> None:
    cut, whole = retriever.explain("sun", "d3"), retriever.explain("sun", "d1")
    assert 13 < cut.read_to < len(cut.content)
    assert cut.content[: cut.read_to].endswith("the")
    assert whole.read_to == len(whole.content)


def test_notes_say_what_is_missing(retriever: Retriever) -> None:
    assert retriever.explain("apples", "d1").note is None
    assert "the query has no words" in str(retriever.explain("", "d1").note)
    assert "no word of the document has a vector" in str(retriever.explain("apples", "d4").note)


def test_a_document_or_query_without_a_row_is_explained_as_that(tiny_colbert: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_colbert, tmp_path / "bare")
    content = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(content | {"post_processor": None}))
    encoder = load_encoder(folder, device="cpu", precision="fp32", kind="late")
    with Retriever.create(tmp_path / "index", encoder) as retriever:
        retriever.add(DOCUMENTS)
        for query, identifier, said in (
            ("apples", "d4", "the document has no vector"),
            ("", "d1", "the query has no token"),
        ):
            found = retriever.explain(query, identifier)
            assert said in str(found.note)
            assert (found.score, found.matches, found.words, found.index_score) == (-math.inf, (), (), -math.inf)
            assert found.to_json()["score"] is None
            assert not any(found.document_scores)


def test_what_cannot_be_explained_is_refused(
    retriever: Retriever, encoder: ColbertEncoder, tmp_path: Path, hash_encoder: Callable[..., Any]
) -> None:
    with pytest.raises(InputError, match=r"index: holds no document 'nowhere'"):
        retriever.explain("apples", "nowhere")
    with pytest.raises(TypeError, match="expected texts, found int"):
        retriever.explain(5, "d1")  # type: ignore[arg-type]
    with Retriever.create(tmp_path / "dense", hash_encoder()) as dense:
        dense.add(DOCUMENTS[:2])
        with pytest.raises(InputError, match=r"holds one vector a document, .* an index built with a ColBERT does"):
            dense.explain("apples", "d1")
    with Index.create(tmp_path / "bare", "late", dim=encoder.dim) as index:
        index.add(["d1"], encoder.encode_documents(["apples"]))
        with pytest.raises(InputError, match="keeps no text of document 'd1'"):
            Retriever(encoder, index).explain("apples", "d1")
    silent = SimpleNamespace(name="silent", encode_queries=encoder.encode_queries)
    with pytest.raises(InputError, match="silent: does not say which piece of a text each of its vectors stands for"):
        Retriever(silent, retriever.index).explain("apples", "d1")  # type: ignore[arg-type]
