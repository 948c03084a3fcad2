"""Structures trained on a sample of a segment's vectors and filled in blocks, within a budget of memory."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from ...errors import InputError
from .calibration import QUERIES, calibrated
from .inverted import maps_lists, write_inverted
from .proposing import USUAL_K
from .storage import block_rows, write_index
from .structures import bytes_per_row, fewest_to_train, make, reason, rows_to_train, train


def build_structure(
    path: Path, factory: str, flat: faiss.Index, target: float | None, seed: int, memory: int
) -> dict[str, Any]:
    """Build a structure over stored vectors and write it to a file.

    An inverted file whose lists FAISS can map is filled in parts on disk when it is larger than the memory; any other
    structure is held whole while it is built.

    Args:
        path: The file.
        factory: FAISS's factory string.
        flat: The stored vectors.
        target: Recall at 10 to calibrate to; None for the usual one.
        seed: Of the sample, the training and the queries of the calibration.
        memory: Bytes that sample and blocks, and the structure as far as it can be cut, may take.

    Returns:
        What is to be remembered of it: the factory string, the effort to search with, and the recall that it reached.

    Raises:
        InputError: FAISS cannot build, write or search it.
    """
    try:
        index = _filled(path, make(factory, flat.d), flat, seed, memory)
        effort, recall = calibrated(index, flat, target, seed)
    except RuntimeError as error:  # such as a kind that FAISS cannot write to a file
        raise InputError(f"structure {factory!r} cannot be built: {reason(error)}; choose another") from error
    measured = {"recall": round(recall, 4), "k": USUAL_K, "queries": QUERIES, "target": target}
    return {"factory": factory, "effort": asdict(effort), "calibration": measured}


def _filled(path: Path, index: Any, flat: faiss.Index, seed: int, memory: int) -> Any:  # noqa: ANN401
    """Train and fill a structure, write it to a file and return it."""
    if not index.is_trained:
        train(index, _sample(flat, index, seed, memory), seed)
    step = block_rows(flat.d, memory)
    if maps_lists(index) and bytes_per_row(index) * flat.ntotal > memory / 2:
        write_inverted(path, index, _blocks(flat, step), max(step, int(memory / 4 / bytes_per_row(index))))
        return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    for block in _blocks(flat, step):
        index.add(block)
    write_index(path, index)
    return index


def _sample(flat: Any, index: Any, seed: int, memory: int) -> np.ndarray:  # noqa: ANN401
    """Return the rows to train with, (n, dim) float32, in the order in which they are stored."""
    fits = max(fewest_to_train(index), memory // (4 * 4 * flat.d))
    wanted = min(flat.ntotal, rows_to_train(index), fits)
    if wanted == flat.ntotal:
        found: np.ndarray = flat.reconstruct_n(0, flat.ntotal)
    else:
        rows = np.random.default_rng(seed).choice(flat.ntotal, wanted, replace=False, shuffle=False)
        found = flat.reconstruct_batch(np.sort(rows))
    return found


def _blocks(flat: Any, step: int) -> Iterator[np.ndarray]:  # noqa: ANN401
    for start in range(0, flat.ntotal, step):
        yield flat.reconstruct_n(start, min(step, flat.ntotal - start))
