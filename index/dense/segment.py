"""An opened segment of single vectors, and what the JSON file beside its FAISS files says of them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from ...errors import InputError, ModernirError
from ...files import write_json
from ..masks import Mask
from . import exact
from .proposing import Effort, Rows, Structure
from .settings import Options
from .storage import damaged, open_index, read_about, seal
from .structures import reason

VECTORS, STRUCTURE, ABOUT = ".vectors.faiss", ".structure.faiss", ".dense.json"


def write_about(
    folder: Path, stem: str, storage: str, dim: int, rows: int, structure: Mapping[str, Any] | None
) -> list[str]:
    """Write what is to be known of a segment's files, the last of them; return the names of all.

    Args:
        folder: The index folder.
        stem: How the names of its files begin.
        storage: How the vectors are stored.
        dim: Length of a vector.
        rows: Vectors.
        structure: factory, effort and calibration of the structure; None where there is none.
    """
    names = [stem + VECTORS] + ([stem + STRUCTURE] if structure else [])
    about = {
        "storage": storage,
        "dim": dim,
        "rows": rows,
        "structure": structure,
        "files": {name.removeprefix(stem): seal(folder / name) for name in names},
    }
    write_json(folder / (stem + ABOUT), about)
    return [*names, stem + ABOUT]


class Segment:
    """An opened segment of vectors of length `dim`.

    Attributes:
        rows: Vectors in it, those of deleted documents included.
        settled: Whether it has the structure that its size calls for.
        flat: Its vectors, a flat index of FAISS that is mapped into memory.
        structure: What proposes rows; None where the vectors are searched alone.
        about: What the JSON file says.
    """

    def __init__(self, files: Sequence[Path], dim: int) -> None:
        paths = {path.name[path.name.index(".") :]: path for path in files}
        self.settled = True
        if ABOUT not in paths:
            raise ModernirError(f"{paths}: no segment of single vectors; rebuild the index")
        self.about = read_about(paths[ABOUT])
        try:
            sealed, facts = self.about["files"], self.about["structure"]
            self.rows = int(self.about["rows"])
            self.flat = open_index(paths[VECTORS], sealed[VECTORS])
            found = None if facts is None else open_index(paths[STRUCTURE], sealed[STRUCTURE])
            effort = None if facts is None else Effort(**facts["effort"])
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(paths[ABOUT], f"{error!r}") from error
        self.structure = None if found is None or effort is None else Structure(found, self.flat, effort)
        for index, ending in ((self.flat, VECTORS), (found, STRUCTURE)):
            if index is not None and (index.ntotal, index.d) != (self.rows, dim):
                raise damaged(paths[ending], f"{index.ntotal} vectors of {index.d}, expected {self.rows} of {dim}")

    def search(self, queries: np.ndarray, k: int, options: Options, mask: Mask | None) -> Rows:
        """Return the best rows of each query, and with them up to one more.

        Args:
            queries: (n, dim) float32, n at least 1.
            k: Rows a query.
            options: Of the search.
            mask: Rows that may be found; None for all.

        Returns:
            scores (n, m) float32 and rows (n, m) int64, m at least k or what may be found.
        """
        if mask is not None and mask.count == self.rows:
            mask = None
        allowed = self.rows if mask is None else mask.count
        if not allowed:
            return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        k = min(k, allowed)
        if options.device == "cuda" and mask is None:
            return self._search_on_gpu(queries, min(k + 1, allowed))
        if self.structure is None or options.exact or options.device == "cuda":
            return exact.search(self.flat, queries, k, mask)
        if mask is None:
            proposed: Rows | None = self.structure.search(queries, k, options)
        else:
            proposed = self.structure.search_allowed(queries, k, options, mask)
        if proposed is None:
            return exact.search(self.flat, queries, k, mask)
        return self._completed(proposed, queries, k, mask)

    def _completed(self, found: Rows, queries: np.ndarray, k: int, mask: Mask | None) -> Rows:
        """Search exactly for those queries of which the structure did not propose as many rows as there are."""
        scores, rows = found
        if (rows.item(-1) if len(rows) == 1 else rows[:, -1].min()) < 0:
            short = rows[:, -1] < 0
            exactly = exact.search(self.flat, queries[short], k, mask)
            scores[short], rows[short] = (part[:, :k] for part in _ordered(*exactly))
        return scores, rows

    def _search_on_gpu(self, queries: np.ndarray, width: int) -> Rows:
        try:
            found: Rows = self._on_gpu[1].search(queries, width)
        except RuntimeError as error:
            raise InputError(f"device cuda: {reason(error)}; search with device cpu") from error
        return found

    @cached_property
    def _on_gpu(self) -> tuple[Any, Any]:
        """The memory of the first GPU as FAISS manages it, and the vectors in it."""
        if not hasattr(faiss, "StandardGpuResources") or not faiss.get_num_gpus():
            raise InputError("device cuda: this FAISS finds no GPU; install faiss-gpu, or search with device cpu")
        resources = faiss.StandardGpuResources()
        return resources, faiss.index_cpu_to_gpu(resources, 0, self.flat)

    def vectors(self, start: int, stop: int) -> np.ndarray:
        """Return stored vectors, (stop − start, dim) float32."""
        found: np.ndarray = self.flat.reconstruct_n(start, stop - start)
        return found

    def vectors_of(self, rows: np.ndarray) -> np.ndarray:
        """Return the stored vectors of some rows, (n, dim) float32, by their numbers, (n,) int64."""
        found: np.ndarray = self.flat.reconstruct_batch(rows)
        return found

    def describe(self) -> dict[str, Any] | None:
        """Return the structure and how hard it searches, as JSON values."""
        facts = self.about["structure"]
        return None if self.structure is None else {**facts, "effort": asdict(self.structure.effort)}


def _ordered(scores: np.ndarray, rows: np.ndarray) -> Rows:
    order = np.lexsort((rows, -scores), axis=1)
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)
