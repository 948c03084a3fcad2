"""Losses over MaxSim: cached gradients equal the plain computation, and every objective an independent one."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import MultiVectorEncoder
from torch.nn import functional as F

from modernir.encoders.accelerate import accelerate
from modernir.encoders.modernbert.fresh import new_colbert
from modernir.encoders.modernbert.presets import config_for
from modernir.encoders.modernbert.tokenizer import train_tokenizer
from modernir.retrieval.training import colbert_trainer
from modernir.retrieval.training.losses.cached import Vectors
from modernir.retrieval.training.losses.late import CachedMaxSimLoss
from modernir.retrieval.training.losses.objectives import contrastive, in_batch_kl, kl_divergence, margin_mse
from modernir.retrieval.training.settings import ColbertTraining

BATCH = 9
LOSSES = ["contrastive", "kl", "margin-mse"]


@pytest.fixture
def make_model(tmp_path: Path) -> Callable[..., MultiVectorEncoder]:
    def make(expansion: dict | None = None, **fields: float) -> MultiVectorEncoder:
        shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
        config = config_for("tiny").to_fields() | shape | {"vocab_size": 320, "layer_types": None} | fields
        (tmp_path / "toy.json").write_text(json.dumps(config))
        tokenizer = train_tokenizer(["some words, " * 9], 320)
        model = new_colbert(tmp_path / "toy.json", tokenizer, max_length=24, dim=8, seed=0)
        model[2].skiplist_words = [","]
        model[2].resolve_with_tokenizer(tokenizer)
        model[0].query_expansion = expansion
        return model

    return make


@pytest.fixture
def teacher() -> torch.Tensor:
    return torch.rand(BATCH, 3, generator=torch.Generator().manual_seed(5)) * 7


def batch(model: MultiVectorEncoder) -> list[dict]:
    columns = {"q": "query", "a": "document", "b": "document", "c": "document"}
    return [
        model.preprocess([f"{kind}{i}, {'word ' * (i * 5 % 7)}" for i in range(BATCH)], task=task)
        for kind, task in columns.items()
    ]


def make_loss(model: MultiVectorEncoder, name: str, size: int, mean: bool = False, **more: object) -> CachedMaxSimLoss:
    given = {"output": "o", "data": ["d"], "init": "tiny", "temperature": 0.7} | more
    settings = ColbertTraining.from_sources(**given, loss=name, mini_batch_size=size, mean_scores=mean)
    return colbert_trainer.make_loss(settings, model)


def token_vectors(model: MultiVectorEncoder, features: dict, task: str) -> list[torch.Tensor]:
    found = model(dict(features), task=task)
    kept = found["attention_mask"].bool()
    return [rows[mask] for rows, mask in zip(found["token_embeddings"], kept, strict=True)]


def plain_loss(
    model: MultiVectorEncoder, columns: list[dict], name: str, mean: bool, teacher: torch.Tensor
) -> torch.Tensor:
    """Compute it with all in memory, text by text."""
    queries = token_vectors(model, columns[0], "query")
    documents = [token_vectors(model, features, "document") for features in columns[1:]]

    def score(query: torch.Tensor, document: torch.Tensor) -> torch.Tensor:
        return (query @ document.T).amax(1).sum() / (len(query) if mean else 1)

    if name == "contrastive":
        every = [document for column in documents for document in column]
        scores = torch.stack([torch.stack([score(query, document) for document in every]) for query in queries])
        return -(scores / 0.7).log_softmax(1)[range(BATCH), range(BATCH)].mean()
    own = [torch.stack([score(query, column[n]) for column in documents]) for n, query in enumerate(queries)]
    if name == "kl":
        divergences = [divergence(scores, truth) for scores, truth in zip(own, teacher, strict=True)]
        return torch.stack(divergences).mean() * 0.7**2
    wrong = [(s[0] - s[1:]) / 0.7 - (t[0] - t[1:]) for s, t in zip(own, teacher, strict=True)]
    return torch.stack(wrong).square().mean()


def divergence(scores: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    found, wanted = (torch.exp((x - x.min()) / (x.max() - x.min()) / 0.7) for x in (scores, teacher))
    found, wanted = found / found.sum(), wanted / wanted.sum()
    return (wanted * (wanted / found).log()).sum()


def gradients(model: MultiVectorEncoder, loss: torch.Tensor) -> torch.Tensor:
    model.zero_grad()
    loss.backward()
    return torch.cat([weights.grad.flatten() for weights in model.parameters()])


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_loss_and_gradients_equal_the_plain_computation_whatever_the_mini_batch(
    make_model: Callable, teacher: torch.Tensor, name: str, mean: bool
) -> None:
    model = make_model({"strategy": "fixed", "attend": False, "length": 12}).double().train()
    wanted = plain_loss(model, batch(model), name, mean, teacher.double())
    expected = gradients(model, wanted)
    assert expected.abs().max() > 0
    for size in (2, 5, BATCH):
        found = make_loss(model, name, size, mean)(batch(model), teacher)
        assert found.item() == pytest.approx(wanted.item(), rel=1e-9)
        torch.testing.assert_close(gradients(model, found), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("size", [4, BATCH])
def test_a_dense_teachers_scores_are_compared_with_the_mean_over_a_querys_tokens(
    make_model: Callable, teacher: torch.Tensor, name: str, size: int
) -> None:
    model = make_model().double().train()
    seen = F.normalize(torch.rand(4, BATCH, 20, generator=torch.Generator().manual_seed(3)).double() - 0.3, dim=2)
    columns = batch(model)
    queries = token_vectors(model, columns[0], "query")
    documents = [vectors for column in columns[1:] for vectors in token_vectors(model, column, "document")]
    divergence = 0
    for query, asked in zip(queries, seen[0], strict=True):
        scores = torch.stack([(query @ document.T).amax(1).mean() for document in documents])
        target = (torch.cat(list(seen[1:])) @ asked / 0.3).softmax(0)
        divergence = divergence + (target * (target.log() - (scores / 0.3).log_softmax(0))).sum() / BATCH
    wanted = 0.5 * divergence + 2.0 * plain_loss(model, columns, name, False, teacher.double())
    given = {"teacher": "t", "score_weight": 0.5, "contrastive_weight": 2.0, "teacher_temperature": 0.3}
    taught = [column | {"teacher": own} for column, own in zip(map(dict, columns), seen, strict=True)]
    found = make_loss(model, name, size, **given)(taught, teacher)
    expected = gradients(model, wanted)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-9)
    torch.testing.assert_close(gradients(model, found), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("attend", [False, True])
def test_the_packed_network_gives_the_same_loss_and_gradients(
    make_model: Callable, teacher: torch.Tensor, attend: bool
) -> None:
    model = make_model({"strategy": "fixed", "attend": attend, "length": 12}).train()
    wanted = make_loss(model, "contrastive", 4)(batch(model), None)
    expected = gradients(model, wanted)
    accelerate(model)
    found = make_loss(model, "contrastive", 4)(batch(model), None)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)
    torch.testing.assert_close(gradients(model, found), expected, rtol=1e-3, atol=1e-5 * expected.abs().max().item())


def test_the_second_embedding_draws_the_drop_out_of_the_first(make_model: Callable) -> None:
    model = make_model(mlp_dropout=0.5, embedding_dropout=0.5).train()
    cached = make_loss(model, "contrastive", 4)
    embed, seen = cached.embed, []

    def recorded(features: dict) -> Vectors:
        found = embed(features)
        seen.append(found.values.detach())
        return found

    cached.embed = recorded
    cached(batch(model), None).backward()
    once, again = seen[: len(seen) // 2], seen[len(seen) // 2 :]
    assert len(once) == 4 * 3
    assert all(torch.equal(first, second) for first, second in zip(once, again, strict=True))
    cached(batch(model), None)
    assert not any(torch.allclose(first, other) for first, other in zip(once, seen[len(once) * 2 :], strict=True))


def test_gradients_take_the_scale_of_the_outer_loss(make_model: Callable) -> None:
    model = make_model().train()
    once = gradients(model, make_loss(model, "contrastive", 4)(batch(model), None))
    thrice = gradients(model, 3 * make_loss(model, "contrastive", 4)(batch(model), None))
    torch.testing.assert_close(thrice, 3 * once, rtol=1e-4, atol=1e-6)


def test_without_gradients_nothing_is_kept(make_model: Callable) -> None:
    model = make_model()
    with torch.no_grad():
        found = make_loss(model, "contrastive", 4)(batch(model), None)
    assert not found.requires_grad
    assert found.item() == pytest.approx(make_loss(model, "contrastive", 4)(batch(model), None).item(), rel=1e-6)


def test_autocast_holds_in_both_passes(make_model: Callable) -> None:
    model = make_model().train()
    full = gradients(model, make_loss(model, "contrastive", 4)(batch(model), None))
    with torch.autocast("cpu", torch.bfloat16):
        loss = make_loss(model, "contrastive", 4)(batch(model), None)
    mixed = gradients(model, loss)
    with torch.autocast("cpu", torch.bfloat16):
        whole = make_loss(model, "contrastive", BATCH)(batch(model), None)
    uncached = gradients(model, whole)
    assert loss.dtype == torch.float32
    scale = full.abs().max().item()
    assert not torch.allclose(mixed, full, atol=1e-6 * scale, rtol=0)
    torch.testing.assert_close(mixed, uncached, atol=0.02 * scale, rtol=0)


def test_contrastive_is_the_logarithm_of_the_share_of_the_positive() -> None:
    scores = torch.tensor([[2.0, 0.0, 1.0], [1.0, 3.0, 0.0]])
    weights = np.exp(scores.numpy() / 0.5)
    expected = -np.log([weights[0, 0] / weights[0].sum(), weights[1, 1] / weights[1].sum()]).mean()
    assert contrastive(scores, 0.5).item() == pytest.approx(expected, rel=1e-6)


def test_kl_does_not_mind_scale_and_offset_and_is_zero_where_both_agree() -> None:
    teacher = torch.tensor([[9.0, 1.0, 4.0], [0.1, 0.9, 0.3]])
    assert kl_divergence(teacher * 3 - 5, teacher, 0.5).item() == pytest.approx(0, abs=1e-6)
    other = torch.tensor([[1.0, 2.0, 3.0], [5.0, 1.0, 2.0]])
    assert kl_divergence(other * 10 + 1, teacher, 0.5).item() == pytest.approx(
        kl_divergence(other, teacher, 0.5).item(), rel=1e-5
    )
    assert kl_divergence(other, teacher, 0.5).item() > 0.1


def test_following_all_of_a_batch_is_the_contrastive_loss_with_soft_labels() -> None:
    scores = torch.tensor([[2.0, 0.0, 1.0], [1.0, 3.0, 0.0]])
    sure = torch.tensor([[60.0, 0.0, 0.0], [0.0, 60.0, 0.0]])
    assert in_batch_kl(scores, sure, 0.5).item() == pytest.approx(contrastive(scores, 0.5).item(), rel=1e-6)
    assert in_batch_kl(scores, scores + 7, 0.5).item() == pytest.approx(0, abs=1e-6)


def test_equal_scores_give_a_finite_loss_without_gradient() -> None:
    scores = torch.full((2, 3), 4.0, requires_grad=True)
    loss = kl_divergence(scores, torch.tensor([[1.0, 2.0, 3.0], [2.0, 2.0, 2.0]]), 1.0)
    loss.backward()
    assert torch.isfinite(loss)
    assert not scores.grad.any()


def test_scores_that_only_rounding_tells_apart_count_as_equal_and_a_teacher_of_small_scale_does_not() -> None:
    ulp = 2.0**-19  # of 31.9 in float32
    scores = torch.tensor([[31.9, 31.9 + ulp, 31.9 + 2 * ulp], [31.9, 31.0, 30.0]], requires_grad=True)
    teacher = torch.tensor([[1e-6, 3e-6, 2e-6], [1e-6, 3e-6, 2e-6]])
    kl_divergence(scores, teacher, 1.0).backward()
    assert not scores.grad[0].any()
    assert scores.grad[1].any()
    wanted = kl_divergence(scores, teacher * 1e6, 1.0).item()
    assert kl_divergence(scores, teacher, 1.0).item() == pytest.approx(wanted, rel=1e-5)


def test_the_scale_of_an_outer_loss_may_be_more_than_16_bits_hold() -> None:
    values = torch.ones(2, 3, dtype=torch.float16, requires_grad=True)
    replay = CachedMaxSimLoss(None, None, 2)
    replay.embed = lambda features: Vectors(values * 1, torch.tensor([2]))
    gradient = torch.full((2, 3), 2.0**-12, dtype=torch.float16)
    outside = nullcontext()
    replay._replay([dict], [outside], [gradient], nullcontext, torch.tensor(65536.0))
    assert torch.equal(values.grad, torch.full((2, 3), 16.0, dtype=torch.float16))


def test_margin_mse_looks_at_margins_only() -> None:
    scores, teacher = torch.tensor([[4.0, 1.0, 2.0]]), torch.tensor([[10.0, 9.0, 5.0]])
    assert margin_mse(scores, teacher, 1.0).item() == pytest.approx(((3 - 1) ** 2 + (2 - 5) ** 2) / 2)
    assert margin_mse(scores + 7, teacher - 3, 1.0).item() == pytest.approx(margin_mse(scores, teacher, 1.0).item())
    assert margin_mse(scores, teacher, 0.5).item() == pytest.approx(((6 - 1) ** 2 + (4 - 5) ** 2) / 2)
    assert F.mse_loss(torch.tensor([3.0, 2.0]), torch.tensor([1.0, 5.0])).item() == pytest.approx(6.5)
