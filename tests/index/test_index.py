"""What an index returns and what it refuses, compared with brute force in NumPy."""

import os
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from modernir.errors import InputError
from modernir.index.documents import Document
from modernir.index.index import Index

RNG = np.random.default_rng(5)


def names(count: int) -> list[str]:
    return [f"d{number}" for number in range(count)]


def cosines_or_products(vectors: np.ndarray, queries: np.ndarray, metric: str) -> np.ndarray:
    """Return every query's score with every vector in double precision."""
    if metric == "cosine":
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    return queries @ vectors.T


@pytest.fixture
def plane(tmp_path: Path) -> Index:
    """Return an empty index of inner products in the plane, where scores are easy to see."""
    return Index.create(tmp_path / "plane", dim=2, metric="dot")


@pytest.mark.parametrize("metric", ["cosine", "dot"])
@pytest.mark.parametrize("queries", [1, 30])
@pytest.mark.parametrize("k", [1, 10, 100, 700, 1000])
def test_search_equals_brute_force(tmp_path: Path, metric: str, queries: int, k: int) -> None:
    vectors, asked = RNG.standard_normal((700, 24)), RNG.standard_normal((queries, 24))
    with Index.create(tmp_path / "index", dim=24, metric=metric) as index:
        index.add(names(700)[:450], vectors[:450])
        index.add(names(700)[450:], vectors[450:])
        ids, scores = index.search(asked, k)
    exact = cosines_or_products(vectors, asked, metric)
    best = -np.sort(-exact, axis=1)[:, :k]
    assert all(len(set(found)) == min(k, 700) for found in ids)
    for row, (found, score) in enumerate(zip(ids, scores, strict=True)):
        own = exact[row, [int(name[1:]) for name in found]]  # of the documents returned
        assert np.allclose(own, best[row], rtol=0, atol=2e-6)  # float32 may swap what differs by less
        assert np.allclose(score, own, rtol=0, atol=1e-5)
        assert score.dtype == np.float32
        assert (np.diff(score) <= 0).all()


def test_scores_are_cosines_or_inner_products(tmp_path: Path) -> None:
    for metric, expected in (("cosine", [1.0, 0.6]), ("dot", [10.0, 12.0])):
        with Index.create(tmp_path / metric, dim=2, metric=metric) as index:
            index.add(["a", "b"], np.array([[5.0, 0.0], [6.0, 8.0]]))
            ids, scores = index.search(np.array([[2.0, 0.0]]), 2)
            found = dict(zip(ids[0], scores[0].tolist(), strict=True))
        assert [found["a"], found["b"]] == pytest.approx(expected)


def test_an_empty_index_answers_with_empty_lists(plane: Index) -> None:
    ids, scores = plane.search(np.ones((3, 2)), 5)
    assert ids == [[], [], []]
    assert [len(score) for score in scores] == [0, 0, 0]
    assert plane.verify() == []


def test_no_query_no_result(plane: Index) -> None:
    plane.add(["a"], np.ones((1, 2)))
    assert plane.search(np.empty((0, 2)), 5) == ([], [])


def test_an_index_of_which_all_was_deleted_answers_with_empty_lists(plane: Index) -> None:
    plane.add(["a", "b"], np.ones((2, 2)))
    plane.delete(["a", "b"])
    assert plane.search(np.ones((1, 2)), 5)[0] == [[]]
    assert len(plane) == 0


@pytest.mark.parametrize("k", [1, 2, 5, 99, 100, 150, 300])
def test_equal_scores_come_in_the_order_of_adding(plane: Index, k: int) -> None:
    """FAISS keeps any of the rows that tie for the last place; the first added must win, in every segment."""
    plane.add(names(300), np.tile([[1.0, 0.0]], (300, 1)))
    plane.add(["best", "late"], np.array([[2.0, 0.0], [1.0, 0.0]]))
    expected = ["best", *names(300), "late"]
    assert plane.search(np.array([[1.0, 0.0]]), k)[0] == [expected[:k]]
    plane.delete(["d0", "d7"])
    expected = [name for name in expected if name not in ("d0", "d7")]
    assert plane.search(np.array([[1.0, 0.0]] * 25), k)[0] == [expected[:k]] * 25


def test_a_better_row_after_ties_does_not_push_out_the_first_of_them(plane: Index) -> None:
    plane.add(["a", "b", "best"], np.array([[1.0, 0.0], [1.0, 0.0], [2.0, 0.0]]))
    assert plane.search(np.array([[1.0, 0.0]]), 2)[0] == [["best", "a"]]


def test_an_update_replaces_and_counts_as_added_last(plane: Index) -> None:
    plane.add(["a", "b"], np.array([[1.0, 0.0], [1.0, 0.0]]), [Document("a", "old"), Document("b", "other")])
    plane.add(["a"], np.array([[1.0, 0.0]]), [Document("a", "new", "title", {"year": 7})])
    assert len(plane) == 2
    assert plane.search(np.array([[1.0, 0.0]]), 5)[0] == [["b", "a"]]
    assert plane.documents(["a", "gone"]) == {"a": Document("a", "new", "title", {"year": 7})}


def test_delete_returns_the_ids_that_were_not_there(plane: Index) -> None:
    plane.add(["a", "b"], np.ones((2, 2)))
    assert plane.delete(["x", "a", "y", "a"]) == ["x", "y"]
    assert plane.delete([]) == []
    assert plane.search(np.ones((1, 2)))[0] == [["b"]]


def test_documents_without_vectors_like_each_other_are_kept_as_they_are(plane: Index) -> None:
    odd = Document("ü\n\t\u2028'\"\x00", "text\x00\u0000 ä", "Ö", {"list": [1, None, {"deep": True}], "": 1.5})
    plane.add([odd.id], np.ones((1, 2)), [odd])
    with Index.open(plane.path) as reopened:
        assert reopened.documents([odd.id]) == {odd.id: odd}
        assert reopened.search(np.ones((1, 2)))[0] == [[odd.id]]


def test_thousands_of_documents_can_be_asked_for_at_once(plane: Index) -> None:
    plane.add(names(2500), np.ones((2500, 2)))
    assert len(plane.documents([*names(2500), *names(2500)])) == 2500


def test_the_callers_array_may_be_used_again_inside_a_batch(plane: Index) -> None:
    buffer = np.zeros((1, 2), np.float32)
    with plane.batch():
        for number, name in enumerate(["a", "b", "c"]):
            buffer[:] = number, 0
            plane.add([name], buffer)
    assert plane.search(np.array([[1.0, 0.0]]))[0] == [["c", "b", "a"]]


def test_the_callers_array_is_not_changed(tmp_path: Path) -> None:
    vectors = np.array([[3.0, 4.0]], np.float32)
    with Index.create(tmp_path / "index", dim=2) as index:
        index.add(["a"], vectors)
        index.search(vectors)
    assert vectors.tolist() == [[3.0, 4.0]]


def test_a_vector_of_zeros_is_found_last_with_a_score_of_zero(tmp_path: Path) -> None:
    with Index.create(tmp_path / "index", dim=2) as index:
        index.add(["zero", "one"], np.array([[0.0, 0.0], [1.0, 0.0]]))
        ids, scores = index.search(np.array([[1.0, 0.0]]))
    assert ids == [["one", "zero"]]
    assert scores[0].tolist() == [1.0, 0.0]


def test_settings_come_back_and_survive(plane: Index) -> None:
    plane.set(note={"a": [1, "ü"]}, other=None)
    plane.close()
    with Index.open(plane.path) as index:
        assert index.setting("note") == {"a": [1, "ü"]}
        assert index.setting("other") is None
        assert (index.dim, index.metric) == (2, "dot")


def test_info_is_json_and_true(plane: Index) -> None:
    plane.add(["a", "b"], np.ones((2, 2)))
    info = plane.info()
    assert (info["documents"], info["segments"], info["dim"], info["metric"]) == (2, 1, 2, "dot")
    assert info["finished"] is True
    assert info["bytes"] == sum(file.stat().st_size for file in plane.path.iterdir())


WRONG: dict[str, tuple[Callable[[Index], object], str]] = {
    "dim": (lambda index: index.add(["a"], np.ones((1, 3))), r"vectors of shape \(1, 3\); this index holds \(n, 2\)"),
    "one vector, not a matrix": (lambda index: index.add(["a"], np.ones(2)), r"vectors of shape \(2,\)"),
    "nan": (lambda index: index.add(["a", "b"], [[1, 1], [np.nan, 0]]), "vector 1 holds NaN or infinity"),
    "inf": (lambda index: index.add(["a"], [[np.inf, 0]]), "vector 0 holds NaN or infinity"),
    "twice": (lambda index: index.add(["a", "b", "a"], np.ones((3, 2))), "document id 'a' comes twice in one call"),
    "empty id": (lambda index: index.add([""], np.ones((1, 2))), "expected non-empty strings as document ids"),
    "number as id": (lambda index: index.add([7], np.ones((1, 2))), "expected non-empty strings as document ids"),
    "fewer ids": (lambda index: index.add(["a"], np.ones((2, 2))), "1 ids, 2 vectors and 1 documents"),
    "fewer documents": (
        lambda index: index.add(["a", "b"], np.ones((2, 2)), [Document("a", "")]),
        "2 ids, 2 vectors and 1 documents",
    ),
    "document of another id": (
        lambda index: index.add(["a", "b"], np.ones((2, 2)), [Document("a", ""), Document("c", "")]),
        "document 'c' was given for the id 'b'",
    ),
    "query dim": (lambda index: index.search(np.ones((1, 3))), r"vectors of shape \(1, 3\)"),
    "query nan": (lambda index: index.search([[np.nan, 1]]), "vector 0 holds NaN or infinity"),
    "k": (lambda index: index.search(np.ones((1, 2)), 0), "expected k of at least 1, found 0"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_refused_and_changes_nothing(plane: Index, case: str) -> None:
    plane.add(["before"], np.ones((1, 2)))
    files = sorted(path.name for path in plane.path.iterdir())
    call, message = WRONG[case]
    with pytest.raises(InputError, match=message):
        call(plane)
    assert len(plane) == 1
    assert plane.search(np.ones((1, 2)))[0] == [["before"]]
    assert sorted(path.name for path in plane.path.iterdir()) == files
    plane.add(["after"], np.ones((1, 2)))
    assert len(plane) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "sparse"}, "unknown kind 'sparse'; expected one of dense, late"),
        ({"metric": "l2"}, "unknown metric 'l2'; expected one of cosine, dot"),
        ({"dim": 0}, "expected a positive dim, found 0"),
    ],
)
def test_an_index_that_makes_no_sense_is_not_created(tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Index.create(tmp_path / "index", **{"dim": 2} | change)
    assert not (tmp_path / "index").exists()


def test_an_index_is_never_created_over_another(plane: Index) -> None:
    plane.add(["a"], np.ones((1, 2)))
    with pytest.raises(InputError, match="an index is here already"):
        Index.create(plane.path, dim=2)
    assert len(plane) == 1


def test_a_reader_cannot_write(plane: Index) -> None:
    with Index.open(plane.path) as reader:
        for write in (lambda: reader.add(["a"], np.ones((1, 2))), lambda: reader.delete(["a"])):
            with pytest.raises(InputError, match="opened for reading only"):
                write()
        assert len(reader) == 0


@pytest.mark.parametrize("writable", [False, True])
@pytest.mark.parametrize("kind", ["missing", "empty folder", "file"])
def test_where_there_is_no_index_the_message_says_so_and_nothing_is_made(
    tmp_path: Path, writable: bool, kind: str
) -> None:
    path = tmp_path / "place"
    if kind == "empty folder":
        path.mkdir()
    elif kind == "file":
        path.write_text("x")
    with pytest.raises(InputError, match=r"place: no index here .* make one with: modernir index corpus"):
        Index.open(path, writable)
    assert path.exists() == (kind != "missing")
    assert not path.is_dir() or not list(path.iterdir())


@pytest.mark.parametrize("writable", [False, True])
@pytest.mark.parametrize("content", [b"", b"garbage, not a database" * 400, b"SQLite format 3\x00 and then not"])
def test_a_catalog_of_garbage_is_named(tmp_path: Path, writable: bool, content: bytes) -> None:
    (tmp_path / "catalog.sqlite").write_bytes(content)
    with pytest.raises(InputError, match=r"catalog\.sqlite: not a readable catalog"):
        Index.open(tmp_path, writable)


def test_a_database_of_another_program_is_named(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "catalog.sqlite") as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.close()
    with pytest.raises(InputError, match=r"catalog\.sqlite: not a readable catalog"):
        Index.open(tmp_path)


def test_a_newer_format_is_refused_with_both_numbers(plane: Index) -> None:
    plane.set(format=99)
    plane.close()
    for writable in (False, True):
        with pytest.raises(InputError, match="an index of format 99, this version of modernir reads format 2"):
            Index.open(plane.path, writable)


READER = """
import mmap, os, sys, numpy as np
import modernir.index.dense.engine  # while Python's own files can be read
from modernir.index.index import Index
if os.geteuid() == 0:  # root may write everywhere
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
try:
    open(sys.argv[1] + "/new", "w")
except PermissionError:
    print("cannot write")
with Index.open(sys.argv[1]) as index:
    print(index.search(np.ones((1, 2)))[0], index.verify())
"""


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX")
def test_a_folder_that_may_not_be_written_can_be_searched(start_python: Callable[..., subprocess.Popen[str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to others
        Path(folder).chmod(0o755)
        path = Path(folder) / "index"
        with Index.create(path, dim=2, metric="dot") as index:
            index.add(["a"], np.ones((1, 2)))
        before = sorted(file.name for file in path.iterdir())
        path.chmod(0o555)
        child = start_python(READER, path)
        output, errors = child.communicate(timeout=60)
        path.chmod(0o755)
        after = sorted(file.name for file in path.iterdir())
    assert output.splitlines() == ["cannot write", "[['a']] []"], errors
    assert after == before


def test_an_add_that_fails_in_a_batch_leaves_nothing_and_the_batch_may_go_on(tmp_path: Path) -> None:
    vectors = np.eye(4, dtype=np.float32)
    with Index.create(tmp_path / "ix", dim=4) as index:
        with index.batch():
            with pytest.raises(InputError, match="half of a character"):
                index.add(["a", "b"], vectors[:2], [Document("a", "fine"), Document("b", "\ud800")])
            index.add(["c"], vectors[2:3])
        assert index.search(vectors, 3)[0] == [["c"]] * 4
        assert index.search(vectors[2:3], 1)[1][0][0] == pytest.approx(1)
        assert index.verify() == []


def test_threads_share_an_index(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    vectors = RNG.standard_normal((50, 8)).astype(np.float32)
    with Index.create(tmp_path / "ix", dim=8) as index:
        index.add([str(number) for number in range(50)], vectors)
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda number: index.search(vectors[number : number + 1], 1)[0], range(50)))
    assert found == [[[str(number)]] for number in range(50)]


def test_one_id_is_no_list_of_ids(tmp_path: Path) -> None:
    with Index.create(tmp_path / "ix", dim=2) as index:
        index.add(["a", "ab"], np.eye(2, dtype=np.float32))
        with pytest.raises(TypeError, match="several ids"):
            index.delete("ab")
        assert len(index) == 2


def test_files_of_other_names_are_never_swept(tmp_path: Path) -> None:
    with Index.create(tmp_path / "ix", dim=2) as index:
        index.add(["a"], np.eye(1, 2, dtype=np.float32))
    others = {"mine.faiss", "notes.tmp", "catalog.sqlite.bak", ".dense.faiss.tmp"}
    for name in others:
        (tmp_path / "ix" / name).write_text("mine")
    with Index.open(tmp_path / "ix", writable=True) as index:
        with pytest.raises(ZeroDivisionError), index.batch():
            raise ZeroDivisionError
        assert len(index) == 1
    assert others <= {file.name for file in (tmp_path / "ix").iterdir()}
