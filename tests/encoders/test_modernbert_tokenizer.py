"""The tokenizer that a new model learns from its texts: lossless, deterministic, and framed as BERT's."""

from pathlib import Path

import pytest

from modernir.encoders.modernbert.tokenizer import SPECIAL_TOKENS, load_tokenizer, rounded_vocabulary, train_tokenizer
from modernir.errors import InputError

TEXTS = [
    "def get_user_name(self):\n    return self.user.name",
    "Return the name of the user that is logged in.",
    "public String getUserName() { return user.getName(); }",
] * 10


def test_the_same_texts_give_the_same_tokenizer() -> None:
    first, second = (train_tokenizer(TEXTS, 384).backend_tokenizer.to_str() for _ in range(2))
    assert first == second


def test_the_vocabulary_is_a_multiple_of_64_within_the_limit() -> None:
    tokenizer = train_tokenizer(TEXTS, 384)
    assert len(tokenizer) % 64 == 0
    assert len(tokenizer) <= rounded_vocabulary(384)
    assert tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == list(range(len(SPECIAL_TOKENS)))


@pytest.mark.parametrize(
    "text", ["def f(x):\n\treturn  x*2", "naïve 漢字 🙂", "getUserName2", "a\r\n\r\n b", "\x00\x7f"]
)
def test_any_text_comes_back_unchanged_and_no_part_of_it_is_unknown(text: str) -> None:
    tokenizer = train_tokenizer(TEXTS, 384)
    numbers = tokenizer(text)["input_ids"]
    assert tokenizer.unk_token_id not in numbers
    assert tokenizer.decode(numbers, skip_special_tokens=True, clean_up_tokenization_spaces=False) == text


def test_a_text_stands_between_start_and_end() -> None:
    tokenizer = train_tokenizer(TEXTS, 384)
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("user")["input_ids"])
    assert (tokens[0], tokens[-1]) == ("[CLS]", "[SEP]")


def test_camel_case_and_snake_case_share_their_pieces() -> None:
    tokenizer = train_tokenizer(TEXTS, 512)
    assert "Name" in tokenizer.tokenize("getUserName")
    assert tokenizer.tokenize("user_name")[0] == tokenizer.tokenize("user.name")[0]


def test_a_saved_tokenizer_loads_with_the_same_numbers(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(TEXTS, 384)
    tokenizer.save_pretrained(tmp_path)
    assert load_tokenizer(str(tmp_path))(TEXTS[0])["input_ids"] == tokenizer(TEXTS[0])["input_ids"]


def test_a_vocabulary_without_room_for_the_bytes_is_refused() -> None:
    with pytest.raises(InputError, match="a vocabulary of 100 is too small; expected at least 261"):
        train_tokenizer(TEXTS, 100)


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a folder with a tokenizer"):
        load_tokenizer(str(tmp_path))


def test_markers_are_tokens_with_their_blank_and_count_among_the_vocabulary() -> None:
    tokenizer = train_tokenizer(["some words to learn from"] * 4, 320, ["[Q] ", "[D] "])
    assert len(tokenizer) == 320
    assert tokenizer.tokenize("[Q] words") == ["[Q] ", *tokenizer.tokenize("words")]
    assert tokenizer("[D] words")["input_ids"][1] == tokenizer.convert_tokens_to_ids("[D] ")
