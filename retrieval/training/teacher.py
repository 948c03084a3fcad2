"""A teacher model that training follows: it encodes every text once, before the first step; batches look it up."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sentence_transformers.base.data_collator import BaseDataCollator

from ...encoders.checkpoint import open_checkpoint
from ...encoders.embedding_shards import Layout
from ...encoders.embedding_store import EmbeddingStore, text_key
from ...encoders.loading import load_encoder
from ...files import read_json, write_json
from ...progress import progress
from .data import is_text
from .losses.cached import TEACHER
from .losses.dense import CachedDenseLoss
from .processes import first_does
from .rotation import dense_rows, kept, load_rotation, turned
from .settings import TrainingSettings

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer

    from .trainer import GuardedTrainer

FOLDER = "teacher"
ABOUT = "teacher.json"
TEXTS_A_SHARD = 8192
"""Texts that are encoded again at most where a run was killed."""
ROWS_AT_ONCE = 1024
ROTATION = "rotation.npy"
TEXTS_A_NUMBER = 4
"""Queries, for each number of an embedding, that a model and its teacher are compared on before the first step."""


class Taught(BaseDataCollator):
    """Puts a teacher's embeddings beside the texts of a batch.

    Attributes:
        teacher: Where they are; None adds nothing.
    """

    teacher: EmbeddingStore | None = None

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the tokenised batch, with `{column}_teacher`, (examples, teacher's width) float32."""
        batch = super().__call__(features)
        if self.teacher is not None:
            for column in filter(is_text, features[0]):
                if f"{column}_input_ids" in batch:
                    keys = _keys(column, [row[column] for row in features])
                    batch[f"{column}_{TEACHER}"] = torch.from_numpy(dense_rows(self.teacher, keys))
        return batch


def follow(trainer: "GuardedTrainer", settings: TrainingSettings, folder: Path, examples: "Dataset") -> None:
    """Let a trainer follow the teacher that the settings name, which encodes what it has not encoded yet.

    Args:
        trainer: Its collator is a `Taught`, its loss takes a teacher's embeddings.
        settings: See `TrainingSettings`.
        folder: Where the embeddings are kept if the settings do not say it.
        examples: All that is trained on.

    Raises:
        InputError: The teacher cannot be loaded or is no dense model, or a file of the cache is damaged.
    """
    cache_folder = Path(settings.teacher_cache) if settings.teacher_cache else folder / FOLDER
    keys = _all_keys(examples)
    first_does(lambda: _encode(settings.teacher or "", cache_folder, examples, keys))
    cache = _open(settings.teacher or "", cache_folder)
    trainer.data_collator.teacher = cache
    if isinstance(trainer.loss, CachedDenseLoss) and trainer.loss.goals.embedding_weight:
        width = trainer.model.get_embedding_dimension()
        if trainer.loss.dims or width != cache.dim:
            found = np.unique(np.concatenate(list(keys.values())))
            found = found[found != 0]

            def directions() -> np.ndarray:
                return load_rotation(cache, found, width, settings.seed)

            # of new weights there is nothing to keep; sizes within an embedding need the principal direction first
            if settings.model and not trainer.loss.dims:
                file = folder / ROTATION
                rotation = first_does(lambda: kept(file, lambda: _turned(directions(), trainer.model, cache, examples)))
            else:
                rotation = first_does(directions)
            trainer.loss.rotation = torch.from_numpy(rotation).to(trainer.model.device)


def _turned(
    directions: np.ndarray, model: "SentenceTransformer", cache: EmbeddingStore, examples: "Dataset"
) -> np.ndarray:
    """Turn a teacher's directions towards what the model says of some queries, so that training goes on from there."""
    step = max(1, len(examples) // (TEXTS_A_NUMBER * directions.shape[1]))
    texts = examples.select(range(0, len(examples), step))["query"][:]
    said = model.encode_query(texts, normalize_embeddings=True)
    return turned(directions, dense_rows(cache, _keys("query", texts)), said)


def _keys(column: str, texts: Sequence[str]) -> np.ndarray:
    task = "query" if column == "query" else "document"
    return np.array([text_key(task, text) for text in texts], dtype=np.uint64)


def _all_keys(examples: "Dataset") -> dict[str, np.ndarray]:
    """Return the keys of each column's texts, 0 where there is none."""
    columns = list(filter(is_text, examples.column_names))
    keys = {column: np.zeros(len(examples), dtype=np.uint64) for column in columns}
    begin = 0
    for rows in examples.select_columns(columns).iter(ROWS_AT_ONCE):
        for column, texts in rows.items():
            there = [place for place, text in enumerate(texts, begin) if text is not None]
            keys[column][there] = _keys(column, [text for text in texts if text is not None])
        begin += len(texts)
    return keys


def _open(teacher: str, folder: Path, about: dict[str, Any] | None = None) -> EmbeddingStore:
    own = folder / open_checkpoint(teacher).fingerprint()
    if about is not None:
        write_json(own / ABOUT, about)
    found = read_json(own / ABOUT)
    return EmbeddingStore(own, Layout(found["dtype"], found["dim"]))


def _encode(teacher: str, folder: Path, examples: "Dataset", keys: dict[str, np.ndarray]) -> None:
    """Encode the texts that the cache does not hold; the teacher is only loaded where there are any."""
    if (folder / open_checkpoint(teacher).fingerprint() / ABOUT).is_file():
        cache = _open(teacher, folder)
        missing = _missing(cache, keys)
        if not any(map(len, missing.values())):
            return
    encoder = load_encoder(teacher, kind="dense")
    # cosines need no more than 16 bits; what is compared by length may be beyond them
    dtype = "float16" if encoder.similarity == "cosine" else "float32"
    cache = _open(teacher, folder, {"model": encoder.name, "dim": encoder.dim, "dtype": dtype})
    missing = _missing(cache, keys)
    total = sum(map(len, missing.values()))

    def shards() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        done = 0
        with progress("teacher", total, "texts") as report:
            for column, rows in missing.items():
                encode = encoder.encode_queries if column == "query" else encoder.encode_documents
                texts = examples.select_columns([column])
                for begin in range(0, len(rows), TEXTS_A_SHARD):
                    shard = rows[begin : begin + TEXTS_A_SHARD]
                    vectors = np.empty((len(shard), encoder.dim), dtype=np.float32)
                    for place in range(0, len(shard), encoder.block_size):
                        block = shard[place : place + encoder.block_size]
                        vectors[place : place + len(block)] = encode(texts[block.tolist()][column])
                        done += len(block)
                        report(done)
                    yield keys[column][shard], _normalised(vectors) if encoder.similarity == "cosine" else vectors

    for own, vectors in shards():
        cache.put(own, vectors.astype(dtype))


def _missing(cache: EmbeddingStore, keys: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the rows of each column that are to be encoded, in order; of a text that comes again, the first alone."""
    names = list(keys)
    together = np.concatenate([keys[name] for name in names])
    found, first = np.unique(together, return_index=True)
    first = np.sort(first[(found != 0) & ~cache.holds(found)])
    rows = len(together) // len(names)
    return {name: first[first // rows == place] - place * rows for place, name in enumerate(names)}


def _normalised(vectors: np.ndarray) -> np.ndarray:
    lengths: np.ndarray = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(lengths, 1e-12)
