"""The tokenizer that a new model learns from its texts: lossless, deterministic, and framed as BERT's."""

import json
from pathlib import Path

import pytest

from modernir.encoders.modernbert.tokenizer import (
    SPECIAL_TOKENS,
    load_tokenizer,
    open_tokenizer,
    rounded_vocabulary,
    train_tokenizer,
)
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
    "text",
    [
        *("def f(x):\n\treturn  x*2", "naïve 漢字 🙂", "getUserName2", "a\r\n\r\n b", "\x00\x7f"),
        *("\n    \n        x = 12  # y\n\t\t\tz", " \u00a0\u3000 wide", "end   ", "\n\n\n"),
    ],
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


@pytest.mark.parametrize("run", ["  ", "    ", " " * 8, " " * 16, "\t\t", "\t" * 4, "\t" * 8])
def test_runs_of_blanks_are_one_token_though_the_texts_have_none(run: str) -> None:
    prose = ["Some words stand in a sentence, and none of them is indented."] * 50
    tokenizer = train_tokenizer(prose, 512)
    assert len(tokenizer.tokenize(run)) == 1
    assert tokenizer.decode(tokenizer(run, add_special_tokens=False)["input_ids"]) == run


@pytest.mark.parametrize("indent", ["    ", "        ", " " * 12, " " * 16])
def test_indentation_costs_one_token_a_line(indent: str) -> None:
    tokenizer = train_tokenizer(TEXTS, 512)
    flat, indented = (tokenizer.tokenize(f"self:\n{blanks}return") for blanks in (" ", indent))
    assert len(flat) == len(indented)
    assert flat[-1] == indented[-1]


def test_a_digit_is_a_token_whatever_number_it_stands_in() -> None:
    tokenizer = train_tokenizer(["in 2023 or 2023"] * 20, 512)
    assert tokenizer.tokenize("2023") == ["2", "0", "2", "3"]


FOLDED = {
    "normalizer": {
        "type": "Sequence",
        "normalizers": [
            {"type": "NFKC"},
            {
                "type": "Replace",
                "pattern": {"Regex": r"(?<=\p{Ll})(?=\p{Lu})|(?<=\p{Lu})(?=\p{Lu}\p{Ll})"},
                "content": " ",
            },
            {"type": "Lowercase"},
        ],
    },
    "pre_tokenizer": {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": r"\s+|_+"}, "behavior": "Removed", "invert": False},
            {
                "type": "Split",
                "pattern": {"Regex": r"\p{L}+|\p{N}{1,2}|[^\s\p{L}\p{N}]+"},
                "behavior": "Isolated",
                "invert": False,
            },
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
        ],
    },
    "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
}
"""The rules that models that are shipped were trained with; another rule would give their tokens other numbers."""


def test_the_folded_style_is_that_of_the_models_that_ship() -> None:
    written = json.loads(train_tokenizer(TEXTS, 384, style="folded").backend_tokenizer.to_str())
    assert {name: written[name] for name in FOLDED} == FOLDED
    assert written["model"]["type"] == "BPE"
    assert [token["content"] for token in written["added_tokens"][:5]] == list(SPECIAL_TOKENS)


@pytest.mark.parametrize(
    "text", ["getUserName2", "get_user_name 2", "Get user name 2", "GET_USER_NAME2", "  get\n\tUserName__2"]
)
def test_folded_names_are_the_words_that_they_are_made_of(text: str) -> None:
    tokenizer = train_tokenizer(TEXTS, 512, style="folded")
    assert tokenizer.tokenize(text) == ["get", "user", "name", "2"]


def test_folded_signs_stay_and_long_tokens_are_not_learnt() -> None:
    texts = ["x = {" + "=" * 96 + "}", "".join(TEXTS[1].split())] * 20
    folded, reversible = (train_tokenizer(texts, 512, style=style) for style in ("folded", "reversible"))
    assert "=" in "".join(folded.tokenize("a == b"))
    assert 12 < max(map(len, folded.get_vocab())) <= 24 < max(map(len, reversible.get_vocab()))


def test_folded_markers_are_found_before_the_folding() -> None:
    tokenizer = train_tokenizer(TEXTS, 384, ["[Q] "], style="folded")
    assert tokenizer.tokenize("[Q] User") == ["[Q] ", *tokenizer.tokenize("user")]


def test_a_style_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match="style: no 'plain'; expected one of reversible, folded"):
        train_tokenizer(TEXTS, 384, style="plain")


def test_a_model_s_tokenizer_is_found_where_its_modules_say(tiny_model: Path) -> None:
    assert open_tokenizer(str(tiny_model)).tokenize("apples")
