"""Makes the folder that `cached` reads: token vectors of a BEIR set, larger collections of noisy copies, exact answers.

What is there already is kept, so that a run that was cut short goes on. Encoding SciFact takes some minutes of two
cores, the collection of ten million tokens three gigabytes of disk and some minutes more.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from modernir.errors import InputError
from modernir.files import atomic_write, write_json

from .cached import DIM, SIZES, Size, Tokens, document_files, exact_file, load_tokens, noisy
from .truth import best_of, maxsim

DOCUMENT_PIECES = 300
QUERY_PIECES = 34
"""Word pieces of a query; two of them are special and dropped."""


def prepare(data: str, folder: Path, sizes: Iterable[str]) -> None:
    """Make what is missing of the collections of these sizes.

    Args:
        data: A BEIR set's folder; its test queries are used.
        folder: Where the files are kept.
        sizes: Names of `cached.SIZES`.

    Raises:
        InputError: The set cannot be read, or a text of it has no token.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "qrels.json").is_file():
        encode_set(data, folder)
    for name in sizes:
        size = SIZES[name]
        values, offsets = document_files(size)
        if not (folder / values).is_file():
            real = load_tokens(folder, *document_files(SIZES["1m"]))
            write_copies(real, size, folder / values, folder / offsets)
        if not (folder / exact_file(size)).is_file():
            queries = load_tokens(folder, "query_tokens.npy", "query_offsets.npy").part(0, size.queries)
            top = best_of(maxsim(queries, load_tokens(folder, values, offsets), f"exact MaxSim, {name}"))
            save_top(folder / exact_file(size), *top)


def encode_set(data: str, folder: Path) -> None:
    """Encode corpus and queries of a BEIR set; the judgements are written last and say that it is done."""
    from modernir.encoders.bundled import bundled_folder
    from modernir.eval.loading import load_benchmark

    from .encode import Projection, TokenEncoder

    benchmark = load_benchmark(Path(data))
    model = bundled_folder("all-MiniLM-L6-v2")
    assert model is not None
    documents = [document for document, _ in benchmark.folder.documents()]
    encode = TokenEncoder(model)
    hidden = {
        "tokens.npy": encode([document.content for document in documents], DOCUMENT_PIECES, "encoding documents"),
        "query_tokens.npy": encode(list(benchmark.queries.values()), QUERY_PIECES, "encoding queries"),
    }
    project = Projection.fit(hidden["tokens.npy"].values)
    for name, dtype in (("tokens.npy", np.float16), ("query_tokens.npy", np.float32)):
        states = hidden.pop(name)
        if (np.diff(states.offsets) == 0).any():
            raise InputError(f"{data}: a text has no token but punctuation; take another set")
        values = np.empty((len(states.values), DIM), dtype)
        for first in range(0, len(values), 65_536):
            values[first : first + 65_536] = project(states.values[first : first + 65_536])
        save(folder / name.replace("tokens", "offsets"), states.offsets)
        save(folder / name, values)
    write_json(folder / "ids.json", [document.id for document in documents])
    write_json(folder / "query_ids.json", list(benchmark.queries))
    write_json(folder / "model.json", {"pca_variance_kept": project.kept, "data": benchmark.name})
    write_json(folder / "qrels.json", {query: benchmark.qrels[query] for query in benchmark.queries})


def write_copies(real: Tokens, size: Size, values: Path, offsets: Path) -> None:
    """Write the real documents and, after them, copies with noise, which are distractors.

    Copy number c is the same in every size, so that a smaller collection is the beginning of a larger one.
    """
    total = len(real.values)
    temporary = values.with_suffix(".tmp")
    out = np.lib.format.open_memmap(temporary, "w+", np.float16, (size.copies * total, DIM))
    out[:total] = real.values
    for copy in range(1, size.copies):
        random = np.random.default_rng(copy)
        first = copy * total
        for block in real.blocks(256):
            out[first : first + len(block.values)] = noisy(block, random).values
            first += len(block.values)
    out.flush()
    starts = (np.arange(size.copies)[:, None] * total + real.offsets[:-1]).ravel()
    save(offsets, np.append(starts, size.copies * total))
    temporary.replace(values)


def save(path: Path, array: np.ndarray) -> None:
    """Write an array atomically."""
    atomic_write(path, lambda stream: np.save(stream, array, allow_pickle=False))


def save_top(path: Path, positions: np.ndarray, scores: np.ndarray) -> None:
    """Write exact answers atomically."""
    atomic_write(path, lambda stream: np.savez(stream, positions=positions, scores=scores))
