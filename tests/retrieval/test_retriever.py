"""A retriever searches with the encoder that built its index, and with no other unless told to."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modernir.errors import InputError
from modernir.index.documents import Document
from modernir.index.index import Index
from modernir.retrieval.build import build_index
from modernir.retrieval.results import open_for_search
from modernir.retrieval.retriever import Hit, Retriever

DOCUMENTS = [Document(f"d{n}", f"text {n}", f"title {n}", {"n": n}) for n in range(30)]


@pytest.fixture
def path(tmp_path: Path, hash_encoder: Callable[..., Any]) -> Path:
    with Retriever.create(tmp_path / "index", hash_encoder()) as retriever:
        retriever.add(DOCUMENTS)
    return tmp_path / "index"


def test_what_is_added_is_found_with_its_text(path: Path, hash_encoder: Callable[..., Any]) -> None:
    with Retriever.open(path, hash_encoder()) as retriever:
        hits = retriever.search(["title 7 text 7", "title 9 text 9"], k=3)
    assert [len(found) for found in hits] == [3, 3]
    assert hits[0][0] == Hit("d7", pytest.approx(1), DOCUMENTS[7])
    assert hits[1][0].id == "d9"


def test_ids_and_scores_are_those_of_the_full_search(path: Path, hash_encoder: Callable[..., Any]) -> None:
    with Retriever.open(path, hash_encoder()) as retriever:
        hits, pairs = retriever.search(["q"], k=99), retriever.search_ids(["q"], k=99)
    assert [[(hit.id, hit.score) for hit in found] for found in hits] == pairs
    assert len(pairs[0]) == 30
    assert sorted(pairs[0], key=lambda pair: -pair[1]) == pairs[0]


def test_no_query_gives_no_list(path: Path, hash_encoder: Callable[..., Any]) -> None:
    with Retriever.open(path, hash_encoder()) as retriever:
        assert retriever.search([]) == []


def test_added_again_means_replaced_and_deleted_means_gone(path: Path, hash_encoder: Callable[..., Any]) -> None:
    with Retriever.open(path, hash_encoder(), writable=True) as retriever:
        retriever.add(iter([Document("d1", "new words")]))
        assert retriever.delete(["d2", "never"]) == ["never"]
        assert retriever.search(["new words"], 1)[0][0].document.text == "new words"
        assert "d2" not in {hit.id for hit in retriever.search(["q"], 99)[0]}
    with Retriever.open(path, hash_encoder()) as retriever:
        assert len(retriever.index) == 29
        with pytest.raises(InputError, match="opened for reading only"):
            retriever.add([Document("x", "y")])


def test_another_encoder_is_refused_with_both_names_and_fingerprints(
    path: Path, hash_encoder: Callable[..., Any]
) -> None:
    other = hash_encoder("other")
    with pytest.raises(InputError) as caught:
        Retriever.open(path, other)
    message = str(caught.value)
    assert "built with hash (fingerprint 0000" in message
    assert "not with other (0000" in message
    assert hash_encoder().fingerprint[:12] in message
    with Retriever.open(path, other, any_encoder=True) as retriever:
        assert len(retriever.search(["q"])[0]) == 10


def test_an_encoder_of_another_length_is_refused_whatever_is_asked(
    path: Path, hash_encoder: Callable[..., Any]
) -> None:
    for any_encoder in (False, True):
        with pytest.raises(InputError, match="holds vectors of length 8, wide makes 12"):
            Retriever.open(path, hash_encoder("wide", dim=12), any_encoder=any_encoder)


def test_an_unfinished_index_is_refused(
    tmp_path: Path, jsonl: Callable[..., Path], hash_encoder: Callable[..., Any]
) -> None:
    corpus = jsonl(tmp_path / "c.jsonl", [{"id": str(n), "text": str(n)} for n in range(30)])
    encoder = hash_encoder()
    encoder.fail_after = 15
    with pytest.raises(KeyboardInterrupt):
        build_index(corpus, encoder, tmp_path / "half", quiet=True)
    with pytest.raises(InputError, match="the build of this index is unfinished; run its command again to go on"):
        Retriever.open(tmp_path / "half", encoder)


def test_a_refused_open_lets_go_of_the_lock(path: Path, hash_encoder: Callable[..., Any]) -> None:
    with pytest.raises(InputError):
        Retriever.open(path, hash_encoder("other"), writable=True)
    Index.open(path, writable=True).close()


def test_an_index_of_no_encoder_asks_for_one(tmp_path: Path, hash_encoder: Callable[..., Any]) -> None:
    Index.create(tmp_path / "bare", dim=8).close()
    with pytest.raises(InputError, match="holds vectors of no named encoder; name one with --model"):
        Retriever.open(tmp_path / "bare")
    with Retriever.open(tmp_path / "bare", hash_encoder()) as retriever:
        assert retriever.search(["q"]) == [[]]


def test_the_recorded_encoder_is_loaded_and_a_moved_one_named(
    tiny_model: Path, tiny_beir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    from modernir import load_encoder

    shutil.copytree(tiny_model, tmp_path / "copy")
    monkeypatch.chdir(tmp_path)
    build_index(tiny_beir, load_encoder("copy", "cpu", "fp32"), tmp_path / "ix", quiet=True).close()
    monkeypatch.chdir(tmp_path.parent)  # the recorded name does not depend on where one stands
    with Retriever.open(tmp_path / "ix") as retriever:
        assert retriever.search(["Apples Red apples grow on old trees in the garden."], 1)[0][0].id == "d1"
    (tmp_path / "copy").rename(tmp_path / "moved")
    with pytest.raises(InputError, match="copy: no such folder"):
        open_for_search(tmp_path / "ix")
    with open_for_search(tmp_path / "ix", str(tmp_path / "moved")) as retriever:  # the same model elsewhere
        assert len(retriever.search(["apples"], 6)[0]) == 6


def test_an_index_is_searched_in_the_precision_that_it_was_built_in(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from modernir import load_encoder

    for precision in ("fp32", "bf16"):
        Retriever.create(tmp_path / precision, load_encoder(tiny_model, "cpu", precision)).close()
        with monkeypatch.context() as machine:
            machine.setattr("modernir.encoders.precision.multiplies", lambda precision, device: True)
            for way in (Retriever.open, open_for_search):
                with way(tmp_path / precision) as retriever:
                    assert retriever.encoder.precision == precision
            with open_for_search(tmp_path / precision, str(tiny_model), any_encoder=True) as retriever:
                assert retriever.encoder.precision == "bf16"
            with open_for_search(tmp_path / precision, precision="fp32") as retriever:
                assert retriever.encoder.precision == "fp32"
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("modernir.encoders.precision.multiplies", lambda precision, device: precision == "fp32")
    for way in (Retriever.open, open_for_search):
        with way(tmp_path / "bf16") as retriever:
            assert retriever.encoder.precision == "fp32"
        told = f"{tmp_path / 'bf16'}: built in bf16, which this encoder does not have here; searching in fp32\n"
        assert capsys.readouterr().err == told


def test_what_is_cut_is_told_once(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from modernir import load_encoder

    encoder = load_encoder(tiny_model, "cpu", "fp32")
    with Retriever.create(tmp_path / "index", encoder) as retriever:
        retriever.add([Document("short", "apples")])
        retriever.search(["apples"])
        assert capsys.readouterr().err == ""
        for _ in range(2):
            retriever.add([Document("long", "apples " * 80), Document("short", "pears")])
            retriever.search(["apples " * 80, "apples " * 90, "pears"])
    longer = "were longer than the 64 tokens that the model reads; what comes after is not searched"
    assert capsys.readouterr().err == f"1 of 2 documents {longer}\n2 of 3 queries {longer} for\n"
    assert (encoder.truncated, encoder.truncated_queries) == (2, 4)


def test_the_tiny_model_is_run_by_us_as_sentence_transformers_runs_it(tiny_model: Path) -> None:
    """What the other tests rest on."""
    import numpy as np
    from sentence_transformers import SentenceTransformer

    from modernir import load_encoder
    from modernir.encoders.packed import PackedEncoder

    encoder = load_encoder(tiny_model, "cpu", "fp32")
    assert isinstance(encoder, PackedEncoder)
    texts = ["red apples", "", "a ship with three masts crosses the sea " * 20]
    expected = SentenceTransformer(str(tiny_model), device="cpu").encode(texts)
    assert np.allclose(encoder.encode_documents(texts), expected, atol=1e-5)
