"""Which structure of FAISS answers for how many vectors: the names of ours, their factory strings, what they cost.

A structure only proposes rows; the stored vectors then score them. So it may be coarse: 4-bit product codes of four
dimensions each, scanned in registers (fast-scan, André et al. 2015, https://arxiv.org/abs/1812.09162), with an inverted
file in front where there are many rows.
"""

import math
import re
from collections.abc import Iterator
from typing import Any

import faiss
import numpy as np

from ...errors import InputError
from .settings import NAMED

FLAT_BELOW = 20_000
"""Rows below which `auto` scores all: 1 ms for 384 dimensions, and nothing to train."""
LISTS_FROM = 300_000
"""Rows from which `auto` puts an inverted file in front of the codes: a scan of all would take 0.7 ms."""
FEWEST_ROWS = 1000
"""Rows below which no structure is built, whichever is named."""
ID_BYTES = 8
HNSW_LINKS = 32


def factory_for(structure: str, rows: int, dim: int, storage: str, memory: int) -> str | None:
    """Return the factory string of the structure for so many rows; None where the stored vectors are searched alone.

    Args:
        structure: The setting.
        rows: Rows of the segment.
        dim: Length of a vector.
        storage: The setting.
        memory: Bytes that building may take.
    """
    if structure == "flat" or rows < FEWEST_ROWS or (structure == "auto" and rows < FLAT_BELOW):
        return None
    if structure not in NAMED:
        return structure if rows >= fewest_to_train(make(structure, dim)) else None
    if structure == "int8":
        return None if storage == "int8" else "SQ8"
    if structure == "hnsw":
        return f"HNSW{HNSW_LINKS}_SQ8"
    if structure == "binary":
        return "RaBitQ"
    pieces = _pieces(dim, 4)
    if structure == "pq" or (structure == "auto" and rows < LISTS_FROM):
        return f"PQ{pieces}x4fs"
    if structure == "auto" and rows * (pieces / 2 + ID_BYTES) > memory:
        return f"IVF{_lists(rows)},PQ{_pieces(dim, 8)}"  # fast-scan codes cannot be mapped, these can
    return f"IVF{_lists(rows)},PQ{pieces}x4fs"


def _lists(rows: int) -> int:
    """Return the number of inverted lists: the power of two next to √rows."""
    return int(2 ** round(math.log2(math.sqrt(rows))))


def _pieces(dim: int, width: int) -> int:
    """Return the fewest equal pieces of at most `width` dimensions that a vector can be cut into."""
    return next(pieces for pieces in range(-(-dim // width), dim + 1) if dim % pieces == 0)


def make(factory: str, dim: int) -> Any:  # noqa: ANN401 - FAISS's
    """Return an empty structure.

    Raises:
        InputError: FAISS does not know the string, cannot make it for inner products or this length of vectors, or it
            is one that keeps ids or refines by itself.
    """
    try:
        index = faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"structure {factory!r} for vectors of {dim}: {reason(error)}") from error
    if index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise InputError(f"structure {factory!r}: FAISS makes it for Euclidean distances only; choose another")
    if isinstance(index, faiss.IndexRefine | faiss.IndexIDMap):
        raise InputError(f"structure {factory!r}: leave out Refine and IDMap; stored vectors refine every structure")
    return index


def reason(error: BaseException) -> str:
    """Return what FAISS says in an exception, without the place in its sources."""
    text = " ".join(str(error).split())
    return re.sub(r"^Error in .*? at \S+:\d+: (Error: )?", "", text)


def parts(index: Any) -> Iterator[Any]:  # noqa: ANN401
    """Yield a structure and the structures inside it: behind transforms, and the coarse quantiser."""
    index = faiss.downcast_index(index)
    yield index
    if isinstance(index, faiss.IndexPreTransform):
        yield from parts(index.index)
    elif isinstance(index, faiss.IndexIVF | faiss.IndexIVFFastScan):
        yield from parts(index.quantizer)
    elif isinstance(index, faiss.IndexHNSW):
        yield from parts(index.storage)


def train(index: Any, sample: np.ndarray, seed: int) -> None:  # noqa: ANN401
    """Train a structure, the same for the same seed, and without a warning on stderr where rows are few.

    Args:
        index: An empty structure.
        sample: (n, dim) float32.
        seed: Of the clusterings.
    """
    rotations = []
    for part in parts(index):
        parameters = [part.cp] if hasattr(part, "cp") else []
        parameters += [getattr(part, codes).cp for codes in ("pq", "rq") if hasattr(part, codes)]
        for rotation in _rotations(part):
            codes = faiss.ProductQuantizer(rotation.d_out, rotation.M, 8)
            parameters.append(codes.cp)
            rotation.pq = codes
            rotations.append((rotation, codes))  # FAISS points to the codes and does not own them
        for clustering in parameters:
            clustering.seed = seed
            clustering.min_points_per_centroid = 1
        if hasattr(part, "do_polysemous_training"):
            part.do_polysemous_training = False  # half a minute, for a kind of search that is not used here
    index.train(sample)
    for rotation, _ in rotations:
        rotation.pq = None


def _rotations(part: Any) -> list[Any]:  # noqa: ANN401
    """Return the transforms in front of a structure that are trained with a product quantiser of their own."""
    if not isinstance(part, faiss.IndexPreTransform):
        return []
    chain = [faiss.downcast_VectorTransform(part.chain.at(number)) for number in range(part.chain.size())]
    return [transform for transform in chain if isinstance(transform, faiss.OPQMatrix)]


def fewest_to_train(index: Any) -> int:  # noqa: ANN401
    """Return the rows without which the clusterings of a structure cannot be trained."""
    wanted = [FEWEST_ROWS]
    for part in parts(index):
        wanted += [part.nlist] if hasattr(part, "nlist") else []
        wanted += [part.pq.ksub] if hasattr(part, "pq") else []
    return max(wanted)


def rows_to_train(index: Any) -> int:  # noqa: ANN401
    """Return the rows that training gains from: 64 a list, 256 a centroid of a product quantiser, 10,000 at least."""
    wanted = [10_000]
    for part in parts(index):
        wanted += [64 * part.nlist] if hasattr(part, "nlist") else []
        wanted += [256 * part.pq.ksub] if hasattr(part, "pq") else []
    return max(wanted)


def bytes_per_row(index: Any) -> float:  # noqa: ANN401
    """Return the bytes of memory that a row takes in a structure while it is filled, about."""
    size = float(index.sa_code_size()) if _has_code_size(index) else 4.0 * index.d
    graph = any(isinstance(part, faiss.IndexHNSW) for part in parts(index))
    return size + ID_BYTES + (8 * HNSW_LINKS + 16 if graph else 0)


def _has_code_size(index: Any) -> bool:  # noqa: ANN401
    try:
        index.sa_code_size()
    except RuntimeError:
        return False
    return True
