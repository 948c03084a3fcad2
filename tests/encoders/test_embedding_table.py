"""The embeddings of a new model begin with a teacher's vectors of its tokens: their geometry is the teacher's."""

from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from transformers import PreTrainedTokenizerFast

from modernir.encoders.embedding_table import embedding_table, fit_width, start_from_teacher, token_texts
from modernir.encoders.loading import load_encoder
from modernir.encoders.modernbert.fresh import new_model
from modernir.encoders.modernbert.tokenizer import SPECIAL_TOKENS, open_tokenizer, train_tokenizer
from modernir.errors import InputError

TEXTS = ["Red apples and green pears grow on trees in the garden.", "A ship crosses the sea; café 漢"] * 20


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(TEXTS, 384, ["[Q] "])


def initial(rows: int, width: int) -> np.ndarray:
    return 0.02 * np.random.default_rng(1).standard_normal((rows, width), dtype=np.float32)


def cosines(rows: np.ndarray) -> np.ndarray:
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return rows @ rows.T


def test_rows_have_the_cosines_of_the_teacher_s_vectors_of_their_texts(
    tokenizer: PreTrainedTokenizerFast, tiny_model: Path
) -> None:
    drawn = initial(448, 32)
    table = embedding_table(tokenizer, load_encoder(tiny_model, precision="fp32", kind="dense"), drawn)
    assert (table.shape, table.dtype) == ((448, 32), np.float32)
    numbers = [
        tokenizer.convert_tokens_to_ids(tokenizer.tokenize(word)[0]) for word in (" apples", " garden", ";", "A")
    ]
    texts = [tokenizer.decode([number]).strip() for number in numbers]
    expected = SentenceTransformer(str(tiny_model)).encode(texts)
    np.testing.assert_allclose(cosines(table[numbers]), cosines(expected), atol=1e-5)


def test_the_numbers_are_as_large_as_the_random_ones(tokenizer: PreTrainedTokenizerFast, tiny_model: Path) -> None:
    drawn = initial(448, 24)
    table = embedding_table(tokenizer, load_encoder(tiny_model, kind="dense"), drawn)
    taken = table[list(token_texts(tokenizer))]
    assert np.sqrt(np.mean(taken**2)) == pytest.approx(np.sqrt(np.mean(drawn**2)), rel=1e-4)


def test_tokens_without_a_text_keep_their_random_rows(tokenizer: PreTrainedTokenizerFast, tiny_model: Path) -> None:
    drawn = initial(448, 32)
    table = embedding_table(tokenizer, load_encoder(tiny_model, kind="dense"), drawn)
    vocabulary = tokenizer.get_vocab()
    kept = [vocabulary[token] for token in (*SPECIAL_TOKENS, "[Q] ", "Ġ", "Ċ", "Ġ" * 4, "Ã", "[unused0]")]
    kept += range(len(tokenizer), 448)
    assert np.array_equal(table[kept], drawn[kept])
    changed = np.flatnonzero((table != drawn).any(1))
    assert set(changed) == set(token_texts(tokenizer))
    assert len(changed) > 100


def test_vectors_that_span_no_more_than_the_width_keep_their_inner_products() -> None:
    draw = np.random.default_rng(0)
    vectors = (draw.standard_normal((50, 12)) @ draw.standard_normal((12, 40))).astype(np.float32)
    for width in (12, 20, 40, 64):
        fitted = fit_width(vectors, width)
        assert fitted.shape == (50, width)
        np.testing.assert_allclose(fitted @ fitted.T, vectors @ vectors.T, rtol=1e-4, atol=1e-3)


def test_a_narrower_table_holds_the_best_approximation_of_that_rank() -> None:
    vectors = np.random.default_rng(0).standard_normal((60, 30)).astype(np.float32)
    fitted = fit_width(vectors, 10)
    u, s, _ = np.linalg.svd(vectors, full_matrices=False)
    best = (u[:, :10] * s[:10] ** 2) @ u[:, :10].T  # Eckart and Young
    np.testing.assert_allclose(fitted @ fitted.T, best, rtol=1e-3, atol=1e-3)


def test_token_texts_are_words_without_their_marks(tokenizer: PreTrainedTokenizerFast) -> None:
    texts = token_texts(tokenizer)
    assert texts[tokenizer.get_vocab()["Ġapples"]] == "apples"
    assert all(text == text.strip() and text.isprintable() and "\ufffd" not in text for text in texts.values())


def test_number_signs_are_a_mark_in_word_pieces_and_a_text_elsewhere(tiny_model: Path) -> None:
    pieces = open_tokenizer(str(tiny_model))
    inside = next(token for token in pieces.get_vocab() if token.startswith("##"))
    assert token_texts(pieces)[pieces.get_vocab()[inside]] == inside.removeprefix("##")
    bytewise = train_tokenizer(["## first heading", "### second ##third"] * 20, 384)
    texts = token_texts(bytewise)
    assert {token: texts.get(bytewise.get_vocab()[token]) for token in ("##", "###")} == {"##": "##", "###": "###"}


def test_a_new_model_differs_from_a_random_one_in_its_embeddings_alone(
    tokenizer: PreTrainedTokenizerFast, tiny_model: Path
) -> None:
    with_teacher, without = (new_model("tiny", tokenizer, 32, 5, teacher) for teacher in (str(tiny_model), None))
    different = [
        name
        for (name, one), (_, other) in zip(with_teacher.named_parameters(), without.named_parameters(), strict=True)
        if not one.equal(other)
    ]
    assert [name.rsplit(".", 2)[-2] for name in different] == ["tok_embeddings"]
    a, b = (model[0].auto_model.embeddings.tok_embeddings.weight for model in (with_teacher, without))
    assert a.std().item() == pytest.approx(b.std().item(), rel=0.1)


def test_a_table_in_16_bits_is_filled_in_place(tokenizer: PreTrainedTokenizerFast, tiny_model: Path) -> None:
    import torch

    table = torch.from_numpy(initial(448, 32)).bfloat16()
    before = table.clone()
    start_from_teacher(table, tokenizer, str(tiny_model))
    assert table.dtype == torch.bfloat16
    assert not table.equal(before)


def test_a_teacher_of_another_kind_and_a_table_too_short_are_refused(
    tokenizer: PreTrainedTokenizerFast, tiny_model: Path, tiny_colbert: Path
) -> None:
    import torch

    with pytest.raises(InputError, match="multi-vector"):
        start_from_teacher(torch.zeros(448, 32), tokenizer, str(tiny_colbert))
    with pytest.raises(InputError, match="384 tokens, but the table only 100 rows"):
        embedding_table(tokenizer, load_encoder(tiny_model, kind="dense"), initial(100, 32))
