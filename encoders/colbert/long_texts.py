"""Documents longer than the network reads, as several texts of a stream: windows, each complete in itself.

Every window is read as a document of its own, with the special tokens and the prompt that the document has. What all
windows have is matched once: rows of the first special tokens, the marker and the prompt are the first window's, those
of the special tokens at the end the last window's, so that long documents do not answer queries with copies of [CLS].
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from tokenizers import Encoding

from ...errors import InputError
from ..reading import TextReader
from .windows import windows


@dataclass(frozen=True)
class Part:
    """A window of a document, or a document that fits.

    Attributes:
        ids: (tokens,) int32.
        places: (tokens,) int64, where each token is in the token sequence of the whole document.
        taken: (tokens,) bool, whether the token's row is taken from this window.
    """

    ids: np.ndarray
    places: np.ndarray
    taken: np.ndarray

    def marked(self, marker: int) -> "Part":
        """Return it with a marker after its first token, taken where that is the document's first."""
        at = min(1, len(self.ids))
        begins = at == 0 or bool(self.taken[0] and self.places[0] == 0)
        places = np.insert(self.places + (self.places >= at), at, at)
        return Part(np.insert(self.ids, at, marker), places, np.insert(self.taken, at, begins))


class LongTextReader:
    """Reads documents of any length as windows; may be called from several threads.

    Args:
        reader: Knows the tokenizer, which it is not to cut with any more, and the tokens of a window.
        prompt: What documents begin with.
        overlap: Tokens of text that neighbouring windows share.
        source: What errors name.

    Raises:
        InputError: Windows have no room for such an overlap.
    """

    def __init__(self, reader: TextReader, prompt: str, overlap: int, source: object) -> None:
        self._tokenizer = reader.tokenizer
        self._length = reader.max_length
        self._prompt = len(prompt)
        self._tokenizer.no_truncation()
        self._prompted = len(self._tokenizer.encode(prompt, add_special_tokens=False)) if prompt else 0
        self._overlap = overlap
        room = self._length - self._tokenizer.num_special_tokens_to_add(is_pair=False) - self._prompted
        if not 0 <= overlap < room:
            raise InputError(
                f"{source}: overlap is {overlap!r}, and a window has room for {max(room, 0)} tokens of text beside its "
                "prompt, marker and special ones; expected an overlap of at least 0 and less than that, or a larger "
                "document_length"
            )

    def read(self, texts: Sequence[str]) -> list[list[Part]]:
        """Return the windows of each text, which has its prompt before it."""
        return [list(self._parts(encoding)) for encoding in self._tokenizer.encode_batch(texts)]

    def _parts(self, encoding: Encoding) -> Iterator[Part]:
        ids = np.array(encoding.ids, dtype=np.int32)
        places = np.arange(len(ids))
        if len(ids) <= self._length:
            yield Part(ids, places, np.ones(len(ids), dtype=bool))
            return
        first, last = self._text_of(encoding)
        room = self._length - first - (len(ids) - last)
        found = windows(last - first, room, self._overlap)
        for window in found:
            start, stop = first + window.start, first + window.stop
            begins, ends = window is found[0], window is found[-1]
            chosen = np.concatenate([places[:first], places[start:stop], places[last:]])
            kept_from = 0 if begins else first + window.keep_from
            kept_to = len(ids) if ends else first + window.keep_to
            yield Part(ids[chosen], chosen, (kept_from <= chosen) & (chosen < kept_to))

    def _text_of(self, encoding: Encoding) -> tuple[int, int]:
        """Return where the tokens after the prompt begin, and where the special tokens at the end do."""
        added = np.array(encoding.special_tokens_mask, dtype=bool)
        begin, end = int(np.argmin(added)), len(added) - int(np.argmin(added[::-1]))
        if self._prompted:
            # a token of the prompt's last blank and the text's first word is the text's
            before = encoding.offsets[begin : begin + self._prompted]
            begin += sum(stop <= self._prompt for _, stop in before)
        return begin, end
