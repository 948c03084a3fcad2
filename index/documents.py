"""The unit that a catalog holds and a search returns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Document:
    """One text of a corpus.

    Attributes:
        id: Unique in its corpus, any non-empty string.
        text: The body.
        title: May be empty.
        metadata: Whatever else the corpus says of it, as JSON values.
    """

    id: str
    text: str
    title: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def content(self) -> str:
        """What an encoder reads: title and text joined by a blank, as BEIR does."""
        return f"{self.title} {self.text}".strip()
