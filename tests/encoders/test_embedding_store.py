"""Embeddings on disk come back as they were put, whoever puts them, in whatever order, whatever is cut or damaged."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modernir.encoders.embedding_shards import KEYS, SUMS, VECTORS, Layout
from modernir.encoders.embedding_store import EmbeddingStore, text_key
from modernir.encoders.sorted_keys import SortedKeys
from modernir.encoders.tokens import TokenMatrix
from modernir.errors import InputError

STORE = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
REMEDY = r"remove \w{32}\.\* there, and its texts are encoded again$"


def keys_of(names: Sequence[object]) -> np.ndarray:
    return np.array([text_key("document", str(name)) for name in names], np.uint64)


def dense_rows(count: int, dim: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)


def token_rows(lengths: Sequence[int], dtype: str = "float32", seed: int = 0) -> TokenMatrix:
    return TokenMatrix.of([dense_rows(length, seed=seed + n) for n, length in enumerate(lengths)], 5, dtype)


def same(one: TokenMatrix, other: TokenMatrix) -> bool:
    scales = (one.scales is None and other.scales is None) or np.array_equal(one.scales, other.scales)
    values = one.values.dtype == other.values.dtype and np.array_equal(one.values, other.values)
    return values and scales and np.array_equal(one.offsets, other.offsets)


@STORE
@given(st.lists(st.lists(st.tuples(st.integers(0, 2**64 - 1) | st.integers(0, 30)), max_size=9), max_size=12))
def test_keys_are_found_as_in_a_dictionary(parts: list[list[tuple[int]]]) -> None:
    keys, expected = SortedKeys(), {}
    for turn, part in enumerate(parts):
        own = np.array([key for (key,) in part], np.uint64)
        keys.add(own, 100 * turn + np.arange(len(own)))
        for place, key in enumerate(own.tolist()):
            expected.setdefault(key, 100 * turn + place)
        assert len(keys) == len(expected)
    asked = np.array([*expected, *range(31), 2**64 - 1], np.uint64)
    assert keys.find(asked).tolist() == [expected.get(key, -1) for key in asked.tolist()]
    lengths = [len(run) for run, _ in keys._runs]
    assert all(one > 2 * other for one, other in pairwise(lengths))


@STORE
@given(st.lists(st.lists(st.integers(0, 12), max_size=6), max_size=5), st.lists(st.integers(0, 12), max_size=20))
def test_any_program_of_puts_gives_back_what_was_put_first(
    tmp_path_factory: pytest.TempPathFactory, puts: list[list[int]], asked: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("store")
    first: dict[int, np.ndarray] = {}
    store = EmbeddingStore(folder)
    for turn, names in enumerate(puts):
        rows = dense_rows(len(names), seed=turn)
        store.put(keys_of(names), rows)
        for name, row in zip(names, rows, strict=True):
            first.setdefault(name, row)
        if turn % 2:
            store = EmbeddingStore(folder)
    there = [name for name in asked if name in first]
    assert store.holds(keys_of(asked)).tolist() == [name in first for name in asked]
    assert len(store) == len(first)
    if there:
        assert np.array_equal(store.take(keys_of(there)), np.stack([first[name] for name in there]))


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_ragged_rows_come_back_in_any_order_and_type(tmp_path: Path, dtype: str) -> None:
    store = EmbeddingStore(tmp_path)
    put, later = token_rows([3, 0, 1, 7], dtype), token_rows([2, 4], dtype, seed=50)
    store.put(keys_of("abcd"), put)
    store.put(keys_of("eb"), later)  # b is there with no rows, and stays so
    for opened in (store, EmbeddingStore(tmp_path)):
        got = opened.take(keys_of("dbaed"))
        assert got.lengths.tolist() == [7, 0, 3, 2, 7]
        assert got.values.dtype == dtype
        for place, expected in ((0, put[3]), (2, put[0]), (3, later[0]), (4, put[3])):
            assert np.array_equal(got[place], expected)
        assert same(opened.take(keys_of("abcd")), put)
        assert len(opened.take(keys_of("b")).values) == 0
    store.put(keys_of("fg"), token_rows([0, 0], dtype))  # a shard without rows
    assert EmbeddingStore(tmp_path).take(keys_of("fag")).lengths.tolist() == [0, 3, 0]


def test_a_task_has_keys_of_its_own_and_any_text_has_one() -> None:
    texts = ["a", "", "\ud800", "a\0b"]
    assert len({text_key(task, text) for task in ("query", "document") for text in texts}) == 2 * len(texts)


def test_shards_of_keys_and_vectors_alone_are_read(tmp_path: Path) -> None:
    keys, rows = np.array([9, 2, 2**64 - 1], np.uint64), dense_rows(3).astype(np.float16)
    np.save(tmp_path / f"any-name{KEYS}", keys)
    np.save(tmp_path / f"any-name{VECTORS}", rows)
    store = EmbeddingStore(tmp_path, Layout("float16", 5))
    assert np.array_equal(store.take(keys[[2, 0]]), rows[[2, 0]])
    store.put(np.array([2, 5], np.uint64), dense_rows(2, seed=3).astype(np.float16))
    again = EmbeddingStore(tmp_path)
    assert (len(again), again.layout, again.dim) == (4, Layout("float16", 5), 5)
    assert np.array_equal(again.take(keys), rows)


def test_a_shard_without_keys_is_not_there_and_is_written_again(tmp_path: Path) -> None:
    store, rows = EmbeddingStore(tmp_path), dense_rows(3)
    store.put(keys_of("ab"), rows[:2])
    store.put(keys_of("c"), rows[2:])
    assert len(list(tmp_path.glob(f"*{SUMS}"))) == 2
    next(file for file in tmp_path.glob(f"*{KEYS}") if len(np.load(file)) == 1).unlink()
    store = EmbeddingStore(tmp_path)
    assert store.holds(keys_of("abc")).tolist() == [True, True, False]
    store.put(keys_of("abc"), rows)
    assert np.array_equal(EmbeddingStore(tmp_path).take(keys_of("cab")), rows[[2, 0, 1]])


def test_what_the_dead_left_is_swept_and_what_may_be_under_way_is_not(tmp_path: Path) -> None:
    for name, age in ((".a.keys.npy.x.tmp", 2 * 24 * 3600), (".b.vectors.npy.y.tmp", 60)):
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    assert len(EmbeddingStore(tmp_path)) == 0
    assert [file.name for file in tmp_path.iterdir()] == [".b.vectors.npy.y.tmp"]


def test_one_sees_what_others_put(tmp_path: Path) -> None:
    one, other = EmbeddingStore(tmp_path), EmbeddingStore(tmp_path)
    rows, later = dense_rows(3), dense_rows(2, seed=9)
    one.put(keys_of("a"), rows[:1])
    assert np.array_equal(other.take(keys_of("a")), rows[:1])
    one.put(keys_of("bc"), rows[1:])
    assert np.array_equal(other.take(keys_of("cba")), rows[::-1])
    other.put(keys_of("cd"), later)  # what is there stays
    assert np.array_equal(one.take(keys_of("cd")), np.stack([rows[2], later[1]]))


def test_of_a_text_that_two_wrote_at_once_all_take_the_same_one(tmp_path: Path) -> None:
    for seed in range(2):  # both looked before the other wrote
        EmbeddingStore(tmp_path / str(seed)).put(keys_of("ab"), dense_rows(2, seed=seed))
    for seed in (1, 0):
        for file in (tmp_path / str(seed)).iterdir():
            file.replace(tmp_path / file.name)
    first = min(tmp_path.glob(f"*{KEYS}")).name.removesuffix(KEYS)
    store = EmbeddingStore(tmp_path)
    assert len(store) == 2
    assert np.array_equal(store.take(keys_of("ab")), np.load(tmp_path / f"{first}{VECTORS}"))


def test_what_does_not_fit_is_told(tmp_path: Path) -> None:
    store = EmbeddingStore(tmp_path)
    with pytest.raises(KeyError):
        store.take(keys_of("a"))
    store.put(keys_of("ab"), dense_rows(2))
    others = [dense_rows(1, dim=6), dense_rows(1).astype(np.float16), token_rows([1])]
    for other, said in zip(others, ["of 6 numbers in float32", "in float16", "any number of rows"], strict=True):
        with pytest.raises(InputError, match=f"holds one row a text of 5 numbers in float32, and these are .*{said}"):
            store.put(keys_of("c"), other)
    with pytest.raises(KeyError):
        store.take(keys_of("az"))
    with pytest.raises(InputError, match=r"vectors\.npy: one row a text of 5 .*, where one row a text of 8 .*; remove"):
        EmbeddingStore(tmp_path, Layout("float32", 8))
    assert len(EmbeddingStore(tmp_path)) == 2


@pytest.mark.parametrize("rows", [dense_rows(3), token_rows([3, 2, 4], "int8")], ids=["dense", "ragged"])
def test_every_file_that_is_cut_or_gone_is_named(tmp_path: Path, rows: Any) -> None:  # noqa: ANN401
    EmbeddingStore(tmp_path).put(keys_of("abc"), rows)
    for file in sorted(tmp_path.iterdir()):
        whole = file.read_bytes()
        for left in (whole[:20], whole[:-1], b""):
            file.write_bytes(left)
            with pytest.raises(InputError, match=rf"{file.name}: damaged .*{REMEDY}"):
                EmbeddingStore(tmp_path).take(keys_of("abc"))
        file.write_bytes(whole)
    assert len(EmbeddingStore(tmp_path)) == 3
    store = EmbeddingStore(tmp_path)
    next(tmp_path.glob(f"*{VECTORS}")).unlink()
    with pytest.raises(InputError, match=rf"vectors\.npy: damaged .*{REMEDY}"):
        store.take(keys_of("a"))


@pytest.mark.parametrize("rows", [dense_rows(3), token_rows([3, 3, 3], "int8")], ids=["dense", "ragged"])
def test_a_flipped_bit_is_told_where_it_is_read(tmp_path: Path, rows: Any) -> None:  # noqa: ANN401
    store = EmbeddingStore(tmp_path)
    store.put(keys_of("abc"), rows)
    for ending in (VECTORS, ".scales.npy")[: 1 if isinstance(rows, np.ndarray) else 2]:
        file = next(tmp_path.glob(f"*{ending}"))
        whole = bytearray(file.read_bytes())
        body = len(whole) - np.load(file).nbytes
        damaged = bytes(whole)
        whole[(body + len(whole)) // 2] ^= 1  # in the rows of b
        file.write_bytes(whole)
        assert np.array_equal(store.take(keys_of("ca"))[0], rows[2])
        with pytest.raises(InputError, match=f"rows are not as they were written.*{REMEDY}"):
            store.take(keys_of("ab"))
        file.write_bytes(damaged)
    assert np.array_equal(store.take(keys_of("b"))[0], rows[1])


def test_a_write_that_fails_keeps_nothing_and_harms_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, rows = EmbeddingStore(tmp_path), dense_rows(4)
    store.put(keys_of("ab"), rows[:2])
    before = sorted(tmp_path.iterdir())

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space"):
            store.put(keys_of("cd"), rows[2:])
    assert sorted(tmp_path.iterdir()) == before
    assert not store.holds(keys_of("cd")).any()
    store.put(keys_of("dc"), rows[[3, 2]])
    assert np.array_equal(store.take(keys_of("abcd")), rows)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_neither_memory_nor_open_files_grow_with_what_is_read(tmp_path: Path) -> None:
    code = """
import resource, sys
from pathlib import Path
import numpy as np
from modernir.encoders.embedding_store import EmbeddingStore

store = EmbeddingStore(Path(sys.argv[1]))
keys = np.arange(400, dtype=np.uint64)
for start in range(0, 400, 20):
    store.put(keys[start : start + 20], np.full((20, 25_000), start, np.float32))
resource.setrlimit(resource.RLIMIT_NOFILE, (15, 15))

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

before = resident()
for start in range(0, 400, 20):
    store.take(keys[start : start + 20])
assert (store.take(keys[::20])[:, 0] == np.arange(0, 400, 20)).all()
print(resident() - before)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 20 << 20  # of 40 MB


WRITER = """
import sys
from pathlib import Path
import numpy as np
from modernir.encoders.embedding_store import EmbeddingStore, text_key

store, log = EmbeddingStore(Path(sys.argv[1])), open(sys.argv[2], "a")
for block in range(100000):
    keys = np.array([text_key("document", f"{block}-{n}") for n in range(20)], np.uint64)
    store.put(keys, np.full((20, 300), block, np.float32))
    log.write(f"{block}\\n")
    log.flush()
    if block == 0:
        print("ready", flush=True)
"""


def test_processes_killed_at_any_moment_lose_at_most_the_blocks_at_hand(
    tmp_path: Path, start_python: Callable[..., Any]
) -> None:
    generator, folder = random.Random(5), tmp_path / "store"
    for turn in range(2):
        logs = [tmp_path / f"log-{turn}-{n}" for n in range(2)]
        processes = [start_python(WRITER, folder, log) for log in logs]  # two that fill it with the same
        for process in processes:
            process.stdout.readline()
        time.sleep(generator.uniform(0, 0.2))
        for process in processes:
            process.kill()
            process.communicate()
        done = max(int(log.read_text().splitlines()[-1]) for log in logs)
        store = EmbeddingStore(folder)
        for block in range(done + 1):
            got = store.take(keys_of([f"{block}-{n}" for n in range(20)]))
            assert got.shape == (20, 300)
            assert (got == block).all()
        following = keys_of([f"{done + 1}-{n}" for n in range(20)])
        assert int(store.holds(following).sum()) in (0, 20)  # whole or not there
        store.put(following, np.full((20, 300), done + 1, np.float32))
        assert (store.take(following) == done + 1).all()
