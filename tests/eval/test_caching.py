"""What was encoded once is not encoded again, comes back as it was, and survives a kill at any moment."""

import json
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modernir import load_encoder
from modernir.encoders.encoder import encode_blocks
from modernir.encoders.tokens import TokenMatrix
from modernir.errors import InputError, ModernirError
from modernir.eval.beir import evaluate_beir
from modernir.eval.caching.encoder import CachedEncoder
from modernir.eval.caching.store import ROWS, VectorStore, text_key
from modernir.eval.ways import Way

Call = Callable[..., SimpleNamespace]


def keys_of(names: Sequence[object]) -> list[bytes]:
    return [text_key(str(name)) for name in names]


def dense_rows(count: int, dim: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)


def token_rows(lengths: Sequence[int], dtype: str = "float32", seed: int = 0) -> TokenMatrix:
    rows = [dense_rows(length, seed=seed + place) for place, length in enumerate(lengths)]
    return TokenMatrix.of(rows, 5, dtype)


def same(one: Any, other: Any) -> bool:  # noqa: ANN401
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    scales = (one.scales is None and other.scales is None) or np.array_equal(one.scales, other.scales)
    values = one.values.dtype == other.values.dtype and np.array_equal(one.values, other.values)
    return values and scales and np.array_equal(one.offsets, other.offsets)


# The store


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.integers(0, 12), max_size=6), max_size=5), st.lists(st.integers(0, 12), max_size=20))
def test_any_program_of_puts_gives_back_what_was_put_first(
    tmp_path_factory: pytest.TempPathFactory, puts: list[list[int]], asked: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("store")
    first: dict[int, np.ndarray] = {}
    store = VectorStore(folder)
    for turn, names in enumerate(puts):
        fresh = list(dict.fromkeys(names))
        rows = dense_rows(len(fresh), seed=turn)
        store.put(keys_of(fresh), rows)
        for name, row in zip(fresh, rows, strict=True):
            first.setdefault(name, row)
        if turn % 2:
            store.close()
            store = VectorStore(folder)
    there = [name for name in asked if name in first]
    assert set(store.known(keys_of(asked))) == set(keys_of(there))
    if there:
        assert np.array_equal(store.get(keys_of(there)), np.stack([first[name] for name in there]))
    store.close()


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_ragged_rows_come_back_in_any_order_and_type(tmp_path: Path, dtype: str) -> None:
    store = VectorStore(tmp_path)
    lengths = [3, 0, 1, 7]
    put = token_rows(lengths, dtype)
    store.put(keys_of("abcd"), put)
    store.put(keys_of("eb"), token_rows([2, 4], dtype, seed=50))  # b is there with no rows, and stays so
    got = store.get(keys_of("dbaed"))
    assert got.lengths.tolist() == [7, 0, 3, 2, 7]
    assert got.values.dtype == dtype
    for place, source in ((0, 3), (2, 0), (4, 3)):
        assert np.array_equal(got[place], put[source])
    assert same(store.get(keys_of("abcd")), put)
    assert len(store.get(keys_of("b")).values) == 0


def test_bytes_that_nothing_names_are_written_over(tmp_path: Path) -> None:
    store = VectorStore(tmp_path)
    rows = dense_rows(4)
    store.put(keys_of("ab"), rows[:2])
    with (tmp_path / ROWS).open("ab") as stream:
        stream.write(b"half a block of a process that died")
    store.put(keys_of("cd"), rows[2:])
    assert np.array_equal(store.get(keys_of("abcd")), rows)


def test_readers_see_what_another_process_committed(tmp_path: Path) -> None:
    writer, reader = VectorStore(tmp_path), VectorStore(tmp_path)
    rows = dense_rows(3)
    writer.put(keys_of("a"), rows[:1])
    assert np.array_equal(reader.get(keys_of("a")), rows[:1])
    writer.put(keys_of("bc"), rows[1:])
    assert np.array_equal(reader.get(keys_of("cba")), rows[::-1])
    reader.put(keys_of("cd"), dense_rows(2, seed=9))  # either may write; what is there stays
    assert np.array_equal(writer.get(keys_of("cd")), np.stack([rows[2], dense_rows(2, seed=9)[1]]))


def test_what_does_not_fit_or_is_damaged_is_told(tmp_path: Path) -> None:
    store = VectorStore(tmp_path / "a")
    store.put(keys_of("ab"), dense_rows(2))
    with pytest.raises(ModernirError, match="holds vectors in float32 of length 5"):
        store.put(keys_of("c"), dense_rows(1, dim=6))
    with pytest.raises(ModernirError, match="holds vectors"):
        store.put(keys_of("c"), token_rows([1]))
    with pytest.raises(KeyError):
        store.get(keys_of("z"))
    (tmp_path / "a" / ROWS).write_bytes(b"short")
    with pytest.raises(ModernirError, match="damaged, shorter than 2 rows; delete"):
        VectorStore(tmp_path / "a").get(keys_of("a"))
    with pytest.raises(ModernirError, match="damaged, shorter than 2 rows; delete"):
        VectorStore(tmp_path / "a").put(keys_of("c"), dense_rows(1))  # no hole in the place of what is lost
    (tmp_path / "a" / ROWS).unlink()
    with pytest.raises(ModernirError, match="damaged, shorter than 2 rows; delete"):
        VectorStore(tmp_path / "a").get(keys_of("a"))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "texts.sqlite").write_text("no table at all, but some words in a file")
    with pytest.raises(ModernirError, match="cannot be used"):
        VectorStore(tmp_path / "b")


def test_a_flipped_bit_is_told_where_it_is_read(tmp_path: Path) -> None:
    store = VectorStore(tmp_path)
    put = token_rows([3, 2, 4], "int8")
    store.put(keys_of("abc"), put)
    damaged = bytearray((tmp_path / ROWS).read_bytes())
    damaged[len(damaged) * 4 // 9] ^= 1  # in the rows of b
    (tmp_path / ROWS).write_bytes(damaged)
    assert np.array_equal(store.get(keys_of("ca"))[0], put[2])
    with pytest.raises(ModernirError, match="rows are not as they were written; delete"):
        store.get(keys_of("ab"))


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_memory_does_not_grow_with_what_is_read(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
import numpy as np
from modernir.eval.caching.store import VectorStore, text_key

store = VectorStore(Path(sys.argv[1]))
keys = [text_key(str(number)) for number in range(400)]
for start in range(0, 400, 20):
    store.put(keys[start : start + 20], np.ones((20, 25_000), np.float32))

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

before = resident()
for start in range(0, 400, 20):
    store.get(keys[start : start + 20])
print(resident() - before)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 20 << 20  # of 40 MB


def test_a_write_that_fails_keeps_nothing_and_harms_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = VectorStore(tmp_path)
    rows = dense_rows(4)
    store.put(keys_of("ab"), rows[:2])

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space"):
            store.put(keys_of("cd"), rows[2:])
    assert not store.known(keys_of("cd"))
    store.put(keys_of("dc"), rows[[3, 2]])
    assert np.array_equal(store.get(keys_of("abcd")), rows)


WRITER = """
import sys
from pathlib import Path
import numpy as np
from modernir.eval.caching.store import VectorStore, text_key

store, log = VectorStore(Path(sys.argv[1])), open(sys.argv[2], "a")
for block in range(int(sys.argv[3]), 100000):
    names = [f"{block}-{n}" for n in range(20)]
    store.put([text_key(name) for name in names], np.full((20, 300), block, np.float32))
    log.write(f"{block}\\n")
    log.flush()
    if block == 0:
        print("ready", flush=True)
"""


def test_a_process_killed_at_any_moment_loses_at_most_the_block_at_hand(
    tmp_path: Path, start_python: Callable[..., Any]
) -> None:
    generator, log = random.Random(5), tmp_path / "log"
    log.touch()
    for _ in range(3):
        done = len(log.read_text().splitlines())
        process = start_python(WRITER, tmp_path / "store", log, 0)
        process.stdout.readline()
        time.sleep(generator.uniform(0, 0.1))
        process.kill()
        process.communicate()
        blocks = sorted({int(line) for line in log.read_text().splitlines() if line})
        assert len(log.read_text().splitlines()) >= done
        store = VectorStore(tmp_path / "store")
        for block in blocks:
            got = store.get(keys_of([f"{block}-{n}" for n in range(20)]))
            assert got.shape == (20, 300)
            assert (got == block).all()
        following = keys_of([f"{blocks[-1] + 1}-{n}" for n in range(20)])
        assert len(store.known(following)) in (0, 20)  # whole or not there
        store.put(following, np.full((20, 300), blocks[-1] + 1, np.float32))
        assert (store.get(following) == blocks[-1] + 1).all()
        store.close()


# The encoder before it


def test_texts_are_encoded_once_and_come_back_in_order(tmp_path: Path, hash_encoder: Callable[..., Any]) -> None:
    inner = hash_encoder()
    cached = CachedEncoder(inner, tmp_path)
    texts = [f"text {n % 7}" for n in range(20)]
    expected = hash_encoder().encode_documents(texts)
    assert np.array_equal(cached.encode_documents(texts), expected)
    assert np.array_equal(CachedEncoder(inner, tmp_path).encode_documents(texts[::-1]), expected[::-1])
    assert sorted(inner.seen) == sorted(set(texts))
    assert (cached.encoded["documents"], cached.found["documents"]) == (7, 13)
    assert cached.encode_documents([]).shape == (0, 8)
    assert cached.size >= 7 * 8 * 4


def test_a_stream_encodes_what_is_missing_once_even_while_it_reads_ahead(tmp_path: Path, tiny_model: Path) -> None:
    encoder = load_encoder(tiny_model, "cpu", "fp32")
    seen: list[str] = []
    read = encoder._read
    encoder._read = lambda texts, task: (seen.extend(texts), read(texts, task))[1]  # type: ignore[method-assign]
    blocks = [[f"word {n}" for n in part] for part in ([1, 2, 3], [3, 4, 1], [], [4, 2], [5])]
    plain = [encoder.encode_documents(block) for block in blocks]
    seen.clear()
    for turn in range(2):
        cached = CachedEncoder(encoder, tmp_path)
        found = list(encode_blocks(cached, iter(blocks), lambda text: text))
        assert [block for block, _ in found] == blocks
        for (_, vectors), expected in zip(found, plain, strict=True):
            np.testing.assert_allclose(vectors, expected, atol=1e-6)
        assert sorted(seen) == [f"word {n}" for n in range(1, 6)], turn


def test_token_vectors_equal_those_encoded_afresh(tmp_path: Path, tiny_colbert: Path) -> None:
    encoder = load_encoder(tiny_colbert, "cpu", "fp32")
    texts = ["red apples", "the sea, the sea", "red apples", "sailors ate lemons against scurvy"]
    for task in ("encode_documents", "encode_queries"):
        fresh = getattr(encoder, task)(texts)
        for _ in range(2):
            kept = getattr(CachedEncoder(encoder, tmp_path), task)(texts)
            assert np.array_equal(kept.offsets, fresh.offsets)
            np.testing.assert_allclose(kept.values, fresh.values, atol=1e-6)


def test_another_model_reading_or_task_has_vectors_of_its_own(tmp_path: Path, hash_encoder: Callable[..., Any]) -> None:
    one, other = hash_encoder("one"), hash_encoder("two")
    for encoder in (one, other):
        CachedEncoder(encoder, tmp_path).encode_documents(["a"])
    one.document_prompt = "passage: "
    cached = CachedEncoder(one, tmp_path)
    cached.encode_documents(["a"])
    assert (one.seen, other.seen, cached.encoded["documents"]) == (["a", "a"], ["a"], 1)
    cached.encode_queries(["a"])
    assert cached.encoded["queries"] == 1
    folders = sorted(path.name for path in tmp_path.iterdir())
    assert [name.rsplit("-", 1)[0] for name in folders] == [
        "one-documents",
        "one-documents",
        "one-queries",
        "two-documents",
    ]
    kept = [json.loads((tmp_path / name / "settings.json").read_text()) for name in folders[:2]]
    assert {settings["document_prompt"] for settings in kept} == {"", "passage: "}


# Evaluations


def test_other_index_settings_sets_and_outputs_encode_nothing_twice(
    tmp_path: Path, make_beir: Callable[..., Path], hash_encoder: Callable[..., Any]
) -> None:
    corpus = {f"d{n}": f"text {n}" for n in range(40)}
    one = make_beir(tmp_path / "one", corpus=corpus)
    two = make_beir(tmp_path / "two", corpus={name: corpus[name] for name in list(corpus)[10:]} | {"new": "a new text"})
    encoder = hash_encoder()
    plain = evaluate_beir(hash_encoder(), [one], output=tmp_path / "plain")[0]
    told: list[str] = []
    place = {"cache": tmp_path / "cache", "on_message": told.append}
    first = evaluate_beir(encoder, [one, two], output=tmp_path / "out", **place)[0]
    again = evaluate_beir(encoder, [one], output=tmp_path / "elsewhere", **place)[0]
    forced = evaluate_beir(encoder, [one], output=tmp_path / "out", force=True, **place)[0]
    flat = evaluate_beir(encoder, [one], output=tmp_path / "out", way=Way(engine={"structure": "flat"}), **place)[0]
    assert sorted(encoder.seen) == sorted({*corpus.values(), "a new text"})
    for report in (first, again, forced, flat):
        assert (report.run, report.per_query) == (plain.run, plain.per_query)
    assert first.settings == plain.settings
    assert first.costs["encoded_documents"] == 40
    assert "documents_per_second" not in again.costs  # nothing was encoded
    assert again.costs["cache_bytes"] > 41 * 8 * 4
    summaries = [line for line in told if line.startswith("cache ")]
    assert len(summaries) == 4
    assert "30 documents found and 41 encoded" in summaries[0]
    assert "40 documents found and 0 encoded" in summaries[-1]
    assert "queries found and 0 encoded" in summaries[-1]


DYING = """
import os, signal, sys, zlib
from pathlib import Path
import numpy as np

class Mortal:
    name, fingerprint, precision, similarity, dim = "mortal", "a" * 32, "fp32", "cosine", 8
    max_length, block_size, query_prompt, document_prompt = 64, 10, "", ""

    def __init__(self, log):
        self.log = Path(log)

    def encode_documents(self, texts):
        with self.log.open("a") as stream:
            stream.writelines(text + "\\n" for text in texts)
        return self.encode_queries(texts)

    def encode_queries(self, texts):
        rows = [np.random.default_rng(zlib.crc32(text.encode())).standard_normal(8) for text in texts]
        return np.asarray(rows, np.float32).reshape(len(texts), 8)

def evaluate(log, output, cache, *sets):
    from modernir.eval.beir import evaluate_beir
    return evaluate_beir(Mortal(log), sets, output=Path(output), cache=Path(cache))

if __name__ == "__main__":
    from modernir.eval.caching import store
    life = [int(sys.argv[1])]
    whole = store.VectorStore._append
    def append(self, records, end):
        life[0] -= 1
        if life[0] == 0:
            half = records[: len(records) // 2]
            whole(self, half, end)
            os.kill(os.getpid(), signal.SIGKILL)
        whole(self, records, end)
    store.VectorStore._append = append
    evaluate(*sys.argv[2:])
"""


def test_an_evaluation_of_several_sets_killed_in_the_middle_of_a_write_ends_as_an_uninterrupted_one(
    tmp_path: Path, make_beir: Callable[..., Path], start_python: Callable[..., Any]
) -> None:
    sets = [
        make_beir(tmp_path / name, corpus={f"d{n}": f"text {n} of {n % 5}" for n in range(first, first + 40)})
        for name, first in (("one", 0), ("two", 20), ("three", 40))
    ]
    log, places = tmp_path / "log", (tmp_path / "out", tmp_path / "cache")
    for life in (3, 4):
        process = start_python(DYING, life, log, *places, *sets)
        process.communicate(timeout=300)
        assert process.returncode == -9
    namespace: dict[str, Any] = {"__name__": "here"}
    exec(DYING, namespace)
    resumed = namespace["evaluate"](log, *places, *sets)
    whole = namespace["evaluate"](tmp_path / "other", tmp_path / "whole", tmp_path / "other-cache", *sets)
    for one, other in zip(resumed, whole, strict=True):
        assert (one.per_query, one.metrics, one.intervals) == (other.per_query, other.metrics, other.intervals)
        assert (one.settings, one.counts) == (other.settings, other.counts)
        runs = [place / one.benchmark / "run.trec" for place in (places[0], tmp_path / "whole")]
        assert runs[0].read_bytes() == runs[1].read_bytes()
    encoded = log.read_text().splitlines()
    twice = len(encoded) - len(set(encoded))
    assert len(set(encoded)) == 80
    assert twice <= 20  # the block that was being written, at each of the two kills


def test_the_command_line_keeps_and_tells(call: Call, tiny_beir: Path, tiny_model: Path, tmp_path: Path) -> None:
    base = ("eval", "beir", "--data", tiny_beir, "--cache", tmp_path / "cache")
    first = call(*base, "-m", tiny_model, "-o", tmp_path / "one", "--json")
    assert first.code == 0, first.stderr
    assert "0 documents found and 6 encoded" in first.stderr
    second = call(*base, "-m", tiny_model, "-o", tmp_path / "two", "--json")
    assert "6 documents found and 0 encoded" in second.stderr
    assert json.loads(first.stdout)[0]["metrics"] == json.loads(second.stdout)[0]["metrics"]
    refused = call(*base, "--mode", "lexical", "-o", tmp_path / "three")
    assert (refused.code, refused.stderr.count("\n")) == (2, 1)
    assert "a lexical search encodes nothing; leave out the cache" in refused.stderr


def test_only_a_lexical_evaluation_refuses_a_cache(tmp_path: Path, make_beir: Callable[..., Path]) -> None:
    folder = make_beir(tmp_path / "set")
    with pytest.raises(InputError, match="encodes nothing"):
        evaluate_beir(None, [folder], output=tmp_path / "out", way=Way("lexical"), cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_locked_table_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modernir.eval.caching.store.WAIT_SECONDS", 0.05)
    store = VectorStore(tmp_path)
    other = sqlite3.connect(tmp_path / "texts.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(ModernirError, match="database is locked"):
        store.put(keys_of("a"), dense_rows(1))
    other.execute("ROLLBACK")
    store.put(keys_of("a"), dense_rows(1))
