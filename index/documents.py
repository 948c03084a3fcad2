"""The unit that a catalog holds and a search returns."""

import json
import math
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

    def metadata_json(self) -> str:
        """Return the metadata as JSON; what JSON lacks becomes a string, such as a date, or null, such as NaN."""
        metadata = dict(self.metadata)
        try:
            return json.dumps(metadata, ensure_ascii=False, default=str, allow_nan=False)
        except ValueError:
            return json.dumps(_without_nan(metadata), ensure_ascii=False, default=str, allow_nan=False)


def _without_nan(value: Any) -> Any:  # noqa: ANN401 - whatever a corpus holds
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _without_nan(item) for name, item in value.items()}
    return [_without_nan(item) for item in value] if isinstance(value, list | tuple) else value
