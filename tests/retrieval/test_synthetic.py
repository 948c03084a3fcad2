"""Pairs from documents: what asks, what is asked for, what is left out, and the same bytes every time."""

import ast
import gzip
import inspect
import json
import textwrap
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
import zstandard

from modernir.errors import InputError
from modernir.retrieval.readers.examples import read_examples
from modernir.retrieval.readers.rows import RowOptions
from modernir.retrieval.synthetic.code import functions
from modernir.retrieval.synthetic.headings import LONGEST_FENCE, sections
from modernir.retrieval.synthetic.methods import METHODS, Pair, sentences
from modernir.retrieval.synthetic.texts import Text, read_texts
from modernir.retrieval.synthetic.write import PairOptions, write_pairs

Jsonl = Callable[[Path, list[dict]], Path]


def made(method: str, body: str, title: str = "", seed: int = 0) -> list[Pair]:
    return list(METHODS[method].make(Text(body, title), Random(seed)))


def written(output: Path, *sources: Path, **options: object) -> list[Pair]:
    settings = {"method": "title", "min_query": 1, "min_text": 1} | options
    write_pairs([str(source) for source in sources], output, PairOptions(**settings), RowOptions())
    return [Pair(example.query, example.positive) for example in read_examples(output)]


# Methods


def test_a_title_asks_for_its_text_and_no_title_for_nothing() -> None:
    assert made("title", "The body.", "A title") == [("A title", "The body.")]
    assert made("title", "The body.", " ") == []


MARKDOWN = """before
# Cats
About cats.
## Food
Fish.
```sh
# not a heading
```
### Amounts ##
Little.
## Sleep
Much."""


def test_a_heading_asks_for_its_own_section_after_those_above_it() -> None:
    assert made("heading", MARKDOWN, "Pets") == [
        ("Pets - Cats", "About cats."),
        ("Pets - Cats - Food", "Fish.\n```sh\n# not a heading\n```"),
        ("Pets - Cats - Food - Amounts", "Little."),
        ("Pets - Cats - Sleep", "Much."),
    ]
    assert made("heading", MARKDOWN, "Cats")[1].query == "Cats - Food"
    assert made("heading", "no heading\n#nor this") == []


def test_sections_hold_every_line_once_and_a_fence_that_nobody_closed_ends() -> None:
    lines = ["```", *["code"] * LONGEST_FENCE, "# Next", "text"]
    found = list(sections(lines))
    assert [section.heading for section in found] == ["", "Next"]
    assert [line for section in found for line in section.lines] == [line for line in lines if line != "# Next"]


PROSE = 'It was late, e.g. past nine. Dr. Smith (of 3.5 fame) said "No!" He left?\nThen\nnothing\n\nmore happened'


def test_sentences_end_at_marks_and_blank_lines_and_not_at_abbreviations() -> None:
    assert sentences(PROSE) == [
        "It was late, e.g. past nine.",
        'Dr. Smith (of 3.5 fame) said "No!"',
        "He left?",
        "Then\nnothing",
        "more happened",
    ]
    assert sentences("  ") == [""]


def test_the_first_sentence_asks_for_the_rest() -> None:
    assert made("first-sentence", " Birds fly. Fish\n swim. Dogs run. ") == [("Birds fly.", "Fish\n swim. Dogs run.")]
    assert made("first-sentence", "Only one.") == []


def test_cloze_takes_each_sentence_alike_and_leaves_it_in_one_time_in_ten() -> None:
    parts = ["Ants dig.", "Bees hum.", "Cats nap.", "Dogs run."]
    draws = [made("cloze", " ".join(parts), seed=seed)[0] for seed in range(4000)]
    left_in = [pair for pair in draws if pair.query in pair.positive]
    assert 320 < len(left_in) < 480
    for part in parts:
        assert 850 < sum(pair.query == part for pair in draws) < 1150
    for pair in draws[:50]:
        rest = [part for part in parts if part != pair.query]
        assert pair.positive in (" ".join(parts), " ".join(rest))
    assert made("cloze", "Only one.") == []


CODE = '''
import os

class Box:
    @property
    def size(self) -> int:
        """Return the   size
        of the box.

        More of it.
        """
        return 3  # a comment

    # Opens it,
    # wide.
    async def open(self):
        def inner(): "not taken"
        return "é" + """text"""

def bare(): return 1

def told():
    """Say."""; os.getcwd()
'''


def test_a_docstring_or_a_comment_asks_for_its_function_without_it() -> None:
    assert made("docstring", CODE) == [
        ("Return the size of the box.", "@property\ndef size(self) -> int:\n    return 3  # a comment"),
        ("Opens it, wide.", 'async def open(self):\n    def inner(): "not taken"\n    return "é" + """text"""'),
    ]
    assert made("docstring", "def broken(:") == []
    assert made("docstring", CODE.replace("\n", "\r\n")) == made("docstring", CODE)


def test_code_without_its_docstring_is_what_the_parser_makes_of_it() -> None:
    found = list(functions(inspect.getsource(inspect)))
    assert len(found) > 60
    for said, code in found:
        tree = ast.parse(textwrap.dedent(code)) if not code.endswith(":") else None
        assert said and (tree is None or ast.get_docstring(tree.body[0]) is None)  # type: ignore[arg-type]


# Sources


def test_plain_text_is_parted_at_blank_lines_or_at_headings(tmp_path: Path) -> None:
    content = "one\ntwo\n\n \nthree\n# Head\nfour\n\nfive\n"
    (tmp_path / "a.txt").write_text(content)
    (tmp_path / "b.txt.zst").write_bytes(zstandard.compress(content.encode()))
    for name in ("a.txt", "b.txt.zst"):
        texts = read_texts(tmp_path / name, RowOptions())
        assert [text.body for text in texts] == ["one\ntwo", "three\n# Head\nfour", "five"]
        parted = read_texts(tmp_path / name, RowOptions(), at_headings=True)
        assert [text.body for text in parted] == ["one\ntwo\n\n \nthree", "# Head\nfour\n\nfive"]


def test_a_folder_is_its_files_in_order_and_a_beir_folder_its_corpus(tmp_path: Path, jsonl: Jsonl) -> None:
    (tmp_path / "src/deep").mkdir(parents=True)
    (tmp_path / "src/b.py").write_text("b = 1\n")
    (tmp_path / "src/deep/c.md").write_text("# C\n\nc\n")
    (tmp_path / "src/a.txt").write_text("a\n\nz\n")
    (tmp_path / "src/d.png").write_bytes(b"\x89")
    assert [text.body.strip() for text in read_texts(tmp_path / "src", RowOptions())] == ["a", "z", "b = 1", "# C\n\nc"]
    (tmp_path / "beir").mkdir()
    jsonl(tmp_path / "beir/corpus.jsonl", [{"_id": "1", "title": "T", "text": "x"}, {"text": "y", "title": None}])
    assert list(read_texts(tmp_path / "beir", RowOptions())) == [Text("x", "T"), Text("y")]


def test_a_row_without_a_text_is_named(tmp_path: Path, jsonl: Jsonl) -> None:
    path = jsonl(tmp_path / "a.jsonl", [{"text": "x"}, {"title": "T"}])
    with pytest.raises(InputError, match=r"a\.jsonl:2: expected a text under text; found the fields 'title'"):
        list(read_texts(path, RowOptions()))


# What is written


def test_the_same_bytes_whatever_comes_before_and_whatever_the_packing(tmp_path: Path, jsonl: Jsonl) -> None:
    rows = [{"text": " ".join(f"Sentence {i} of {j}." for i in range(9))} for j in range(20)]
    source, later = jsonl(tmp_path / "a.jsonl", rows), jsonl(tmp_path / "b.jsonl", rows[10:])
    first = written(tmp_path / "o.jsonl.gz", source, method="cloze")
    assert (tmp_path / "o.jsonl.gz").read_bytes()[4:8] == bytes(4), "no time of writing"
    assert written(tmp_path / "p.jsonl", source, method="cloze") == first
    assert gzip.decompress((tmp_path / "o.jsonl.gz").read_bytes()) == (tmp_path / "p.jsonl").read_bytes()
    assert written(tmp_path / "q.jsonl.zst", later, method="cloze") == first[10:]
    assert written(tmp_path / "r.jsonl", source, method="cloze", seed=1) != first


def test_lengths_are_kept_to_and_nothing_comes_twice(tmp_path: Path, jsonl: Jsonl) -> None:
    rows = [
        {"title": "one", "text": "a b c d"},
        {"title": "two  words", "text": "\n  a b c\nd e "},
        {"title": "two words", "text": "other text here"},
        {"title": "more words", "text": "a b c d e"},
        {"title": "more words", "text": "  a b c\nd e f"},
        {"title": "far more words", "text": "x y z"},
        {"title": "small text", "text": "a b"},
        {"title": "né 日本", "text": "naïve 日本 text"},
    ]
    source = jsonl(tmp_path / "a.jsonl", rows)
    options = PairOptions("title", min_query=2, max_query=2, min_text=3, max_text=5)
    summary = write_pairs([str(source)], tmp_path / "o.jsonl", options, RowOptions())
    lines = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text(encoding="utf-8").splitlines()]
    assert lines == [
        {"query": "two words", "positive": "  a b c\nd e"},
        {"query": "more words", "positive": "a b c d e"},
        {"query": "né 日本", "positive": "naïve 日本 text"},
    ]
    assert (summary.texts, summary.pairs, summary.queries, summary.short, summary.repeated) == (8, 3, 2, 1, 2)
    assert len(written(tmp_path / "p.jsonl", source, max_pairs=2)) == 2


BAD: dict[str, tuple[dict, str]] = {
    "method": ({"method": "magic"}, "method: expected one of title, heading, first-sentence, cloze, docstring, found"),
    "range": ({"min_query": 9, "max_query": 3}, "min_query is 9, more than max_query, which is 3"),
    "zero": ({"max_pairs": 0}, "max_pairs: expected at least 1, found 0"),
    "none": ({"method": "heading"}, r"a\.jsonl: no pair to make: of 1 texts none has Markdown headings"),
    "short": ({"min_text": 99}, r"a\.jsonl: no pair is long enough, or short enough: 0 pairs from 1 texts"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_made_is_said_and_nothing_is_left(tmp_path: Path, jsonl: Jsonl, name: str) -> None:
    options, said = BAD[name]
    source = jsonl(tmp_path / "a.jsonl", [{"title": "a title", "text": "some words of text"}])
    with pytest.raises(InputError, match=said):
        written(tmp_path / "o.jsonl", source, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_no_file_is_written_over_and_its_ending_says_how_it_is_packed(tmp_path: Path, jsonl: Jsonl) -> None:
    source = jsonl(tmp_path / "a.jsonl", [{"title": "a title", "text": "some words of text"}])
    with pytest.raises(InputError, match=r"a\.jsonl: is there already; remove it or name another file"):
        written(source, source)
    with pytest.raises(InputError, match=r"o\.csv: expected a file name that ends in \.jsonl, "):
        written(tmp_path / "o.csv", source)
