"""Losses of dense models equal sentence-transformers' own, or the plain formula, whatever the mini-batch."""

import json

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import losses as theirs
from sentence_transformers.util import pairwise_cos_sim

from modernir.encoders.modernbert.fresh import new_model
from modernir.encoders.modernbert.presets import config_for
from modernir.encoders.modernbert.tokenizer import train_tokenizer
from modernir.errors import InputError
from modernir.retrieval.training import dense_trainer
from modernir.retrieval.training.losses import dense
from modernir.retrieval.training.losses.dense import CachedDenseLoss
from modernir.retrieval.training.settings import DenseTraining

BATCH = 7
WIDTH = 32
GIVEN = {"output": "o", "data": ["d"], "init": "tiny", "batch_size": BATCH}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SentenceTransformer:
    file = tmp_path_factory.mktemp("toy") / "toy.json"
    shape = {"hidden_size": WIDTH, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    file.write_text(json.dumps(config_for("tiny").to_fields() | shape | {"vocab_size": 320, "layer_types": None}))
    return new_model(file, train_tokenizer(["some words " * 9], 320), max_length=24, seed=0).double().train()


@pytest.fixture
def teacher() -> torch.Tensor:
    """Return what a teacher says of queries, positives and negatives, (3, batch, 20)."""
    found = torch.rand(3, BATCH, 20, generator=torch.Generator().manual_seed(5), dtype=torch.float64) - 0.3
    return torch.nn.functional.normalize(found, dim=2)


SCORES = torch.tensor([[place % 3, place % 4 - 2] for place in range(BATCH)], dtype=torch.float64)


def batch(model: SentenceTransformer) -> list[dict]:
    return [model.preprocess([f"{kind}{i} {'word ' * (i * 5 % 7)}" for i in range(BATCH)]) for kind in "qab"]


def make_loss(model: SentenceTransformer, **settings: object) -> CachedDenseLoss:
    return dense_trainer.make_loss(DenseTraining.from_sources(**GIVEN | settings), model)


def gradients(model: SentenceTransformer, loss: torch.Tensor) -> torch.Tensor:
    model.zero_grad()
    loss.backward()
    return torch.cat([weights.grad.flatten() for weights in model.parameters()])


def assert_same(model: SentenceTransformer, found: torch.Tensor, wanted: torch.Tensor) -> None:
    expected = gradients(model, wanted)
    assert expected.abs().max() > 0
    assert found.item() == pytest.approx(wanted.item(), rel=1e-9)
    torch.testing.assert_close(gradients(model, found), expected, rtol=1e-6, atol=1e-9)


def their_loss(model: SentenceTransformer, name: str) -> torch.nn.Module:
    if name == "contrastive":
        return theirs.MultipleNegativesRankingLoss(model, scale=1 / 0.7)
    return theirs.MarginMSELoss(model, similarity_fct=lambda one, other: pairwise_cos_sim(one, other) / 0.7)


@pytest.mark.parametrize("dims", [(), (8, 16)])
@pytest.mark.parametrize("name", ["contrastive", "margin-mse"])
@pytest.mark.parametrize("size", [3, BATCH])
def test_a_loss_is_that_of_sentence_transformers(
    model: SentenceTransformer, name: str, size: int, dims: tuple[int, ...]
) -> None:
    wanted = their_loss(model, name)
    if dims:
        wanted = theirs.MatryoshkaLoss(model, wanted, [*dims, WIDTH])
    found = make_loss(model, loss=name, temperature=0.7, mini_batch_size=size, matryoshka=dims)
    assert_same(model, found(batch(model), SCORES), wanted(batch(model), SCORES))


def plain(vectors: list[torch.Tensor], teacher: torch.Tensor, goal: torch.Tensor, weights: tuple[float, ...]) -> object:
    """Compute the three terms, query by query and text by text."""
    queries, documents = vectors[0], torch.cat(vectors[1:])
    known = torch.cat(list(teacher[1:]))
    near = sum(1 - torch.cosine_similarity(v, g, 0) for v, g in zip(torch.cat(vectors), goal, strict=True))
    divergence, told = 0, 0
    for place, (query, asked) in enumerate(zip(queries, teacher[0], strict=True)):
        cosines = torch.cosine_similarity(query[None], documents)
        share, target = (cosines / 0.3).softmax(0), (known @ asked / 0.3).softmax(0)
        divergence = divergence + (target * (target / share).log()).sum()
        told = told - (cosines / 0.7).log_softmax(0)[place]
    embedding, score, contrastive = weights
    return embedding * near / len(goal) + (score * divergence + contrastive * told) / BATCH


@pytest.mark.parametrize("weights", [(0.5, 2.0, 0.25), (1, 0, 0), (0, 1, 0), (0, 0, 3)])
@pytest.mark.parametrize("dims", [(), (8,)])
def test_a_teacher_is_followed_by_the_weighted_sum_of_the_plain_terms(
    model: SentenceTransformer, teacher: torch.Tensor, weights: tuple[float, ...], dims: tuple[int, ...]
) -> None:
    names = ("embedding_weight", "score_weight", "contrastive_weight")
    settings = {"teacher": "t", "teacher_temperature": 0.3, "temperature": 0.7, "matryoshka": dims}
    settings |= dict(zip(names, map(float, weights), strict=True))
    rotation = torch.linalg.qr(torch.rand(WIDTH, 20, generator=torch.Generator().manual_seed(1)).double())[0].T
    goal = torch.cat(list(teacher)) @ rotation
    for size in (3, BATCH):
        loss = make_loss(model, **settings, mini_batch_size=size)
        loss.rotation = rotation
        columns = [dict(column) | {"teacher": own} for column, own in zip(batch(model), teacher, strict=True)]
        vectors = [model(column)["sentence_embedding"] for column in batch(model)]
        sizes = (*dims, WIDTH)
        wanted = sum(plain([v[:, :d] for v in vectors], teacher, goal[:, :d], weights) for d in sizes)
        assert_same(model, loss(columns, None), wanted)


def test_scores_that_are_computed_twice_to_save_memory_are_the_same(
    model: SentenceTransformer, teacher: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss = make_loss(model, teacher="t", embedding_weight=0.0, mini_batch_size=3)
    columns = [dict(column) | {"teacher": own} for column, own in zip(batch(model), teacher, strict=True)]
    whole = loss(columns, None)
    monkeypatch.setattr(dense, "SCORES_AT_ONCE", 3 * 2 * BATCH)
    assert_same(model, loss(columns, None), whole)


@pytest.mark.parametrize(("size", "times"), [(3, 2), (BATCH, 1), (100, 1)])
def test_texts_are_embedded_once_where_a_mini_batch_holds_the_batch_and_never_once_for_each_size(
    model: SentenceTransformer, size: int, times: int
) -> None:
    loss = make_loss(model, matryoshka=(4, 8), mini_batch_size=size)
    embed, seen = loss.embed, []
    loss.embed = lambda features: seen.append(len(features["input_ids"])) or embed(features)
    loss(batch(model), None).backward()
    assert sum(seen) == 3 * BATCH * times


def test_autocast_does_not_reach_the_comparison(model: SentenceTransformer) -> None:
    loss = make_loss(model)
    types: list[torch.dtype] = []
    loss.goals = type("Spy", (), {"needs_all": True, "needs_own": False, "embedding_weight": 0.0})()
    loss.goals.told_apart = lambda scores, first: types.append(scores.dtype) or scores.sum()
    loss.goals.followed = lambda scores, target: 0
    with torch.autocast("cpu", torch.bfloat16):
        loss(batch(model), None)
    assert types == [torch.float64]


def test_sizes_beyond_the_width_are_refused(model: SentenceTransformer) -> None:
    with pytest.raises(InputError, match=r"^matryoshka: 64 is more than the 32 numbers of the model's embeddings$"):
        make_loss(model, matryoshka=[16, 64])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"matryoshka": [8, 0]}, "matryoshka: expected sizes of at least 1, found 0"),
        ({"matryoshka": ["8"]}, r"matryoshka: expected a list of whole numbers, found \['8'\]"),
        ({"score_weight": 2.0}, "score_weight: there is no teacher to follow; name one with --teacher"),
        ({"teacher_cache": "c"}, "teacher_cache: there is no teacher to follow"),
        ({"teacher": "t", "embedding_weight": -1.0}, "embedding_weight: expected at least 0, found -1.0"),
        (
            {"teacher": "t", "embedding_weight": 0.0, "score_weight": 0.0, "contrastive_weight": 0.0},
            "all weights are 0, and nothing would be learnt",
        ),
        ({"loss": "kl", "negatives": 1}, "negatives: loss kl needs at least 2"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        DenseTraining.from_sources(**GIVEN | changes)
