"""What may be set when an index of single vectors is created, and what a search of it may ask for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import InputError

STORAGES = {"float32": "Flat", "float16": "SQfp16", "int8": "SQ8"}
"""How vectors may be stored, and FAISS's name of it."""
NAMED = ("auto", "flat", "pq", "ivfpq", "hnsw", "int8", "binary")
"""Structures that have a name of ours; any other is a factory string of FAISS."""
DEFAULTS: dict[str, Any] = {"structure": "auto", "storage": "float32", "target_recall": None, "seed": 0}
LOWEST_TARGET = 0.5


def checked_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with the defaults filled in; a factory string is checked with the length of the vectors later.

    Args:
        settings: structure: "auto", "flat", "pq", "ivfpq", "hnsw", "int8", "binary" or a FAISS factory string;
            storage: "float32", "float16" or "int8"; target_recall: None or the recall at 10 that searches are to reach,
            0.5 to 1; seed: of the training of structures.

    Raises:
        InputError: A name is unknown or a value is not one of its values.
    """
    if unknown := sorted(set(settings) - set(DEFAULTS)):
        raise InputError(f"unknown setting {unknown[0]!r} of a dense index; there are: {', '.join(DEFAULTS)}")
    found = {**DEFAULTS, **settings}
    if not isinstance(found["structure"], str) or not found["structure"]:
        raise InputError(f"structure {found['structure']!r}: expected {', '.join(NAMED)} or a FAISS factory string")
    if found["storage"] not in STORAGES:
        raise InputError(f"unknown storage {found['storage']!r}; expected one of {', '.join(STORAGES)}")
    target = found["target_recall"]
    if target is not None and not (_is_number(target) and LOWEST_TARGET <= target <= 1):
        raise InputError(f"target_recall {target!r}: expected a number from {LOWEST_TARGET} to 1, or none")
    if not isinstance(found["seed"], int) or isinstance(found["seed"], bool) or not 0 <= found["seed"] < 1 << 31:
        raise InputError(f"seed {found['seed']!r}: expected a whole number from 0 to {(1 << 31) - 1}")
    return found


@dataclass(frozen=True)
class Options:
    """What one search asks for; None leaves it to what the segment was calibrated to.

    Attributes:
        exact: Score all rows that may be found.
        nprobe: Lists of an inverted file to look into.
        k_factor: Rows that the structure proposes for every one that is asked for.
        ef: Breadth of the search in an HNSW graph.
        threads: Threads of FAISS for this search.
        device: "cpu", or "cuda" to score all rows on the first GPU, where FAISS has one; rows that tie for the last
            place are then any of them, and a mask sends the search to the CPU.
    """

    exact: bool = False
    nprobe: int | None = None
    k_factor: float | None = None
    ef: int | None = None
    threads: int | None = None
    device: str = "cpu"


NAMES = tuple(Options.__dataclass_fields__)
PLAIN = Options()


def checked_options(options: Mapping[str, Any]) -> Options:
    """Return the options of a search.

    Raises:
        InputError: A name is unknown or a value is out of its range.
    """
    if not options:
        return PLAIN
    if unknown := sorted(set(options) - set(NAMES)):
        raise InputError(f"unknown search option {unknown[0]!r} of a dense index; there are: {', '.join(NAMES)}")
    found = Options(**options)
    for name in ("nprobe", "ef", "threads"):
        value = getattr(found, name)
        if value is not None and not (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
            raise InputError(f"{name} {value!r}: expected a whole number of at least 1")
    if found.k_factor is not None and not (_is_number(found.k_factor) and 1 <= found.k_factor < float("inf")):
        raise InputError(f"k_factor {found.k_factor!r}: expected a number of at least 1")
    if not isinstance(found.exact, bool):
        raise InputError(f"exact {found.exact!r}: expected true or false")
    if found.device not in ("cpu", "cuda"):
        raise InputError(f"unknown device {found.device!r}; expected cpu or cuda")
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
