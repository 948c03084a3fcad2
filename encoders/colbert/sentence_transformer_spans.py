"""What the token vectors of a `MultiVectorEncoder` of sentence-transformers stand for.

The library tells which token ids it read and which of them it keeps; where they come from in the text, only the fast
tokenizer behind it can say. It is asked for the same tokens, and what it says counts only if they are the same.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from tokenizers import Encoding, Tokenizer

from ...errors import InputError
from .spans import Piece, added_names, pieces_of


def kept_pieces(model: Any, text: str, task: str, prompt: str, name: str) -> list[Piece]:  # noqa: ANN401
    """Say what each row that a model makes of a text stands for.

    Args:
        model: A `MultiVectorEncoder` without token pooling.
        text: A query or document.
        task: "query" or "document".
        prompt: What the model puts before it.
        name: The model's, for errors.

    Raises:
        InputError: The tokenizer does not tell, or a module drops rows without saying which.
    """
    features = model.preprocess([text], prompt=prompt or None, task=task)
    if "input_ids" not in features:
        raise _unknown(name)
    encode = model.encode_query if task == "query" else model.encode_document
    scored = encode([text], output_value=None, show_progress_bar=False)[0]
    ids = features["input_ids"][0].cpu().numpy()
    kept = np.asarray(scored["attention_mask"].cpu()).astype(bool)
    if kept.shape != ids.shape or len(scored["token_embeddings"]) != len(ids):
        raise _unknown(name)
    filled = features.get("query_expansion_positions")
    fills = np.zeros(len(ids), bool) if filled is None else filled[0].cpu().numpy().astype(bool)
    fills |= ~features["attention_mask"][0].cpu().numpy().astype(bool)
    tokenizer = getattr(model.tokenizer, "backend_tokenizer", None)
    if not isinstance(tokenizer, Tokenizer):
        raise _unknown(name)
    encoding = _same_tokens(tokenizer, prompt + text, ids[~fills])
    if encoding is None:
        raise _unknown(name)
    names = added_names(tokenizer)
    real: Iterator[Piece] = iter(pieces_of(encoding, text, prompt, names))
    every = [
        Piece(names.get(number) or str(tokenizer.id_to_token(number)), "expansion") if fill else next(real)
        for number, fill in zip(ids.tolist(), fills, strict=True)
    ]
    return [piece for piece, is_kept in zip(every, kept, strict=True) if is_kept]


def _same_tokens(tokenizer: Tokenizer, text: str, ids: np.ndarray) -> Encoding | None:
    """Return the encoding of a text that has these ids, or None where the tokenizer makes others of it."""
    own = Tokenizer.from_str(tokenizer.to_str())
    own.no_padding()
    own.no_truncation()
    encoding = own.encode(text)
    if len(encoding) > len(ids):
        own.enable_truncation(len(ids), direction=_direction(tokenizer))
        encoding = own.encode(text)
    return encoding if encoding.ids == ids.tolist() else None


def _direction(tokenizer: Tokenizer) -> str:
    return str((tokenizer.truncation or {}).get("direction", "right"))


def _unknown(name: str) -> InputError:
    return InputError(
        f"{name}: runs through sentence-transformers, and its tokenizer does not say which piece of a text each token "
        "is, so that its matches cannot be explained; its scores can be had with search"
    )
