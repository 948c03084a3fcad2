"""The files of single vectors: what FAISS itself would write, and found out when they are not as they were written."""

from pathlib import Path

import faiss
import numpy as np
import pytest

from modernir.errors import InputError, ModernirError
from modernir.index.dense.engine import DenseEngine
from modernir.index.dense.inverted import maps_lists, write_inverted
from modernir.index.dense.storage import bounds_of, write_index, write_vectors
from modernir.index.dense.structures import factory_for, make, train

VECTORS = np.random.default_rng(0).standard_normal((2000, 12)).astype(np.float32)


def blocks(rows: int = 300) -> list[np.ndarray]:
    return [VECTORS[start : start + rows] for start in range(0, len(VECTORS), rows)]


@pytest.fixture
def engine(tmp_path: Path) -> DenseEngine:
    """Return an engine whose folder holds a merged segment with a structure."""
    engine = DenseEngine(tmp_path, 12, "dot", {"structure": "ivfpq"}, 1 << 28)
    part = engine.open([tmp_path / name for name in engine.write("segment-1", blocks())])
    assert sorted(engine.merge("segment-2", [part], [None])) == sorted(path.name for path in files_of(tmp_path))
    return engine


def files_of(folder: Path) -> list[Path]:
    return sorted(folder.glob("segment-2.*"))


@pytest.mark.parametrize(("storage", "factory"), [("float32", "Flat"), ("float16", "SQfp16"), ("int8", "SQ8")])
def test_vectors_written_in_blocks_are_the_file_that_faiss_writes(tmp_path: Path, storage: str, factory: str) -> None:
    write_vectors(tmp_path / "ours", storage, 12, len(VECTORS), blocks(), bounds_of(blocks(), 12))
    whole = faiss.index_factory(12, factory, faiss.METRIC_INNER_PRODUCT)
    whole.train(VECTORS)
    whole.add(VECTORS)
    faiss.write_index(whole, str(tmp_path / "theirs"))
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_blocks_that_do_not_add_up_leave_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2000 vectors came of 2001"):
        write_vectors(tmp_path / "ours", "float32", 12, 2001, blocks(), None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("factory", ["IVF16,SQ8", "IVF16,PQ6", "IVF16,Flat", "IVF16,RaBitQ"])
def test_lists_written_one_by_one_are_the_file_that_faiss_writes(tmp_path: Path, factory: str) -> None:
    index = make(factory, 12)
    train(index, VECTORS, 0)
    assert maps_lists(index)
    write_inverted(tmp_path / "ours", index, blocks(), 700)
    for block in blocks():
        index.add(block)
    write_index(tmp_path / "theirs", index)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours", "theirs"]


@pytest.mark.parametrize(
    "factory", ["PQ6x4fs", "IVF64,PQ6x4fs", "IVF16,PQ6", "PQ4", "RQ4x8", "OPQ4_8,PQ4", "IVF16_HNSW8,SQ8"]
)
def test_training_on_few_rows_is_silent(factory: str, capfd: pytest.CaptureFixture[str]) -> None:
    train(make(factory, 12), VECTORS[:300], 0)
    assert capfd.readouterr() == ("", "")


def test_vectors_are_mapped_and_not_read(engine: DenseEngine) -> None:
    """Whoever reads through a map sees what is in the file now."""
    segment = engine.open(files_of(engine.folder))
    path = engine.folder / "segment-2.vectors.faiss"
    with path.open("r+b") as stream:
        stream.seek(path.stat().st_size - 48)
        stream.write(np.full(12, 7, np.float32).tobytes())
    assert (segment.vectors(1999, 2000) == 7).all()


@pytest.mark.parametrize("ending", ["vectors.faiss", "structure.faiss", "dense.json"])
def test_a_file_that_is_missing_cut_longer_or_changed_is_named(engine: DenseEngine, ending: str) -> None:
    paths = files_of(engine.folder)
    (path,) = (path for path in paths if path.name.endswith(ending))
    whole = path.read_bytes()
    flips = [whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :] for place in (0, 5, 9, 30)]
    for damaged in (None, b"", whole[:20], whole[:-3], whole + b"\0" if ending != "dense.json" else b"[]", *flips):
        if damaged is None:
            path.unlink()
        else:
            path.write_bytes(damaged)
        if ending == "dense.json" and damaged in flips:
            continue  # a letter more or less in a number shows, one in a name may not
        with pytest.raises(ModernirError) as caught:
            engine.open(paths)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    path.write_bytes(whole)
    assert engine.open(paths).rows == 2000


def test_files_of_another_length_of_vectors_or_of_no_segment_are_refused(engine: DenseEngine) -> None:
    other = DenseEngine(engine.folder, 13, "dot", {}, 1 << 28)
    with pytest.raises(ModernirError, match="2000 vectors of 12, expected 2000 of 13"):
        other.open(files_of(engine.folder))
    with pytest.raises(ModernirError, match="no segment of single vectors"):
        engine.open([engine.folder / "segment-2.vectors.faiss"])


def test_the_structure_grows_with_the_rows() -> None:
    expected = {500: None, 19_999: None, 20_000: "PQ96x4fs", 299_999: "PQ96x4fs", 300_000: "IVF512,PQ96x4fs"}
    assert {rows: factory_for("auto", rows, 384, "float32", 1 << 30) for rows in expected} == expected
    assert factory_for("auto", 10**6, 384, "float32", 1 << 30) == "IVF1024,PQ96x4fs"
    assert factory_for("auto", 10**6, 384, "float32", 1 << 20) == "IVF1024,PQ48"  # whose lists can be mapped
    assert factory_for("int8", 10**6, 384, "int8", 1 << 30) is None
    assert factory_for("IVF4096,PQ96", 4095, 384, "float32", 1 << 30) is None  # fewer rows than lists
    for dim in (1, 2, 7, 50, 101, 106, 384, 1023):
        named = factory_for("pq", 1000, dim, "float32", 1 << 30)
        assert named is not None
        assert make(named, dim).d == dim


def test_what_faiss_says_of_a_factory_string_is_one_line() -> None:
    for factory in ("IVF", "PQ5x4fs", "HNSW32_PQ7", "LSH", "nonsense", "IDMap,Flat", "HNSW16,PQ4"):
        with pytest.raises(InputError, match=r"^structure '[^\n]*$"):
            make(factory, 12)
