"""A way to search: what a benchmark is searched by, with which settings, in an index of which settings.

The settings go into a report, where they decide whether it answers the same question, and into the name of the folder
that it lies in, so that two ways of one model never overwrite each other.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import InputError
from ..index.bm25 import BM25, DEFAULT
from ..index.kinds import check_known, checked_kind
from ..retrieval.encoder import Encoder, kind_of
from ..retrieval.modes import MODES

_UNSAFE = re.compile(r"[^A-Za-z0-9._,=+-]+")


@dataclass(frozen=True)
class Way:
    """How a benchmark is searched; by default by the encoder's vectors, in an index as it is made by itself.

    Attributes:
        mode: "dense" or "late", as the encoder; "lexical", "hybrid"; None for the encoder's vectors.
        rerank: Documents of the search that are ordered by their exact scores; None for none.
        options: Settings of the vector search: `exact`, `nprobe`, `candidates`; see `Index.search`.
        engine: Settings of the index: `structure`, `nbits`, `target_recall`; see `Index.create`.
        encoder: What the encoder was asked for when it was loaded, such as `precision` or `pool_factor`. It names
            results and indexes apart; the encoder itself is told by whoever loads it.
        bm25: How words are scored, in the modes that go by them.

    Raises:
        InputError: There is no such mode, or settings contradict each other.
    """

    mode: str | None = None
    rerank: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    engine: Mapping[str, Any] = field(default_factory=dict)
    encoder: Mapping[str, Any] = field(default_factory=dict)
    bm25: BM25 = DEFAULT

    def __post_init__(self) -> None:
        if self.mode is not None and self.mode not in MODES:
            raise InputError(f"unknown mode {self.mode!r}; expected one of {', '.join(MODES)}")
        if self.rerank is not None and self.rerank < 1:
            raise InputError(f"rerank {self.rerank}: expected at least 1 document")
        beside = [name for name, value in self.options.items() if name in ("nprobe", "candidates") and value]
        if self.options.get("exact") and beside:
            raise InputError(f"exact search compares with every document; leave out {_listed(beside)} or exact")
        if self.bm25 != DEFAULT and self.mode not in ("lexical", "hybrid"):
            raise InputError(f"BM25 with {self.bm25}: no words are searched for; choose mode lexical or hybrid")
        if self.mode == "lexical":
            idle = list(self.options) if self.rerank else [*self.options, *self.engine, *self.encoder]
            if idle:
                raise InputError(f"a lexical search goes by words alone; leave out {_listed(idle)}")

    @property
    def needs_encoder(self) -> bool:
        """Whether vectors have any part in it."""
        return self.mode != "lexical" or self.rerank is not None

    def check(self, encoder: Encoder) -> None:
        """Refuse what this encoder, or an index of its vectors, cannot do.

        Raises:
            InputError: The mode is of other vectors, or a setting is not known to indexes of the encoder's kind.
        """
        kind = kind_of(encoder)
        self.check_kind(encoder.name, kind)
        if self.engine:
            checked_kind(kind, encoder.dim, encoder.similarity, self.engine)

    def check_kind(self, name: str, kind: str) -> None:
        """Refuse a mode, a setting of the index or an option of the search that this kind of encoder does not have.

        Args:
            name: What to call the encoder.
            kind: "dense" or "late".

        Raises:
            InputError: It has not.
        """
        if self.mode in ("dense", "late") and self.mode != kind:
            one = {"dense": "one vector a text", "late": "one vector a token"}[kind]
            raise InputError(f"{name}: makes {one}; search with mode {kind}, lexical or hybrid, not {self.mode}")
        if self.engine or self.options:
            check_known(kind, self.engine, self.options)

    def arguments(self, more: int = 0) -> dict[str, Any]:
        """Return what `Retriever.search_ids` takes; `more` results may be dropped afterwards."""
        rerank = {} if self.rerank is None else {"rerank": self.rerank + more}
        words = {} if self.bm25 == DEFAULT else {"bm25": self.bm25}
        return ({} if self.mode is None else {"mode": self.mode}) | rerank | words | dict(self.options)

    def settings(self, kind: str) -> dict[str, Any]:
        """Return what a report keeps of it, as JSON values.

        Args:
            kind: The encoder's.
        """
        rerank = {} if self.rerank is None else {"rerank": self.rerank}
        search = {"mode": self.mode or kind} | rerank | self._words | dict(self.options)
        return {"search": search, "index": dict(self.engine)}

    def label(self, kind: str) -> str:
        """Return its name in folders and tables, such as `nbits=2,hybrid,rerank=200`; empty for the default.

        Args:
            kind: The encoder's, whose own mode goes without saying; "lexical" where there is none.
        """
        mode = [self.mode] if self.mode not in (None, kind) else []
        words = [str(self.bm25)] if self.bm25 != DEFAULT else []
        rerank = {} if self.rerank is None else {"rerank": self.rerank}
        return ",".join([*_named({**self.encoder, **self.engine}), *mode, *words, *_named({**rerank, **self.options})])

    @property
    def _words(self) -> dict[str, Any]:
        different = self.bm25.different()
        return {"bm25": different} if different else {}

    @property
    def index_label(self) -> str:
        """Name of the index that it searches, beside others of the same model and corpus; empty for the default."""
        return ",".join(_named({**self.encoder, **self.engine})) if self.needs_encoder else "lexical"


def _named(settings: Mapping[str, Any]) -> list[str]:
    """Return `name=value` of settings, or the name where the value is True, as a folder may be called."""
    words = [name if value is True else f"{name}={value}" for name, value in settings.items() if value is not None]
    return [_UNSAFE.sub("-", word) for word in words]


def _listed(names: list[str]) -> str:
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else names[0]
