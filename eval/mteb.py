"""Encoders and retrievers inside mteb's evaluator, so that a leaderboard's figures come from its own code.

`MtebEncoder` is for all of mteb's tasks and models of one vector a text. `MtebSearcher` is for retrieval tasks and any
model and way to search: an index is built of the task's corpus and asked, as everywhere else in this package.
"""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..index.documents import Document
from ..retrieval.encoder import Encoder, kind_of
from ..retrieval.retriever import Retriever
from ..retrieval.words import ENGINE, Words
from .ways import Way

if TYPE_CHECKING:
    import torch

EXACT = {"dense": Way(engine={"structure": "flat"}), "late": Way(options={"exact": True}, engine={"nbits": 32})}
"""Kind of vectors to the search that compares with all of them as they are."""


def _mteb() -> ModuleType:
    try:
        import mteb
    except ImportError as error:
        raise InputError('mteb is not installed; add it with: pip install "modernir[mteb]"') from error
    return mteb


def _described(encoder: Encoder, name: str) -> Any:  # noqa: ANN401 - mteb's ModelMeta
    """Return what mteb records of a model."""
    similarity = "MaxSim" if kind_of(encoder) == "late" else encoder.similarity
    facts = {
        "name": f"modernir/{name}",
        "revision": encoder.fingerprint,
        "max_tokens": encoder.max_length,
        "embed_dim": encoder.dim,
        "use_instructions": bool(encoder.query_prompt or encoder.document_prompt),
        "similarity_fn_name": similarity,
    }
    return _mteb().models.ModelMeta.create_empty(overwrites=facts)


class MtebEncoder:
    """A model of one vector a text as mteb's EncoderProtocol.

    Queries have the model's query prompt, all other texts its document prompt; mteb's own prompts are not used.

    Args:
        encoder: What `modernir.load_encoder` returns.

    Raises:
        InputError: mteb is not installed, or the model has a vector for each token.
    """

    def __init__(self, encoder: Encoder) -> None:
        if kind_of(encoder) != "dense":
            raise InputError(f"{encoder.name}: makes one vector a token; evaluate it with MtebSearcher")
        self._encoder = encoder
        self._meta = _described(encoder, Path(encoder.name).name)

    @property
    def mteb_model_meta(self) -> Any:  # noqa: ANN401 - mteb's ModelMeta
        """What mteb records of the model."""
        return self._meta

    def encode(
        self,
        inputs: Iterable[Mapping[str, Sequence[str]]],
        *,
        prompt_type: str | None = None,
        **task: Any,  # noqa: ANN401 - which task it is makes no difference
    ) -> np.ndarray:
        """Return the vectors of texts, (n, dim) float32.

        Args:
            inputs: Batches with their texts under "text".
            prompt_type: "query", "document" or None, which is taken for "document".
            task: Not used.
        """
        texts = [text for batch in inputs for text in batch["text"]]
        is_query = prompt_type is not None and str(getattr(prompt_type, "value", prompt_type)) == "query"
        return self._encoder.encode_queries(texts) if is_query else self._encoder.encode_documents(texts)

    def similarity(self, one: Any, other: Any) -> "torch.Tensor":  # noqa: ANN401 - arrays or tensors
        """Return the similarity of each of n vectors with each of m, (n, m)."""
        left, right = self._comparable(one), self._comparable(other)
        return left @ right.T

    def similarity_pairwise(self, one: Any, other: Any) -> "torch.Tensor":  # noqa: ANN401 - arrays or tensors
        """Return the similarity of each of n vectors with the one in its place, (n,)."""
        return (self._comparable(one) * self._comparable(other)).sum(-1)

    def _comparable(self, vectors: Any) -> "torch.Tensor":  # noqa: ANN401 - an array or a tensor
        import torch

        found = torch.atleast_2d(torch.as_tensor(vectors).float())
        return torch.nn.functional.normalize(found, dim=-1) if self._encoder.similarity == "cosine" else found


class MtebSearcher:
    """A model, or BM25, with a way to search as mteb's SearchProtocol.

    Args:
        encoder: What `modernir.load_encoder` returns; None for a lexical search.
        way: How to search; None compares with all vectors, uncompressed.

    Raises:
        InputError: mteb is not installed, the model cannot do what `way` asks for, or there is none and one is needed.
    """

    def __init__(self, encoder: Encoder | None, way: Way | None = None) -> None:
        if encoder is None and (way is None or way.needs_encoder):
            raise InputError("no model given; only a lexical search does without one")
        self._encoder: Encoder = Words() if encoder is None else encoder
        self._way = way if way is not None else EXACT[kind_of(self._encoder)]
        if encoder is not None:
            self._way.check(encoder)
        label = self._way.label(kind_of(self._encoder)) if way is not None and encoder is not None else ""
        self._meta = _described(self._encoder, " ".join(filter(None, [Path(self._encoder.name).name, label])))
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._retriever: Retriever | None = None

    @property
    def mteb_model_meta(self) -> Any:  # noqa: ANN401 - mteb's ModelMeta
        """What mteb records of the model."""
        return self._meta

    def index(self, corpus: Iterable[Mapping[str, Any]], **task: Any) -> None:  # noqa: ANN401 - as mteb passes them
        """Build an index of a corpus, which takes the place of the one before.

        Args:
            corpus: Rows with "id", "text" and perhaps "title".
            task: Not used.
        """
        self.close()
        self._folder = tempfile.TemporaryDirectory(prefix="modernir-mteb-")
        engine = self._way.engine if self._way.needs_encoder else ENGINE
        self._retriever = Retriever.create(Path(self._folder.name) / "index", self._encoder, **engine)
        self._retriever.add(_documents(corpus))
        self._retriever.index.compact()

    def search(
        self,
        queries: Iterable[Mapping[str, Any]],
        *,
        top_k: int,
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        **task: Any,  # noqa: ANN401 - as mteb passes them
    ) -> dict[str, dict[str, float]]:
        """Return query id to document id to score.

        Args:
            queries: Rows with "id", "text" and perhaps "instruction", which is put behind the text.
            top_k: Documents a query.
            top_ranked: Query id to the documents that are to be scored in place of a search, in tasks of reranking.
            task: Not used.

        Raises:
            InputError: `index` was not called before, or documents of others are to be scored without a model.
        """
        if self._retriever is None:
            raise InputError("nothing to search; mteb calls index first")
        rows = list(queries)
        ids, texts = [str(row["id"]) for row in rows], [_query_text(row) for row in rows]
        if top_ranked is None:
            depth = top_k if self._way.rerank is None else max(top_k, self._way.rerank)
            found = self._retriever.search_ids(texts, depth, **self._arguments(depth))
            return {query: dict(hits[:top_k]) for query, hits in zip(ids, found, strict=True)}
        if not self._way.needs_encoder:
            raise InputError("a lexical search has no scores for the documents of another; rerank with a model")
        wanted = [list(top_ranked.get(query, ())) for query in ids]
        scores = self._retriever.index.score(self._encoder.encode_queries(texts), wanted)
        ranked = (
            sorted(zip(scored.tolist(), docs, strict=True), reverse=True) for scored, docs in _pairs(scores, wanted)
        )
        return {query: {doc: score for score, doc in best[:top_k]} for query, best in zip(ids, ranked, strict=True)}

    def close(self) -> None:
        """Close the index and remove it from disk."""
        if self._retriever is not None:
            self._retriever.close()
        if self._folder is not None:
            self._folder.cleanup()
        self._retriever = self._folder = None

    def _arguments(self, depth: int) -> dict[str, Any]:
        return self._way.arguments() | ({} if self._way.rerank is None else {"rerank": depth})


def _pairs(scores: Sequence[np.ndarray], ids: Sequence[list[str]]) -> Iterator[tuple[np.ndarray, list[str]]]:
    """Return scores with ids, without the documents that the index does not hold."""
    for row, names in zip(scores, ids, strict=True):
        here = np.flatnonzero(row > -np.inf)
        yield row[here], [names[place] for place in here]


def _documents(corpus: Iterable[Mapping[str, Any]]) -> Iterator[Document]:
    return (Document(str(row["id"]), row["text"], row.get("title") or "") for row in corpus)


def _query_text(row: Mapping[str, Any]) -> str:
    return f"{row['text']} {row['instruction']}" if row.get("instruction") else str(row["text"])
