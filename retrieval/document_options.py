"""How a multi-vector encoder reads documents: what an index records of it, and what later documents must agree with."""

from collections.abc import Mapping
from typing import Any

from ..errors import InputError
from ..index.index import Index
from .encoder import Encoder

NAMES = ("document_length", "overlap", "pool_factor")
"""Settings of `load_encoder`, and attributes of what it returns, that change the rows of a document and no query's."""


def document_options(encoder: object) -> dict[str, float | None]:
    """Return the settings of an encoder; a dense one has none."""
    return {name: getattr(encoder, name, None) for name in NAMES} if getattr(encoder, "kind", "") == "late" else {}


def recorded_options(index: Index) -> dict[str, Any]:
    """Return the settings that an index records, those with a value, as `load_encoder` takes them."""
    recorded = (index.setting("encoder") or {}).get("documents") or {}
    return {name: recorded[name] for name in NAMES if recorded.get(name) is not None}


def difference(recorded: Mapping[str, Any] | None, encoder: Encoder) -> str | None:
    """Name the first setting in which an index and an encoder differ, with both values.

    Args:
        recorded: What the index records of its encoder; without settings of documents, nothing is compared.
        encoder: The one that is to add to it.
    """
    before = (recorded or {}).get("documents") or {}
    present = document_options(encoder)
    for name in NAMES:
        if name in before and name in present and before[name] != present[name]:
            return f"made with {name} {_shown(before[name])}, not {_shown(present[name])}"
    return None


def check_options(index: Index, encoder: Encoder) -> None:
    """Refuse an encoder that reads documents otherwise than those that an index holds were read.

    Raises:
        InputError: A setting differs; the message names both values.
    """
    different = difference(index.setting("encoder"), encoder)
    if different is not None:
        raise InputError(
            f"{index.path}: {different} as in this encoder; add with the former (the default where no encoder is "
            "given), or index again"
        )


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.15g}"
