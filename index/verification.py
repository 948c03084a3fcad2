"""Whether an index on disk is what its catalog says: files, counts, and the documents of every row."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np

from ..errors import ModernirError
from .catalog import Catalog
from .folder import damaged
from .rows import ENDING, Rows


def find_faults(folder: Path) -> list[str]:
    """Read everything again and return what is wrong, one line a fault.

    Files are compared with their checksums, and what segments and catalog say of each document with one another.
    """
    with closing(Catalog(folder)) as catalog:  # of its own: searches need not wait for it
        return _faults(folder, catalog)


def _faults(folder: Path, catalog: Catalog) -> list[str]:
    while True:
        if faults := catalog.damage():
            return faults
        with catalog.snapshot():
            version = catalog.version()
            try:
                faults = list(_faults_of_files(folder, catalog)) or list(_disagreements(folder, catalog))
            except (ModernirError, OSError) as error:
                faults = [str(error)]
        if not faults or catalog.version() == version:  # else a writer may have merged a file away meanwhile
            return faults


def _faults_of_files(folder: Path, catalog: Catalog) -> Iterator[str]:
    shared = catalog.shared_file()
    files = [file for segment in catalog.segments() for file in segment.files]
    for file in [*files, shared] if shared else files:
        if fault := damaged(folder, file):
            yield fault


def _disagreements(folder: Path, catalog: Catalog) -> Iterator[str]:
    dead, _ = catalog.tombstones()
    live = 0
    unknown: list[str] = []
    for segment in catalog.segments():
        rows = Rows(next(folder / file.name for file in segment.files if file.name.endswith(ENDING)))
        mask = rows.alive(dead)
        kept = np.arange(len(rows)) if mask is None else mask.rows
        live += len(kept)
        keys = catalog.keys(names := rows.ids(kept))
        unknown += [name for name, key in zip(names, rows.keys[kept].tolist(), strict=True) if keys.get(name) != key]
    documents = catalog.count()
    if live != documents:
        yield f"{folder}: the segments hold {live} live vectors for {documents} documents"
    elif unknown:
        yield f"{folder}: {len(unknown)} vectors belong to no document, such as {unknown[0]!r}'s"
