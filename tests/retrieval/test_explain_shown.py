"""Explanations as text, as a page and as JSON: readable without colours, harmless whatever the texts hold."""

import base64
import hashlib
import io
import json
import re
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modernir import load_encoder
from modernir.encoders.colbert.spans import Piece
from modernir.index.documents import Document
from modernir.retrieval.build import build_index
from modernir.retrieval.explaining.explanation import Explanation
from modernir.retrieval.explaining.page import page
from modernir.retrieval.explaining.passages import GAP, SNAP, around, passages
from modernir.retrieval.explaining.terminal import print_explanations
from modernir.retrieval.retriever import Retriever

ATTACK = """</mark></style></script><script>alert("1")</script> & 'quoted' <img src=x onerror=alert(2)>"""
Call = Callable[..., SimpleNamespace]


def rows_of(text: str) -> tuple[tuple[Piece, ...], ...]:
    """Return a row for each word between blanks, and one for [CLS]."""
    words = [found.span() for found in re.finditer(r"\S+", text)]
    pieces = [Piece(text[start:end], "text", start, end, number) for number, (start, end) in enumerate(words)]
    return tuple((piece,) for piece in [Piece("[CLS]", "special"), *pieces])


def explain(query: str, content: str, title: str = "", identifier: str = "d1") -> Explanation:
    """Return an explanation in which equal words meet, and all others meet [CLS]."""
    asked, read = rows_of(query), rows_of(content)
    products = np.array([[0.9 if a[0].token == b[0].token else 0.1 for b in read] for a in asked], np.float32)
    return Explanation(query, identifier, title, content, asked, read, products, 1.25)


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """A function that prints explanations to a file or a terminal of so many columns."""

    def show(explanation: Explanation, columns: int = 100, terminal: bool = False, **variables: str) -> str:
        stream = io.StringIO()
        monkeypatch.setattr(sys, "stdout", stream)
        for name, value in {"COLUMNS": str(columns), **variables}.items():
            monkeypatch.setenv(name, value)
        if terminal:
            monkeypatch.setenv("TERM", "xterm-256color")
            monkeypatch.setattr(stream, "isatty", lambda: True)
        print_explanations([("1", explanation.query)], [[explanation]])
        return stream.getvalue()

    return show


def test_matched_words_are_marked_without_colours(printed: Callable[..., str]) -> None:
    text = printed(explain("red apples", "Fruit Many red apples grow.", "Fruit"))
    assert "\x1b" not in text
    assert "1  2.7000  d1  by the vectors coded in the index 1.2500" in text
    assert re.search(r"^   Fruit *\n   Many «red» «apples» grow\. *$", text, re.MULTILINE)
    assert re.search(r"apples +0\.900 +apples +…?Fruit Many red «apples» grow\.", text)
    assert re.search(r"\[CLS\] +0\.900 +\[CLS\]", text)


def test_a_terminal_gets_colours_and_no_marks(printed: Callable[..., str]) -> None:
    text = printed(explain("red apples", "Many red apples grow."), terminal=True)
    assert "\x1b[" in text
    assert "«" not in text
    assert "«red»" in printed(explain("red apples", "Many red apples grow."), terminal=True, NO_COLOR="1")


@pytest.mark.parametrize("columns", [30, 50, 80, 200])
def test_lines_fit_the_terminal(columns: int, printed: Callable[..., str]) -> None:
    content = "word " * 300 + "apples " + "other " * 300 + "x" * 300
    text = printed(explain("red apples", content, identifier="a-very-long-identifier-" * 3), columns)
    assert max(len(line) for line in text.splitlines()) <= columns
    assert "«apples»" in text
    assert len(text) < 6000


def test_long_documents_are_shown_in_passages(printed: Callable[..., str]) -> None:
    content = "Title here " + "word " * 500 + "apples " + "other " * 500 + "red " + "end " * 500
    text = " ".join(printed(explain("Title red apples", content, "Title here")).split())
    document = text[: text.index(" query ")]
    assert re.search(r"«Title» here … word .* word «apples» other .* … other .* «red» end .* …$", document)
    assert len(document) < 600


def test_control_characters_do_not_reach_the_terminal(printed: Callable[..., str]) -> None:
    text = printed(explain("red\x1b[2J", "many red\x1b[2J \x07 \x9b31m apples\r\nmore", identifier="d\x1b[1m"))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)
    assert "apples" in text


def test_markup_of_the_printer_is_text(printed: Callable[..., str]) -> None:
    text = printed(explain("[bold]x[/bold]", "see [bold]x[/bold] and [/red]", identifier="[blue]"))
    assert "see «[bold]x[/bold]» and [/red]" in text
    assert "[blue]" in text


WORDY = st.text(alphabet="ab \n", max_size=300)


@given(WORDY, st.lists(st.tuples(st.integers(0, 299), st.integers(1, 6), st.floats(-1, 1)), max_size=6))
def test_passages_are_in_order_within_the_text_and_within_the_limit(
    text: str, found: list[tuple[int, int, float]]
) -> None:
    marks = [(start, min(start + size, len(text)), weight) for start, size, weight in found if start < len(text)]
    limit, margin = 60, 10
    stretches = passages(text, marks, limit, margin)
    assert stretches
    assert all(0 <= start <= end <= len(text) for start, end in stretches)
    assert all(one[1] + GAP < other[0] for one, other in pairwise(stretches))
    if len(text) <= limit:
        assert stretches == [(0, len(text))]
    elif marks:
        start, end, _ = max(marks, key=lambda mark: mark[2])
        assert any(begin <= start and end <= stop for begin, stop in stretches)
        longest = 6 + 2 * (margin + SNAP)
        assert sum(stop - begin for begin, stop in stretches) <= max(limit, longest)


def test_a_stretch_cuts_no_word_and_ends_at_no_blank() -> None:
    text = "alpha  beta gamma delta epsilon"
    start, end = around(text, 12, 17, 3)
    assert text[start:end] == "beta gamma delta"
    joined = "x" * 200
    assert around(joined, 100, 105, 10) == (90, 115)
    assert around("", 0, 0) == (0, 0)


class Seen(HTMLParser):
    """Collects what a browser would make of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self.inside: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag in ("style", "script", "div", "mark", "title"):
            self.inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.inside and self.inside[-1] == tag:
            self.inside.pop()

    def handle_data(self, data: str) -> None:
        for name in set(self.inside):
            self.texts[name] = self.texts.get(name, "") + data


def seen(text: str) -> Seen:
    parser = Seen()
    parser.feed(text)
    parser.close()
    return parser


def test_a_page_asks_for_nothing_and_allows_only_its_own_style_and_script() -> None:
    found = seen(page([("1", "red apples")], [[explain("red apples", "Many red apples grow.")]]))
    assert not [tag for tag, _ in found.tags if tag in ("link", "img", "iframe", "object", "embed", "base", "form")]
    names = {name for _, attributes in found.tags for name in attributes}
    assert not {name for name in names if name in ("src", "href", "style", "action") or name.startswith("on")}
    policy = next(attributes["content"] for tag, attributes in found.tags if "http-equiv" in attributes) or ""
    allowed = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert allowed["default-src"] == "'none'"
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        checksum = base64.b64encode(hashlib.sha256(found.texts[tag].encode()).digest()).decode()
        assert allowed[directive] == f"'sha256-{checksum}'"
    assert "url(" not in found.texts["style"]
    assert "@import" not in found.texts["style"]


def test_texts_are_no_markup() -> None:
    plain = seen(page([("1", "a")], [[explain("a", "b a", "b")]]))
    hostile = explain(f"{ATTACK} a", f"{ATTACK} a {ATTACK}", ATTACK, identifier=ATTACK)
    found = seen(page([("1", f"{ATTACK} a")], [[hostile]]))
    assert {tag for tag, _ in found.tags} == {tag for tag, _ in plain.tags}
    assert sum(tag == "script" for tag, _ in found.tags) == 1
    assert {name for _, attributes in found.tags for name in attributes} <= {
        name for _, attributes in plain.tags for name in attributes
    } | {"title"}
    assert found.texts["script"] == plain.texts["script"]
    assert f"{ATTACK} a {ATTACK}" in found.texts["div"]


def test_a_page_shows_matches_without_its_script() -> None:
    explanation = explain("red apples", "Fruit Many red apples grow <here>.", "Fruit")
    text = page([("1", "red apples")], [[explanation]])
    found = seen(text)
    marks = [attributes for tag, attributes in found.tags if tag == "mark" and "title" in attributes]
    assert [mark["title"] for mark in marks] == ["0.90 from red", "0.90 from apples", "0.90 from [CLS]"]
    assert all(re.fullmatch(r"h[1-9]", mark["class"] or "") for mark in marks)
    cells = [attributes for tag, attributes in found.tags if tag == "td" and "class" in attributes]
    assert len(cells) == explanation.similarity.size
    assert sum("best" in str(cell["class"]) for cell in cells) == len(explanation.query_rows)
    assert "Fruit Many red apples grow <here>." in found.texts["div"]


def test_the_table_of_a_large_matrix_keeps_what_was_met() -> None:
    explanation = explain("red apples", "word " * 9000 + "apples red")
    found = seen(page([("1", "red apples")], [[explanation]]))
    cells = [attributes for tag, attributes in found.tags if tag == "td" and "class" in attributes]
    assert len(cells) == 3 * len(explanation.query_rows)
    assert "The 3 of 9003 tokens that were met" in page([("1", "red apples")], [[explanation]])


def test_half_characters_do_not_break_a_page() -> None:
    page([("1", "a")], [[explain("a", "half \ud83d a")]]).encode()


def test_no_documents_and_several_queries() -> None:
    text = page([("1", "one"), ("2", "two")], [[], [explain("two", "two")]])
    assert "nothing found" in text
    assert "<title>2 queries</title>" in text


@pytest.fixture(scope="module")
def index(tiny_colbert: Path, tmp_path_factory: pytest.TempPathFactory, jsonl: Callable[..., Path]) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    rows = [{"_id": f"d{n}", "title": f"title {n}", "text": f"red apples and {n} <b>pears</b>"} for n in range(8)]
    corpus = jsonl(folder / "corpus.jsonl", rows)
    build_index(corpus, load_encoder(tiny_colbert, device="cpu"), folder / "index", quiet=True).close()
    return folder / "index"


def test_the_command_explains_three_documents_where_it_finds_ten(index: Path, call: Call) -> None:
    explained = call("search", "red apples", "--index", index, "--explain")
    assert explained.code == 0, explained.stderr
    assert len(re.findall(r"by the vectors coded in the index", explained.stdout)) == 3
    assert "«" in explained.stdout
    more = call("search", "red apples", "--index", index, "--explain", "-k", 5)
    assert len(re.findall(r"by the vectors coded in the index", more.stdout)) == 5
    hits = json.loads(call("search", "red apples", "--index", index, "--json").stdout)[0]["hits"]
    assert len(hits) == 8
    assert "explanation" not in hits[0]


def test_the_command_writes_a_page_and_json(index: Path, call: Call, tmp_path: Path) -> None:
    file = tmp_path / "new folder" / "page.html"
    done = call("search", "red apples", "--index", index, "--html", file, "--json", "-k", 2)
    assert done.code == 0, done.stderr
    hits = json.loads(done.stdout)[0]["hits"]
    assert [hit["explanation"]["id"] for hit in hits] == [hit["id"] for hit in hits]
    for hit in hits:
        assert hit["explanation"]["score"] == pytest.approx(sum(w["score"] for w in hit["explanation"]["words"]))
        assert hit["explanation"]["index_score"] == pytest.approx(hit["score"], abs=1e-4)
    text = file.read_text(encoding="utf-8")
    assert text.count("<article>") == 2
    assert "<b>" not in text
    assert [file.name for file in file.parent.iterdir()] == ["page.html"]
    assert "«" in call("search", "red apples", "--index", index, "--html", file).stdout


def test_the_command_explains_hybrid_searches(index: Path, call: Call) -> None:
    done = call("search", "red apples", "--index", index, "--explain", "--mode", "hybrid", "-k", 1)
    assert (done.code, done.stdout.count("by the vectors coded")) == (0, 1)


def test_what_the_command_cannot_explain_is_one_line(
    index: Path, hash_encoder: Callable[..., Any], call: Call, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    dense_index = tmp_path_factory.mktemp("dense") / "index"
    with Retriever.create(dense_index, hash_encoder()) as retriever:
        retriever.add([Document("d", "text")])
    for arguments, said in (
        (["--index", index, "--explain", "--mode", "lexical"], "leave out --mode lexical"),
        (["--index", dense_index, "--explain"], "holds one vector a document"),
        (["--index", dense_index, "--html", tmp_path / "x.html"], "holds one vector a document"),
        (["--index", index, "--html", tmp_path], "is a folder; name the file of the page"),
    ):
        done = call("search", "red apples", *arguments)
        assert (done.code, done.stdout) == (2, "")
        assert said in done.stderr
        assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
