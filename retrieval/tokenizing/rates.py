"""What tokenizers make of texts: tokens and bytes a token, field by field, text and code apart."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .texts import FieldText

if TYPE_CHECKING:
    from rich.table import Table
    from transformers import PreTrainedTokenizerBase

SIGNS = frozenset("{}()[];=<>_*&|$\\@#")
CODE_SIGNS = 0.055
"""Share of these signs among the characters from which on a field is code. Functions of seven languages have 0.08 to
0.19, documentation with examples up to 0.05, prose at most 0.02."""
TEXTS_AT_ONCE = 1000


@dataclass(frozen=True)
class Rate:
    """What tokenizers make of the texts of one field.

    Attributes:
        source: Where the texts are from, with the field.
        part: "held out" of what was learnt from, or "unseen", of other sources.
        kind: "text" or "code".
        texts: How many.
        bytes: Theirs in UTF-8.
        tokens: Of each tokenizer by its name, special tokens left out.
    """

    source: str
    part: str
    kind: str
    texts: int
    bytes: int
    tokens: Mapping[str, int]

    def bytes_per_token(self, tokenizer: str) -> float:
        """Return how many bytes a token of a tokenizer stands for."""
        return self.bytes / max(self.tokens[tokenizer], 1)

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        own = {"source": self.source, "part": self.part, "kind": self.kind, "texts": self.texts, "bytes": self.bytes}
        rates = {name: round(self.bytes_per_token(name), 4) for name in self.tokens}
        return own | {"tokens": dict(self.tokens), "bytes_per_token": rates}


def measure(
    source: str, part: str, texts: Iterable[FieldText], tokenizers: Mapping[str, "PreTrainedTokenizerBase"]
) -> list[Rate]:
    """Count the tokens of a source's texts, each field apart, in the order in which fields come first."""
    fields: dict[str, list[str]] = {}
    for field, text in texts:
        fields.setdefault(field, []).append(text)
    return [_rate(f"{source} {field}".strip(), part, texts, tokenizers) for field, texts in fields.items()]


def _rate(source: str, part: str, texts: Sequence[str], tokenizers: Mapping[str, "PreTrainedTokenizerBase"]) -> Rate:
    size = sum(len(text.encode()) for text in texts)
    tokens = {name: count_tokens(tokenizer, texts) for name, tokenizer in tokenizers.items()}
    return Rate(source, part, "code" if is_code(texts) else "text", len(texts), size, tokens)


def count_tokens(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]) -> int:
    """Return how many tokens texts become, none of them cut and no special tokens added."""
    total = 0
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        block = list(texts[start : start + TEXTS_AT_ONCE])
        total += sum(map(len, tokenizer(block, add_special_tokens=False, truncation=False, verbose=False)["input_ids"]))
    return total


def is_code(texts: Iterable[str]) -> bool:
    """Say whether texts are program code, by the share of its signs among their characters."""
    signs = characters = 0
    for text in texts:
        signs += sum(map(text.count, SIGNS))
        characters += len("".join(text.split()))
    return signs > CODE_SIGNS * characters


def totals(rates: Sequence[Rate]) -> list[Rate]:
    """Add up the rates of each part and kind."""
    groups: dict[tuple[str, str], list[Rate]] = {}
    for rate in sorted(rates, key=lambda rate: (rate.part, rate.kind == "code")):
        groups.setdefault((rate.part, rate.kind), []).append(rate)
    return [_sum(part, kind, group) for (part, kind), group in groups.items()]


def _sum(part: str, kind: str, group: Sequence[Rate]) -> Rate:
    tokens = {name: sum(rate.tokens[name] for rate in group) for name in group[0].tokens}
    return Rate("all", part, kind, sum(rate.texts for rate in group), sum(rate.bytes for rate in group), tokens)


def rates_table(rates: Sequence[Rate]) -> "Table":
    """Lay rates out for the terminal, a column of tokens and one of bytes a token for each tokenizer."""
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for heading in ("source", "part", "kind"):
        table.add_column(heading, no_wrap=True)
    table.add_column("bytes", justify="right")
    names = list(rates[0].tokens) if rates else []
    for name in names:
        table.add_column(f"{name}: tokens", justify="right")
        table.add_column("bytes/token", justify="right")
    for rate in rates:
        figures = [(f"{rate.tokens[name]:,}", f"{rate.bytes_per_token(name):.2f}") for name in names]
        cells = [cell for pair in figures for cell in pair]
        table.add_row(rate.source, rate.part, rate.kind, f"{rate.bytes:,}", *cells)
    return table
