"""What a filter finds, compared with an interpreter in Python, and what it says of an expression that is none."""

import json
import operator
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modernir.errors import InputError
from modernir.index.filters import compile_filter

ORDERS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


@pytest.fixture(scope="module")
def connection() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("CREATE TABLE documents (key INTEGER PRIMARY KEY, id TEXT, title TEXT, metadata TEXT)")
    yield connection
    connection.close()


def found(connection: sqlite3.Connection, expression: str, *metadata: dict[str, Any]) -> list[int]:
    """Return the numbers of the documents that a filter lets through; their ids are d0, d1, …"""
    connection.execute("DELETE FROM documents")
    rows = [(n, f"d{n}", f"Title {n}", json.dumps(m, ensure_ascii=False)) for n, m in enumerate(metadata)]
    connection.executemany("INSERT INTO documents VALUES (?, ?, ?, ?)", rows)
    chosen = compile_filter(expression)
    answers = connection.execute(f"SELECT key, {chosen.sql} FROM documents ORDER BY key", chosen.parameters).fetchall()
    assert {answer for _, answer in answers} <= {0, 1}  # two-valued: never NULL
    return [key for key, answer in answers if answer]


# The reference: a tree of tuples is written as text, and interpreted over Python values.


def values_of(field: tuple[str, ...], document: dict[str, Any]) -> list[Any]:
    if field in (("id",), ("title",)):
        return [document[field[0]]]
    value: Any = document["metadata"]
    for name in field:
        if not isinstance(value, dict) or name not in value:
            return []
        value = value[name]
    return [item for item in (value if isinstance(value, list) else [value]) if item is not None]


def kind(value: object) -> str:
    return "number" if type(value) in (int, float) else type(value).__name__


def holds(tree: tuple[Any, ...], document: dict[str, Any]) -> bool:
    match tree:
        case ("and", *parts):
            return all(holds(part, document) for part in parts)
        case ("or", *parts):
            return any(holds(part, document) for part in parts)
        case ("not", part):
            return not holds(part, document)
        case ("exists", field):
            return bool(values_of(field, document))
        case ("in", field, wanted):
            own = values_of(field, document)
            return (None in wanted and not own) or any(
                kind(value) == kind(each) and value == each for value in own for each in wanted if each is not None
            )
        case ("not in", field, wanted):
            return not holds(("in", field, wanted), document)
        case ("=" | "!=" as sign, field, value):
            return holds(("in", field, [value]), document) == (sign == "=")
        case (sign, field, value):
            return any(kind(own) == kind(value) and ORDERS[sign](own, value) for own in values_of(field, document))
    raise AssertionError(tree)


def text(tree: tuple[Any, ...]) -> str:
    match tree:
        case ("and" | "or" as word, *parts):
            return f" {word} ".join(f"({text(part)})" for part in parts)
        case ("not", part):
            return f"NOT ({text(part)})"
        case ("exists", field):
            return f"exists {name(field)}"
        case ("in" | "not in" as word, field, wanted):
            return f"{name(field)} {word} ({', '.join(map(literal, wanted))})"
        case (sign, field, value):
            return f"{name(field)}{sign}{literal(value)}"
    raise AssertionError(tree)


def name(field: tuple[str, ...]) -> str:
    return ".".join(part if part.isidentifier() and part != "in" else f'"{part}"' for part in field)


def literal(value: object) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"


NAMES = ["a", "b", "c d", "é.ü", "in", "[0]"]
TEXTS = st.text(st.sampled_from("ab'\"\\ é😀\n%_*1"), max_size=3)
NUMBERS = st.integers(-3, 3) | st.sampled_from([0.5, -0.5, 1.0, 1e20, 2**53 + 1, -(2**63), 0.1 + 0.2])
SCALARS = TEXTS | NUMBERS | st.booleans() | st.none()
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3)
)
METADATA = st.dictionaries(st.sampled_from(NAMES), JSON, max_size=5)
FIELDS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=2).map(tuple) | st.sampled_from([("id",), ("title",)])
OWN = st.sampled_from(["d0", "d1", "Title 1"])
TESTS = (
    st.tuples(st.sampled_from(["=", "!="]), FIELDS, SCALARS | OWN)
    | st.tuples(st.sampled_from(list(ORDERS)), FIELDS, TEXTS | NUMBERS | OWN)
    | st.tuples(st.sampled_from(["in", "not in"]), FIELDS, st.lists(SCALARS | OWN, min_size=1, max_size=4))
    | st.tuples(st.just("exists"), FIELDS)
)
TREES = st.recursive(
    TESTS,
    lambda inner: st.tuples(st.just("not"), inner) | st.tuples(st.sampled_from(["and", "or"]), inner, inner, inner),
    max_leaves=8,
)


@settings(max_examples=400, deadline=None)
@given(st.lists(METADATA, min_size=1, max_size=6), TREES)
def test_sql_agrees_with_the_interpreter(
    connection: sqlite3.Connection, metadata: list[dict[str, Any]], tree: tuple[Any, ...]
) -> None:
    documents = [{"id": f"d{n}", "title": f"Title {n}", "metadata": one} for n, one in enumerate(metadata)]
    expected = [n for n, document in enumerate(documents) if holds(tree, document)]
    assert found(connection, text(tree), *metadata) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("year = 2020", [0]),
        ("year == 2020.0", [0]),
        ("year = '2020'", [1]),
        ("year != 2020", [1, 2, 3, 4]),  # the complement: documents without a year too
        ("exists year and year != 2020", [1, 2]),
        ("year > 2000", [0, 2]),  # a list matches if an element does
        ("not year > 2000", [1, 3, 4]),
        ("year in (1999, 2020)", [0, 2]),
        ("year = null", [3, 4]),  # null is as good as missing
        ("year in (null, 2020)", [0, 3, 4]),
        ("year not in (null, 2020)", [1, 2]),
        ("exists(year)", [0, 1, 2]),
        ("author.name = 'Ada'", [0]),
        ("exists author", [0]),  # an object is a value, that compares with nothing
        ("author = 'Ada' or author < 1", []),
        ("open = true", [1]),
        ("open = 1 or open > 0", []),
        ("one = true or one in (false, true)", []),
        ('"odd name" = "x\\"y"', [2]),
        ("id in ('d1', \"d4\") and title >= 'Title 2'", [4]),
        ("id = 1 or title < 5", []),
        ("'id' = 7", [4]),  # in quotes: the metadata's own field of that name
        ("year = 2020 or open = true and id = 'd0'", [0]),  # `and` binds tighter
        ("(year = 2020 or open = true) and id = 'd1'", [1]),
        ("NOT NOT Exists year AND Year = NULL", [0, 1, 2]),  # words in any case, names as they are
    ],
)
def test_the_language_means_what_its_page_says(
    connection: sqlite3.Connection, expression: str, expected: list[int]
) -> None:
    metadata = [
        {"year": 2020, "author": {"name": "Ada"}},
        {"year": "2020", "open": True},
        {"year": [1999, 2001], "odd name": 'x"y'},
        {"year": None},
        {"id": 7, "one": 1},
    ]
    assert found(connection, expression, *metadata) == expected


@pytest.mark.parametrize(
    ("expression", "column", "expected"),
    [
        ("year >", 7, "a string, a number"),
        ("lang = en", 8, "'en'"),
        ("a = 'x", 5, "closing '"),
        ("(a=1", 5, "`)`"),
        ("a=1)", 4, "the end"),
        ("a in (1 2)", 9, "`,` or `)`"),
        ("a in ()", 7, "a string, a number"),
        ("a not 1", 7, "`in`"),
        ("a = 1 b = 2", 7, "`and`"),
        ("a ~ 3", 3, "a name, value"),
        ("and = 1", 1, "quotes"),
        ("x < true", 5, "a string or a number"),
        ("x >= null", 6, "a string or a number"),
        ("a = 'b\\q'", 7, "escapes"),
        ("a = 1e999", 5, "64 bits"),
        ("a. = 1", 4, "a field name"),
        ("1 = 1", 1, "a field name"),
        ("'a\\\"b' = 1", 1, "a field name"),
        ("exists(a", 9, "`)`"),
        ("a = 1\nand b >", 14, "the end"),
    ],
)
def test_an_error_is_one_line_with_the_column_and_what_was_expected(
    expression: str, column: int, expected: str
) -> None:
    with pytest.raises(InputError, match=f"filter, column {column}: ") as caught:
        compile_filter(expression)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("expression", ["", "  \n", "a = '\0'", "a = '\ud800'"])
def test_what_holds_no_condition_or_nothing_that_compares_is_refused(expression: str) -> None:
    with pytest.raises(InputError, match="filter: "):
        compile_filter(expression)


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("ab ='\"()<>!,.1-\\\n") | st.characters(), max_size=20))
def test_any_text_compiles_or_is_refused(connection: sqlite3.Connection, expression: str) -> None:
    try:
        chosen = compile_filter(expression)
    except InputError:
        return
    connection.execute(f"SELECT key FROM documents WHERE {chosen.sql}", chosen.parameters).fetchall()


def test_text_of_the_expression_never_becomes_sql(connection: sqlite3.Connection) -> None:
    hostile = "'); DROP TABLE documents; --"
    chosen = compile_filter(f'"{hostile}" = "{hostile}" and exists \'{hostile[1:]}\'')
    assert "DROP" not in chosen.sql
    assert found(connection, f'"{hostile}" = "{hostile}"', {hostile: hostile}, {}) == [0]


def test_the_deepest_and_widest_filters_run(connection: sqlite3.Connection) -> None:
    deep = "a = 1"
    for level in range(20):
        deep = f"b = 2 {('or', 'and')[level % 2]} ({deep})"
    wide = " or ".join(f"a = {number}" for number in range(500))
    negated = "not " * 20 + "a = 1"
    mixed = "(b = 1 or not (" * 6 + "a = 1" + "))" * 6
    for expression in (deep, wide, negated, mixed):
        assert found(connection, expression, {"a": 1, "b": 2}, {}) == [0]
    for expression in (f"c = 1 and ({deep})", wide + " or a = 1", "not " + negated, "(" * 100_000):
        with pytest.raises(InputError, match="expected at most"):
            compile_filter(expression)


def test_ten_thousand_values_are_one_parameter(connection: sqlite3.Connection) -> None:
    values = ", ".join(f"'v{number}'" for number in range(10_000))
    metadata = [{"a": f"v{number}"} for number in range(9_990, 10_010)]
    assert found(connection, f"a in ({values})", *metadata) == list(range(10))
    assert found(connection, f"a not in ({values})", *metadata) == list(range(10, 20))
    assert len(compile_filter(f"a in ({values})").parameters) < 10


def test_a_filter_can_be_a_part_of_a_larger_condition(connection: sqlite3.Connection) -> None:
    found(connection, "exists a", {"a": 1}, {"a": 2})
    chosen = compile_filter("a = 1 or a = 2")
    rows = connection.execute(f"SELECT key FROM documents WHERE {chosen.sql} AND key > ?", (*chosen.parameters, 0))
    assert rows.fetchall() == [(1,)]
