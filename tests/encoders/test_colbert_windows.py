"""A document longer than the network reads gives its windows' rows, each token's from the one that sees it best."""

import json
import random
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modernir import InputError, load_encoder
from modernir.encoders.checkpoint import open_checkpoint
from modernir.encoders.colbert import ColbertEncoder, pooling
from modernir.encoders.colbert import encoder as colbert_encoder
from modernir.encoders.colbert.formats import multi_vector_encoder_settings
from modernir.encoders.colbert.pooling import pooled
from modernir.encoders.colbert.reading import ColbertReader
from modernir.encoders.colbert.settings import TokenPooling
from modernir.encoders.colbert.windows import windows

Make = Callable[..., Path]
LENGTH = 20
ON_TOKENS = {"module_input_name": "token_embeddings"}
WORDS = ["a", "of", "retrieval", "index", "dense", "query", "neural", "token", "search", "fast", "."]


@given(st.integers(0, 300), st.integers(1, 60), st.data())
def test_each_token_is_kept_by_the_window_that_sees_most_around_it(count: int, room: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, room - 1))
    found = windows(count, room, overlap)
    assert [kept for window in found for kept in range(window.keep_from, window.keep_to)] == list(range(count))
    assert {window.stop - window.start for window in found} == {min(room, count)}
    assert all(one.stop - other.start >= overlap for one, other in pairwise(found))
    assert len(found) == 1 or len(found) == 1 + -(-(count - room) // (room - overlap))

    def seen(window: tuple[int, ...], token: int) -> float:
        start, stop = window[:2]
        if not start <= token < stop:
            return -1
        return min(token - start if start else np.inf, stop - 1 - token if stop < count else np.inf)

    for window in found:
        for token in range(window.keep_from, window.keep_to):
            assert seen(window, token) == max(seen(other, token) for other in found)


@pytest.mark.parametrize(("room", "overlap"), [(4, 4), (4, -1), (0, 0)])
def test_windows_that_do_not_go_forward_are_refused(room: int, overlap: int) -> None:
    with pytest.raises(ValueError, match=f"windows of {room} tokens cannot share {overlap}"):
        windows(10, room, overlap)


@pytest.fixture(scope="module")
def make_colbert(bare_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """A function that saves a ColBERT which reads 20 tokens of a document, with a prompt, a marker or neither."""
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
    from transformers import (
        AutoTokenizer,
        BertModel,
        DistilBertConfig,
        DistilBertModel,
        ModernBertConfig,
        ModernBertModel,
    )

    tokenizer = AutoTokenizer.from_pretrained(bare_bert)
    tokenizer.add_tokens(["."])
    roles = {f"{role}_token_id": token for role, token in {"pad": 0, "cls": 2, "bos": 2, "sep": 3, "eos": 3}.items()}

    def network(name: str) -> torch.nn.Module:
        torch.manual_seed(4)
        if name == "modernbert":
            sizes = {"num_attention_heads": 2, "vocab_size": 128, "hidden_size": 64, "intermediate_size": 96}
            layers = {"num_hidden_layers": 4, "local_attention": 16, "max_position_embeddings": 96}
            return ModernBertModel(ModernBertConfig(**sizes, **layers, **roles, initializer_range=0.2))
        if name == "distilbert":
            return DistilBertModel(DistilBertConfig(vocab_size=128, dim=32, n_layers=1, n_heads=4, hidden_dim=64))
        model = BertModel.from_pretrained(bare_bert)
        model.resize_token_embeddings(len(tokenizer))
        return model

    def make(name: str = "modernbert", form: str = "plain") -> Path:
        folder, bare = tmp_path_factory.mktemp("colbert"), tmp_path_factory.mktemp("network")
        network(name).save_pretrained(bare)
        tokenizer.save_pretrained(bare)
        torch.manual_seed(5)
        transformer = Transformer(str(bare), max_seq_length=LENGTH, document_length=LENGTH)
        width = transformer.get_embedding_dimension()
        dense = Dense(width, 16, bias=False, activation_function=torch.nn.Identity(), **ON_TOKENS)
        modules = [transformer, dense, MultiVectorMask(["."]), Normalize(**ON_TOKENS)]
        prompts = {"query": "", "document": "what is the "} if form == "prompt" else None
        MultiVectorEncoder(modules=modules, prompts=prompts, device="cpu").save_pretrained(str(folder))
        if form == "marker":
            file = folder / "config_sentence_transformers.json"
            own = {"query_prefix": "what", "document_prefix": "how", "query_length": 8, "document_length": LENGTH}
            own |= {"skiplist_words": ["."], "do_query_expansion": True, "model_type": "ColBERT"}
            file.write_text(json.dumps(json.loads(file.read_text()) | own))
        return folder

    return make


FORMS = {"plain": 0, "prompt": 3, "marker": 1}
"""Tokens before the text, [CLS] aside."""


def load(folder: Path, **settings: object) -> ColbertEncoder:
    encoder = load_encoder(folder, device="cpu", precision="fp32", kind="late", **settings)
    assert isinstance(encoder, ColbertEncoder)
    return encoder


def words(count: int, seed: int) -> list[str]:
    return random.Random(seed).choices(WORDS, k=count)


def by_window(plain: ColbertEncoder, text: list[str], before: int, overlap: int) -> np.ndarray:
    """Encode each window as a document of its own, and take its words' rows and, of the outer ones, what is around."""
    parts = []
    found = windows(len(text), LENGTH - before - 2, overlap)
    for window in found:
        rows = plain.encode_documents([" ".join(text[window.start : window.stop])])[0]
        read = ["[CLS]", *["before"] * before, *text[window.start : window.stop], "[SEP]"]
        place = dict(zip((number for number, word in enumerate(read) if word != "."), range(len(rows)), strict=True))
        first = 0 if window is found[0] else 1 + before + window.keep_from - window.start
        last = len(read) if window is found[-1] else 1 + before + window.keep_to - window.start
        parts.append(rows[[row for number, row in place.items() if first <= number < last]])
    return np.concatenate(parts)


@pytest.mark.parametrize("overlap", [0, 1, 6, 13])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("network", ["bert", "modernbert"])
def test_rows_are_those_of_the_windows(network: str, form: str, overlap: int, make_colbert: Make) -> None:
    folder = make_colbert(network, form)
    texts = [words(count, count) for count in (3, 14, 15, 19, 33, 100, 251)]
    encoder, plain = load(folder, overlap=overlap), load(folder)
    found = encoder.encode_documents([" ".join(text) for text in texts])
    for rows, text in zip(found, texts, strict=True):
        np.testing.assert_allclose(rows, by_window(plain, text, FORMS[form], overlap), atol=2e-6)
        assert len(rows) == 2 + FORMS[form] + sum(word != "." for word in text)
    assert (encoder.truncated, encoder.overlap, plain.overlap) == (0, overlap, None)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("network", ["bert", "modernbert"])
def test_documents_that_fit_are_read_as_ever(network: str, form: str, make_colbert: Make) -> None:
    folder = make_colbert(network, form)
    fitting = [*(" ".join(words(count, count)) for count in range(15)), "... . .", "", "unknown wörd"]
    encoder, plain = load(folder, overlap=5), load(folder)
    found, expected = encoder.encode_documents(fitting), plain.encode_documents(fitting)
    np.testing.assert_array_equal(found.offsets, expected.offsets)
    np.testing.assert_array_equal(found.values, expected.values)
    queries = [" ".join(words(60, 1)), "token"]
    np.testing.assert_array_equal(encoder.encode_queries(queries).values, plain.encode_queries(queries).values)
    assert encoder.truncated_queries == 1  # queries are cut as before


def test_places_say_which_token_of_the_document_each_row_is(make_colbert: Make) -> None:
    checkpoint = open_checkpoint(make_colbert(form="prompt"))
    settings = multi_vector_encoder_settings(checkpoint)
    reader = ColbertReader(checkpoint, settings, "document", overlap=4)
    texts = [" ".join(words(count, count)) for count in (70, 2, 30)]
    read = reader.read(texts)
    assert read.documents is not None
    bounds = read.offsets[read.documents]
    for text, start, end in zip(texts, bounds, bounds[1:], strict=False):
        whole = np.array(reader.tokenizer.encode(f"what is the {text}").ids)
        places, kept = read.places[start:end], read.kept[start:end]
        np.testing.assert_array_equal(whole[places], read.ids[start:end])
        dot = reader.tokenizer.token_to_id(".")
        np.testing.assert_array_equal(places[kept], np.flatnonzero(whole != dot))


def test_tokenizers_without_special_tokens(make_colbert: Make, tmp_path: Path) -> None:
    for form, before in (("plain", 0), ("marker", 1)):
        folder = shutil.copytree(make_colbert(form=form), tmp_path / form)
        content = json.loads((folder / "tokenizer.json").read_text())
        (folder / "tokenizer.json").write_text(json.dumps(content | {"post_processor": None}))
        text = words(90, 1)
        for overlap in (0, 7):
            found = load(folder, overlap=overlap).encode_documents([" ".join(text), "", "dense"])
            assert found.lengths.tolist() == [before + sum(word != "." for word in text), before, 1 + before]


def test_like_tokens_are_merged_over_the_whole_document(make_colbert: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, texts = make_colbert(), [" ".join(words(90, 2)), "dense", ""]
    whole = load(folder, overlap=4).encode_documents(texts)
    merged = load(folder, overlap=4, pool_factor=3)
    expected = pooled(whole, TokenPooling(3))
    np.testing.assert_allclose(merged.encode_documents(texts).values, expected.values, atol=1e-6)
    monkeypatch.setattr(pooling, "MOST_TOGETHER", 32)
    found = merged.encode_documents(texts)
    others = whole[0][1:]  # the first row stays as it is
    stretches = [others[start : start + 32] for start in range(0, len(others), 32)]
    assert len(found[0]) == 1 + sum(len(stretch) // 3 for stretch in stretches)
    last = stretches[-1]
    alone = pooling._pooled(last, TokenPooling(3, protected=0))
    np.testing.assert_allclose(found[0][-len(alone) :], alone, atol=1e-6)


def test_blocks_end_where_documents_are_long(make_colbert: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, texts = make_colbert(), [" ".join(words(count, count)) for count in (300, 3, 3, 200, 250, 4)]
    encoder = load(folder, overlap=4)
    expected = list(encoder.encode_documents(texts))
    assert load(folder).block_characters is None
    sizes = []
    read = type(encoder)._read
    monkeypatch.setattr(
        type(encoder), "_read", lambda self, block, task: sizes.append(len(block)) or read(self, block, task)
    )
    monkeypatch.setitem(colbert_encoder.TOKENS_PER_BLOCK, "cpu", 256)
    assert encoder.block_characters == 1024
    found = encoder.encode_documents(texts)
    assert sizes == [1, 3, 1, 1]
    for rows, others in zip(found, expected, strict=True):
        np.testing.assert_allclose(rows, others, atol=2e-6)


class TestBadInput:
    def test_overlaps_that_leave_no_way_forward(self, make_colbert: Make) -> None:
        folder = make_colbert(form="prompt")
        load(folder, overlap=14)
        with pytest.raises(InputError, match="overlap is 15, and a window has room for 15 tokens of text"):
            load(folder, overlap=15)
        with pytest.raises(InputError, match="overlap is 0, and a window has room for 0 tokens"):
            load(folder, overlap=0, document_length=5)
        with pytest.raises(InputError, match="overlap is -1; expected a whole number of at least 0"):
            load(folder, overlap=-1)

    def test_what_cannot_read_windows(self, make_colbert: Make, tiny_model: Path) -> None:
        with pytest.raises(InputError, match="runs through sentence-transformers, which cuts long documents; leave ov"):
            load(make_colbert("distilbert"), overlap=2)
        with pytest.raises(InputError, match="a dense model; document_length and overlap are for multi-vector"):
            load_encoder(tiny_model, document_length=9, overlap=2)

    def test_lengths_beyond_the_networks(self, make_colbert: Make) -> None:
        with pytest.raises(InputError, match="97 tokens of a document, as asked for, but the network has 96 positions"):
            load(make_colbert(), document_length=97, overlap=2)
