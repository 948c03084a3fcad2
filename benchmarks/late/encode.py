"""Texts to token vectors with all-MiniLM-L6-v2, a stand-in for a ColBERT: hidden states, cut to 128 dimensions.

No trained late-interaction model comes as a Python package. These vectors come from real text and rank well (see
`nDCG@10` in the benchmark's output); their distribution is not a ColBERT's, so absolute recall may differ for one.
"""

import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer

from modernir.encoders.batching import token_budget_batches
from modernir.progress import progress

from .cached import DIM, Tokens

BATCH_TOKENS = 8192
PCA_TOKENS = 100_000


@dataclass(frozen=True)
class Projection:
    """Principal components of document tokens.

    Attributes:
        mean: (width,) float32.
        axes: (width, DIM) float32, orthonormal columns.
        kept: Share of the variance that they keep.
    """

    mean: np.ndarray
    axes: np.ndarray
    kept: float

    @classmethod
    def fit(cls, hidden: np.ndarray) -> "Projection":
        """Fit to a sample of (tokens, width) hidden states."""
        rows = np.random.default_rng(0).choice(len(hidden), min(PCA_TOKENS, len(hidden)), replace=False)
        sample = hidden[np.sort(rows)].astype(np.float64)
        mean = sample.mean(axis=0)
        energy, axes = np.linalg.eigh(np.cov(sample - mean, rowvar=False))
        kept = energy[-DIM:].sum() / energy.sum()
        return cls(mean.astype(np.float32), axes[:, : -DIM - 1 : -1].astype(np.float32), float(kept))

    def __call__(self, hidden: np.ndarray) -> np.ndarray:
        """Map hidden states to (tokens, DIM) float32, rows L2-normalised."""
        vectors = (hidden.astype(np.float32) - self.mean) @ self.axes
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class TokenEncoder:
    """The network with its tokenizer.

    Args:
        model: Folder of a BERT checkpoint.
    """

    def __init__(self, model: Path) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(model)
        self._network = AutoModel.from_pretrained(model, dtype=torch.bfloat16).eval()
        self._dropped = dropped_ids(self._tokenizer.get_vocab(), self._tokenizer.all_special_ids)

    def __call__(self, texts: Sequence[str], limit: int, what: str) -> Tokens:
        """Return the last hidden states, (tokens, width) float16, of the word pieces that count.

        Args:
            texts: The texts.
            limit: Word pieces after which a text is cut, special tokens included.
            what: Shown beside the progress.
        """
        ids = self._tokenizer(list(texts), truncation=True, max_length=limit)["input_ids"]
        kept = [~self._dropped[pieces] for pieces in ids]
        offsets = np.concatenate([[0], np.cumsum([mask.sum() for mask in kept])]).astype(np.int64)
        values = np.empty((offsets[-1], self._network.config.hidden_size), np.float16)
        done = 0
        with progress(what, len(ids), "texts") as report, torch.inference_mode():
            for batch in token_budget_batches([len(pieces) for pieces in ids], BATCH_TOKENS):
                padded = self._tokenizer.pad({"input_ids": [ids[text] for text in batch]}, return_tensors="pt")
                states = self._network(**padded).last_hidden_state.half().numpy()
                for text, rows in zip(batch, states, strict=True):
                    values[offsets[text] : offsets[text + 1]] = rows[: len(ids[text])][kept[text]]
                done += len(batch)
                report(done)
        return Tokens(values, offsets)


def dropped_ids(vocabulary: dict[str, int], special: Sequence[int]) -> np.ndarray:
    """Return (vocabulary,) bool: the special tokens and punctuation, as ColBERT drops them from documents."""
    dropped = np.zeros(max(vocabulary.values()) + 1, bool)
    dropped[list(special)] = True
    for piece, number in vocabulary.items():
        dropped[number] |= set(piece.removeprefix("##")) <= set(string.punctuation)
    return dropped
