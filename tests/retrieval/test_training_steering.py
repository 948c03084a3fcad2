"""How a run is steered: adapters in place of weights, the best measurement, an early stop, schedulers; and resumed."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.evaluation import BaseEvaluator

from modernir.encoders.accelerate import accelerate
from modernir.encoders.modernbert.fresh import new_model
from modernir.encoders.modernbert.presets import config_for
from modernir.encoders.modernbert.tokenizer import train_tokenizer
from modernir.errors import InputError
from modernir.retrieval.training import best, dense_trainer, lora, run, trainer
from modernir.retrieval.training.colbert import train_colbert
from modernir.retrieval.training.dense import train_dense
from modernir.retrieval.training.run_folder import RunFolder
from modernir.retrieval.training.settings import ColbertTraining, DenseTraining

TARGETS = ("Wqkv", "Wo", "Wi")


class CutError(Exception):
    """What a crash is in these tests."""


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> dict:
    folder = tmp_path_factory.mktemp("toy")
    rows = [{"query": f"query {n} of many", "positive": f"text {n} " + "word " * (n % 5)} for n in range(60)]
    (folder / "toy.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    fields = config_for("tiny").to_fields() | shape | {"vocab_size": 320, "layer_types": None}
    (folder / "toy.json").write_text(json.dumps(fields))
    tokenizer = train_tokenizer(["query text word many of 0 1 2 3 " * 9], 320)
    new_model(folder / "toy.json", tokenizer, max_length=24, seed=0).save_pretrained(str(folder / "base"))
    return {
        "data": [str(folder / "toy.jsonl")],
        "model": str(folder / "base"),
        "batch_size": 8,
        "mini_batch_size": 4,
        "max_steps": 6,
        "learning_rate": 1e-2,
        "holdout": 10,
        "log_every": 1,
        "save_every": 2,
        "eval_every": 1,
    }


def settings(toy: dict, output: Path, **changes: object) -> DenseTraining:
    return DenseTraining.from_sources(**toy | {"output": str(output)} | changes)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def steps_of(folder: Path, name: str) -> dict[int, float]:
    lines = [json.loads(line) for line in (folder / "training_log.jsonl").read_text().splitlines()]
    return {line["step"]: line[name] for line in lines if name in line}


def checkpoints_of(folder: Path) -> list[int]:
    return sorted(int(path.name.split("-")[1]) for path in folder.glob("checkpoints/checkpoint-*"))


@pytest.fixture
def cut_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Have the next runs crash before a step; step None lets them go on again."""
    whole_step = dense_trainer.DenseTrainer.training_step

    def arrange(step: int | None) -> None:
        def cut(self: dense_trainer.DenseTrainer, *args: object, **kwargs: object) -> torch.Tensor:
            if self.state.global_step == step:
                raise CutError
            return whole_step(self, *args, **kwargs)

        monkeypatch.setattr(dense_trainer.DenseTrainer, "training_step", cut)

    return arrange


LORA = {"lora_rank": 2, "lora_dropout": 0.25, "keep_adapter": True, "weight_decay": 0.01, "scheduler": "cosine"}


@pytest.fixture(scope="module")
def adapted(toy: dict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_dense(settings(toy, tmp_path_factory.mktemp("adapted") / "run", **LORA))


def test_adapters_are_merged_into_the_matrices_and_all_else_stays_as_it_was(toy: dict, adapted: Path) -> None:
    before, after = weights(Path(toy["model"])), weights(adapted)
    parts = load_file(adapted / "adapter/adapter_model.safetensors")
    config = json.loads((adapted / "adapter/adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (2, 4)
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert changed
    assert before.keys() == after.keys()
    for name in before:
        stem = name.removesuffix(".weight")
        if stem.rsplit(".", 1)[-1] in TARGETS:
            a, b = (parts[f"base_model.model.{stem}.lora_{side}.weight"] for side in "AB")
            torch.testing.assert_close(after[name], before[name] + 2 * b @ a)
            assert b.abs().max() > 0
        else:
            assert torch.equal(before[name], after[name])


def test_the_adapter_on_the_start_gives_the_embeddings_of_the_merged_model(toy: dict, adapted: Path) -> None:
    merged, start = SentenceTransformer(str(adapted)), SentenceTransformer(toy["model"])
    start[0].auto_model = PeftModel.from_pretrained(start[0].auto_model, str(adapted / "adapter")).merge_and_unload()
    texts = ["query 7 of many", "text"]
    torch.testing.assert_close(
        start.encode(texts, convert_to_tensor=True), merged.encode(texts, convert_to_tensor=True), atol=1e-5, rtol=1e-4
    )


def test_the_packed_engine_computes_with_adapters_and_their_gradients_are_the_only_ones(toy: dict) -> None:
    found = {}
    for packed in (False, True):
        model = SentenceTransformer(toy["model"], device="cpu")
        accelerate(model, enabled=packed)
        lora.adapt(model, settings(toy, Path("out"), lora_rank=2))
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(3))
        model.train()
        embedded = model(model.preprocess(["query 7 of many", "a text that is longer than that"]))
        (embedded["sentence_embedding"] * torch.arange(32)).sum().backward()
        found[packed] = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        assert all("lora_" in name for name in found[packed])
        assert len(found[packed]) == 2 * 4
    for name, gradient in found[False].items():
        torch.testing.assert_close(found[True][name], gradient, atol=1e-4, rtol=1e-3)


def test_a_run_with_adapters_that_was_cut_ends_as_if_it_was_not(
    toy: dict, adapted: Path, tmp_path: Path, cut_at: Callable
) -> None:
    cut_at(5)
    with pytest.raises(CutError):
        train_dense(settings(toy, tmp_path / "run", **LORA))
    cut_at(None)
    resumed = train_dense(DenseTraining.from_sources(output=str(tmp_path / "run"), resume=True))
    assert same(weights(adapted), weights(resumed))
    assert (adapted / "adapter/adapter_model.safetensors").read_bytes() == (
        resumed / "adapter/adapter_model.safetensors"
    ).read_bytes()


def test_a_colbert_gets_adapters_and_a_projection_that_is_trained_as_it_is(toy: dict, tmp_path: Path) -> None:
    changes = {"max_steps": 2, "lora_rank": 2, "lora_targets": ["Wi"], "dim": 8, "warmup": 0, "save_every": 1}
    made = train_colbert(ColbertTraining.from_sources(**toy | {"output": str(tmp_path / "run")} | changes))
    before, after = weights(Path(toy["model"])), weights(made)
    table = "embeddings.tok_embeddings.weight"
    after[table] = after[table][: len(before[table])]  # a marker each for queries and documents comes behind
    assert [name for name in before if not torch.equal(before[name], after[name])] == ["layers.0.mlp.Wi.weight"]
    one, two = (load_file(made / f"checkpoints/checkpoint-{n}/1_Dense/model.safetensors") for n in (1, 2))
    assert one["linear.weight"].shape == (8, 32)
    assert not same(one, two)


def test_targets_that_are_not_there_and_adapters_of_random_weights_are_refused(toy: dict, tmp_path: Path) -> None:
    for targets, wrong in ((["query"], "query"), (["Wqkv", "Wj", "0.mlp.Wi", "i"], "Wj, i")):
        said = f"^lora_targets: no matrix of the network is called {wrong}; it has Wi, Wo, Wqkv$"
        with pytest.raises(InputError, match=said):
            train_dense(settings(toy, tmp_path / "run", lora_rank=2, lora_targets=targets))
    with pytest.raises(InputError, match="lora_rank: adapters go with a trained --model"):
        settings(toy, tmp_path / "run", lora_rank=2, model=None, init="tiny")
    with pytest.raises(InputError, match="keep_adapter: there is no adapter; give it a --lora-rank"):
        settings(toy, tmp_path / "run", keep_adapter=True)
    assert not (tmp_path / "run").exists()


class Scripted(BaseEvaluator):
    """Measures what a script says, by step."""

    values = (0.99, 0.5, 0.4, 0.45, 0.3, 0.8, 0.9)

    def __call__(self, model: object, output_path: object = None, epoch: int = 0, steps: int = 0) -> dict[str, float]:
        return {f"toy_cosine_{ending}": self.values[steps] for ending in ("ndcg@10", "mrr@10", "recall@10")}


BEST = {"early_stopping": 3, "scheduler": "wsd", "decay": 0.5, "warmup": 0.3}


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "_evaluator", lambda *_: Scripted())


def test_an_early_stop_leaves_the_model_of_the_best_measurement(toy: dict, tmp_path: Path, scripted: None) -> None:
    made = train_dense(settings(toy, tmp_path / "run", **BEST))
    assert list(steps_of(made, "loss")) == [1, 2, 3, 4]
    assert checkpoints_of(made) == [1, 2, 4]
    assert same(weights(made), weights(made / "checkpoints/checkpoint-1"))
    assert not same(weights(made), weights(made / "checkpoints/checkpoint-4"))


def test_the_last_model_is_left_where_that_is_asked_for(toy: dict, tmp_path: Path, scripted: None) -> None:
    made = train_dense(settings(toy, tmp_path / "run", **BEST, keep_best=False))
    assert checkpoints_of(made) == [2, 4]
    assert same(weights(made), weights(made / "checkpoints/checkpoint-4"))


@pytest.mark.parametrize("step", [3, "published"])
def test_a_resumed_run_stops_where_it_would_have_and_leaves_the_same_model(
    toy: dict,
    tmp_path: Path,
    scripted: None,
    cut_at: Callable,
    monkeypatch: pytest.MonkeyPatch,
    step: int | str,
) -> None:
    whole = train_dense(settings(toy, tmp_path / "whole", **BEST))
    with monkeypatch.context() as patch, pytest.raises(CutError):

        def crash(*_: object) -> None:
            raise CutError

        if step == "published":
            patch.setattr(run.RunFolder, "publish", crash)
        else:
            cut_at(step)
        train_dense(settings(toy, tmp_path / "run", **BEST))
    cut_at(None)
    resumed = train_dense(DenseTraining.from_sources(output=str(tmp_path / "run"), resume=True))
    assert same(weights(whole), weights(resumed))
    assert checkpoints_of(resumed) == checkpoints_of(whole)
    assert steps_of(resumed, "loss") == steps_of(whole, "loss")


def test_warm_up_stable_decay_follows_its_formula(toy: dict, tmp_path: Path, scripted: None) -> None:
    made = train_dense(settings(toy, tmp_path / "run", **BEST | {"early_stopping": None}))
    rates = steps_of(made, "learning_rate")
    expected = [0, 1 / 2, 1, *(1 - math.sqrt(done / 3) for done in range(3))]  # 2 steps of warmup, 1 stable, 3 of decay
    assert list(rates.values()) == pytest.approx([1e-2 * share for share in expected], rel=1e-5)


@pytest.mark.parametrize(
    ("values", "found", "stops"),
    [([], None, False), ([0.5, 0.4], 1, False), ([0.5, 0.4, 0.5], 1, True), ([0.5, 0.6, 0.4, 0.61], 4, False)],
)
def test_the_first_of_equally_good_measurements_is_the_best(
    toy: dict, values: list[float], found: int | None, stops: bool
) -> None:
    history = [{"step": 0, "eval_x_ndcg@10": 0.9}]
    for step, value in enumerate(values, 1):
        history += [{"step": step, "loss": 1.0}, {"step": step, "eval_x_ndcg@10": value, "eval_x_mrr@10": 0}]
    measured = best.best_measurement(history, "nDCG@10")
    assert (measured and measured[0]) == found
    assert best.is_exhausted(history, settings(toy, Path("out"), early_stopping=2)) is stops


def test_what_cannot_be_measured_cannot_stop_a_run(toy: dict, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^early_stopping: nothing to measure on; give --holdout some queries"):
        settings(toy, tmp_path / "run", early_stopping=1, holdout=0)
    with pytest.raises(InputError, match=r"^holdout: no query is held out"):
        train_dense(settings(toy, tmp_path / "run", keep_best=True, holdout=0.001))
    assert not RunFolder(tmp_path / "run").path.exists()


@pytest.fixture
def dev(tmp_path: Path) -> Path:
    folder = tmp_path / "dev"
    (folder / "qrels").mkdir(parents=True)
    texts = [{"_id": f"d{n}", "title": f"text {n}", "text": "word"} for n in range(4)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(text) + "\n" for text in texts))
    asked = [{"_id": f"q{n}", "text": f"query {n} of many"} for n in range(3)]
    (folder / "queries.jsonl").write_text("".join(json.dumps(query) + "\n" for query in asked))
    (folder / "qrels/dev.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td0\t1\nq1\td1\t2\nq1\td2\t0\nq2\td3\t0\n")
    return folder


def test_a_dev_folder_takes_the_place_of_held_out_queries(toy: dict, tmp_path: Path, dev: Path) -> None:
    found = trainer.dev_collection(str(dev), "dev")
    assert found.queries == {"q0": "query 0 of many", "q1": "query 1 of many"}
    assert found.relevant == {"q0": {"d0"}, "q1": {"d1"}}
    assert found.documents["d3"] == "text 3 word"
    made = train_dense(settings(toy, tmp_path / "run", dev=str(dev), max_steps=1, batch_size=56, mini_batch_size=56))
    assert list(steps_of(made, "nDCG@10")) == [0, 1]  # a batch of 56 of the 60 examples: none is held out
    with pytest.raises(InputError, match=r"no split 'test' \(no qrels/test.tsv\); there: dev"):
        train_dense(settings(toy, tmp_path / "other", dev=str(dev), dev_split="test"))
