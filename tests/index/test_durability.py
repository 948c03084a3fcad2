"""Whatever breaks while an index is written leaves what was committed, no more and no less."""

import errno
import os
import random
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from modernir.errors import InputError, ModernirError
from modernir.index import catalog, lexical, rows, writer
from modernir.index.documents import Document
from modernir.index.index import Index

DIM = 4
Start = Callable[..., subprocess.Popen[str]]


def vectors(numbers: list[int]) -> np.ndarray:
    return np.array([np.random.default_rng(number).standard_normal(DIM) for number in numbers], np.float32)


def add(index: Index, numbers: range | list[int]) -> None:
    ids = [f"d{number}" for number in numbers]
    index.add(ids, vectors(list(numbers)), [Document(name, f"text of {name}") for name in ids])


def tokens(numbers: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the token vectors of documents, one to six of each."""
    lengths = [1 + number % 6 for number in numbers]
    values = [
        np.random.default_rng(number).standard_normal((count, DIM))
        for number, count in zip(numbers, lengths, strict=True)
    ]
    return np.concatenate(values).astype(np.float32), np.cumsum([0, *lengths])


def add_to(index: Index, numbers: range | list[int]) -> None:
    """Add documents to an index of any kind."""
    ids = [f"d{number}" for number in numbers]
    made = vectors if index.kind == "dense" else tokens
    index.add(ids, made(list(numbers)), [Document(name, f"text of {name}") for name in ids])


def state(index: Index) -> list[str]:
    query = np.ones((1, DIM))
    return index.search(query if index.kind == "dense" else (query, np.array([0, 1])), 1000, exact=True)[0][0]


def visible_files(path: Path) -> set[str]:
    return {file.name for file in path.iterdir() if not file.name.startswith(("catalog.sqlite", "writer.lock"))}


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with Index.create(tmp_path / "index", dim=DIM) as made:
        add(made, range(20))
        made.delete(["d3"])
        yield made


class PlannedError(Exception):
    """What a crash is in these tests."""


def check_unchanged(index: Index, before: list[str], names: set[str]) -> None:
    """Assert that nothing is changed for the index itself, for a new reader and on disk, and that it goes on."""
    assert state(index) == before
    with Index.open(index.path) as reader:
        assert state(reader) == before
        assert reader.verify() == []
    assert visible_files(index.path) == names
    add(index, [77])
    index.delete(["d0"])
    expected = set(before) - {"d0"} | {"d77"}
    assert set(state(index)) == expected
    index.close()
    with Index.open(index.path, writable=True) as again:
        assert set(state(again)) == expected
        assert again.verify() == []


@pytest.mark.parametrize("failure", [PlannedError, KeyboardInterrupt])
def test_an_exception_in_a_batch_undoes_all_of_it(
    index: Index, failure: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "SPILL_SHARE", 1 << 60)  # every add writes its file at once
    before, names = state(index), visible_files(index.path)
    with pytest.raises(failure), index.batch():
        add(index, range(15, 30))
        index.delete(["d1"])
        index.set(note="x")
        assert len(visible_files(index.path)) == 2 * len(names)
        raise failure
    assert index.setting("note") is None
    check_unchanged(index, before, names)


def test_a_refused_call_in_a_batch_undoes_all_of_it(index: Index) -> None:
    before, names = state(index), visible_files(index.path)
    with pytest.raises(InputError), index.batch():
        add(index, [50])
        index.add(["d51"], np.ones((1, DIM + 1)))
    check_unchanged(index, before, names)


def test_a_batch_inside_a_batch_is_one_commit(index: Index) -> None:
    with Index.open(index.path) as reader, index.batch():
        with index.batch():
            add(index, [50])
        index.delete(["d50", "d1"])
        assert "d1" in state(reader)
    assert {"d50", "d1"}.isdisjoint(state(index))


def test_ctrl_c_while_the_commit_returns_keeps_the_commit_whole(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python raises it right after the call into SQLite, when the transaction already counts."""
    commit = catalog.Catalog.commit

    def interrupted(self: catalog.Catalog) -> None:
        commit(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(catalog.Catalog, "commit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        add(index, [50])
    monkeypatch.undo()
    names = visible_files(index.path)
    check_unchanged(index, [*state(index)], names)
    with Index.open(index.path) as reader:
        assert "d50" in state(reader)


def test_ctrl_c_while_the_transaction_begins_leaves_none_open(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = catalog.Catalog.begin

    def interrupted(self: catalog.Catalog) -> None:
        begin(self)
        raise KeyboardInterrupt

    before, names = state(index), visible_files(index.path)
    monkeypatch.setattr(catalog.Catalog, "begin", interrupted)
    with pytest.raises(KeyboardInterrupt):
        add(index, [50])
    monkeypatch.undo()
    check_unchanged(index, before, names)


def full_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("call", ["write", "fsync", "rename", "folder", "row", "commit"])
def test_a_disk_that_is_full_at_any_step_leaves_the_old_state(
    index: Index, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_database(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    before, names = state(index), visible_files(index.path)
    if call == "write":
        monkeypatch.setattr(rows, "write_arrays", full_disk)
    elif call == "fsync":
        monkeypatch.setattr(os, "fsync", full_disk)
    elif call == "rename":
        monkeypatch.setattr(Path, "replace", full_disk)
    elif call == "folder":
        monkeypatch.setattr(writer, "sync_folder", full_disk)
    elif call == "row":
        monkeypatch.setattr(catalog.Catalog, "put_segment", full_database)
    else:
        monkeypatch.setattr(catalog.Catalog, "commit", full_database)
    with pytest.raises((OSError, sqlite3.OperationalError), match=r"No space left|disk is full"):
        add(index, range(15, 30))
    monkeypatch.undo()
    check_unchanged(index, before, names)


LIMITED = """
import resource, sys, numpy as np
from modernir.index.index import Index
from modernir.index.documents import Document
index = Index.open(sys.argv[1], writable=True)
failed = 0
for size in range(1, 100, 6):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size * 1024, resource.RLIM_INFINITY))
    try:
        documents = [Document(f"n{size}-{i}", "x" * 300) for i in range(100)]
        index.add([document.id for document in documents], np.ones((100, 4)), documents)
        print("done", size)
    except Exception as error:
        failed += 1
        before = len(index)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    assert len(index) == index.search(np.ones((1, 4)), 10000)[0][0].__len__()
    assert index.verify() == [], index.verify()
print("failed", failed)
print("end", len(index))
"""


@pytest.mark.skipif(os.name != "posix", reason="limits are POSIX")
def test_writes_that_stop_short_at_any_byte_leave_the_old_state(index: Index, start_python: Start) -> None:
    """A limit on the size of files cuts real writes, of segments and of SQLite's files, at growing places."""
    index.close()
    child = start_python(LIMITED, index.path)
    output, errors = child.communicate(timeout=60)
    assert child.returncode == 0, errors
    done = output.count("done")
    assert int(output.split("failed ")[1].split()[0]) > 2
    with Index.open(index.path, writable=True) as again:
        assert len(again) == 19 + 100 * done
        assert again.verify() == []


@pytest.mark.parametrize("length", [0, 10, -1])
def test_a_cut_segment_is_named_at_open(index: Index, length: int) -> None:
    index.close()
    file = next(index.path.glob("*.faiss"))
    file.write_bytes(file.read_bytes()[:length])
    for writable in (False, True):
        with pytest.raises(ModernirError, match=rf"{file.name}: segment file has \d+ bytes, expected \d+; rebuild"):
            Index.open(index.path, writable)
    file.unlink()
    with pytest.raises(ModernirError, match=rf"{file.name}: segment file is missing; rebuild"):
        Index.open(index.path)


@pytest.mark.parametrize("place", [0, 100, -1])
def test_a_flipped_bit_in_a_segment_is_named_by_verify(index: Index, place: int) -> None:
    add(index, range(30, 40))
    assert index.verify() == []
    file = sorted(index.path.glob("*.faiss"))[1]
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)
    assert index.verify() == [f"{file}: checksum differs; the file was changed or damaged"]


def test_a_segment_that_went_or_grew_after_opening_is_named_by_verify(index: Index) -> None:
    file = next(index.path.glob("*.faiss"))
    size = file.stat().st_size
    file.write_bytes(file.read_bytes() + b"x")
    assert index.verify() == [f"{file}: {size + 1} bytes, expected {size}"]
    file.unlink()
    assert index.verify() == [f"{file}: missing"]


def test_a_damaged_catalog_is_named_by_verify(index: Index) -> None:
    add(index, range(30, 1030))
    index.close()
    file = index.path / "catalog.sqlite"
    content = bytearray(file.read_bytes())
    content[len(content) // 2 :] = bytes(byte ^ 0x55 for byte in content[len(content) // 2 :])
    file.write_bytes(content)
    with Index.open(index.path) as opened:
        faults = opened.verify()
    assert faults
    assert all("catalog.sqlite" in fault for fault in faults)


def test_a_missing_row_is_counted_by_verify(index: Index) -> None:
    index.close()
    with sqlite3.connect(index.path / "catalog.sqlite") as connection:
        lexical.register(connection)
        connection.execute("DELETE FROM documents WHERE id = 'd5'")
    connection.close()
    with Index.open(index.path) as opened:
        assert opened.verify() == [f"{index.path}: the segments hold 19 live vectors for 18 documents"]


def test_texts_that_differ_from_the_full_text_index_are_named_by_verify(index: Index) -> None:
    index._catalog.writer.execute("DROP TRIGGER lexical_update")
    index._catalog.writer.execute("UPDATE documents SET text = 'something else' WHERE id = 'd5'")
    assert "the full-text index does not fit the documents" in index.verify()[0]


def test_what_a_dead_writer_left_is_swept_by_the_next_one_only(index: Index) -> None:
    names = visible_files(index.path)
    index.close()
    left = {"segment-000999.rows", ".segment-000999.rows.abc.tmp", "shared-000999.codec", "segment-000999.late"}
    for name in left:
        (index.path / name).write_bytes(b"half")
    (index.path / "notes.txt").write_text("the user's own")
    Index.open(index.path).close()
    assert visible_files(index.path) == names | left | {"notes.txt"}
    Index.open(index.path, writable=True).close()
    assert visible_files(index.path) == names | {"notes.txt"}


def test_a_second_writer_is_refused_and_readers_are_not(index: Index) -> None:
    with pytest.raises(InputError, match="another process is writing to this index; wait for it to end"):
        Index.open(index.path, writable=True)
    with Index.open(index.path) as reader:
        assert state(reader) == state(index)
    index.close()
    Index.open(index.path, writable=True).close()


KILLS = int(os.environ.get("MODERNIR_KILLS", "200"))
"""Of both kinds of index together; a thousand take some minutes."""

NURSERY = """
import os, sys
sys.path.insert(0, sys.argv[2])
from test_durability import add_to, state
from modernir.index.index import Index
from modernir.index.late import engine

engine.TRAIN_TOKENS = 100  # so that a codec is trained and grows while writers are killed

def tell(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())  # at once, so that lines of two processes do not mix

def write():
    index = Index.open(sys.argv[1], writable=True)
    held = set(state(index))
    for step in range(1, 10**6):
        fresh = [number for number in range(40) if (number * 7 + step) % 5 < 2]
        gone = [f"d{number}" for number in range(40) if (number * 3 + step) % 7 == 0]
        tell("begin", *sorted((held | {f"d{number}" for number in fresh}) - set(gone)))
        with index.batch():
            add_to(index, fresh)
            index.delete(gone)
        held = set(state(index))
        tell("end", *sorted(held))
        if step % 3 == 0:
            index.compact()

with Index.open(sys.argv[1]) as like, Index.create(sys.argv[1] + "-warm", like.kind, dim=like.dim) as warm:
    add_to(warm, range(40))  # what writing and searching compile is compiled before the first writer
    warm.compact()
    state(warm)
for _ in sys.stdin:  # one writer a line: a new process without the time to import anything
    writer = os.fork()
    if writer == 0:
        write()
    tell("pid", writer)
    os.waitpid(writer, 0)
    tell("dead")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="writers are forked")
@pytest.mark.parametrize("kind", ["dense", "late"])
def test_a_writer_killed_at_any_instant_loses_nothing_that_was_committed(
    tmp_path: Path, start_python: Start, kind: str
) -> None:
    with Index.create(tmp_path / "index", kind, dim=DIM) as made:
        add_to(made, range(20))
    path, draw = made.path, random.Random(3)
    committed = sorted(state_of(path))
    nursery = start_python(NURSERY, path, Path(__file__).parent)
    assert nursery.stdin is not None
    assert nursery.stdout is not None
    watchdog = threading.Timer(60 + 2 * KILLS, nursery.kill)  # a test that fails is better than one that waits
    watchdog.start()
    steps = 0
    for _ in range(KILLS // 2):
        nursery.stdin.write("\n")
        nursery.stdin.flush()
        lines = []
        while not {"pid", "begin"} <= {line[0] for line in lines}:
            lines.append(nursery.stdout.readline().split())
        writer = next(int(line[1]) for line in lines if line[0] == "pid")
        lines = [line for line in lines if line[0] != "pid"]
        time.sleep(draw.uniform(0, 0.2))
        os.kill(writer, signal.SIGKILL)
        while (line := nursery.stdout.readline().split())[0] != "dead":
            lines.append(line)
        possible = [committed]
        for word, *names in lines:
            steps += word == "end"
            possible = [names] if word == "end" else [possible[-1], names]
        committed = sorted(state_of(path))
        assert committed in possible
        with Index.open(path) as reader:
            assert reader.verify() == []
    nursery.stdin.close()
    assert nursery.wait(timeout=30) == 0
    watchdog.cancel()
    assert steps > KILLS // 8  # some were killed later than in their first step
    with Index.open(path, writable=True) as again:  # the lock of the killed is free
        assert sorted(state(again)) == committed
        assert visible_files(path) == named_files(path)


def state_of(path: Path) -> list[str]:
    with Index.open(path) as reader:
        found = state(reader)
        assert {name: document.text for name, document in reader.documents(found).items()} == {
            name: f"text of {name}" for name in found
        }
        return found


def named_files(path: Path) -> set[str]:
    with sqlite3.connect(path / "catalog.sqlite") as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM files")}
    connection.close()
    return names


def test_readers_see_the_old_state_or_the_new_one_while_a_writer_writes(index: Index) -> None:
    """The writer swaps two sets of documents; a reader never sees a mixture, a part or an error."""
    index.delete(state(index))
    sets = [[f"a{number}" for number in range(30)], [f"b{number}" for number in range(30)]]
    index.add(sets[0], vectors(list(range(30))))
    stop, seen, failures = threading.Event(), [], []

    def read(reopen: bool) -> None:
        try:
            reader = Index.open(index.path)
            while not stop.is_set():
                if reopen:
                    reader.close()
                    reader = Index.open(index.path)
                found = sorted(state(reader))
                if found not in (sorted(sets[0]), sorted(sets[1])):
                    failures.append(found)
                failures.extend(reader.verify())
                seen.append(found[0])
            reader.close()
        except Exception as error:  # whatever it is, it must not happen
            failures.append(error)

    readers = [threading.Thread(target=read, args=(reopen,)) for reopen in (False, True)]
    for thread in readers:
        thread.start()
    for turn in range(40):
        with index.batch():
            index.delete(sets[turn % 2])
            index.add(sets[(turn + 1) % 2], vectors(list(range(30))))
    stop.set()
    for thread in readers:
        thread.join()
    assert failures == []
    assert {name[0] for name in seen} == {"a", "b"}


def read_text(index: Index) -> object:
    return index.search_text(["text"], 5)


def read_filtered(index: Index) -> object:
    return index.search(np.ones((1, DIM)), 5, filter="id != 'd1'")


def read_documents(index: Index) -> object:
    return index.documents([f"d{number}" for number in range(40)]), len(index), index.info()


@pytest.mark.parametrize("read", [read_text, read_filtered, read_documents, state])
def test_threads_may_read_the_object_that_another_one_writes_with(
    index: Index, read: Callable[[Index], object]
) -> None:
    stop, failures = threading.Event(), []

    def go_on() -> None:
        try:
            while not stop.is_set():
                read(index)
        except Exception as error:  # whatever it is, it must not happen
            failures.append(error)

    readers = [threading.Thread(target=go_on) for _ in range(3)]
    for thread in readers:
        thread.start()
    for turn in range(12):
        add(index, range(turn, turn + 10))
        index.delete([f"d{turn}"])
        assert f"d{turn}" not in state(index)
        assert f"d{turn + 9}" in state(index)
        if turn % 4 == 3:
            index.compact()
    stop.set()
    for thread in readers:
        thread.join()
    assert failures == []
    assert index.verify() == []
    expected = state(index)
    index.close()
    with Index.open(index.path, writable=True, verify=True) as again:
        assert state(again) == expected


def test_what_one_thread_adds_is_not_undone_by_the_failing_batch_of_another(index: Index) -> None:
    began, added = threading.Event(), threading.Event()

    def fail() -> None:
        with pytest.raises(PlannedError), index.batch():
            add(index, [60])
            began.set()
            assert not added.wait(0.2)  # the other one waits for this batch to end
            raise PlannedError

    failing = threading.Thread(target=fail)
    failing.start()
    began.wait()
    add(index, [61])
    added.set()
    failing.join()
    assert "d61" in state(index)
    assert "d60" not in state(index)


def test_an_index_may_be_closed_by_another_thread(index: Index) -> None:
    closing = threading.Thread(target=index.close)
    closing.start()
    closing.join()
    Index.open(index.path, writable=True).close()


def test_a_write_that_failed_and_was_caught_is_not_committed(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    before, names = state(index), visible_files(index.path)
    monkeypatch.setattr(writer, "SPILL_SHARE", 1 << 60)
    monkeypatch.setattr(rows, "write_arrays", full_disk)
    with pytest.raises(ModernirError, match="a write of this batch failed"), index.batch():
        with pytest.raises(OSError, match="No space left"):
            add(index, [50])
        monkeypatch.undo()
        add(index, [51])
    check_unchanged(index, before, names)


def test_a_reader_sees_the_next_commit_without_reopening(index: Index) -> None:
    with Index.open(index.path) as reader:
        add(index, [99])
        assert "d99" in state(reader)
        index.delete(["d99"])
        assert "d99" not in state(reader)


IMPORTS = """
import sys
{statement}
print(sorted({{"torch", "transformers", "faiss", "datasets", "pyarrow"}} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("import modernir", "[]"),
        ("import modernir.index.index, modernir.index.recall", "[]"),
        ("import modernir.index.dense.engine", "['faiss']"),
        ("import modernir.index.late.engine, modernir.index.late.search", "[]"),
        ("import modernir.index.catalog, modernir.retrieval.readers.documents", "[]"),
        ("from modernir.cli import app\ntry:\n    app(['--help'])\nexcept SystemExit: pass", "[]"),
    ],
)
def test_nothing_heavy_is_imported_before_it_is_used(start_python: Start, statement: str, expected: str) -> None:
    output, errors = start_python(IMPORTS.format(statement=statement)).communicate(timeout=60)
    assert output.splitlines()[-1] == expected, errors
