"""Batches: one data set each, drawn by temperature; no text that makes a false negative; the same when resumed."""

import json
import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.data_loader import prepare_data_loader, skip_first_batches
from datasets import Dataset
from safetensors.torch import load_file
from sentence_transformers.base.sampler import DefaultBatchSampler, NoDuplicatesBatchSampler
from torch.utils.data import ConcatDataset, DataLoader, RandomSampler
from transformers import TrainerControl, TrainerState, TrainingArguments

from modernir.encoders.modernbert.presets import config_for
from modernir.errors import InputError
from modernir.retrieval.training import dense_trainer
from modernir.retrieval.training.data import SOURCE
from modernir.retrieval.training.dense import train_dense
from modernir.retrieval.training.duplicates import ShuffledBatchSampler, UniqueBatchSampler, marks_of
from modernir.retrieval.training.epochs import TellEpoch
from modernir.retrieval.training.mixing import TemperatureBatchSampler, chances, training_sets
from modernir.retrieval.training.settings import DenseTraining

SIZE = 8


def sampler(examples: Dataset, kind: type = UniqueBatchSampler, seed: int = 5, size: int = SIZE) -> UniqueBatchSampler:
    return kind(examples, batch_size=size, drop_last=True, generator=torch.Generator(), seed=seed)


def texts(count: int, kinds: int, negatives: int, seed: int) -> Dataset:
    """Return examples of few different texts, the same for queries, positives and negatives."""
    draw = random.Random(seed)
    names = ["query", "positive", *(f"negative_{number + 1}" for number in range(negatives))]
    return Dataset.from_dict({name: [f"text {draw.randrange(kinds)}" for _ in range(count)] for name in names})


@pytest.mark.parametrize("kinds", [60, 400, 100_000])
def test_pairs_come_in_the_batches_of_sentence_transformers(kinds: int) -> None:
    examples = texts(500, kinds, 0, seed=1).select(range(3, 480))
    ours, theirs = sampler(examples), sampler(examples, NoDuplicatesBatchSampler)
    for epoch in range(2):
        ours.set_epoch(epoch)
        theirs.set_epoch(epoch)
        assert list(ours) == list(theirs) != []


@pytest.mark.parametrize("seed", range(3))
def test_no_document_of_a_batch_is_wrong_for_a_query_that_it_answers(seed: int) -> None:
    examples = texts(600, 300, 2, seed)
    batches = list(sampler(examples, seed=seed))
    assert len(batches) > 20
    for batch in batches:
        rows = [examples[place] for place in batch]
        assert len({row["query"] for row in rows}) == len({row["positive"] for row in rows}) == SIZE
        for row in rows:
            others = [other for other in rows if other is not row]
            wrong = {other["positive"] for other in others} | {
                other[name] for other in others for name in ("negative_1", "negative_2")
            }
            assert not {row["query"], row["positive"]} & wrong


def test_examples_may_share_a_negative() -> None:
    rows = {"query": [f"q{i}" for i in range(80)], "positive": [f"p{i}" for i in range(80)], "negative_1": ["n"] * 80}
    examples = Dataset.from_dict(rows)
    assert sorted(place for batch in sampler(examples) for place in batch) == list(range(80))
    assert not list(sampler(examples, NoDuplicatesBatchSampler))


def test_marks_tell_texts_apart_and_negatives_from_the_rest() -> None:
    rows = [{"query": "a", "positive": "b", "negative_1": "a", "scores": [1.0, 2.0]}]
    marks = marks_of(Dataset.from_list([*rows, {"query": "b", "positive": "é", "negative_1": "b", "scores": [1.0]}]))
    assert marks.shape == (2, 3)
    assert marks[0, 0] + 1 == marks[0, 2]
    assert marks[0, 1] == marks[1, 0]
    assert len(np.unique(marks)) == 5


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 5.0, float("inf")])
def test_the_chances_are_the_formulas(temperature: float) -> None:
    sizes = [1, 40, 1_000, 2_000_000]
    plain = np.array([float(size) ** (1 / temperature) for size in sizes])
    assert np.allclose(chances(sizes, temperature), plain / plain.sum())


def test_a_temperature_near_zero_takes_the_largest_and_does_not_overflow() -> None:
    assert chances([10, 1_000_000], 0.01).tolist() == [0, 1]


SIZES = [900, 300, 20]


def mixer(temperature: float, kind: type = ShuffledBatchSampler, seed: int = 5) -> TemperatureBatchSampler:
    generator = torch.Generator()
    sets = [
        Dataset.from_dict({"query": [f"q{i}" for i in range(size)], "positive": [f"p{i}" for i in range(size)]})
        for size in SIZES
    ]
    parts = [kind(each, batch_size=SIZE, drop_last=True, generator=generator, seed=seed) for each in sets]
    return TemperatureBatchSampler(
        ConcatDataset(sets), batch_samplers=parts, generator=generator, seed=seed, temperature=temperature
    )


def owner(batch: list[int]) -> int:
    owners = set(np.searchsorted(np.cumsum(SIZES), batch, side="right").tolist())
    assert len(owners) == 1, "every batch is of one data set"
    return owners.pop()


@pytest.mark.parametrize("kind", [ShuffledBatchSampler, UniqueBatchSampler])
def test_batches_are_of_one_data_set_and_as_often_as_the_temperature_says(kind: type) -> None:
    mixed = mixer(2.0, kind)
    assert len(mixed) == sum(size // SIZE for size in SIZES)
    drawn: Counter[int] = Counter()
    for epoch in range(8):
        mixed.set_epoch(epoch)
        batches = list(mixed)
        assert len(batches) == len(mixed)
        drawn.update(map(owner, batches))
    expected = chances(SIZES, 2.0) * drawn.total()
    spread = np.sqrt(expected * (1 - chances(SIZES, 2.0)))
    assert np.all(np.abs(np.array([drawn[place] for place in range(3)]) - expected) < 4 * spread)


@pytest.mark.parametrize("kind", [ShuffledBatchSampler, UniqueBatchSampler])
def test_the_batches_of_an_epoch_depend_on_the_seed_and_the_epoch_alone(kind: type) -> None:
    first, again, other = mixer(1.5, kind), mixer(1.5, kind), mixer(1.5, kind, seed=6)
    list(first)
    for each in (first, again, other):
        each.set_epoch(1)
    assert list(first) == list(again) != list(other)
    first.set_epoch(2)
    assert list(first) != list(again)


@pytest.mark.parametrize("kind", [ShuffledBatchSampler, UniqueBatchSampler])
def test_an_exhausted_data_set_begins_again_in_another_order(kind: type) -> None:
    mixed = mixer(float("inf"), kind)
    small = [batch for batch in mixed if owner(batch) == 2]
    passes = [small[begin] + small[begin + 1] for begin in range(0, len(small) - 1, 2)]
    assert len(passes) > 5
    assert all(len(set(each)) == 2 * SIZE for each in passes)
    assert len({tuple(each) for each in passes}) == len(passes)
    assert {place for each in passes for place in each} == set(range(1200, 1220))


def test_a_data_set_without_a_batch_of_different_texts_is_an_error() -> None:
    same = Dataset.from_dict({"query": ["q"] * 20, "positive": ["p"] * 20})
    mixed = TemperatureBatchSampler(
        ConcatDataset([same]), batch_samplers=[sampler(same)], generator=torch.Generator(), seed=5, temperature=1.0
    )
    with pytest.raises(InputError, match="no batch of 8 different texts; lower --batch-size, or take --allow-dup"):
        list(mixed)


def test_a_data_set_smaller_than_a_batch_is_named() -> None:
    rows = {"query": list("abcdefgh"), "positive": list("ijklmnop"), SOURCE: [0] * 6 + [1] * 2}
    make = partial(DenseTraining, output="o", data=("big.jsonl", "small.jsonl"), init="tiny", batch_size=4)
    with pytest.raises(InputError, match=r"small\.jsonl: 2 examples to train on are less than one --batch-size 4"):
        training_sets(Dataset.from_dict(rows), make(mixing=1.0))
    sets = training_sets(Dataset.from_dict(rows), make(mixing=1.0, batch_size=2))
    assert [members["query"][:] for members in sets.values()] == [list("abcdef"), list("gh")]


@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_a_temperature_that_is_not_above_zero_is_refused(value: float) -> None:
    with pytest.raises(InputError, match=r"mixing: expected at least 0\.01, found"):
        DenseTraining(output="o", data=("d",), init="tiny", mixing=value)


def test_a_shuffled_pass_takes_every_whole_batch_once() -> None:
    found = list(sampler(texts(30, 5, 0, seed=1), ShuffledBatchSampler))
    assert [len(batch) for batch in found] == [SIZE] * 3
    assert len({place for batch in found for place in batch}) == 3 * SIZE


def plain(examples: Dataset, **kwargs: object) -> DefaultBatchSampler:
    return DefaultBatchSampler(RandomSampler(examples, generator=kwargs["generator"]), **kwargs)


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("kind", [UniqueBatchSampler, ShuffledBatchSampler, plain])
def test_a_resumed_epoch_has_the_order_of_that_epoch_however_many_processes(
    processes: int, kind: Callable[..., DefaultBatchSampler]
) -> None:
    examples = texts(80, 500, 0, seed=1)

    def batches(resumed: bool) -> list[list[int]]:
        generator = torch.Generator().manual_seed(7)
        ordered = kind(examples, batch_size=SIZE, drop_last=True, generator=generator, seed=7)
        loader = prepare_data_loader(
            DataLoader(range(80), batch_sampler=ordered),
            num_processes=processes,
            process_index=processes - 1,
            split_batches=processes > 1,
            use_seedable_sampler=True,
            data_seed=7,
        )
        taken = skip_first_batches(loader, 2) if resumed else loader
        state = TrainerState(epoch=3.25 if resumed else 3.0)
        TellEpoch().on_epoch_begin(TrainingArguments(), state, TrainerControl(), train_dataloader=loader)
        taken.set_epoch(3)  # as the trainer does next
        return [batch.tolist() for batch in taken]

    whole = batches(resumed=False)
    assert len(whole) > 5
    assert batches(resumed=True) == whole[2:]


class CutError(Exception):
    """What a crash is here."""


def write(path: Path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture(scope="module")
def mix(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Return the settings of a run of two epochs on pairs and triplets."""
    folder = tmp_path_factory.mktemp("mix")
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    fields = config_for("tiny").to_fields() | shape | {"vocab_size": 384, "layer_types": None}
    (folder / "toy.json").write_text(json.dumps(fields))
    triplets = [{"query": f"who {i}", "positive": f"he {i}", "negative": f"she {i % 3}"} for i in range(26)]
    return {
        "data": [
            write(folder / "pairs.jsonl", [{"query": f"ask {i}", "positive": f"say {i}"} for i in range(42)]),
            write(folder / "triplets.jsonl", triplets),
        ],
        "init": str(folder / "toy.json"),
        "batch_size": 8,
        "mini_batch_size": 8,
        "mixing": 2.0,
        "epochs": 2.0,
        "learning_rate": 1e-2,
        "query_prompt": "q: ",
        "query_length": 16,
        "document_length": 16,
        "holdout": 4,
        "log_every": 1,
        "save_every": 10,
        "eval_every": 100,
    }


def settings(mix: dict, output: Path, **changes: object) -> DenseTraining:
    return DenseTraining.from_sources(**mix | {"output": str(output)} | changes)


def test_a_mixed_run_resumed_in_its_second_epoch_sees_the_batches_of_an_uninterrupted_one(
    mix: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole_step = dense_trainer.DenseTrainer.training_step
    columns: list[int] = []

    def step(self: dense_trainer.DenseTrainer, model: object, inputs: dict, *args: object) -> torch.Tensor:
        columns.append(sum(name.endswith("input_ids") for name in inputs))
        return whole_step(self, model, inputs, *args)

    def cut(self: dense_trainer.DenseTrainer, *args: object) -> torch.Tensor:
        if self.state.global_step == 11:
            raise CutError
        return whole_step(self, *args)

    monkeypatch.setattr(dense_trainer.DenseTrainer, "training_step", step)
    whole = train_dense(settings(mix, tmp_path / "whole"))
    steps = len(columns)
    assert set(columns) == {2, 3}, "pairs have no column of negatives, triplets have one"
    assert 12 <= steps <= 16, "the cut comes in the second epoch"
    monkeypatch.setattr(dense_trainer.DenseTrainer, "training_step", cut)
    with pytest.raises(CutError):
        train_dense(settings(mix, tmp_path / "run"))
    monkeypatch.undo()
    resumed = train_dense(DenseTraining.from_sources(output=str(tmp_path / "run"), resume=True))
    first, second = load_file(whole / "model.safetensors"), load_file(resumed / "model.safetensors")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_mixed_run_with_too_small_a_data_set_leaves_nothing(mix: dict, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"triplets\.jsonl: \d+ examples to train on are less than"):
        train_dense(settings(mix, tmp_path / "run", batch_size=32))
    assert not list(tmp_path.iterdir())
