"""ColBERTs on this package's own networks: tokenizer, stream, projection, and rows straight into one matrix."""

from collections.abc import Sequence

import numpy as np
import torch

from ..checkpoint import Checkpoint
from ..feeding import batches_of_states
from ..networks import Kind, find_kind
from ..precision import resolve_precision
from ..reading import TOKENIZER, check_vocabulary, open_tokenizer, reads_as_saved
from ..tokens import TokenMatrix
from ..transfers import Fetched, in_flight, sent
from ..weights import CONFIG
from .encoder import ColbertEncoder
from .head import TokenHead, read_token_head
from .reading import ColbertReader, ReadTokens, has_filler
from .settings import ColbertSettings, LateOptions
from .spans import Piece


class PackedColbert(ColbertEncoder):
    """A late-interaction encoder on one stream of tokens; see `ColbertEncoder`."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        settings: ColbertSettings,
        kind: Kind,
        device: torch.device,
        precision: str,
        attention: str | None = None,
        asked: LateOptions | None = None,
    ) -> None:
        self._network = kind.load(checkpoint, device, precision, attention)
        self._kind = kind
        self._head: TokenHead = read_token_head(checkpoint, settings, device)
        asked = asked or LateOptions()
        self._readers = {
            "query": ColbertReader(checkpoint, settings, "query"),
            "document": ColbertReader(checkpoint, settings, "document", asked.overlap),
        }
        check_vocabulary(checkpoint, self._readers["query"].tokenizer, kind.rows(checkpoint.config))
        dim = self._head.dim or self._network.width
        super().__init__(checkpoint, settings, dim, str(device), precision, asked)

    def _read(self, texts: Sequence[str], task: str) -> ReadTokens:
        return self._readers[task].read(texts)

    @torch.inference_mode()
    def _token_vectors(self, read: ReadTokens) -> TokenMatrix:
        batches = batches_of_states(self._network, self._kind, read)
        fetched = in_flight((texts, self._rows(read.kept_of(texts), hidden)) for texts, _, hidden in batches)
        until = np.concatenate([[0], np.cumsum(read.kept)])
        rows = ((texts, rows.result().numpy()) for texts, rows in fetched)
        found = self._placed(rows, np.diff(until[read.offsets]), read.task)
        if read.documents is None:
            return found
        return TokenMatrix(found.values, found.offsets[read.documents], found.scales)

    def _pieces(self, texts: Sequence[str], read: ReadTokens) -> list[list[Piece]]:
        bounds = read.offsets if read.documents is None else read.offsets[read.documents]
        named = zip(self._readers[read.task].pieces(texts), bounds, bounds[1:], strict=False)
        return [
            [pieces[place] for place in read.places[start:end][read.kept[start:end]]] for pieces, start, end in named
        ]

    def _rows(self, kept: np.ndarray, hidden: torch.Tensor) -> Fetched:
        if not kept.all():
            hidden = hidden[sent(torch.from_numpy(np.flatnonzero(kept)), hidden.device)]
        return Fetched(self._head(hidden))


def load_packed_colbert(
    checkpoint: Checkpoint,
    settings: ColbertSettings,
    device: torch.device,
    precision: str | None,
    attention: str | None = None,
    asked: LateOptions | None = None,
) -> ColbertEncoder | None:
    """Return an encoder on our own network, or None where the checkpoint holds something that it does not cover.

    Raises:
        InputError: The network cannot be loaded as asked, its weights are damaged, or its tokenizer lacks a token that
            the checkpoint asks for or has some that the network has no embedding for.
    """
    kind = find_kind(checkpoint.config, checkpoint.network_folder / CONFIG)
    if kind is None:
        return None
    if settings.foreign or not _is_read_here(checkpoint, settings):
        kind.check(checkpoint)
        return None
    chosen = resolve_precision(precision, device, kind.precisions(checkpoint.config, device, attention))
    return PackedColbert(checkpoint, settings, kind, device, chosen, attention, asked)


def _is_read_here(checkpoint: Checkpoint, settings: ColbertSettings) -> bool:
    if not (checkpoint.network_folder / TOKENIZER).is_file() or not reads_as_saved(checkpoint, ("query_expansion",)):
        return False
    return settings.expansion is None or has_filler(checkpoint, open_tokenizer(checkpoint), settings.expansion)
