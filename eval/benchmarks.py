"""The registry of benchmarks as one table; a new benchmark is one more entry in the module of its family.

Sizes are there to notice a wrong or damaged copy. What no source tells is left out: sizes are then None.
"""

from collections.abc import Mapping

from .registry import beir, code, longembed, mldr, nanobeir
from .registry.entry import Entry
from .registry.published import SOURCES

__all__ = ["BENCHMARKS", "SOURCES", "Entry", "parts"]

BENCHMARKS: Mapping[str, Entry] = {
    entry.name: entry for family in (beir, mldr, code, nanobeir, longembed) for entry in family.ENTRIES
}
"""Name to entry."""


def parts(family: str) -> list[str]:
    """Return the names of a family's benchmarks, `mldr/ar` and so on for `mldr`."""
    return [name for name in BENCHMARKS if name.startswith(f"{family}/")]
