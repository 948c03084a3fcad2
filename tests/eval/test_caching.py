"""What was encoded once is not encoded again, comes back as it was, and survives a kill at any moment."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from modernir import load_encoder
from modernir.encoders.encoder import encode_blocks
from modernir.errors import InputError
from modernir.eval.beir import evaluate_beir
from modernir.eval.caching.encoder import CachedEncoder
from modernir.eval.ways import Way

Call = Callable[..., SimpleNamespace]


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
    from modernir import files
    life = [int(sys.argv[1])]
    whole = files._temporary
    def temporary(path, write):
        life[0] -= path.name.endswith(".keys.npy")
        if life[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(path, write)
    files._temporary = temporary
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
