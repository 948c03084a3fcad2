"""From sources of texts to the folder of a tokenizer, and to what it costs on them and on others."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...encoders.modernbert.tokenizer import open_tokenizer, train_tokenizer
from ...encoders.modernbert.tokenizer_styles import style_of
from ...errors import InputError
from ...files import check_vacant, new_folder, sync_files
from ...progress import progress
from ...sizes import parse_bytes
from ..readers.rows import RowOptions
from .rates import Rate, measure, totals
from .sample import HELD_OUT, MOST_HELD_OUT, Sample, draw_sample
from .texts import read_field_texts
from .words import read_words, repeated

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class TokenizerTraining:
    """What to learn a tokenizer from, and how.

    Attributes:
        sources: Files, folders or data sets, see `read_field_texts`.
        output: Folder of the tokenizer; it must not hold anything yet.
        vocabulary: Most tokens; filled up to a multiple of 64.
        style: "reversible" or "folded".
        markers: Special tokens of the caller's, such as "[Q] ", blanks included.
        words: Lists of words and tokenizers whose words are to be tokens, see `read_words`.
        word_count: How often each of these words is counted.
        sample: Bytes taken of each source, also as text: "20MB".
        report: Sources to measure on that nothing is learnt from.
        against: Models and tokenizers to measure beside it.
        split: Split of data sets, where they have several.
        seed: Of the samples.
    """

    sources: tuple[str, ...]
    output: Path
    vocabulary: int = 50_368
    style: str = "reversible"
    markers: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    word_count: int = 110
    sample: str | int = "20MB"
    report: tuple[str, ...] = ()
    against: tuple[str, ...] = ()
    split: str | None = None
    seed: int = 12

    def __post_init__(self) -> None:
        style_of(self.style)
        if not self.sources:
            raise InputError("no source of texts to learn from; name a file or a folder")
        for name, value in (("word_count", self.word_count), ("sample", parse_bytes(self.sample))):
            if value < 1:
                raise InputError(f"{name}: expected at least 1, found {value}")


@dataclass(frozen=True)
class Learnt:
    """A tokenizer that was learnt.

    Attributes:
        folder: Where it is.
        tokens: All of its tokens.
        used: Those that are no `[unusedN]`.
        rates: What it costs, source by source.
    """

    folder: Path
    tokens: int
    used: int
    rates: tuple[Rate, ...]

    @property
    def totals(self) -> list[Rate]:
        """What it costs on text and on code."""
        return totals(self.rates)

    def to_json(self) -> dict[str, Any]:
        """Return what is known of it as JSON values."""
        rates = [rate.to_json() for rate in self.rates]
        known = {"folder": str(self.folder), "tokens": self.tokens, "used": self.used}
        return known | {"sources": rates, "totals": [rate.to_json() for rate in self.totals]}


def learn_tokenizer(settings: TokenizerTraining) -> Learnt:
    """Learn a tokenizer, write its folder, which appears whole or not at all, and measure it.

    Same settings and sources give the same tokenizer.

    Raises:
        InputError: A source cannot be read or has no text, a setting makes no sense, or the folder holds something.
    """
    check_vacant(settings.output)
    others = {name: open_tokenizer(name) for name in settings.against}
    words = list(chain.from_iterable(map(read_words, settings.words)))
    samples = {source: _sample(source, settings) for source in settings.sources}
    reported = {source: _sample(source, settings, measured=True) for source in settings.report}
    texts = (text for sample in samples.values() for _, text in sample.learnt)
    counted = repeated(words, settings.word_count)
    tokenizer = train_tokenizer(chain(texts, counted), settings.vocabulary, settings.markers, settings.style)
    with new_folder(settings.output) as folder:
        tokenizer.save_pretrained(folder)
        sync_files(folder)
    unused = sum(token.startswith("[unused") for token in tokenizer.get_vocab())
    tokenizers = {str(settings.output): tokenizer, **others}
    rates = _rates(samples, "held out", tokenizers) + _rates(reported, "unseen", tokenizers)
    return Learnt(settings.output, len(tokenizer), len(tokenizer) - unused, tuple(rates))


def _sample(source: str, settings: TokenizerTraining, *, measured: bool = False) -> Sample:
    size, held_out = (MOST_HELD_OUT, 1.0) if measured else (parse_bytes(settings.sample), HELD_OUT)
    texts = read_field_texts(source, RowOptions(split=settings.split))
    with progress(f"reading {source}", None, "bytes") as report:
        sample = draw_sample(texts, size, settings.seed, report, held_out)
    if not (sample.held_out if measured else sample.learnt):
        raise InputError(f"{source}: no text of at most {size:,} bytes in it")
    return sample


def _rates(samples: Mapping[str, Sample], part: str, tokenizers: Mapping[str, "PreTrainedTokenizerBase"]) -> list[Rate]:
    rates = (
        measure(Path(source).name.split(".")[0], part, sample.held_out, tokenizers)
        for source, sample in samples.items()
    )
    return list(chain.from_iterable(rates))
