"""Filters over the documents' metadata: an expression to a condition of SQL with bound parameters.

Nothing of the expression's text becomes SQL: names travel as JSON paths and values as parameters. The language and its
meaning are in docs/filters.md, its grammar in filter_syntax.py.
"""

import json
from dataclasses import dataclass
from typing import Any

from .filter_syntax import AllOf, AnyOf, Compare, Exists, Field, Node, Not, OneOf, Value, parse

_NUMBER, _TEXT, _BOOLEAN = "('integer', 'real')", "('text')", "('true', 'false')"
_FALSE = "0"


@dataclass(frozen=True)
class Filter:
    """A condition on rows of `documents`, for the WHERE clause of a query on that table.

    Attributes:
        sql: A boolean expression over documents.id, documents.title and documents.metadata, never NULL, that can be
            joined by AND without parentheses.
        parameters: The values of its question marks.
    """

    sql: str
    parameters: tuple[Any, ...]


def compile_filter(expression: str) -> Filter:
    """Compile a filter.

    Args:
        expression: For instance `year >= 2020 and lang in ('en', 'de')`.

    Raises:
        InputError: It is no filter; the message says the column and what was expected there.
    """
    sql, parameters = _compiled(parse(expression))
    return Filter(f"({sql})", tuple(parameters))


_Sql = tuple[str, list[Any]]


def _compiled(node: Node) -> _Sql:
    match node:
        case Compare(field, operator, value):
            return _compare(field, operator, value)
        case OneOf(field, values):
            return _one_of(field, values)
        case Exists(field):
            return _exists(field)
        case Not(part):
            sql, parameters = _compiled(part)
            return f"NOT ({sql})", parameters
        case AllOf(parts):
            return _joined("AND", parts)
        case AnyOf(parts):
            return _joined("OR", parts)


def _joined(operator: str, parts: tuple[Node, ...]) -> _Sql:
    compiled = [_compiled(part) for part in parts]
    # A part of the other kind needs parentheses; a test brings its own.
    closed = [
        f"({sql})" if isinstance(part, AllOf | AnyOf | Not) else sql
        for part, (sql, _) in zip(parts, compiled, strict=True)
    ]
    return f" {operator} ".join(closed), [value for _, parameters in compiled for value in parameters]


def _path(field: Field) -> str:
    return "$" + "".join(f'."{name}"' for name in field.names)


def _exists(field: Field) -> _Sql:
    if field.own:
        return "1", []
    path = _path(field)
    sql = (
        "CASE json_type(documents.metadata, ?) WHEN 'null' THEN 0 WHEN 'array' THEN "
        "EXISTS (SELECT 1 FROM json_each(documents.metadata, ?) AS item WHERE item.type <> 'null') "
        "ELSE json_type(documents.metadata, ?) IS NOT NULL END"
    )
    return sql, [path, path, path]


def _compare(field: Field, operator: str, value: str | int | float) -> _Sql:
    if isinstance(value, str):
        return _test(field, _TEXT, f"{operator} ?", value)
    # Read by the same reader as the metadata, or a number of 17 digits might not equal itself.
    return _test(field, _NUMBER, f"{operator} json_extract(?, '$')", json.dumps(value))


def _one_of(field: Field, values: tuple[Value, ...]) -> _Sql:
    kinds = {
        _TEXT: [value for value in values if isinstance(value, str)],
        _NUMBER: [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)],
        _BOOLEAN: [value for value in values if isinstance(value, bool)],
    }
    tests = [
        _test(field, kind, _MEMBER, json.dumps(of_kind, ensure_ascii=False))
        for kind, of_kind in kinds.items()
        if of_kind
    ]
    return "(" + " OR ".join(sql for sql, _ in tests) + ")", [value for _, values in tests for value in values]


_MEMBER = "IN (SELECT wanted.value FROM json_each(?) AS wanted)"  # one parameter, however many values


def _test(field: Field, kind: str, condition: str, value: str) -> _Sql:
    """Return whether the field, or an element of the list that it is, is of a kind and meets a condition."""
    if field.own:
        return (f"documents.{field.names[0]} {condition}", [value]) if kind == _TEXT else (_FALSE, [])
    path = _path(field)
    sql = (
        f"CASE WHEN json_type(documents.metadata, ?) IN {kind} THEN json_extract(documents.metadata, ?) {condition} "
        "WHEN json_type(documents.metadata, ?) = 'array' THEN EXISTS (SELECT 1 FROM "
        f"json_each(documents.metadata, ?) AS item WHERE item.type IN {kind} AND item.value {condition}) ELSE 0 END"
    )
    return sql, [path, path, value, path, path, value]
