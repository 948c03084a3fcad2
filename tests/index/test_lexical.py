"""What lexical search finds, compared with BM25 over Python lists, and that it stays in step with the documents."""

import json
import math
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modernir.errors import InputError
from modernir.index import lexical
from modernir.index.bm25 import BM25
from modernir.index.filters import compile_filter
from modernir.index.lexical import Lexical, search
from modernir.index.lexical_terms import identifier_words, query_terms

DOCUMENTS = "CREATE TABLE documents (key INTEGER PRIMARY KEY, id TEXT UNIQUE, title TEXT, text TEXT, metadata TEXT);"
WORDS = ["zork", "plugh", "xyzzi", "quux", "blorb", "grault", "wibbl", "foobar"]  # that the stemmer leaves alone
Row = tuple[int, str, str, dict[str, object]]


def opened(path: Path | str = ":memory:") -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    lexical.register(connection)
    return connection


def catalog(rows: Sequence[Row] = (), path: Path | str = ":memory:") -> sqlite3.Connection:
    connection = opened(path)
    connection.executescript(DOCUMENTS + lexical.SCHEMA)
    connection.execute("BEGIN")
    put(connection, *rows)
    connection.execute("COMMIT")
    return connection


def put(connection: sqlite3.Connection, *rows: Row) -> None:
    stored = [(key, f"d{key}", title, text, json.dumps(metadata)) for key, title, text, metadata in rows]
    connection.executemany("INSERT INTO documents VALUES (?, ?, ?, ?, ?)", stored)


def bm25(rows: Sequence[Row], query: str, k1: float = 1.5, b: float = 0.75) -> list[tuple[int, float]]:
    """Return every document with a word of the query and its score, best first."""
    tokens = {key: f"{title} {text}".split() for key, title, text, _ in rows}
    mean = sum(map(len, tokens.values())) / len(tokens)
    scores = {}
    for key, own in tokens.items():
        if set(own) & set(query.split()):
            scores[key] = 0.0
            for word in query.split():
                holders = sum(word in other for other in tokens.values())
                weight = math.log(1 + (len(tokens) - holders + 0.5) / (holders + 0.5))
                count = own.count(word)
                scores[key] += weight * count * (k1 + 1) / (count + k1 * (1 - b + b * len(own) / mean))
    return sorted(scores.items(), key=lambda item: (-round(item[1], 9), item[0]))


def same(found: list[tuple[int, float]], expected: list[tuple[int, float]]) -> bool:
    """Say whether two rankings have the same keys and, but for rounding, scores."""
    close = np.allclose([score for _, score in found], [score for _, score in expected], rtol=1e-9)
    return [key for key, _ in found] == [key for key, _ in expected] and close


def random_rows(count: int, longest: int = 12, seed: int = 7) -> list[Row]:
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, len(WORDS) + 1)

    def text(length: int) -> str:
        return " ".join(rng.choice(WORDS, length, p=share / share.sum()))

    return [
        (key, text(int(rng.integers(3))), text(int(rng.integers(longest))), {"year": int(rng.integers(100))})
        for key in range(1, count + 1)
    ]


ROWS = random_rows(60)
WORD_QUERIES = st.lists(st.sampled_from([*WORDS, "absent"]), min_size=1, max_size=5).map(" ".join)


@pytest.fixture(scope="module")
def many() -> Iterator[tuple[sqlite3.Connection, list[Row]]]:
    rows = random_rows(3000, seed=1)
    connection = catalog(rows)
    yield connection, rows
    connection.close()


@settings(max_examples=60, deadline=None)
@given(WORD_QUERIES, st.integers(1, 70))
def test_scores_are_those_of_bm25_over_lists(query: str, k: int) -> None:
    connection = catalog(ROWS)
    assert same(search(connection, query, k), bm25(ROWS, query)[:k])
    connection.close()


@pytest.mark.parametrize("k", [1, 10, 700, 5000])
@pytest.mark.parametrize("query", ["zork", "foobar", "foobar wibbl grault", "zork plugh xyzzi xyzzi"])
def test_leaving_out_candidates_that_cannot_win_changes_nothing(
    many: tuple[sqlite3.Connection, list[Row]], query: str, k: int
) -> None:
    connection, rows = many
    holders = {word: sum(word in f"{row[1]} {row[2]}".split() for row in rows) for word in query.split()}
    assert max(holders.values()) > 100
    lengths = [len(f"{row[1]} {row[2]}".split()) for row in rows]
    mean, expected = sum(lengths) / len(rows), {}
    for (key, title, text, _), length in zip(rows, lengths, strict=True):
        own = f"{title} {text}".split()
        if set(own) & set(query.split()):
            expected[key] = sum(
                math.log(1 + (len(rows) - holders[word] + 0.5) / (holders[word] + 0.5))
                * (count := own.count(word)) * 2.5 / (count + 1.5 * (0.25 + 0.75 * length / mean))
                for word in query.split()
            )  # fmt: skip
    found = search(connection, query, k)
    best = sorted(expected.values(), reverse=True)[:k]
    assert [score for _, score in found] == pytest.approx(best)
    assert all(score == pytest.approx(expected[key]) for key, score in found)
    assert found == sorted(found, key=lambda item: (-item[1], item[0]))


@pytest.mark.parametrize("expression", ["year = 3", "year < 50", "year >= 0", "year < 0", "id in ('d7', 'd2999')"])
def test_a_filter_leaves_the_best_of_what_it_lets_through(
    many: tuple[sqlite3.Connection, list[Row]], expression: str
) -> None:
    connection, _ = many
    chosen = compile_filter(expression)
    allowed = {key for (key,) in connection.execute(f"SELECT key FROM documents WHERE {chosen.sql}", chosen.parameters)}
    for query in ("zork plugh", "foobar blorb"):
        everything = search(connection, query, 3000)
        for k in (1, 20, 3000):
            expected = [(key, score) for key, score in everything if key in allowed][:k]
            assert search(connection, query, k, chosen) == expected


def test_equal_scores_come_in_the_order_of_their_keys() -> None:
    connection = catalog([(key, "", "zork plugh", {}) for key in range(1, 2000)])
    assert [key for key, _ in search(connection, "zork", 5)] == [1, 2, 3, 4, 5]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "delete", "change", "undo", "optimize"]),
        st.integers(0, 30),
        st.lists(st.sampled_from([*WORDS, "getFooBar", "the"]), max_size=6).map(" ".join),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_any_program_of_changes_ends_as_a_fresh_build(steps: list[tuple[str, int, str]]) -> None:
    connection, rows = catalog(ROWS[:10]), {row[0]: row for row in ROWS[:10]}
    kept = Lexical(connection)
    for what, number, text in steps:
        key = list(rows)[number % len(rows)] if rows else None
        if what == "add":
            row = (max(rows, default=0) + 1 + number, text[:9], text, {})
            put(connection, row)
            rows[row[0]] = row
        elif what == "optimize":
            lexical.optimize(connection)
        elif key is not None:
            connection.execute("BEGIN")
            if what == "change":
                connection.execute("UPDATE documents SET text = ? WHERE key = ?", (text, key))
            else:
                connection.execute("DELETE FROM documents WHERE key = ?", (key,))
            kept.search("zork foobar", 3)
            connection.execute("ROLLBACK" if what == "undo" else "COMMIT")
            if what == "delete":
                del rows[key]
            elif what == "change":
                rows[key] = (key, rows[key][1], text, {})
    fresh = catalog([rows[key] for key in sorted(rows)])
    for query in ("zork plugh", "foobar quux", "getFooBar blorb the"):
        assert kept.search(query, 50) == search(connection, query, 50) == search(fresh, query, 50)
    assert lexical.damage(connection) == []
    connection.close()
    fresh.close()


def test_documents_that_went_in_behind_its_back_are_found_and_mended() -> None:
    connection = catalog(ROWS)
    expected = search(connection, "zork", 9)
    connection.execute("DROP TRIGGER lexical_delete")
    connection.execute("DELETE FROM documents WHERE key = 1")
    put(connection, (99, "", "zork", {}))
    connection.execute("DELETE FROM documents WHERE key = 99")
    assert "rebuild" in lexical.damage(connection)[0]
    put(connection, ROWS[0])
    lexical.rebuild(connection)
    assert lexical.damage(connection) == []
    assert search(connection, "zork", 9) == expected


def test_a_search_sees_its_own_transaction_and_what_others_commit_not_before_its_end(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    catalog(ROWS[:3], path).close()
    writer, reader = opened(path), opened(path)
    writer.execute("PRAGMA journal_mode = WAL")
    reader.execute("PRAGMA query_only = ON")
    kept = Lexical(reader)
    own = Lexical(writer)
    before = own.search("zork", 5)
    writer.execute("BEGIN")
    put(writer, (50, "", "nitfol", {}))
    writer.execute("UPDATE documents SET text = 'zork zork' WHERE key = 1")
    assert [key for key, _ in own.search("nitfol", 5)] == [50]
    assert own.search("zork", 5) == search(writer, "zork", 5) != before
    assert kept.search("nitfol", 5) == []
    writer.execute("ROLLBACK")
    assert own.search("nitfol", 5) == []
    assert own.search("zork", 5) == before
    reader.execute("BEGIN")
    assert kept.search("nitfol", 5) == []
    put(writer, (51, "", "nitfol", {}))
    assert kept.search("nitfol", 5) == []
    reader.execute("COMMIT")
    assert [key for key, _ in kept.search("nitfol", 5)] == [51]
    assert [key for key, _ in kept.search("nitfol", 5)] == [51]
    assert not reader.in_transaction
    writer.close()
    reader.close()


def test_postings_beyond_the_memory_allowed_are_read_again() -> None:
    connection = catalog(ROWS)
    connection.execute("VACUUM")
    small, none = Lexical(connection, kept_bytes=300), Lexical(connection, kept_bytes=0)
    for word in WORDS * 2:
        assert small.search(word, 5) == none.search(word, 5) == search(connection, word, 5)


def test_a_catalog_that_may_not_be_written_is_searched(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    catalog(ROWS, path).close()
    connection = sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True, isolation_level=None)
    assert same(search(connection, "zork quux", 7), bm25(ROWS, "zork quux")[:7])
    connection.close()


def test_threads_tokenize_each_for_themselves() -> None:
    connection, found = catalog(ROWS), []
    thread = Thread(target=lambda: found.append(search(connection, "zork", 4)))
    thread.start()
    thread.join()
    assert found == [search(connection, "zork", 4)]


@pytest.mark.parametrize(
    "query",
    [
        "", "   ", "?!", "😀", "\0", "\ud800", '"', "zork\0plugh", '"zork" AND NOT (plugh OR', "title:zork*",
        "zork NEAR", "-zork", "'; DROP TABLE documents; --", "日本語の文書", "\udcffzork", "zork " * 20_000,
    ],
)  # fmt: skip
def test_any_text_is_a_query(query: str) -> None:
    connection = catalog(ROWS)
    expected = bm25(ROWS, " ".join(word for word in ("zork", "plugh") if word in query))
    assert {key for key, _ in search(connection, query, 60)} == {key for key, _ in expected}


@settings(max_examples=100, deadline=None)
@given(st.text(), st.text())
def test_any_text_is_a_document(title: str, text: str) -> None:
    connection = catalog([(1, title, text, {}), (2, "", "zork", {})])
    assert 2 in [key for key, _ in search(connection, "zork", 5)]
    connection.execute("DELETE FROM documents WHERE key = 1")
    assert lexical.damage(connection) == []
    assert [key for key, _ in search(connection, f"{text} zork", 5)] == [2]
    connection.close()


def test_only_the_rarest_terms_of_a_very_long_query_are_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = catalog([(1, "", "zork", {}), (2, "", "zork plugh", {}), (3, "", "zork plugh quux", {})])
    monkeypatch.setattr(lexical, "MAX_TERMS", 2)
    assert [key for key, _ in search(connection, "zork plugh quux absent", 5)] == [3, 2]


def test_a_term_with_more_occurrences_than_fit_one_text_is_read_row_by_row() -> None:
    connection = catalog([(1, "", "zork " * 900, {}), (2, "", "plugh", {})])
    expected = search(connection, "zork", 5)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1000)
    assert search(connection, "zork", 5) == expected


def test_stop_words_count_only_where_there_is_nothing_else() -> None:
    assert query_terms("the cats and THE dogs") == {"cat": 1, "dog": 1}
    assert query_terms("to be or not to be") == {"to": 2, "be": 2, "or": 1, "not": 1}


def test_words_are_stemmed_and_folded_and_identifiers_are_taken_apart() -> None:
    texts = ["Running cafés", "def parse_http(): getHTTPHeader(xmlNode)", "日本語 text"]
    connection = catalog([(key, "", text, {}) for key, text in enumerate(texts, 1)])
    expected = {"run": 1, "CAFE": 1, "http": 2, "header": 2, "getHttpHeader": 2, "node": 2, "日本語": 3, "texts": 3}
    assert {query: search(connection, query, 5)[0][0] for query in expected} == expected
    assert search(connection, "日本", 5) == []  # a run of signs without blanks is one word


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("getHTTPHeader and getHTTPHeader, xmlNode", "get HTTP Header xml Node"),
        ("Plain words, SHOUTING, snake_case, CONST_NAME, x1", ""),
        ("my_fooBar HTTPServer2Go", "my_foo Bar HTTP Server2 Go"),
        ("Äpfel iPhone", "i Phone"),
    ],
)
def test_the_words_of_identifiers_stay_what_catalogs_were_built_with(text: str, words: str) -> None:
    assert identifier_words("", text) == words
    assert identifier_words(text, "") == words


def test_identifiers_are_found_in_time_that_grows_with_the_text() -> None:
    for text in ("a" * 200_000, "A" * 200_000, "aB" * 100_000, "_" * 200_000, "a_" * 100_000, "A1" * 100_000):
        identifier_words("", text)  # quadratic time would be minutes


@pytest.mark.parametrize("k", [0, -1])
def test_no_result_asked_for_is_refused(k: int) -> None:
    with pytest.raises(InputError, match=f"k = {k}"):
        search(catalog(ROWS), "zork", k)


def test_an_empty_catalog_finds_nothing() -> None:
    connection = catalog()
    assert search(connection, "zork", 3) == []
    put(connection, (1, "", "", {}))
    assert search(connection, "zork", 3) == []
    assert lexical.damage(connection) == []


def test_nothing_of_it_loads_what_vectors_need() -> None:
    script = "import sys, modernir.index.lexical; sys.exit(bool({'torch', 'numba', 'faiss'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@settings(max_examples=40, deadline=None)
@given(WORD_QUERIES, st.floats(0.01, 3), st.floats(0, 1))
def test_any_constants_score_as_the_formula_says(query: str, k1: float, b: float) -> None:
    connection = catalog(ROWS)
    found = dict(search(connection, query, 70, bm25=BM25(k1, b)))
    expected = dict(bm25(ROWS, query, k1, b))
    assert found == pytest.approx(expected, rel=1e-9)
    connection.close()


def test_identifiers_may_be_left_whole() -> None:
    rows = [(1, "", "call zorkPlugh here", {}), (2, "", "zork zork plugh grault", {}), (3, "zorkPlugh", "quux", {})]
    connection = catalog(rows)
    lowered = [(key, title.lower(), text.lower(), metadata) for key, title, text, metadata in rows]
    kept = Lexical(connection)
    for query in ("zork", "plugh grault", "zorkplugh quux"):
        split = kept.search(query, 5)
        whole = kept.search(query, 5, bm25=BM25(identifiers=False))
        assert same(whole, bm25(lowered, query))
        assert kept.search(query, 5) == split  # what is kept of one does not serve the other
    assert [key for key, _ in kept.search("zorkPlugh", 5, bm25=BM25(identifiers=False))] == [3, 1]
    assert {key for key, _ in kept.search("zorkPlugh", 5)} == {1, 2, 3}
    connection.close()


def test_settings_are_read_as_they_are_written() -> None:
    assert BM25.parse("k1=0.9, b=0.4,identifiers=no") == BM25(0.9, 0.4, False)
    assert BM25.parse(str(BM25(0.9, 0.4, False))) == BM25(0.9, 0.4, False)
    assert str(BM25()) == ""
    for text, part in [
        ("k1=x", "k1=x: expected a number"),
        ("k2=1", "no setting 'k2'"),
        ("", "no setting ''"),
        ("b=2", "b = 2.0: expected 0 to 1"),
        ("k1=nan", "k1 = nan"),
        ("identifiers=1", "expected yes or no"),
        ("k1=1,b=0.5,k1=2", "k1 is given twice in k1=1,b=0.5,k1=2"),
        ("b=0.5, b = 0.5", "b is given twice"),
    ]:
        with pytest.raises(InputError) as refused:
            BM25.parse(text)
        assert part in str(refused.value)
