"""The embedding table of a new model, made from a teacher: each token begins with what the teacher says of its text.

As Model2Vec makes static embeddings: every token of a vocabulary is passed through a sentence encoder by itself, and
the vectors are rotated to their principal directions (S. Tulkens and T. van Dongen, "Model2Vec: Fast State-of-the-Art
Static Embeddings", 2024, doi 10.5281/zenodo.17270888). Other than there, vectors are not centred, so that inner
products are kept, and frequent tokens not made short, since a network normalises its embeddings.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..progress import progress
from .dense import DenseEncoder
from .loading import load_encoder

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

REPLACEMENT = "\ufffd"
"""What bytes that are no whole character are decoded to."""
UNUSED = re.compile(r"\[unused\d+\]")


def start_from_teacher(
    table: "torch.Tensor", tokenizer: "PreTrainedTokenizerBase", teacher: str, device: str | None = None
) -> None:
    """Give the rows of a table what a teacher says of their tokens, in place; see `embedding_table`.

    Args:
        table: (vocabulary, width), random as the network draws it.
        tokenizer: Of the new model.
        teacher: Folder or name of a dense encoder.
        device: Where the teacher runs; None takes the best there is.

    Raises:
        InputError: The teacher cannot be loaded or is no dense encoder, or see `embedding_table`.
    """
    import torch

    encoder = load_encoder(teacher, device, "fp32", kind="dense")
    with torch.no_grad():
        filled = embedding_table(tokenizer, encoder, table.float().cpu().numpy())
        table.copy_(torch.from_numpy(filled))


def embedding_table(tokenizer: "PreTrainedTokenizerBase", teacher: DenseEncoder, initial: np.ndarray) -> np.ndarray:
    """Return a table with the teacher's vector of each token's text, and random rows where a token has none.

    The vectors keep their inner products where they are no wider than the table, or span no more directions than it is
    wide; else as much of them as its width can hold. One factor for all of them gives their numbers the root mean
    square of the random ones.

    Args:
        tokenizer: Its numbers are the rows.
        teacher: Encodes each text as a document, by itself.
        initial: (vocabulary, width), random rows: special tokens, bytes that are no character and white space keep
            theirs, and so do rows beyond the tokenizer's.

    Returns:
        (vocabulary, width) float32.

    Raises:
        InputError: The tokenizer has more tokens than the table rows, or none with a text; or the teacher's vectors are
            not finite.
    """
    if len(tokenizer) > len(initial):
        raise InputError(f"the tokenizer has {len(tokenizer)} tokens, but the table only {len(initial)} rows")
    table = np.array(initial, dtype=np.float32)
    texts = token_texts(tokenizer)
    if not texts:
        raise InputError("the tokenizer has no token with a text of its own")
    rows = np.fromiter(texts, dtype=np.int64)
    # case, blanks and markers apart, many tokens have one text
    distinct = sorted(set(texts.values()))
    place = {text: number for number, text in enumerate(distinct)}
    vectors = _encode(teacher, distinct)[[place[text] for text in texts.values()]]
    fitted = fit_width(vectors, table.shape[1])
    spread = np.sqrt(np.mean(np.square(fitted), dtype=np.float64))
    table[rows] = fitted * (np.sqrt(np.mean(np.square(initial), dtype=np.float64)) / max(spread, 1e-30))
    return table


def token_texts(tokenizer: "PreTrainedTokenizerBase") -> dict[int, str]:
    """Return the text of each token that has one, without blanks around it, by its number.

    Special tokens, `[unusedN]`, parts of characters and white space have none.
    """
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    model = getattr(getattr(tokenizer, "backend_tokenizer", None), "model", None)
    inside = getattr(model, "continuing_subword_prefix", None) or ""  # WordPiece's ##; elsewhere that is a token's text
    texts = {}
    for token, number in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]):
        text = tokenizer.convert_tokens_to_string([token]).removeprefix(inside).strip()
        if number in special or UNUSED.fullmatch(token) or REPLACEMENT in text:
            continue
        if any(map(str.isprintable, text)):
            texts[number] = text
    return texts


def fit_width(vectors: np.ndarray, width: int) -> np.ndarray:
    """Rotate vectors into another number of dimensions.

    Narrower: onto their principal directions, those of an uncentred decomposition. Wider: as they are, in the first
    dimensions of a rotation drawn once and for all, so that no dimension of the table is empty.

    Args:
        vectors: (n, dim) float32.
        width: What they are to have.

    Returns:
        (n, width) float32.
    """
    dim = vectors.shape[1]
    if width == dim:
        return vectors
    if width > dim:
        drawn = np.random.default_rng(0).standard_normal((width, dim))
        return np.asarray(vectors @ np.linalg.qr(drawn)[0].T, dtype=np.float32)
    products = vectors.T.astype(np.float64) @ vectors
    directions = np.linalg.eigh(products)[1][:, ::-1]  # the largest last
    return np.asarray(vectors @ directions[:, :width], dtype=np.float32)


def _encode(teacher: DenseEncoder, texts: Sequence[str]) -> np.ndarray:
    vectors = np.empty((len(texts), teacher.dim), dtype=np.float32)
    size = teacher.block_size
    with progress("encoding tokens", len(texts), "tokens") as report:
        for start in range(0, len(texts), size):
            block = list(texts[start : start + size])
            vectors[start : start + len(block)] = teacher.encode_documents(block)
            report(start + len(block))
    if not np.isfinite(vectors).all():
        raise InputError(f"{teacher.name}: gives embeddings that are not finite")
    return vectors
