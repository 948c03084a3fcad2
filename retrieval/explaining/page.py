"""Explanations as one page of HTML that needs nothing else, and reads without its script.

Every text of a query or document is escaped.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from html import escape
from itertools import pairwise
from pathlib import Path

import numpy as np

from ...errors import InputError
from ...files import write_text
from ...pages.frame import page_of
from ..texts import NOTHING_FOUND
from .explanation import Explanation, Match, WordMatch, row_text
from .page_parts import SCRIPT, SHADES, STYLE, shades_style
from .shown import named, names_met, scored, shade, text_met
from .words import Row, Word

CELLS = 12_000
"""Products that the table of a document shows at most; of a larger matrix those of the tokens that were met."""
CONTEXT = 40
MOST_MET = 6
LONG = 8000
"""Characters of a document from which on it gets a scroll bar of its own."""


def check_page(file: Path) -> None:
    """Refuse a place where no page can be written, before anything is computed for it.

    Raises:
        InputError: It is a folder.
    """
    if file.is_dir():
        raise InputError(f"{file}: is a folder; name the file of the page, such as {file / 'explained.html'}")


def write_page(file: Path, asked: Sequence[tuple[str, str]], explanations: Sequence[Sequence[Explanation]]) -> None:
    """Write the page of some queries, atomically.

    Args:
        file: The page.
        asked: (id, text) of each query.
        explanations: Those of each query's documents, best first.
    """
    write_text(file, page(asked, explanations))


def page(asked: Sequence[tuple[str, str]], explanations: Sequence[Sequence[Explanation]]) -> str:
    """Return the page of some queries; see `write_page`."""
    title = asked[0][1] if len(asked) == 1 else f"{len(asked)} queries"
    hits = "".join(_query(text, found) for (_, text), found in zip(asked, explanations, strict=True))
    body = f"""<h1>Late interaction explained</h1>
<p class="soft">Every token of the query is compared with every token of the document. Its largest product is what it
adds to the score, and the stronger the colour of a word, the more was added by what met it. Choose a word of the query
to see which words it met.</p>
{hits}"""
    return page_of(title, STYLE + shades_style(), body, SCRIPT)


def _query(text: str, found: Sequence[Explanation]) -> str:
    hits = "".join(_hit(rank, explanation) for rank, explanation in enumerate(found, 1))
    return f"<h2 dir=auto>{escape(text)}</h2>\n{hits or f'<p>{NOTHING_FOUND}</p>'}\n"


def _hit(rank: int, explanation: Explanation) -> str:
    coded = explanation.index_score
    beside = "" if coded is None else f'<span class="soft">by the vectors coded in the index {scored(coded)}</span>'
    note = f'<p class="note">{escape(explanation.note)}</p>' if explanation.note else ""
    return f"""<article>
<header class="hit"><h3>{rank}. {escape(explanation.id)}</h3><span class="score">{scored(explanation.score)}</span>
{beside}</header>
{note}{_chips(explanation)}
{_document(explanation)}
{_table(explanation, rank == 1)}
{_matrix(explanation)}
</article>
"""


def _level(score: float, highest: float) -> str:
    """Return the class of a score's shade."""
    return f"h{1 + shade(score, highest, SHADES)}" if score > 0 else "h0"


def _chips(explanation: Explanation) -> str:
    highest = max((match.score for match in explanation.words), default=0.0)
    chips = "".join(
        f'<li><button type="button" class="chip {_level(match.score, highest)}" data-q="{number}" aria-pressed="false">'
        f"{escape(named(match.word))} <small>{match.score:.2f}</small></button></li>"
        for number, match in enumerate(explanation.words)
    )
    return f'<ul class="chips" aria-label="words of the query">{chips}</ul>' if chips else ""


def _document(explanation: Explanation) -> str:
    """Return the text with its matched words marked, and below it the tokens beside the text that were matched."""
    marks = _marks(explanation)
    bounds = [0, min(explanation.title_end, explanation.read_to), explanation.read_to, len(explanation.content)]
    title_part, body, unread = (_marked(explanation.content, marks, start, end) for start, end in pairwise(bounds))
    text = (f'<span class="title">{title_part}</span>' if title_part else "") + body
    if unread:
        text += f'<span class="unread" title="beyond what the encoder reads of a document">{unread}</span>'
    own = " ".join(mark for word, mark in marks if not word.is_text)
    beside = f'<p class="own"><span class="soft">beside the text:</span> {own}</p>' if own else ""
    kind = "text long" if len(explanation.content) > LONG else "text"
    return f'<div class="{kind}" dir="auto" tabindex="0">{text}</div>{beside}'


def _marked(content: str, marks: Sequence[tuple[Word, str]], start: int, end: int) -> str:
    parts = []
    for word, mark in marks:
        if word.is_text and start <= word.start < end:
            parts += [escape(content[start : word.start]), mark]
            start = word.end
    return "".join([*parts, escape(content[start:end])])


def _marks(explanation: Explanation) -> list[tuple[Word, str]]:
    """Return the words of the document that were matched, in its order, each with its markup."""
    by: dict[int, list[tuple[float, int]]] = defaultdict(list)
    for number, match in enumerate(explanation.words):
        for met, score in match.met:
            by[met].append((score, number))
    highest = max((explanation.document_scores[number] for number in by), default=0.0)
    found = []
    for number, met_by in sorted(by.items()):
        word, score = explanation.document_words[number], explanation.document_scores[number]
        names = ", ".join(named(explanation.words[query].word) for _, query in sorted(met_by, reverse=True))
        queries = " ".join(str(query) for _, query in met_by)
        text = word.text if word.is_text else named(word)
        tip = escape(f"{score:.2f} from {names}")
        found.append(
            (word, f'<mark class="{_level(score, highest)}" data-q="{queries}" title="{tip}">{escape(text)}</mark>')
        )
    return found


def _table(explanation: Explanation, is_open: bool) -> str:
    if not explanation.words:
        return ""
    rows = "".join(
        f"<tr><th scope=row>{escape(named(match.word))}<td>{match.score:.3f}"
        f"<td>{escape(names_met(explanation, match, MOST_MET))}<td>{_context(explanation, match)}</tr>\n"
        for match in explanation.words
    )
    return (
        f"<details{' open' if is_open else ''}><summary>Word by word</summary><div class=flow><table class=matches>"
        f"<thead><tr><th>query<th>adds<th>met<th>in</tr></thead>\n<tbody>{rows}</tbody></table></div></details>"
    )


def _context(explanation: Explanation, match: WordMatch) -> str:
    word = text_met(explanation, match)
    if word is None:
        return ""
    content = explanation.content
    start, end = explanation.context(word, CONTEXT)
    before, after = escape(content[start : word.start]), escape(content[word.end : end])
    mark = f'<mark class="h5">{escape(word.text)}</mark>'
    return f"{'…' if start else ''}{before}{mark}{after}{'…' if end < len(content) else ''}"


def _matrix(explanation: Explanation) -> str:
    """Return the products of all tokens with all, or with those that were met where there are too many."""
    products, matches = explanation.similarity, explanation.matches
    if not matches:
        return ""
    rows = range(products.shape[1])
    whole = products.size <= CELLS
    shown = list(rows) if whole else sorted({match.row for match in matches})
    highest = float(products.max())
    head = "".join(f"<th scope=col>{_cell_name(pieces, explanation.query)}" for pieces in explanation.query_rows)
    body = "".join(
        f"<tr><th scope=row>{_cell_name(explanation.document_rows[row], explanation.content)}"
        f"{''.join(_cells(products[:, row], row, matches, highest))}\n"
        for row in shown
    )
    what = "Every token with every token" if whole else f"The {len(shown)} of {len(rows)} tokens that were met"
    return (
        f"<details><summary>{what}: products in hundredths</summary><div class=wide tabindex=0><table class=matrix>"
        f"<thead><tr><td>{head}</tr></thead>\n<tbody>{body}</tbody></table></div></details>"
    )


def _cell_name(pieces: Row, text: str) -> str:
    return escape(" ".join(row_text(pieces, text).split()) or "blank")


def _cells(products: np.ndarray, row: int, matches: Sequence[Match], highest: float) -> Iterator[str]:
    for product, match in zip(products.tolist(), matches, strict=True):
        best = " best" if match.row == row else ""
        yield f'<td class="{_level(product, highest)}{best}">{round(100 * product)}'
