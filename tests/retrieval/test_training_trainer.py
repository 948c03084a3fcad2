"""The parts of a step: the loss does not see the mini-batch, a batch keeps its pairs, and bad weights are not saved."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from modernir.encoders.modernbert.fresh import new_model
from modernir.encoders.modernbert.presets import config_for
from modernir.encoders.modernbert.tokenizer import train_tokenizer
from modernir.errors import ModernirError
from modernir.retrieval.training import callbacks, dense_trainer
from modernir.retrieval.training.run_folder import RunFolder
from modernir.retrieval.training.settings import DenseTraining


@pytest.fixture
def model(tmp_path: Path) -> SentenceTransformer:
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    fields = config_for("tiny").to_fields() | shape | {"vocab_size": 320, "layer_types": None}
    (tmp_path / "toy.json").write_text(json.dumps(fields))
    return new_model(tmp_path / "toy.json", train_tokenizer(["some words " * 9], 320), max_length=24, seed=0)


def test_the_same_seed_gives_the_same_new_model(model: SentenceTransformer, tmp_path: Path) -> None:
    again = new_model(tmp_path / "toy.json", model.tokenizer, max_length=24, seed=0)
    other = new_model(tmp_path / "toy.json", model.tokenizer, max_length=24, seed=1)
    assert np.array_equal(model.encode("words"), again.encode("words"))
    assert not np.array_equal(model.encode("words"), other.encode("words"))


def test_a_published_folder_gives_the_embeddings_of_the_model_in_memory(
    model: SentenceTransformer, tmp_path: Path
) -> None:
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    run.publish(model)
    texts = ["words", "", "a longer text of more than a few words"]
    assert np.array_equal(SentenceTransformer(str(run.path)).encode(texts), model.encode(texts))


@pytest.mark.parametrize("columns", ["ab", "abc"])
def test_loss_and_gradients_do_not_depend_on_the_mini_batch(model: SentenceTransformer, columns: str) -> None:
    batch = [model.preprocess([f"{kind} {i} {'word ' * (i % 7)}" for i in range(20)]) for kind in columns]
    results = []
    for size in (3, 8, 20):
        settings = DenseTraining(output="o", data=("d",), init="tiny", batch_size=20, mini_batch_size=size)
        model.zero_grad()
        value = dense_trainer.make_loss(settings, model)(batch, None)
        value.backward()
        results.append((value.item(), torch.cat([weights.grad.flatten() for weights in model.parameters()]).clone()))
    assert results[0][1].abs().max() > 0
    for value, gradient in results[1:]:
        assert value == pytest.approx(results[0][0], rel=1e-5)
        assert torch.allclose(gradient, results[0][1], atol=1e-5, rtol=1e-3)


def test_a_batch_is_ordered_by_length_with_its_pairs_intact() -> None:
    collate = dense_trainer.DenseCollator(lambda texts, **_: {"input_ids": texts})
    batch = collate([{"query": str(n), "positive": "x" * n} for n in (3, 1, 2)])
    assert batch["query_input_ids"] == ["1", "2", "3"]
    assert batch["positive_input_ids"] == ["x", "xx", "xxx"]


def test_weights_that_are_no_numbers_are_not_saved() -> None:
    broken = torch.nn.Linear(2, 2)
    broken.weight.data[0, 0] = float("nan")
    control = callbacks.TrainerControl(should_save=True)
    args = type("Arguments", (), {"output_dir": "there"})()
    with pytest.raises(ModernirError, match="step 4: the weights are not finite"):
        callbacks.GuardWeights().on_step_end(args, callbacks.TrainerState(global_step=4), control, model=broken)
