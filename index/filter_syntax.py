"""The expression language of filters: text to a tree, or one line that says where and why it is none.

The tree knows six nodes; every spelling (`!=`, `not in`, `= null`) comes down to them. What they mean is said in
docs/filters.md, and how SQLite evaluates them in filters.py.
"""

import re
from dataclasses import dataclass
from typing import NoReturn

from ..errors import InputError

MAX_DEPTH = 20
"""Levels of parentheses and `not`: SQLite's parser has a stack of 100 entries, of which a level takes up to three."""

MAX_TESTS = 500
"""Comparisons of one filter: SQLite's expression trees are at most 1,000 deep, and a chain of `or` is one tree."""

Value = str | int | float | bool | None

_TOKEN = re.compile(
    r"""\s*(?:(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
    |(?P<name>[^\W\d][\w-]*)
    |(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    |(?P<symbol><=|>=|!=|==|[=<>(),.])
    |(?P<end>\Z))""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = {"\\": "\\", "'": "'", '"': '"', "n": "\n", "t": "\t", "r": "\r"}
_KEYWORDS = frozenset({"and", "or", "not", "in", "exists", "true", "false", "null"})
_CONSTANTS: dict[str, Value] = {"true": True, "false": False, "null": None}
_COMPARISONS = ("=", "==", "!=", "<", "<=", ">", ">=")


@dataclass(frozen=True)
class Field:
    """A field of the metadata, by the names on the way to it, or the document's own `id` or `title`."""

    names: tuple[str, ...]
    own: bool = False


@dataclass(frozen=True)
class Compare:
    """Whether a value of the field is `<`, `<=`, `>` or `>=` a string or number."""

    field: Field
    operator: str
    value: str | int | float


@dataclass(frozen=True)
class OneOf:
    """Whether a value of the field equals one of these, none of them null."""

    field: Field
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Exists:
    """Whether the field has a value."""

    field: Field


@dataclass(frozen=True)
class Not:
    """Whether the part does not hold."""

    part: "Node"


@dataclass(frozen=True)
class AllOf:
    """Whether every part holds."""

    parts: tuple["Node", ...]


@dataclass(frozen=True)
class AnyOf:
    """Whether a part holds."""

    parts: tuple["Node", ...]


Node = Compare | OneOf | Exists | Not | AllOf | AnyOf


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    start: int

    @property
    def word(self) -> str:
        """The keyword or symbol that this is, or nothing."""
        if self.kind == "name":
            return self.text.lower() if self.text.lower() in _KEYWORDS else ""
        return self.text if self.kind == "symbol" else ""


def parse(expression: str) -> Node:
    """Read a filter.

    Raises:
        InputError: It does not follow the grammar, is nested too deeply or has too many comparisons.
    """
    return _Parser(expression).whole()


class _Parser:
    def __init__(self, expression: str) -> None:
        self._expression = expression
        self._depth = 0
        self._tests = 0
        self._position = 0
        if "\0" in expression or any("\ud800" <= sign <= "\udfff" for sign in expression):
            raise InputError("filter: holds a NUL or half of a surrogate pair, which SQLite does not compare")
        self._token = self._read()

    def whole(self) -> Node:
        if self._token.kind == "end":
            raise InputError("filter: empty; write a condition, for instance: year >= 2020 and lang = 'en'")
        node = self._any()
        if self._token.kind != "end":
            self._fail("`and`, `or` or the end")
        return node

    def _any(self) -> Node:
        parts = [self._all()]
        while self._take("or"):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    def _all(self) -> Node:
        parts = [self._one()]
        while self._take("and"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    def _one(self) -> Node:
        opening = self._take("not") or self._take("(")
        if opening is None:
            return self._test()
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._fail(f"at most {MAX_DEPTH} levels of parentheses and `not`", opening)
        if opening.word == "not":
            node: Node = Not(self._one())
        else:
            node = self._any()
            self._need(")", "`)`, `and` or `or`")
        self._depth -= 1
        return node

    def _test(self) -> Node:
        self._tests += 1
        if self._tests > MAX_TESTS:
            self._fail(f"at most {MAX_TESTS} comparisons (many values of one field: field in (…))")
        if self._take("exists"):
            return self._exists()
        field = self._field("a field name, `not`, `exists` or `(`")
        if self._take("not"):
            self._need("in", "`in` after `not`")
            return Not(self._one_of(field, self._values()))
        if self._take("in"):
            return self._one_of(field, self._values())
        operator = self._token
        if operator.word not in _COMPARISONS:
            self._fail("one of = != < <= > >= in, not in")
        self._advance()
        return self._comparison(field, operator.word)

    def _exists(self) -> Node:
        opened = self._take("(")
        field = self._field("a field name after `exists`")
        if opened:
            self._need(")", "`)`")
        return Exists(field)

    def _comparison(self, field: Field, operator: str) -> Node:
        token = self._token
        value = self._value()
        if operator in ("=", "=="):
            return self._one_of(field, (value,))
        if operator == "!=":
            return Not(self._one_of(field, (value,)))
        if value is None or isinstance(value, bool):
            self._fail(f"a string or a number after `{operator}`", token)
        return Compare(field, operator, value)

    @staticmethod
    def _one_of(field: Field, values: tuple[Value, ...]) -> Node:
        given = OneOf(field, tuple(value for value in values if value is not None))
        if None not in values:
            return given
        missing = Not(Exists(field))
        return AnyOf((missing, given)) if given.values else missing

    def _values(self) -> tuple[Value, ...]:
        self._need("(", "`(` after `in`")
        values = [self._value()]
        while self._take(","):
            values.append(self._value())
        self._need(")", "`,` or `)`")
        return tuple(values)

    def _field(self, expected: str) -> Field:
        token = self._token
        names = [self._name(expected)]
        while self._take("."):
            names.append(self._name("a field name after `.`"))
        own = len(names) == 1 and token.kind == "name" and token.text in ("id", "title")
        return Field(tuple(names), own)

    def _name(self, expected: str) -> str:
        token = self._token
        if token.kind not in ("name", "string") or token.word:
            self._fail(expected + (" (a word of the language goes in quotes)" if token.kind == "name" else ""))
        name = token.text if token.kind == "name" else self._unquoted(token)
        if not name or any(sign in '"\\' or sign < " " for sign in name):
            self._fail('a field name of at least one sign and without ", \\ and control characters')
        self._advance()
        return name

    def _value(self) -> Value:
        token = self._token
        value: Value
        if token.kind == "string":
            value = self._unquoted(token)
        elif token.kind == "number":
            value = self._number(token)
        elif token.word in _CONSTANTS:
            value = _CONSTANTS[token.word]
        else:
            hint = f" (a string goes in quotes: '{token.text}')" if token.kind == "name" else ""
            self._fail(f"a string, a number, true, false or null{hint}")
        self._advance()
        return value

    def _number(self, token: _Token) -> int | float:
        whole = re.fullmatch(r"[+-]?\d{1,18}", token.text)  # what surely fits 64 bits
        value = int(token.text) if whole else float(token.text)
        if value in (float("inf"), float("-inf")):
            self._fail("a number that fits 64 bits", token)
        return value

    def _unquoted(self, token: _Token) -> str:
        def plain(escape: re.Match[str]) -> str:
            if escape[1] not in _ESCAPES:
                place = _Token("string", escape[0], token.start + 1 + escape.start())
                self._fail("one of the escapes \\\\ \\' \\\" \\n \\t \\r", place)
            return _ESCAPES[escape[1]]

        return re.sub(r"\\(.)", plain, token.text[1:-1], flags=re.DOTALL)

    def _take(self, word: str) -> _Token | None:
        token = self._token
        if token.word != word:
            return None
        self._advance()
        return token

    def _need(self, word: str, expected: str) -> None:
        if self._take(word) is None:
            self._fail(expected)

    def _advance(self) -> None:
        self._token = self._read()

    def _read(self) -> _Token:
        match = _TOKEN.match(self._expression, self._position)
        if match is None:
            rest = self._expression[self._position :]
            start = self._position + len(rest) - len(rest.lstrip())
            found = self._expression[start]
            what = f"the closing {found}" if found in "'\"" else "a name, value, operator or parenthesis"
            self._fail(what, _Token("unknown", found, start))
        kind = match.lastgroup or "end"
        self._position = match.end()
        return _Token(kind, match[kind], match.start(kind))

    def _fail(self, expected: str, token: _Token | None = None) -> NoReturn:
        token = token or self._token
        found = f"`{_shortened(token.text)}`" if token.text else "the end"
        before = self._expression[max(token.start - 30, 0) : token.start]
        around = _shortened(before + self._expression[token.start : token.start + 30], 60)
        raise InputError(f"filter, column {token.start + 1}: expected {expected}, found {found}, in: {around}")


def _shortened(text: str, length: int = 30) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"
