"""Any multi-vector checkpoint that sentence-transformers loads, behind the interface of `ColbertEncoder`.

The way for every architecture that this package has no network of its own for, and for modules that only that library
has.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ..batching import token_budget_batches
from ..checkpoint import TASKS, Checkpoint
from ..foreign import TextCounter, Texts, load_model, token_budget
from ..tokens import TokenMatrix
from .encoder import ColbertEncoder
from .sentence_transformer_spans import kept_pieces
from .settings import ColbertSettings, LateOptions
from .spans import Piece

UNIT_TOLERANCE = 1e-2
"""How far from 1 the lengths of rows are that were normalised in 16 bits."""


class MultiVectorModelEncoder(ColbertEncoder):
    """A late-interaction encoder that runs through sentence-transformers; see `ColbertEncoder`.

    Attributes:
        model: The `MultiVectorEncoder`.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        settings: ColbertSettings,
        device: torch.device,
        precision: str,
        trust_remote_code: bool,
        asked: LateOptions,
    ) -> None:
        from sentence_transformers import MultiVectorEncoder

        self.model = load_model(MultiVectorEncoder, checkpoint, device, precision, trust_remote_code)
        self.model[0].document_length = settings.lengths["document"]
        # merged here, so that a factor of the caller's has its way
        for name in [name for name, module in self.model.named_children() if hasattr(module, "pool_factor")]:
            delattr(self.model, name)
        sample = self._encoded(["sample"], "document")[0]
        super().__init__(checkpoint, settings, sample.shape[1], str(device), precision, asked)
        pools_to_unit = self.pooling is None or self.pooling.normalized
        is_unit = bool(np.abs(np.linalg.norm(sample, axis=1) - 1).max(initial=0) < UNIT_TOLERANCE)
        self.similarity = "cosine" if is_unit and pools_to_unit else "dot"
        self._counter = TextCounter(self.model.tokenizer)
        self._prompts = {task: str(self.model.prompts.get(task) or "") for task in TASKS}

    def _read(self, texts: Sequence[str], task: str) -> Texts:
        longest = self.query_length if task == "query" else self.document_length
        read = self._counter.read(texts, task, self._prompts[task], longest)
        if task == "query" and self.expansion is not None:
            read = replace(read, lengths=[max(length, self.expansion.length) for length in read.lengths])
        return read

    def _encoded(self, texts: Sequence[str], task: str) -> list[np.ndarray]:
        encode: Any = self.model.encode_query if task == "query" else self.model.encode_document
        found = encode(list(texts), batch_size=len(texts), show_progress_bar=False, convert_to_numpy=True)
        return [np.asarray(rows, dtype=np.float32) for rows in found]

    def _token_vectors(self, read: Texts) -> TokenMatrix:
        lengths = np.zeros(len(read.texts), dtype=np.int64)
        batches: list[tuple[np.ndarray, np.ndarray]] = []
        for batch in token_budget_batches(read.lengths, token_budget(self.device)):
            rows = self._encoded([read.texts[number] for number in batch], read.task)
            lengths[batch] = [len(vectors) for vectors in rows]
            batches.append((batch, np.concatenate(rows)))
        return self._placed(batches, lengths, read.task)

    def _pieces(self, texts: Sequence[str], read: Texts) -> list[list[Piece]]:
        return [kept_pieces(self.model, text, read.task, self._prompts[read.task], self.name) for text in texts]
