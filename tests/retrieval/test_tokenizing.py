"""A tokenizer learnt from sources: what is sampled, what is held out, what the report counts, and the command."""

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from modernir.encoders.modernbert.tokenizer import load_tokenizer, train_tokenizer
from modernir.errors import InputError
from modernir.retrieval.tokenizing.rates import count_tokens, is_code, measure, totals
from modernir.retrieval.tokenizing.sample import draw_sample
from modernir.retrieval.tokenizing.texts import FieldText, read_field_texts
from modernir.retrieval.tokenizing.train import TokenizerTraining, learn_tokenizer
from modernir.retrieval.tokenizing.words import read_words, words_of

WORDS = ["harbour", "lantern", "meadow", "orchard", "quarry", "thimble", "velvet", "willow", "pebble", "saddle"]
CODE = "def {0}_{1}(self):\n    return [self.{0}[{1}] for {1} in range({2})]\n"


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, Path]:
    draw = random.Random(3)
    prose = "\n\n".join(" ".join(draw.choices(WORDS, k=12)) + "." for _ in range(400))
    (tmp_path / "prose.txt").write_text(prose)
    rows = []
    for number in range(300):
        one, two = draw.sample(WORDS, 2)
        rows.append({"query": f"Return the {one} of a {two}", "positive": CODE.format(one, two, number)})
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"prose": tmp_path / "prose.txt", "pairs": tmp_path / "pairs.jsonl"}


def texts(count: int, seed: int = 0) -> list[FieldText]:
    draw = random.Random(seed)
    return [FieldText("", "".join(draw.choices("abcdef ", k=draw.randint(5, 60)))) for _ in range(count)]


def size(sample: tuple[FieldText, ...]) -> int:
    return sum(len(text.encode()) for _, text in sample)


def test_a_sample_is_bounded_and_the_same_whatever_the_order() -> None:
    given = texts(2000)
    sample = draw_sample(given, 5000, 1, lambda done: None)
    assert 4900 < size(sample.learnt + sample.held_out) <= 5000
    assert 200 < size(sample.held_out) <= 250
    turned = draw_sample(given[::-1], 5000, 1, lambda done: None)
    assert set(turned.learnt) == set(sample.learnt)
    assert set(turned.held_out) == set(sample.held_out)
    assert set(draw_sample(given, 5000, 2, lambda done: None).learnt) != set(sample.learnt)


def test_a_sample_is_spread_over_the_source() -> None:
    given = [FieldText("", f"text number {number:06}") for number in range(10_000)]
    numbers = [int(text[-6:]) for _, text in draw_sample(given, 18 * 1000, 5, lambda done: None).learnt]
    assert numbers == sorted(numbers)
    assert 4500 < sum(numbers) / len(numbers) < 5500


def test_nothing_that_is_held_out_is_learnt_from_even_if_it_comes_twice() -> None:
    given = texts(200) * 3
    sample = draw_sample(given, 10_000, 1, lambda done: None)
    assert sample.held_out
    assert not {text for _, text in sample.held_out} & {text for _, text in sample.learnt}


def test_a_source_within_the_bound_is_taken_whole_and_told_of() -> None:
    given, reported = texts(50), []
    sample = draw_sample(given, 10**6, 1, reported.append)
    assert sorted(sample.learnt + sample.held_out) == sorted(given)
    assert reported[-1] == size(tuple(given))


def test_texts_of_every_kind_of_source_are_read(tmp_path: Path, tiny_beir: Path) -> None:
    plain = "First line\nsecond line\n\nnext block\n"
    (tmp_path / "a.txt").write_text(plain)
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(plain.encode()))
    (tmp_path / "a.txt.zst").write_bytes(zstandard.ZstdCompressor().compress(plain.encode()))
    for name in ("a.txt", "a.txt.gz", "a.txt.zst"):
        assert "".join(text for _, text in read_field_texts(tmp_path / name)) == plain
    row = {"query": "q", "positive": ["p", "r"], "negative": "n", "title": "t", "text": "x", "id": 3, "other": "o"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    found = list(read_field_texts(tmp_path / "rows.jsonl"))
    assert found == [
        *(("query", "q"), ("positive", "p"), ("positive", "r"), ("negative", "n"), ("title", "t"), ("text", "x")),
    ]
    fields = [field for field, _ in read_field_texts(tiny_beir)]
    assert fields == ["documents"] * 6 + ["queries"] * 3


def test_a_row_without_a_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"query": "q"}\n{"body_text": "x"}\n')
    with pytest.raises(InputError, match=r"rows.jsonl:2: expected a text under query.*'body_text'"):
        list(read_field_texts(tmp_path / "rows.jsonl"))


def test_words_come_from_lists_and_from_vocabularies(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "words.txt").write_text("harbour\n\nnew york\n")
    assert read_words(str(tmp_path / "words.txt")) == ["harbour", "new york"]
    of_model = read_words(str(tiny_model))
    assert "apples" in of_model
    assert all(word.isalpha() and len(word) > 2 for word in of_model)
    reversible = train_tokenizer(["the harbour and the harbours"] * 30, 320)
    found = list(words_of(reversible))
    assert "harbour" in found  # " harbour" as it stands in a sentence
    assert not any(word.startswith(("Ġ", " ")) for word in found)
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(InputError, match="no words"):
        read_words(str(tmp_path / "empty.txt"))
    with pytest.raises(InputError, match="csv: expected a"):
        (tmp_path / "words.csv").write_text("a")
        read_words(str(tmp_path / "words.csv"))


@pytest.mark.parametrize("style", ["reversible", "folded"])
def test_words_that_the_texts_lack_become_one_token(tmp_path: Path, sources: dict[str, Path], style: str) -> None:
    (tmp_path / "words.txt").write_text("photosynthesis\n")
    settings = {"sources": (str(sources["pairs"]),), "vocabulary": 512, "style": style}
    without = learn_tokenizer(TokenizerTraining(output=tmp_path / "without", **settings))
    words = {"words": (str(tmp_path / "words.txt"),), "word_count": 2000}
    with_words = learn_tokenizer(TokenizerTraining(output=tmp_path / "with", **settings, **words))
    before, after = (
        len(load_tokenizer(str(learnt.folder)).tokenize("about photosynthesis")[1:]) for learnt in (without, with_words)
    )
    assert before > 3
    tokens = load_tokenizer(str(with_words.folder)).tokenize(" photosynthesis")
    assert len(tokens) == 1
    assert after < before


def test_rates_count_what_the_tokenizers_make_of_texts() -> None:
    first, second = (train_tokenizer(["some words to learn from"] * 9, size) for size in (264, 320))
    found = [FieldText("query", "some words"), FieldText("positive", "x[0] = {1: (2)};"), FieldText("query", "ünd")]
    rates = measure("set", "held out", found, {"a": first, "b": second})
    assert [(rate.source, rate.kind, rate.texts, rate.bytes) for rate in rates] == [
        ("set query", "text", 2, len("some words") + len("ünd".encode())),
        ("set positive", "code", 1, 16),
    ]
    for name, tokenizer in (("a", first), ("b", second)):
        expected = sum(len(tokenizer.tokenize(text)) for text in ("some words", "ünd"))
        assert rates[0].tokens[name] == expected
        assert rates[0].bytes_per_token(name) == rates[0].bytes / expected
    both = totals([*rates, *rates])
    assert [(rate.kind, rate.bytes, rate.tokens["a"]) for rate in both] == [
        (rate.kind, 2 * rate.bytes, 2 * rate.tokens["a"]) for rate in rates
    ]


def test_long_texts_are_counted_whole(tiny_model: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_model))  # reads 64 tokens
    assert count_tokens(tokenizer, ["apples " * 500]) == 500 * len(tokenizer.tokenize("apples"))


def test_code_is_told_from_prose_and_from_a_formula_in_it() -> None:
    assert is_code([CODE.format("a", "b", 3)])
    formula = "we write f(x) = 2 for all x of the set {a, b}, as the last section shows."
    assert not is_code([f"A long sentence stands before the formula, as in most papers on the subject; {formula}"])
    assert not is_code([])


def test_the_same_run_gives_the_same_tokenizer_and_a_whole_folder(tmp_path: Path, sources: dict[str, Path]) -> None:
    given = tuple(str(source) for source in sources.values())
    one, two = (
        learn_tokenizer(TokenizerTraining(sources=given, output=tmp_path / name, vocabulary=400, sample="10KB"))
        for name in ("one", "two")
    )
    assert (one.folder / "tokenizer.json").read_bytes() == (two.folder / "tokenizer.json").read_bytes()
    assert one.tokens % 64 == 0
    assert one.tokens - 64 < one.used <= 400
    assert {rate.part for rate in one.rates} == {"held out"}


def test_the_command_writes_a_tokenizer_and_its_report(
    tmp_path: Path, sources: dict[str, Path], tiny_beir: Path, tiny_model: Path, call: Callable
) -> None:
    command = ["train-tokenizer", *sources.values(), "-o", tmp_path / "tok", "--vocabulary", 512, "--style", "folded"]
    command += ["--markers", "[Q] ", "--markers", "[D] ", "--report", tiny_beir, "--against", tiny_model]
    done = call(*command, "--json")
    assert done.code == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["folder"] == str(tmp_path / "tok")
    assert told["tokens"] == len(load_tokenizer(told["folder"]))
    parts = {(rate["part"], rate["kind"]) for rate in told["totals"]}
    assert parts == {("held out", "text"), ("held out", "code"), ("unseen", "text")}
    tokenizer = load_tokenizer(str(tmp_path / "tok"))
    queries = next(rate for rate in told["sources"] if rate["source"] == "fruit queries")
    assert queries["tokens"][str(tmp_path / "tok")] == sum(
        len(tokenizer.tokenize(text))
        for text in ("red apples in the garden", "sour lemons against scurvy", "a ship crosses the sea")
    )
    assert set(queries["tokens"]) == {str(tmp_path / "tok"), str(tiny_model)}
    assert tokenizer.tokenize("[D] harbour")[0] == "[D] "
    again = call(*command)
    assert again.code == 2
    assert "tok: exists already" in again.stderr


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sample": "0"}, "sample: expected at least 1, found 0"),
        ({"sample": "3"}, "no text of at most 3 bytes"),
        ({"style": "plain"}, "style: no 'plain'"),
        ({"sources": ()}, "no source of texts"),
        ({"sources": ("missing.txt",)}, "missing.txt: no such file"),
        ({"against": ("nowhere/at-all/x",)}, "not a folder with a tokenizer"),
        ({"vocabulary": 100}, "a vocabulary of 100 is too small"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    tmp_path: Path, sources: dict[str, Path], settings: dict, message: str
) -> None:
    given = {"sources": (str(sources["prose"]),), "output": tmp_path / "tok", "vocabulary": 400} | settings
    with pytest.raises(InputError, match=message):
        learn_tokenizer(TokenizerTraining(**given))
    assert not (tmp_path / "tok").exists()
