"""A stream of documents is encoded in order and in bounded memory, with its tokens read ahead in one thread."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer

from modernir import load_encoder
from modernir.encoders import dense
from modernir.encoders.ahead import ahead
from modernir.encoders.dense import DenseEncoder, encode_blocks
from modernir.encoders.packed import PackedEncoder
from modernir.retrieval.build import build_index

Make = Callable[..., Path]


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("modernir-ahead")]


class TestAhead:
    """Order, bounds, failures and the end of the thread."""

    @given(st.lists(st.integers(), max_size=20), st.integers(1, 4))
    def test_it_yields_what_a_loop_yields(self, items: list[int], depth: int) -> None:
        assert list(ahead(items, str, depth)) == [(item, str(item)) for item in items]

    @pytest.mark.parametrize("depth", [1, 2, 5])
    def test_no_more_than_so_many_items_are_drawn_before_their_turn(self, depth: int) -> None:
        drawn = []

        def endless() -> Iterator[int]:
            while True:
                drawn.append(len(drawn))
                yield drawn[-1]

        results = ahead(endless(), str, depth)
        for number in range(10):
            assert next(results) == (number, str(number))
            assert len(drawn) == number + 1 + depth
        results.close()
        assert not workers()

    def test_the_next_item_is_worked_on_while_the_caller_has_one(self) -> None:
        started, caller = [threading.Event() for _ in range(3)], threading.get_ident()
        threads = set()

        def work(number: int) -> None:
            threads.add(threading.get_ident())
            started[number].set()

        results = ahead(range(3), work)
        next(results)
        assert started[1].wait(5)
        assert started[2].wait(5)
        assert len(threads) == 1
        assert caller not in threads
        results.close()

    @pytest.mark.parametrize("fails_in", ["work", "source"])
    def test_a_failure_comes_at_its_turn(self, fails_in: str) -> None:
        def source() -> Iterator[int]:
            yield from range(5)
            if fails_in == "source":
                raise ValueError("item 5")
            yield from range(5, 9)

        def work(number: int) -> int:
            if number == 5:
                raise ValueError("item 5")
            return number

        results, seen = ahead(source(), work), []
        with pytest.raises(ValueError, match="item 5"):
            while True:
                seen.append(next(results)[0])
        assert seen == [0, 1, 2, 3, 4]
        assert not workers()

    def test_an_interrupt_of_the_caller_stops_the_thread_and_drops_what_waits(self) -> None:
        done = []

        def work(number: int) -> None:
            time.sleep(0.02)
            done.append(number)

        def interrupted() -> None:
            for number, _ in ahead(range(1000), work):
                if number == 1:
                    raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert not workers()
        assert len(done) <= 4


@pytest.fixture(scope="module")
def encoder(make_checkpoint: Make) -> DenseEncoder:
    prompts = {"query": "query ", "document": "the document "}
    return load_encoder(make_checkpoint(prompts=prompts), device="cpu", precision="fp32")


@pytest.mark.parametrize("size", [1, 4, 100])
def test_a_stream_gives_what_one_call_gives(encoder: DenseEncoder, texts: list[str], size: int) -> None:
    numbered = list(enumerate(texts))
    blocks = [numbered[start : start + size] for start in range(0, len(texts), size)] + [[]]
    found = list(encoder.encode_stream(iter(blocks), lambda item: item[1]))
    assert [block for block, _ in found] == blocks
    assert [vectors.shape for _, vectors in found] == [(len(block), encoder.dim) for block in blocks]
    np.testing.assert_allclose(
        np.concatenate([vectors for _, vectors in found]), encoder.encode_documents(texts), atol=1e-6
    )


def test_documents_are_tokenised_in_a_thread_and_queries_are_not(
    encoder: DenseEncoder, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dense, "TEXTS_PER_BLOCK", 5)
    read, encode = PackedEncoder._read, PackedEncoder._encode
    threads: dict[str, set[str]] = {"query": set(), "document": set(), "encode": set()}

    def watched_read(self: PackedEncoder, block: list[str], task: str) -> object:
        threads[task].add(threading.current_thread().name.split("_")[0])
        return read(self, block, task)

    def watched_encode(self: PackedEncoder, ready: object) -> np.ndarray:
        threads["encode"].add(threading.current_thread().name)
        return encode(self, ready)

    monkeypatch.setattr(PackedEncoder, "_read", watched_read)
    monkeypatch.setattr(PackedEncoder, "_encode", watched_encode)
    encoder.encode_queries(texts)
    encoder.encode_documents(texts)
    main = {threading.main_thread().name}
    assert threads == {"query": main, "document": {"modernir-ahead"}, "encode": main}


def test_leaving_a_stream_early_stops_the_thread(encoder: DenseEncoder) -> None:
    endless = iter(lambda: ["dense retrieval"] * 3, None)
    for _ in range(3):
        stream = encoder.encode_stream(endless)
        next(stream)
        stream.close()
        assert not workers()


@pytest.mark.parametrize("method", ["encode_queries", "encode_documents"])
@pytest.mark.parametrize("bad", [None, 3, b"bytes", ["nested"], float("nan")])
def test_an_element_that_is_no_text_is_named_by_its_position(encoder: DenseEncoder, method: str, bad: object) -> None:
    with pytest.raises(TypeError, match=f"expected texts, found {type(bad).__name__} at position 2"):
        getattr(encoder, method)(["a", "", bad, "b"])
    assert not workers()


def test_a_bad_text_in_a_stream_is_named_by_its_position_in_the_block(encoder: DenseEncoder) -> None:
    stream = encoder.encode_stream([["a", "b"], ["c", None]])
    assert len(next(stream)[1]) == 2
    with pytest.raises(TypeError, match="found NoneType at position 1"):
        next(stream)


@pytest.mark.parametrize("pooling", ["mean", "max"], ids=["own network", "sentence-transformers"])
@pytest.mark.parametrize("lengths", [{}, {"query_length": 5, "document_length": 9}], ids=str)
def test_cut_documents_are_counted(
    pooling: str, lengths: dict, make_checkpoint: Make, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dense, "TEXTS_PER_BLOCK", 5)
    folder = make_checkpoint(
        pooling=pooling, max_length=9, prompts={"query": "", "document": "the document "}, **lengths
    )
    encoder = load_encoder(folder, device="cpu", precision="fp32")
    tokenizer = SentenceTransformer(str(folder), device="cpu").tokenizer
    whole = [len(tokenizer(f"the document {text}", truncation=False)["input_ids"]) for text in texts]
    expected = sum(length > 9 for length in whole)
    assert 0 < expected < len(texts)
    assert encoder.document_length == 9
    assert encoder.truncated == 0
    encoder.encode_queries(texts)
    assert encoder.truncated == 0
    encoder.encode_documents(texts)
    encoder.encode_documents(texts)
    assert encoder.truncated == 2 * expected


def test_a_text_of_just_the_maximum_is_not_cut(make_checkpoint: Make) -> None:
    encoder = load_encoder(make_checkpoint(max_length=6), device="cpu", precision="fp32")
    encoder.encode_documents(["dense query index search"])  # four words between two special tokens
    assert encoder.truncated == 0
    encoder.encode_documents(["dense query index search token"])
    assert encoder.truncated == 1


def test_an_encoder_of_the_callers_own_is_called_block_by_block() -> None:
    class Lengths:
        def encode_documents(self, texts: list[str]) -> np.ndarray:
            return np.array([[len(text)] for text in texts], np.float32)

    found = list(encode_blocks(Lengths(), [["a", "bb"], ["ccc"]], str.upper))
    assert [block for block, _ in found] == [["a", "bb"], ["ccc"]]
    np.testing.assert_array_equal(np.concatenate([vectors for _, vectors in found]), [[1], [2], [3]])


def test_a_build_says_once_how_many_documents_were_cut(
    make_checkpoint: Make, tmp_path: Path, jsonl: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"_id": str(number), "text": "dense " * number} for number in range(1, 31)]
    corpus = jsonl(tmp_path / "corpus.jsonl", rows)
    encoder = load_encoder(make_checkpoint(max_length=22), device="cpu", precision="fp32")
    build_index(corpus, encoder, tmp_path / "one").close()
    said = "10 of 30 documents were longer than the 22 tokens that the model reads; what comes after is not searched"
    assert capsys.readouterr().err.count(said) == 1
    build_index(corpus, encoder, tmp_path / "two", quiet=True).close()
    assert capsys.readouterr().err == ""
    short = jsonl(tmp_path / "short.jsonl", rows[:9])
    build_index(short, encoder, tmp_path / "three").close()
    assert "longer" not in capsys.readouterr().err


def test_a_build_notices_a_second_use_of_an_id_across_a_commit(
    make_checkpoint: Make, tmp_path: Path, jsonl: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    from modernir import InputError
    from modernir.retrieval import build

    monkeypatch.setattr(build, "COMMIT_DOCUMENTS", 2)
    monkeypatch.setattr(PackedEncoder, "block_size", property(lambda encoder: 2))
    encoder = load_encoder(make_checkpoint(), device="cpu", precision="fp32")
    rows = [{"_id": str(number), "text": f"text {number}"} for number in range(12)]
    rows[9]["_id"] = "7"
    with pytest.raises(InputError, match="'7' comes twice"):
        build_index(jsonl(tmp_path / "corpus.jsonl", rows), encoder, tmp_path / "index", quiet=True)
