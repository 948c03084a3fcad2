"""A teacher model that training follows: what it says is computed once, kept, found again, and learnt."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from modernir.encoders.embedding_shards import KEYS, Layout
from modernir.encoders.embedding_store import EmbeddingStore
from modernir.encoders.loading import load_encoder
from modernir.encoders.modernbert.presets import config_for
from modernir.errors import InputError
from modernir.retrieval.training import dense_trainer, teacher
from modernir.retrieval.training.colbert import train_colbert
from modernir.retrieval.training.dense import train_dense
from modernir.retrieval.training.rotation import load_rotation, principal_directions, turned
from modernir.retrieval.training.settings import ColbertTraining, DenseTraining

EXAMPLES = 60


def vectors_of(keys: np.ndarray, dim: int = 4) -> np.ndarray:
    return np.sin(np.outer(keys.astype(np.float64), np.arange(1, dim + 1))).astype(np.float32)


def numbers(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint64)


def test_principal_directions_keep_inner_products_as_the_truncated_svd_does() -> None:
    found = np.random.default_rng(0).normal(size=(50, 9)) * np.arange(1, 10) + 3
    directions = principal_directions(found, 4)
    assert directions.dtype == np.float32
    np.testing.assert_allclose(directions.T @ directions, np.eye(4), atol=1e-6)
    left, sizes, right = np.linalg.svd(found, full_matrices=False)
    best = (left[:, :4] * sizes[:4]) @ right[:4]
    turned = found @ directions
    np.testing.assert_allclose(turned @ turned.T, best @ best.T, atol=1e-4 * sizes[0] ** 2)
    assert (directions[np.abs(directions).argmax(0), range(4)] > 0).all()
    wider = found @ principal_directions(found, 12)
    np.testing.assert_allclose(wider @ wider.T, found @ found.T, atol=1e-4 * sizes[0] ** 2)
    assert not wider[:, 9:].any()


def test_a_rotation_is_kept_and_goes_by_its_texts(tmp_path: Path) -> None:
    cache = EmbeddingStore(tmp_path, Layout("float32", 4))
    keys = np.arange(1, 40, dtype=np.uint64)
    cache.put(keys, vectors_of(keys))
    first = load_rotation(cache, keys[:20], 2, seed=3)
    cache.put(numbers(77), np.ones((1, 4), np.float32))
    assert np.array_equal(load_rotation(cache, keys[:20], 2, seed=3), first)
    assert not np.allclose(load_rotation(cache, keys, 2, seed=3), first)
    assert len(list(tmp_path.glob("rotation-*"))) == 2


def test_directions_are_turned_to_where_a_student_already_is() -> None:
    draw = np.random.default_rng(0)
    known = draw.normal(size=(60, 9)).astype(np.float32)
    directions = principal_directions(known, 4)
    turn = np.linalg.qr(draw.normal(size=(4, 4)))[0]
    found = turned(directions, known, known @ directions @ turn)
    np.testing.assert_allclose(found, directions @ turn, atol=1e-5)
    noisy = turned(directions, known, draw.normal(size=(60, 4)))
    products, wanted = (known @ kept @ kept.T @ known.T for kept in (noisy, directions))
    np.testing.assert_allclose(products, wanted, atol=1e-4)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> dict:
    """Return the settings of a run of seconds with the tiny model, 32 wide, for its teacher."""
    folder = tmp_path_factory.mktemp("toy")
    words = ["red", "green", "blue", "apples", "pears", "trees", "garden", "winter", "bread", "ship", "sea", "salt"]
    draw = random.Random(0)
    rows = [
        {
            "query": f"{number} {' '.join(draw.sample(words, 2))}",
            "positive": f"{' '.join(draw.sample(words, 5))} {number}",
        }
        for number in range(EXAMPLES)
    ]
    (folder / "toy.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    fields = config_for("tiny").to_fields() | shape | {"vocab_size": 384, "layer_types": None}
    (folder / "toy.json").write_text(json.dumps(fields))
    return {
        "data": [str(folder / "toy.jsonl")],
        "init": str(folder / "toy.json"),
        "teacher": str(tiny_model),
        "batch_size": 16,
        "mini_batch_size": 16,
        "max_steps": 6,
        "learning_rate": 1e-2,
        "query_length": 16,
        "document_length": 24,
        "holdout": 0,
        "log_every": 1,
        "save_every": 2,
        "temperature": 0.1,
    }


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list to which every text goes that a teacher encodes."""
    texts: list[str] = []
    load = teacher.load_encoder

    def watched(*args: object, **kwargs: object) -> object:
        encoder = load(*args, **kwargs)
        for name in ("encode_queries", "encode_documents"):
            encode = getattr(encoder, name)
            setattr(encoder, name, lambda block, encode=encode: texts.extend(block) or encode(block))
        return encoder

    monkeypatch.setattr(teacher, "load_encoder", watched)
    return texts


class CutError(Exception):
    """What a crash is in these tests."""


def cut_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    whole_step = dense_trainer.DenseTrainer.training_step

    def cut(self: dense_trainer.DenseTrainer, *args: object, **kwargs: object) -> torch.Tensor:
        if self.state.global_step == step:
            raise CutError
        return whole_step(self, *args, **kwargs)

    monkeypatch.setattr(dense_trainer.DenseTrainer, "training_step", cut)
    return lambda: monkeypatch.setattr(dense_trainer.DenseTrainer, "training_step", whole_step)


def same_weights(one: Path, other: Path) -> bool:
    first, second = (load_file(folder / "model.safetensors") for folder in (one, other))
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_with_a_teacher_resumes_exactly_and_encodes_nothing_twice(
    toy: dict, tmp_path: Path, encoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teacher, "TEXTS_A_SHARD", 16)
    shared = str(tmp_path / "cache")
    whole = train_dense(
        DenseTraining.from_sources(**toy | {"output": str(tmp_path / "whole"), "teacher_cache": shared})
    )
    assert len(encoded) == len(set(encoded)) == 2 * EXAMPLES
    encoded.clear()
    undo = cut_at(3, monkeypatch)
    output = str(tmp_path / "run")
    with pytest.raises(CutError):
        train_dense(DenseTraining.from_sources(**toy | {"output": output}))
    assert len(encoded) == 2 * EXAMPLES
    encoded.clear()
    undo()
    resumed = train_dense(DenseTraining.from_sources(output=output, resume=True))
    again = train_dense(
        DenseTraining.from_sources(**toy | {"output": str(tmp_path / "again"), "teacher_cache": shared})
    )
    assert not encoded
    assert same_weights(whole, resumed)
    assert same_weights(whole, again)
    assert not (resumed / "examples").exists()


def test_a_teacher_that_is_cut_short_goes_on_where_it_stopped(
    toy: dict, tmp_path: Path, encoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teacher, "TEXTS_A_SHARD", 16)
    put, puts = EmbeddingStore.put, []

    def killed(self: EmbeddingStore, *shard: object) -> None:
        if len(puts) == 5:
            raise CutError
        puts.append(put(self, *shard))

    monkeypatch.setattr(EmbeddingStore, "put", killed)
    output = str(tmp_path / "run")
    with pytest.raises(CutError):
        train_dense(DenseTraining.from_sources(**toy | {"output": output}))
    monkeypatch.setattr(EmbeddingStore, "put", put)
    # the sixth shard was encoded and not yet written
    assert len(encoded) == EXAMPLES + 2 * 16
    kept = set(encoded[: EXAMPLES + 16])
    encoded.clear()
    train_dense(DenseTraining.from_sources(output=output, resume=True))
    assert len(encoded) == len(set(encoded)) == 2 * EXAMPLES - len(kept)
    assert not kept & set(encoded)


def test_embeddings_become_like_the_teachers(toy: dict, tmp_path: Path, tiny_model: Path) -> None:
    changes = {"max_steps": 30, "score_weight": 0.0, "contrastive_weight": 0.0, "matryoshka": [8]}
    rows = [json.loads(line) for line in Path(toy["data"][0]).read_text().splitlines()]
    texts = [row["positive"] for row in rows]
    wanted = load_encoder(tiny_model, device="cpu", kind="dense").encode_documents(texts)
    centred = wanted - wanted.mean(0)
    likeness = []
    for steps in (1, 60):
        folder = train_dense(
            DenseTraining.from_sources(**toy | changes | {"output": str(tmp_path / f"run{steps}"), "max_steps": steps})
        )
        found = SentenceTransformer(str(folder), device="cpu").encode_document(texts)
        found = found - found.mean(0)
        likeness.append(np.corrcoef((found @ found.T).ravel(), (centred @ centred.T).ravel())[0, 1])
    assert likeness[1] > likeness[0] + 0.2


def test_training_goes_on_from_a_model_that_followed_the_teacher_on_other_texts(
    toy: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = {"score_weight": 0.0, "contrastive_weight": 0.0, "embedding_weight": 1.0, "log_every": 1}
    learnt = train_dense(DenseTraining.from_sources(**toy | alone | {"output": str(tmp_path / "one"), "max_steps": 60}))
    found = teacher.load_rotation
    # of other texts, the directions are others, and each may point the other way
    monkeypatch.setattr(teacher, "load_rotation", lambda *texts: -found(*texts)[:, ::-1])
    changes = alone | {"model": str(learnt), "init": None, "max_steps": 3}
    whole = train_dense(DenseTraining.from_sources(**toy | changes | {"output": str(tmp_path / "two")}))
    first, on = (
        [line["loss"] for line in map(json.loads, (folder / "training_log.jsonl").open()) if "loss" in line]
        for folder in (learnt, whole)
    )
    assert abs(on[0] - first[-1]) < 0.25 * abs(first[0] - first[-1])
    undo = cut_at(2, monkeypatch)
    output = str(tmp_path / "cut")
    with pytest.raises(CutError):
        train_dense(DenseTraining.from_sources(**toy | changes | {"output": output}))
    undo()
    assert same_weights(whole, train_dense(DenseTraining.from_sources(output=output, resume=True)))


def test_a_colbert_follows_a_dense_teacher(toy: dict, tmp_path: Path, encoded: list[str]) -> None:
    changes = {"output": str(tmp_path / "run"), "dim": 8, "temperature": 1.0, "expansion": "none", "max_steps": 3}
    folder = train_colbert(ColbertTraining.from_sources(**toy | changes | {"contrastive_weight": 0.0}))
    assert len(encoded) == 2 * EXAMPLES
    lines = [json.loads(line) for line in (folder / "training_log.jsonl").read_text().splitlines()]
    assert all(0 < line["loss"] < 5 for line in lines if "loss" in line)


def test_a_wider_teacher_of_mixed_pairs_and_triplets_is_turned_by_their_texts_alone(
    toy: dict, tmp_path: Path, encoded: list[str]
) -> None:
    triplets = [{"query": f"who {n}", "positive": f"he {n}", "negative": f"she {n}"} for n in range(20)]
    (tmp_path / "triplets.jsonl").write_text("".join(json.dumps(row) + "\n" for row in triplets))
    changes = {"data": [*toy["data"], str(tmp_path / "triplets.jsonl")], "mixing": 2.0, "max_steps": 2}
    folders = {"output": str(tmp_path / "run"), "teacher_cache": str(tmp_path / "cache")}
    train_dense(DenseTraining.from_sources(**toy | changes | folders))
    assert len(encoded) == len(set(encoded)) == 2 * EXAMPLES + 3 * 20
    cache = EmbeddingStore(next((tmp_path / "cache").iterdir()))
    assert cache.layout == Layout("float16", 32)
    texts = np.sort(np.concatenate([np.load(file) for file in cache.folder.glob(f"*{KEYS}")]))
    used = np.load(next(cache.folder.glob("rotation-*.npy")))
    np.testing.assert_allclose(used, principal_directions(cache.take(texts).astype(np.float32), 16), atol=1e-6)


def test_a_teacher_that_is_no_dense_model_is_refused_and_leaves_nothing(
    toy: dict, tmp_path: Path, tiny_colbert: Path
) -> None:
    with pytest.raises(InputError, match=r"a multi-vector \(ColBERT\) checkpoint, where a dense"):
        train_dense(DenseTraining.from_sources(**toy | {"output": str(tmp_path / "run"), "teacher": str(tiny_colbert)}))
    assert not (tmp_path / "run").exists()
