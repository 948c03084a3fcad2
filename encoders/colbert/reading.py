"""From texts to the token ids that a ColBERT reads: prompt, marker, the tokens that fill a query up, the skiplist."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from tokenizers import Tokenizer

from ...errors import InputError
from ..checkpoint import Checkpoint, read_optional
from ..reading import TOKENIZER, TextReader, Tokens
from .long_texts import LongTextReader
from .settings import ColbertSettings, Expansion
from .spans import Piece, added_names, pieces_of

EXPANSION_TOKENS = ("mask_token", "eos_token")
"""Roles of a tokenizer of which the first that it has fills queries up."""
A_TEXT = "a word, 1"
TOKEN_FILES = ("tokenizer_config.json", "special_tokens_map.json")


@dataclass(frozen=True, kw_only=True)
class ReadTokens(Tokens):
    """Token ids of texts of one task.

    A document that is read as several windows is several texts here, next to one another.

    Attributes:
        task: "query" or "document".
        kept: (tokens,) bool, whether a token's vector is part of the result.
        documents: (documents + 1,) int64, document i is the texts from documents[i] to before documents[i + 1]; None
            where every text is a document.
        places: (tokens,) int64, where each token is in the token sequence of its whole document; the kept ones ascend.
    """

    task: str
    kept: np.ndarray = field(repr=False)
    places: np.ndarray = field(repr=False)
    documents: np.ndarray | None = None

    def kept_of(self, texts: np.ndarray) -> np.ndarray:
        """Return `kept` of some texts end to end."""
        return np.concatenate([self.kept[self.offsets[text] : self.offsets[text + 1]] for text in texts])


class ColbertReader:
    """Reads the texts of one task; may be called from several threads.

    Attributes:
        tokenizer: As it was read.

    Args:
        checkpoint: Whose tokenizer.
        settings: How its texts are read.
        task: "query" or "document".
        overlap: Tokens that the windows of a long text share; None cuts it.

    Raises:
        InputError: The tokenizer cannot be read, lacks a token that the checkpoint asks for, or the length leaves no
            room for text or for such an overlap.
    """

    def __init__(
        self, checkpoint: Checkpoint, settings: ColbertSettings, task: str, overlap: int | None = None
    ) -> None:
        marker = settings.markers.get(task)
        self._task = task
        self._reader = TextReader(checkpoint, task, settings.lengths[task] - (marker is not None))
        self.tokenizer = self._reader.tokenizer
        file = checkpoint.network_folder / TOKENIZER
        self._prompt = settings.prompts.get(task, "")
        self._marker = None if marker is None else _marker_id(self.tokenizer, marker, f"{settings.source}", file)
        self._expansion = settings.expansion if task == "query" else None
        self._filler = 0 if self._expansion is None else filler_id(checkpoint, self.tokenizer, self._expansion)
        words = settings.skiplist if task in settings.skiplist_tasks else ()
        self._skipped = _ids_of(self.tokenizer, words)
        only = settings.kept_ids if task != "query" else None
        self._only = None if only is None else np.array(only)
        self._long = None
        if overlap is not None:
            self._long = LongTextReader(self._reader, self._prompt, overlap, checkpoint.name)
        elif self._prompt and self._is_full():
            raise InputError(
                f"{checkpoint.name}: of a {task}, {settings.lengths[task]} tokens are read, which the prompt "
                f"{self._prompt!r} and the special tokens fill; set a larger {task}_length"
            )

    def _is_full(self) -> bool:
        """Say whether the prompt leaves no room for a text after it, with whose first word its last blank may go."""
        (without, with_text), _ = self._reader.read_each([self._prompt, self._prompt + A_TEXT])
        return np.array_equal(without, with_text)

    def read(self, texts: Sequence[str]) -> ReadTokens:
        """Tokenise at least one text."""
        prompted = [self._prompt + text for text in texts] if self._prompt else texts
        if self._long is not None:
            return self._windows(self._long, prompted)
        parts, cut = self._reader.read_each(prompted)
        if self._marker is not None:
            parts = [np.insert(part, min(1, len(part)), self._marker) for part in parts]
        attended = None
        if self._expansion is not None:
            attended = None if self._expansion.attended else np.array([len(part) for part in parts])
            # where a text has no token at all there is nothing for the others to see
            parts = [_filled(part, self._expansion.length, self._filler) if len(part) else part for part in parts]
        ids = np.concatenate(parts)
        offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])])
        places = np.arange(len(ids)) - np.repeat(offsets[:-1], np.diff(offsets))
        return ReadTokens(ids, offsets, cut, attended, task=self._task, kept=self._kept(ids), places=places)

    def _windows(self, reader: LongTextReader, texts: Sequence[str]) -> ReadTokens:
        found = reader.read(texts)
        parts = [part for windows in found for part in windows]
        if self._marker is not None:
            parts = [part.marked(self._marker) for part in parts]
        ids = np.concatenate([part.ids for part in parts])
        return ReadTokens(
            ids,
            np.concatenate([[0], np.cumsum([len(part.ids) for part in parts])]),
            cut=0,
            task=self._task,
            kept=self._kept(ids) & np.concatenate([part.taken for part in parts]),
            places=np.concatenate([part.places for part in parts]),
            documents=np.concatenate([[0], np.cumsum([len(windows) for windows in found])]),
        )

    def pieces(self, texts: Sequence[str]) -> list[list[Piece]]:
        """Say what each token of the sequence of each text stands for, those included whose rows are not kept."""
        encodings = self.tokenizer.encode_batch([self._prompt + text for text in texts])
        names = added_names(self.tokenizer)
        found = zip(encodings, texts, strict=True)
        return [self._surrounded(pieces_of(encoding, text, self._prompt, names), names) for encoding, text in found]

    def _surrounded(self, pieces: list[Piece], names: Mapping[int, str]) -> list[Piece]:
        """Put the marker and what fills a query up where `read` puts them."""

        def name(number: int) -> str:
            return names.get(number) or str(self.tokenizer.id_to_token(number))

        if self._marker is not None:
            pieces.insert(1, Piece(name(self._marker), "marker"))
        if self._expansion is not None and pieces:
            pieces += [Piece(name(self._filler), "expansion")] * (self._expansion.length - len(pieces))
        return pieces

    def _kept(self, ids: np.ndarray) -> np.ndarray:
        kept = ~np.isin(ids, self._skipped) if len(self._skipped) else np.ones(len(ids), dtype=bool)
        return kept if self._only is None else kept & np.isin(ids, self._only)


def has_filler(checkpoint: Checkpoint, tokenizer: Tokenizer, expansion: Expansion) -> bool:
    """Say whether the token that fills queries up is known without asking transformers."""
    return expansion.token is not None or _role_id(checkpoint, tokenizer) is not None


def _filled(ids: np.ndarray, length: int, filler: int) -> np.ndarray:
    missing = max(0, length - len(ids))
    return np.pad(ids, (0, missing), constant_values=filler)


def marker_token(tokenizer: Tokenizer, marker: str) -> tuple[str, int] | None:
    """Return the token that a marker names and its number, or None where the tokenizer has no such token."""
    # PyLate's markers are tokens with the blank at their end; others name the token, and the blank divides it from text
    for spelling in (marker, *marker.split()[:1]):
        number: int | None = tokenizer.token_to_id(spelling)
        if number is not None:
            return spelling, number
    return None


def _marker_id(tokenizer: Tokenizer, marker: str, source: str, file: object) -> int:
    found = marker_token(tokenizer, marker)
    if found is not None:
        return found[1]
    raise InputError(
        f"{file}: has no token {marker!r}, the marker that {source} asks for; take the tokenizer that the model was "
        "trained with"
    )


def filler_id(checkpoint: Checkpoint, tokenizer: Tokenizer, expansion: Expansion) -> int:
    """Return the number of the token that fills queries up.

    Raises:
        InputError: The tokenizer lacks it.
    """
    named = expansion.token
    number: int | None = _role_id(checkpoint, tokenizer) if named is None else tokenizer.token_to_id(named)
    if number is None:
        asked = expansion.token or " or ".join(EXPANSION_TOKENS)
        raise InputError(
            f"{checkpoint.network_folder / TOKENIZER}: has no {asked}, which queries are to be filled up with; name a "
            "token that it has as the query expansion's token"
        )
    return number


def _role_id(checkpoint: Checkpoint, tokenizer: Tokenizer) -> int | None:
    files = [read_optional(checkpoint.network_folder / name) for name in TOKEN_FILES]
    for role in EXPANSION_TOKENS:
        for fields in files:
            token = fields.get(role)
            token = token.get("content") if isinstance(token, dict) else token
            number: int | None = tokenizer.token_to_id(token) if isinstance(token, str) else None
            if number is not None:
                return number
    return None


def _ids_of(tokenizer: Tokenizer, words: Iterable[str]) -> np.ndarray:
    """Return the numbers of those words that are tokens, (n,) int32; the unknown token does not stand in for others."""
    found = (tokenizer.token_to_id(word) for word in words)
    return np.array([number for number in found if number is not None], dtype=np.int32)
