"""Tables that a click on a head sorts; every text is escaped here."""

from collections.abc import Collection, Iterable, Sequence
from html import escape


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], words: Collection[str]) -> str:
    """Return a sortable table.

    Args:
        heads: Names of the columns, as text.
        rows: Cells, as `number_cell` and `word_cell` return them.
        words: The heads whose columns hold words; the others hold numbers.
    """
    head = "".join(f'<th scope="col"{"" if name in words else " class=number"}>{escape(name)}</th>' for name in heads)
    body = "".join(f"<tr>{''.join(f'{cell}</td>' for cell in cells)}</tr>\n" for cells in rows)
    return f'<table class="sortable"><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>'


def number_cell(value: float | None, shown: str, small: str = "", best: bool = False) -> str:
    """Return the cell of a number, which is sorted by its value.

    Args:
        value: With all its digits; of None the cell is empty and sorted last.
        shown: What the cell says.
        small: A second line.
        best: Whether it stands out.
    """
    if value is None:
        return '<td class="number">'
    below = f"<small>{escape(small)}</small>" if small else ""
    return f'<td class="number{" best" if best else ""}" data-value="{value!r}">{escape(shown)}{below}'


def word_cell(text: str, kind: str = "name") -> str:
    """Return the cell of a word or name."""
    return f'<td class="{kind}">{escape(text)}'
