"""Dense embedders that run on this package's own networks: tokenizer, stream, pooling, projection, normalisation.

Imports torch, tokenizers and safetensors and nothing heavier, since a search from a shell waits for every import.
"""

from collections.abc import Sequence

import numpy as np
import torch

from .checkpoint import Checkpoint
from .dense import DenseEncoder
from .feeding import batches_of_states
from .head import Head, read_head
from .networks import Kind, find_kind
from .precision import resolve_precision
from .reading import TOKENIZER, TextReader, Tokens, check_vocabulary, open_tokenizer, reads_as_saved
from .transfers import Fetched
from .weights import CONFIG


class PackedEncoder(DenseEncoder):
    """A dense encoder on one stream of tokens; see `DenseEncoder`.

    A text without a token, which only a tokenizer without special tokens makes, gets a vector of zeros.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        kind: Kind,
        head: Head,
        device: torch.device,
        precision: str,
        attention: str | None = None,
    ) -> None:
        self._network = kind.load(checkpoint, device, precision, attention)
        self._kind = kind
        self._head = head
        self._readers = _readers(checkpoint)
        check_vocabulary(checkpoint, self._readers["query"].tokenizer, kind.rows(checkpoint.config))
        dim = head.dim or self._network.width
        super().__init__(checkpoint, dim, checkpoint.max_length, str(device), precision)
        self._prompts = {"query": self.query_prompt, "document": self.document_prompt}

    def _read(self, texts: Sequence[str], task: str) -> Tokens:
        prompt = self._prompts[task]
        return self._readers[task].read([prompt + text for text in texts] if prompt else texts)

    @torch.inference_mode()
    def _encode(self, read: Tokens) -> np.ndarray:
        batches = batches_of_states(self._network, self._kind, read)
        found = [(batch, Fetched(self._head(x, stream.sizes))) for batch, stream, x in batches]
        vectors = np.zeros((len(read.lengths), self.dim), dtype=np.float32)
        for batch, embedded in found:
            vectors[batch] = embedded.result().numpy()
        return vectors


def check_checkpoint(checkpoint: Checkpoint) -> None:
    """Check the weights and the vocabulary of a network of ours that another library is about to load.

    Raises:
        InputError: See `load_packed`.
    """
    kind = find_kind(checkpoint.config, checkpoint.network_folder / CONFIG)
    if kind is None or (checkpoint.modules and checkpoint.modules[0][0] != "Transformer"):
        return
    kind.check(checkpoint)
    read_head(checkpoint, torch.device("cpu"))
    if (checkpoint.network_folder / TOKENIZER).is_file():
        check_vocabulary(checkpoint, open_tokenizer(checkpoint), kind.rows(checkpoint.config))


def _readers(checkpoint: Checkpoint) -> dict[str, TextReader]:
    query = TextReader(checkpoint, "query")
    same = checkpoint.length_of("document") == query.max_length
    return {"query": query, "document": query if same else TextReader(checkpoint, "document")}


def load_packed(
    checkpoint: Checkpoint, device: torch.device, precision: str | None, attention: str | None = None
) -> DenseEncoder | None:
    """Return an encoder on our own network, or None where the checkpoint holds something that it does not cover.

    Raises:
        InputError: The network cannot be loaded as asked, its weights are damaged, or its tokenizer has tokens that it
            has no embedding for.
    """
    kind = find_kind(checkpoint.config, checkpoint.network_folder / CONFIG)
    if kind is None:
        return None
    head = read_head(checkpoint, device) if reads_as_saved(checkpoint) else None
    if head is None:
        check_checkpoint(checkpoint)
        return None
    chosen = resolve_precision(precision, device, kind.precisions(checkpoint.config, device, attention))
    return PackedEncoder(checkpoint, kind, head, device, chosen, attention)
