"""A file that is cut, gone or changed is named, whatever it holds; what can be searched is never wrong."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from modernir.errors import ModernirError
from modernir.index.index import Index
from modernir.index.late import engine

DIM = 16
KINDS = ["dense", "late", "uncompressed"]
RNG = np.random.default_rng(2)
ROWS = 1200
VECTORS = RNG.standard_normal((ROWS, DIM)).astype(np.float32)
OFFSETS = np.arange(0, ROWS + 1, 4)


def fill(path: Path, kind: str) -> None:
    if kind == "dense":
        with Index.create(path, dim=DIM, structure="pq") as index:
            index.add([f"d{number}" for number in range(ROWS)], VECTORS)
            index.compact()
            assert list(path.glob("*.structure.faiss"))
    else:
        with Index.create(path, "late", dim=DIM, nbits=4 if kind == "late" else 32) as index:
            index.add([f"d{number}" for number in range(len(OFFSETS) - 1)], (VECTORS, OFFSETS))
            index.compact()
            assert bool(list(path.glob("*.codec"))) == (kind == "late")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Return one index of each kind with files of every sort."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "TRAIN_TOKENS", 500)
        folder = tmp_path_factory.mktemp("made")
        for kind in KINDS:
            fill(folder / kind, kind)
        yield {kind: folder / kind for kind in KINDS}


@pytest.fixture
def copy(made: dict[str, Path], tmp_path: Path, kind: str) -> Path:
    shutil.copytree(made[kind], tmp_path / "copy")
    return tmp_path / "copy"


def segment_files(path: Path) -> list[Path]:
    return sorted(file for file in path.iterdir() if file.name.startswith(("segment-", "shared-")))


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_cut_or_gone_is_named_at_open(copy: Path) -> None:
    for file in segment_files(copy):
        content = file.read_bytes()
        for length in (0, 1, len(content) // 2, len(content) - 1):
            file.write_bytes(content[:length])
            with pytest.raises(
                ModernirError, match=rf"{file.name}: segment file has \d+ bytes, expected {len(content)}"
            ):
                Index.open(copy)
        file.unlink()
        with pytest.raises(ModernirError, match=rf"{file.name}: segment file is missing; rebuild"):
            Index.open(copy)
        file.write_bytes(content)
    with Index.open(copy, verify=True) as index:
        assert len(index)


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_anywhere_is_named(copy: Path) -> None:
    for file in segment_files(copy):
        content = file.read_bytes()
        for place in np.linspace(0, len(content) - 1, 9).astype(int).tolist():
            file.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
            with pytest.raises(ModernirError, match=file.name.split(".")[0]):  # one file may vouch for another
                Index.open(copy, verify=True)
        file.write_bytes(content)


@pytest.mark.parametrize("kind", KINDS)
def test_two_files_that_changed_places_are_named(copy: Path) -> None:
    one, other = segment_files(copy)[:2]
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    with pytest.raises(ModernirError, match=one.name):
        Index.open(copy)


@pytest.mark.parametrize("kind", KINDS)
def test_a_copied_index_answers_as_the_first(made: dict[str, Path], copy: Path, kind: str) -> None:
    queries = VECTORS[:5] if kind == "dense" else (VECTORS[:8], np.array([0, 3, 8]))
    with Index.open(made[kind]) as first, Index.open(copy) as second:
        (ids, scores), (other_ids, other_scores) = first.search(queries, 7), second.search(queries, 7)
    assert ids == other_ids
    assert all(np.array_equal(one, other) for one, other in zip(scores, other_scores, strict=True))
