"""From texts to the token ids that a ColBERT reads: prompt, marker, the tokens that fill a query up, the skiplist."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from tokenizers import Tokenizer

from ...errors import InputError
from ..checkpoint import Checkpoint, read_optional
from ..reading import TOKENIZER, TextReader, Tokens
from .settings import ColbertSettings, Expansion

EXPANSION_TOKENS = ("mask_token", "eos_token")
"""Roles of a tokenizer of which the first that it has fills queries up."""
TOKEN_FILES = ("tokenizer_config.json", "special_tokens_map.json")


@dataclass(frozen=True, kw_only=True)
class ReadTokens(Tokens):
    """Token ids of texts of one task.

    Attributes:
        task: "query" or "document".
        kept: (tokens,) bool, whether a token's vector is part of the result.
    """

    task: str
    kept: np.ndarray = field(repr=False)

    def kept_of(self, texts: np.ndarray) -> np.ndarray:
        """Return `kept` of some texts end to end."""
        return np.concatenate([self.kept[self.offsets[text] : self.offsets[text + 1]] for text in texts])


class ColbertReader:
    """Reads the texts of one task; may be called from several threads.

    Attributes:
        tokenizer: As it was read.

    Raises:
        InputError: The tokenizer cannot be read, lacks a token that the checkpoint asks for, or the length leaves no
            room for text.
    """

    def __init__(self, checkpoint: Checkpoint, settings: ColbertSettings, task: str) -> None:
        marker = settings.markers.get(task)
        self._task = task
        self._reader = TextReader(checkpoint, task, settings.lengths[task] - (marker is not None))
        self.tokenizer = self._reader.tokenizer
        file = checkpoint.network_folder / TOKENIZER
        self._prompt = settings.prompts.get(task, "")
        self._marker = None if marker is None else _marker_id(self.tokenizer, marker, f"{settings.source}", file)
        self._expansion = settings.expansion if task == "query" else None
        self._filler = 0 if self._expansion is None else _filler(checkpoint, self.tokenizer, self._expansion)
        words = settings.skiplist if task in settings.skiplist_tasks else ()
        self._skipped = _ids_of(self.tokenizer, words)
        only = settings.kept_ids if task != "query" else None
        self._only = None if only is None else np.array(only)

    def read(self, texts: Sequence[str]) -> ReadTokens:
        """Tokenise at least one text."""
        parts, cut = self._reader.read_each([self._prompt + text for text in texts] if self._prompt else texts)
        if self._marker is not None:
            parts = [np.insert(part, min(1, len(part)), self._marker) for part in parts]
        attended = None
        if self._expansion is not None:
            attended = None if self._expansion.attended else np.array([len(part) for part in parts])
            # where a text has no token at all there is nothing for the others to see
            parts = [_filled(part, self._expansion.length, self._filler) if len(part) else part for part in parts]
        ids = np.concatenate(parts)
        offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])])
        return ReadTokens(ids, offsets, cut, attended, task=self._task, kept=self._kept(ids))

    def _kept(self, ids: np.ndarray) -> np.ndarray:
        kept = ~np.isin(ids, self._skipped) if len(self._skipped) else np.ones(len(ids), dtype=bool)
        return kept if self._only is None else kept & np.isin(ids, self._only)


def has_filler(checkpoint: Checkpoint, tokenizer: Tokenizer, expansion: Expansion) -> bool:
    """Say whether the token that fills queries up is known without asking transformers."""
    return expansion.token is not None or _role_id(checkpoint, tokenizer) is not None


def _filled(ids: np.ndarray, length: int, filler: int) -> np.ndarray:
    missing = max(0, length - len(ids))
    return np.pad(ids, (0, missing), constant_values=filler)


def _marker_id(tokenizer: Tokenizer, marker: str, source: str, file: object) -> int:
    # PyLate's markers are tokens with the blank at their end; others name the token, and the blank divides it from text
    for spelling in (marker, *marker.split()[:1]):
        number: int | None = tokenizer.token_to_id(spelling)
        if number is not None:
            return number
    raise InputError(
        f"{file}: has no token {marker!r}, the marker that {source} asks for; take the tokenizer that the model was "
        "trained with"
    )


def _filler(checkpoint: Checkpoint, tokenizer: Tokenizer, expansion: Expansion) -> int:
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
