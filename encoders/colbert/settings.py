"""How a ColBERT reads texts and what it makes of the network's states: one description for checkpoints of any format.

Khattab and Zaharia, "ColBERT" (2020), arXiv 2004.12832: markers for queries and documents, queries filled up with
[MASK], a projection, rows of length 1, and no rows for the punctuation of documents.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Expansion:
    """Queries are filled up with a token, whose vectors are matched like any other.

    Attributes:
        length: Tokens that a query has at least.
        fixed: Whether it also has no more.
        attended: Whether the query's own tokens see those that fill it up, and these one another.
        token: Which; None is the tokenizer's mask, or its end-of-text where it has none.
    """

    length: int
    fixed: bool
    attended: bool
    token: str | None = None


@dataclass(frozen=True)
class TokenPooling:
    """Like tokens of a text are merged; see `pooling`.

    Attributes:
        factor: Tokens that one vector stands for on average, at least 1.
        protected: Tokens at the beginning that stay as they are.
        normalized: Whether the result has rows of length 1.
        tasks: Of "query" and "document", what is pooled.
    """

    factor: float = 1.0
    protected: int = 1
    normalized: bool = True
    tasks: tuple[str, ...] = ("document",)


@dataclass(frozen=True)
class LateOptions:
    """What a caller asks of a multi-vector encoder; see `load_encoder`.

    Attributes:
        pool_factor: Tokens of a document that one vector stands for; None is what the checkpoint says.
        document_length: Tokens of a document that are read at once; None is what the checkpoint says.
        overlap: Tokens that the windows of a longer document share; None cuts it.
        row_type: Type of documents' rows, "float32", "float16" or "int8".
    """

    pool_factor: float | None = None
    document_length: int | None = None
    overlap: int | None = None
    row_type: str = "float32"


@dataclass(frozen=True)
class ColbertSettings:
    """What a checkpoint says, whatever its format.

    Attributes:
        source: The file that errors name.
        prompts: Text before each "query" and "document".
        markers: Token after the first of each "query" and "document"; a task without one is not in it.
        lengths: Tokens read of each "query" and "document", special tokens and marker included.
        expansion: How queries are filled up, or None.
        skiplist: Tokens whose vectors are left out.
        skiplist_tasks: Of "query" and "document", where they are.
        kept_ids: Ids of the only tokens whose vectors are kept in documents, or None for all.
        steps: Modules that map vectors to vectors, (class, folder) in order: "Dense", "Normalize", or "Linear", a
            matrix among the network's weights.
        pooling: What merges like tokens, or None.
        foreign: The first module that only sentence-transformers runs, or None.
    """

    source: Path
    prompts: Mapping[str, str]
    markers: Mapping[str, str]
    lengths: Mapping[str, int]
    expansion: Expansion | None = None
    skiplist: tuple[str, ...] = ()
    skiplist_tasks: tuple[str, ...] = ("document",)
    kept_ids: tuple[int, ...] | None = None
    steps: tuple[tuple[str, Path], ...] = ()
    pooling: TokenPooling | None = None
    foreign: str | None = None

    @property
    def unit(self) -> bool:
        """Whether all that comes out has rows of length 1."""
        normalized = bool(self.steps) and self.steps[-1][0] == "Normalize"
        return normalized and (self.pooling is None or self.pooling.normalized)
