"""Functions of Python code and what is said of them."""

import ast
import warnings
from collections.abc import Iterator
from textwrap import dedent

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(code: str) -> Iterator[tuple[str, str]]:
    """Yield what is said of each function, and its code without that, in the order of the code.

    What is said is the first paragraph of the docstring or, where there is none, the comment right above the function.
    Code that does not parse yields nothing.
    """
    code = code.replace("\r\n", "\n").replace("\r", "\n")  # as the parser counts lines
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes that Python will not take in future
            tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    lines = code.split("\n")
    found = [node for node in ast.walk(tree) if isinstance(node, Function)]
    for function in sorted(found, key=lambda node: node.lineno):
        begin = min([function.lineno, *(decorator.lineno for decorator in function.decorator_list)]) - 1
        said = ast.get_docstring(function)
        if said is None:
            said, body = _comment_above(lines, begin), lines[begin : function.end_lineno]
        else:
            body = _without_docstring(lines, begin, function)
        if said and body:
            yield " ".join(said.split("\n\n")[0].split()), dedent("\n".join(body))


def _without_docstring(lines: list[str], begin: int, function: Function) -> list[str]:
    """Return the lines of a function but for its docstring, or none where that shares a line with code."""
    docstring, *rest = function.body
    end = docstring.end_lineno or docstring.lineno
    shared = lines[docstring.lineno - 1][: docstring.col_offset].strip() or (rest and rest[0].lineno == end)
    return [] if shared else lines[begin : docstring.lineno - 1] + lines[end : function.end_lineno]


def _comment_above(lines: list[str], begin: int) -> str:
    words: list[str] = []
    while begin and lines[begin - 1].lstrip().startswith("#"):
        begin -= 1
        words.append(lines[begin].strip().lstrip("#").strip())
    return "\n".join(reversed(words))
