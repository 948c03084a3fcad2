"""The parts of pre-training against plain formulas: optimiser, schedule, masks, texts, packs, tiling, settings."""

import dataclasses
import gzip
import inspect
import math
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from modernir.cli import pretraining
from modernir.encoders.modernbert.config import one_global_in
from modernir.encoders.modernbert.network import MaskedLanguageModel
from modernir.encoders.modernbert.presets import PRESETS
from modernir.errors import InputError
from modernir.retrieval.pretraining.corpus import Corpus, joined
from modernir.retrieval.pretraining.growth import tile_network, tiled
from modernir.retrieval.pretraining.masking import Masking
from modernir.retrieval.pretraining.packs import Supply, split_held_out
from modernir.retrieval.pretraining.schedule import batch_sizes, rate_at, steps_of
from modernir.retrieval.pretraining.settings import Pretraining
from modernir.retrieval.pretraining.stable_adamw import StableAdamW
from modernir.retrieval.readers.plain import LARGEST_BLOCK, Block, blocks_of, read_blocks

GIVEN = {"data": ["a.txt"], "init": "tiny", "tokenizer": "t", "output": "o"}
CPU = torch.device("cpu")


def stable_adamw_of_the_paper(
    theta: np.ndarray, gradients: list[np.ndarray], lr: float, betas: tuple[float, float], eps: float, decay: float
) -> np.ndarray:
    """Algorithm 2 of arXiv 2304.13013, one tensor, in float64."""
    v = u = np.zeros_like(theta)
    for t, g in enumerate(gradients, 1):
        b1, b2 = (beta * (1 - beta ** (t - 1)) / (1 - beta**t) for beta in betas)
        v = b1 * v + (1 - b1) * g
        u = b2 * u + (1 - b2) * g**2
        rms = math.sqrt(np.mean(g**2 / np.maximum(u, eps**2)))
        eta = lr / max(1.0, rms)
        theta = theta - eta * decay * theta - eta * v / (np.sqrt(u) + eps)
    return theta


def test_stable_adamw_is_the_papers_formula() -> None:
    draw = np.random.default_rng(0)
    shapes, decays = [(5, 3), (4,)], [0.1, 0.0]
    starts = [draw.normal(size=shape) for shape in shapes]
    # gradients that jump a hundredfold, so that the clipping of updates has something to do
    scales = [1.0, 1.0, 100.0, 0.01, 1.0, 50.0]
    gradients = [[scale * draw.normal(size=shape) for scale in scales] for shape in shapes]
    weights = [torch.nn.Parameter(torch.tensor(start)) for start in starts]
    groups = [{"params": [weight], "weight_decay": decay} for weight, decay in zip(weights, decays, strict=True)]
    optimizer = StableAdamW(groups, lr=0.05, betas=(0.9, 0.98), eps=1e-6)
    for step in range(len(scales)):
        for weight, own in zip(weights, gradients, strict=True):
            weight.grad = torch.tensor(own[step])
        optimizer.step()
    for weight, start, own, decay in zip(weights, starts, gradients, decays, strict=True):
        expected = stable_adamw_of_the_paper(start, own, 0.05, (0.9, 0.98), 1e-6, decay)
        np.testing.assert_allclose(weight.detach().numpy(), expected, rtol=1e-12, atol=1e-12)


def test_stable_adamw_leaves_what_has_no_gradient() -> None:
    moved, still = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    optimizer = StableAdamW([moved, still], lr=0.1)
    moved.grad = torch.ones(2)
    optimizer.step()
    assert torch.equal(still, torch.ones(2))
    assert not torch.equal(moved, torch.ones(2))


def test_the_rate_warms_up_stays_and_falls_as_one_minus_the_root() -> None:
    rates = [rate_at(step, 100, 0.1, 0.2) for step in range(100)]
    assert rates[:10] == pytest.approx([(step + 1) / 11 for step in range(10)])
    assert rates[10:80] == [1.0] * 70
    assert rates[80:] == pytest.approx([1 - math.sqrt(step / 20) for step in range(20)])
    assert [rate_at(step, 4, 0, 0) for step in range(4)] == [1.0] * 4


@pytest.mark.parametrize(("first", "warmup"), [(None, 0.0), (2, 0.5), (1, 1.0)])
@pytest.mark.parametrize("packs", [7, 50, 333])
def test_batches_grow_and_take_as_many_steps_as_there_are_packs_for(
    packs: int, first: int | None, warmup: float
) -> None:
    steps = steps_of(packs, 8, first, warmup)
    sizes = batch_sizes(steps, 8, first, warmup)
    assert sizes.sum() <= packs < batch_sizes(steps + 1, 8, first, warmup).sum()
    assert (np.diff(sizes) >= 0).all()
    if first and steps > 2:
        assert sizes[0] == first
        assert set(sizes[round(warmup * steps) :]) <= {8}


def masking(plain: bool, share: float = 0.3) -> Masking:
    ordinary = np.ones(1000, dtype=bool)
    ordinary[:5] = False
    return Masking(ordinary, 4, share, plain)


def test_masks_fall_on_ordinary_tokens_in_the_shares_of_bert() -> None:
    ids = np.random.default_rng(1).integers(0, 1000, size=200_000).astype(np.uint16)
    found = masking(plain=False).apply(ids, np.random.default_rng(2))
    ordinary = int((ids >= 5).sum())
    assert len(found.at) / ordinary == pytest.approx(0.3, abs=0.005)
    assert (found.expected == ids[found.at]).all() and (found.expected >= 5).all()
    untouched = np.delete(np.arange(len(ids)), found.at)
    assert (found.ids[untouched] == ids[untouched]).all()
    seen = found.ids[found.at]
    assert (seen == 4).mean() == pytest.approx(0.8, abs=0.01)
    assert (seen == found.expected).mean() == pytest.approx(0.1, abs=0.01)
    others = seen[(seen != 4) & (seen != found.expected)]
    assert others.min() >= 5 and len(np.unique(others)) > 900


def test_plain_masking_hides_every_chosen_token_and_the_same_seed_the_same() -> None:
    ids = np.arange(5, 1000)
    one, other = (masking(plain=True).apply(ids, np.random.default_rng(3)) for _ in range(2))
    assert (one.ids[one.at] == 4).all()
    assert (one.ids == other.ids).all() and len(one.at) > 200


def test_blocks_are_lines_up_to_a_blank_one_and_lose_nothing() -> None:
    text = "\n \nfirst\nline\n\n\n  second\n\t\nthird"
    blocks = list(blocks_of(text.splitlines(keepends=True)))
    assert blocks == ["first\nline\n\n\n", "  second\n\t\n", "third"]
    endless = "x" * (2 * LARGEST_BLOCK + 5)
    pieces = list(blocks_of([endless]))
    assert "".join(pieces) == endless and max(map(len, pieces)) == LARGEST_BLOCK
    lines = ["y" * 99 + "\n"] * 1000
    assert "".join(blocks_of(lines)) == "".join(lines)


def test_streams_go_on_and_rows_begin_anew(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.txt.gz", "wt") as stream:
        stream.write("one\n\ntwo\n")
    assert list(read_blocks(tmp_path / "a.txt.gz")) == [Block("one\n\n", True), Block("two\n", False)]
    (tmp_path / "b.jsonl").write_text('{"text": "one\\n\\ntwo"}\n{"text": "three", "id": 7}\n')
    found = list(read_blocks(tmp_path / "b.jsonl"))
    assert found == [Block("one\n\n", True), Block("two", False), Block("three", True)]
    (tmp_path / "c.jsonl").write_text('{"text": "one"}\n{"title": "no text"}\n')
    with pytest.raises(InputError, match=r"c\.jsonl:2: expected a text under 'text', found 'title'"):
        list(read_blocks(tmp_path / "c.jsonl"))


class NeverEarly(random.Random):
    def random(self) -> float:
        return 1.0


def test_texts_are_blocks_joined_while_they_fit_and_cut_where_they_do_not() -> None:
    blocks = [([1] * 4, True), ([2] * 5, False), ([3] * 3, False), ([4] * 23, False), ([5] * 2, False), ([6], True)]
    found = list(joined(blocks, 10, NeverEarly()))
    assert found == [[1] * 4 + [2] * 5, [3] * 3, [4] * 10, [4] * 10, [4] * 3 + [5] * 2, [6]]


def test_texts_that_end_early_lose_nothing() -> None:
    draw = random.Random(5)
    blocks = [([number] * draw.randint(0, 40), draw.random() < 0.1) for number in range(2000)]
    texts = list(joined(blocks, 32, random.Random(6)))
    assert [token for text in texts for token in text] == [token for ids, _ in blocks for token in ids]
    assert min(map(len, texts)) > 0 and max(map(len, texts)) <= 32
    assert texts == list(joined(blocks, 32, random.Random(6)))


@pytest.fixture
def supply() -> Supply:
    draw = np.random.default_rng(4)
    offsets = np.concatenate([[0], draw.integers(2, 30, size=500).cumsum()])
    corpus = Corpus(draw.integers(5, 1000, size=offsets[-1]).astype(np.uint16), offsets)
    return Supply(corpus, np.arange(0, 500, 2), 256, masking(plain=True), 9, CPU)


def test_every_pass_has_each_text_once_in_an_order_of_its_own(supply: Supply) -> None:
    passes = [
        [supply.texts_of(number).tolist() for number in range(first, first + supply.per_pass)]
        for first in (0, supply.per_pass)
    ]
    for packs in passes:
        assert sorted(text for pack in packs for text in pack) == list(range(0, 500, 2))
        assert max(supply.corpus.lengths[pack].sum() for pack in packs) <= 256
    assert passes[0] != passes[1]
    assert supply.fullness == pytest.approx(supply.tokens / (supply.per_pass * 256))


def test_a_pack_is_known_by_its_number(supply: Supply) -> None:
    later, again = supply.example(supply.per_pass + 3), None
    supply.example(2)
    again = supply.example(supply.per_pass + 3)
    assert torch.equal(later.stream.ids, again.stream.ids) and torch.equal(later.labels, again.labels)
    seen = torch.where(later.labels == -100, later.stream.ids, later.labels)
    texts = supply.texts_of(supply.per_pass + 3)
    assert seen.tolist() == supply.corpus.gather(texts).tolist()
    assert later.stream.lengths == tuple(supply.corpus.lengths[texts])
    assert (later.labels != -100).nonzero()[:, 0].tolist() == later.at.tolist()


def test_the_held_out_texts_are_a_share_or_a_number_and_trained_on_by_none() -> None:
    for holdout, kept in ((0, 0), (0.1, 10), (7, 7), (1e6, 50), (0.0001, 1)):
        train, held = split_held_out(100, holdout, 3)
        assert len(held) == kept
        assert sorted([*train, *held]) == list(range(100))


def network(layers: int, width: int, heads: int, intermediate: int) -> MaskedLanguageModel:
    shape = {"layers": layers, "width": width, "heads": heads, "intermediate": intermediate}
    config = dataclasses.replace(PRESETS["tiny"], vocabulary=64, global_layers=one_global_in(3, layers), **shape)
    torch.manual_seed(layers)
    return MaskedLanguageModel(config)


def test_a_tensor_is_continued_around_its_middle() -> None:
    assert tiled(torch.arange(3), torch.Size([8]), (1,)).tolist() == [1, 2, 0, 1, 2, 0, 1, 2]
    found = tiled(torch.arange(4).view(2, 2), torch.Size([4, 3]), (1, 1))
    assert found.tolist() == [[3 - 1, 3, 2], [0, 1, 0], [2, 3, 2], [0, 1, 0]]
    assert tiled(torch.arange(4), torch.Size([10]), (2,)).tolist() == [2, 3, 0, 1, 2, 3, 0, 1, 2, 3]


def test_a_larger_network_is_tiled_from_a_smaller_one() -> None:
    small, large = network(2, 32, 2, 48), network(5, 64, 4, 80)
    tile_network(small, large)
    table = small.model.embeddings.tok_embeddings.weight
    assert torch.equal(large.model.embeddings.tok_embeddings.weight[:, 16:48], table)
    assert large.decoder.weight is large.model.embeddings.tok_embeddings.weight
    for number, source in enumerate([0, 0, 1, 1, 1]):  # round(i · 2 / 5), at most the last
        mine, theirs = large.model.layers[number], small.model.layers[source]
        thirds = zip(mine.attn.Wqkv.weight.chunk(3), theirs.attn.Wqkv.weight.chunk(3), strict=True)
        assert all(torch.equal(one[16:48, 16:48], other) for one, other in thirds)
        halves = zip(mine.mlp.Wi.weight.chunk(2), theirs.mlp.Wi.weight.chunk(2), strict=True)
        assert all(torch.equal(one[16:64, 16:48], other) for one, other in halves)
    # what is beyond the middle repeats it
    wo = large.model.layers[0].mlp.Wo.weight
    assert torch.equal(wo[:16], wo[32:48]) and torch.equal(wo[:, :16], wo[:, 48:64])


@pytest.mark.parametrize(
    ("sizes", "said"),
    [((5, 64, 8, 80), "same head width"), ((1, 64, 4, 80), "more layers"), ((5, 64, 4, 40), "more intermediate")],
)
def test_what_cannot_be_tiled_is_said(sizes: tuple[int, int, int, int], said: str) -> None:
    with pytest.raises(InputError, match=said):
        tile_network(network(2, 32, 2, 48), network(*sizes))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "m"}, "found both"),
        ({"init": None}, "found neither"),
        ({"tokenizer": None}, "--init needs the folder of a tokenizer"),
        ({"tile_from": "small"}, "and not both"),
        ({"init": None, "model": "m"}, "tokenizer goes with --init; a --model brings"),
        ({"tokenizer": None, "tile_from": "small", "embeddings_from": "dense"}, "embeddings_from goes with --init and"),
        ({"data": None}, "no text to train on"),
        ({"masked": 1.5}, "masked: expected 0.01 to 0.99, found 1.5"),
        ({"masking": "some"}, "masking: expected one of 80-10-10, plain, found 'some'"),
        ({"warmup": 0.6, "decay": 0.5}, "together more than the whole run"),
        ({"first_batch_size": 9, "batch_warmup": 0.5}, "9 is more than batch_size, 8"),
        ({"batch_warmup": 0.5}, "first_batch_size and batch_warmup go together"),
        ({"positions": 512, "pack_tokens": 256}, "256 have no room for a text of 512"),
        ({"precision": "fp16"}, "precision: expected one of fp32, bf16"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Pretraining.from_sources(**GIVEN | changes)


def test_what_a_run_writes_reads_back_as_the_same_settings(tmp_path: Path) -> None:
    settings = Pretraining.from_sources(**GIVEN, global_theta=10_000, positions=128, compile=True, masking="plain")
    settings.write(tmp_path)
    assert Pretraining.from_sources(tmp_path / "training.toml", output="o") == settings


def test_every_setting_is_a_flag_and_every_flag_a_setting() -> None:
    flags = set(inspect.signature(pretraining.pretrain).parameters) - {"config", "smoke"}
    assert flags == {field.name for field in dataclasses.fields(Pretraining)}


def test_reading_settings_loads_no_torch() -> None:
    code = "import sys, modernir.retrieval.pretraining.run; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
