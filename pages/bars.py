"""Bars of scores with whiskers for their intervals, in cards on one scale.

SVG without script or style of its own: positions are attributes, colours classes of the page.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil


@dataclass(frozen=True)
class Bar:
    """A score.

    Attributes:
        label: Whose.
        value: The score, at least 0.
        low: Lower end of its interval.
        high: Upper end.
        plain: Whether it is drawn in the quiet colour, as what others are measured by.
        mark: Stands after the figure.
    """

    label: str
    value: float
    low: float
    high: float
    plain: bool = False
    mark: str = ""


@dataclass(frozen=True)
class Card:
    """Bars under one heading, with a note beside it."""

    heading: str
    note: str
    bars: Sequence[Bar]


def bar_cards(cards: Sequence[Card]) -> str:
    """Return the cards, all of them on one scale from 0."""
    highest = max(bar.high for card in cards for bar in card.bars)
    scale = max(0.1, ceil(round(highest * 10, 6)) / 10)
    return "".join(_card(card, scale) for card in cards)


def _card(card: Card, scale: float) -> str:
    lines = "".join(_bar(bar, scale) for bar in card.bars)
    ends = f"<span>0</span><span>{scale / 2:g}</span><span>{scale:g}</span>"
    return (
        f'<div class="card"><h3>{escape(card.heading)} <small>{escape(card.note)}</small></h3>'
        f'<div class="bars">{lines}<div class="scale chart">{ends}</div></div></div>\n'
    )


def _bar(bar: Bar, scale: float) -> str:
    width, start, end = (f"{100 * value / scale:.2f}%" for value in (bar.value, bar.low, bar.high))
    return (
        f'<span class="label">{escape(bar.label)}</span>'
        f'<span class="figure">{bar.value:.4f}{escape(bar.mark)}</span>'
        f'<svg class="chart" role="img" aria-label="{bar.value:.4f}, interval {bar.low:.4f} to {bar.high:.4f}">'
        f'<rect class="{"base" if bar.plain else "bar"}" y="15%" height="70%" width="{width}" rx="2"/>'
        f'<line class="whisker" x1="{start}" x2="{end}" y1="50%" y2="50%"/>'
        f'<line class="whisker" x1="{start}" x2="{start}" y1="30%" y2="70%"/>'
        f'<line class="whisker" x1="{end}" x2="{end}" y1="30%" y2="70%"/></svg>'
    )
