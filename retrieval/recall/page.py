"""Recall against latency and against bytes as one page of HTML that needs nothing else and reads without its script."""

from collections.abc import Callable
from html import escape

from ...pages.axes import axis_of, axis_of_shares
from ...pages.frame import page_of
from ...pages.look import SCRIPT, STYLE
from ...pages.plot import Point, legend, plot
from ...pages.tables import number_cell, table, word_cell
from .measure import RecallTable, Row

LATENCY = "p50 latency, ms a query"


def page(found: RecallTable) -> str:
    """Return the page: for each cut-off recall against latency and, of several indexes, against bytes; the table."""
    several = len(found.indexes) > 1
    reference = f"the vectors of {found.indexes[0]}" if several else "the stored vectors"
    plots = "".join(
        _figure(found, k, name, of) for k in found.cuts for name, of in _costs(found) if several or name == LATENCY
    )
    names = legend(found.indexes) if several else ""
    alone = "" if several else f" All settings of one index take the same {_size(found)}."
    body = f"""<h1>Recall of {escape(", ".join(found.indexes))}</h1>
<p class="soft">Share of the best documents by exact search over {escape(reference)} that a search finds, mean over
{escape(found.queries)}; {found.documents:,} documents. Latency is of one query at a time, without its encoding, on one
machine.{alone}</p>
<section><h2>What recall costs</h2>
<p class="soft">Nothing that is measured here beats the dashed line: more recall for no more cost. Point at a setting to
read it.{_example(found)}</p>
{names}<div class="halves">{plots}</div></section>
<section><h2>Settings</h2>
<div class="card wide" tabindex="0">{_table(found)}</div></section>
"""
    return page_of(f"Recall of {', '.join(found.indexes)}", STYLE, body, SCRIPT, "en")


def _costs(found: RecallTable) -> list[tuple[str, Callable[[Row], float]]]:
    late = found.rows[0].token_bytes is not None
    return [
        (LATENCY, lambda row: row.measured.median),
        (f"bytes a {'token vector' if late else 'document'}, without texts", _bytes),
    ]


def _bytes(row: Row) -> float:
    return row.document_bytes if row.token_bytes is None else row.token_bytes


def _size(found: RecallTable) -> str:
    row = found.rows[0]
    token = "" if row.token_bytes is None else f", {row.token_bytes:,.1f} a token vector"
    more = "other indexes of these documents, named too, show recall against bytes"
    return f"{row.document_bytes:,.0f} bytes a document{token}; {more}"


def _figure(found: RecallTable, k: int, cost: str, of: Callable[[Row], float]) -> str:
    points = [
        Point(
            of(row),
            row.measured.recall[k],
            _label(row),
            _title(found, row),
            found.indexes.index(row.index),
            named_first=not row.measured.options,
        )
        for row in found.rows
    ]
    drawn = plot(points, axis_of(p.x for p in points), axis_of_shares(p.y for p in points), cost, f"recall@{k}")
    against = "latency" if cost == LATENCY else "bytes"
    return f"<figure><h3>Recall@{k} against {against}</h3>{drawn}<output></output></figure>\n"


def _label(row: Row) -> str:
    """Return the setting in a few letters: of several options the values alone, in the order of their names."""
    options = row.measured.options
    return "/".join(str(value) for value in options.values()) if len(options) > 1 else row.setting


def _example(found: RecallTable) -> str:
    """Return what a label of several options means, in the words of the first."""
    row = next((row for row in found.rows if _label(row) != row.setting), None)
    return "" if row is None else escape(f" {_label(row)} stands for {row.setting}.")


def _title(found: RecallTable, row: Row) -> str:
    recall = ", ".join(f"R@{k} {value:.4f}" for k, value in row.measured.recall.items())
    index = f"{row.index}: " if len(found.indexes) > 1 else ""
    size = f"{_bytes(row):,.1f} bytes a {'document' if row.token_bytes is None else 'token vector'}"
    return f"{index}{row.setting}\n{recall}\np50 {row.measured.median:.3f} ms, {size}"


def _table(found: RecallTable) -> str:
    late = found.rows[0].token_bytes is not None
    heads = ["index", "setting", *(f"R@{k}" for k in found.cuts), "p50 ms", "p95 ms", "B/doc"]
    rows = (
        [
            word_cell(row.index),
            word_cell(row.setting),
            *(number_cell(value, f"{value:.4f}") for value in row.measured.recall.values()),
            number_cell(row.measured.median, f"{row.measured.median:.3f}"),
            number_cell(row.measured.p95, f"{row.measured.p95:.3f}"),
            number_cell(row.document_bytes, f"{row.document_bytes:,.1f}"),
            *([number_cell(row.token_bytes, f"{row.token_bytes:,.1f}")] if row.token_bytes is not None else []),
        ]
        for row in found.rows
    )
    return table([*heads, "B/token"] if late else heads, rows, ("index", "setting"))
