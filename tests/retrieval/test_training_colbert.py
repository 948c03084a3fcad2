"""ColBERTs trained on a toy language whose queries and documents share no word, and what may be trained to one."""

import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from sentence_transformers import MultiVectorEncoder, SentenceTransformer

from modernir.encoders.loading import load_encoder
from modernir.encoders.modernbert.presets import config_for
from modernir.errors import InputError
from modernir.retrieval.training import colbert_trainer
from modernir.retrieval.training.colbert import train_colbert
from modernir.retrieval.training.colbert_model import starting_colbert
from modernir.retrieval.training.dense import train_dense
from modernir.retrieval.training.settings import ColbertTraining, DenseTraining

CONCEPTS = 30
TEXTS = ["askA0 askB0", "hsay0, isay0!", "", "asay0 " * 30]
EXAMPLES = Dataset.from_dict({"query": TEXTS[:2], "positive": TEXTS[2:]})


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Return the settings of a run of seconds; a query word `askH0` always goes with the document word `hsay0`."""
    folder = tmp_path_factory.mktemp("toy")
    draw = random.Random(0)
    rows = []
    for _ in range(300):
        concepts = draw.sample(range(CONCEPTS), 3)
        rows.append({"query": query_of(concepts), "positive": document_of(concepts[::-1])})
    write(folder / "pairs.jsonl", rows)
    scored = []
    for row in rows:
        others = [document_of(draw.sample(range(CONCEPTS), 3)) for _ in range(3)]
        scored.append({"query": row["query"], "documents": [*others, row["positive"]], "scores": [0.1, 0.3, 0.2, 0.9]})
    write(folder / "scored.jsonl", scored)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    fields = config_for("tiny").to_fields() | shape | {"vocab_size": 384, "layer_types": None}
    (folder / "toy.json").write_text(json.dumps(fields))
    return {
        "data": [str(folder / "pairs.jsonl")],
        "init": str(folder / "toy.json"),
        "dim": 16,
        "batch_size": 32,
        "mini_batch_size": 16,
        "max_steps": 8,
        "learning_rate": 1e-2,
        "query_length": 16,
        "document_length": 24,
        "holdout": 50,
        "log_every": 1,
        "save_every": 3,
        "eval_every": 100,
    }


def query_of(concepts: list[int]) -> str:
    return " ".join(f"ask{chr(65 + c % 26)}{c // 26}" for c in concepts)


def document_of(concepts: list[int]) -> str:
    return " ".join(f"{chr(97 + c % 26)}say{c // 26}" for c in concepts)


def write(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def settings(toy: dict, output: Path, **changes: object) -> ColbertTraining:
    return ColbertTraining.from_sources(**toy | {"output": str(output)} | changes)


def log_lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "training_log.jsonl").read_text().splitlines()]


def same_weights(one: Path, other: Path) -> bool:
    for name in ("model.safetensors", "1_Dense/model.safetensors"):
        first, second = load_file(one / name), load_file(other / name)
        if first.keys() != second.keys() or not all(torch.equal(first[key], second[key]) for key in first):
            return False
    return True


@pytest.fixture(scope="module")
def trained(toy: dict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_colbert(settings(toy, tmp_path_factory.mktemp("trained") / "model"))


def test_the_loss_falls_and_the_held_out_queries_are_found(toy: dict, tmp_path: Path) -> None:
    lines = log_lines(train_colbert(settings(toy, tmp_path / "model", max_steps=50, mini_batch_size=32)))
    losses = [line["loss"] for line in lines if "loss" in line]
    measured = [line for line in lines if "nDCG@10" in line]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) / 2
    assert [line["step"] for line in measured] == [0, 50]
    assert {"MRR@10", "Recall@10", "Recall@100"} <= set(measured[0])
    assert measured[-1]["nDCG@10"] > measured[0]["nDCG@10"] + 0.3


@pytest.mark.parametrize(
    ("expansion", "attend", "skiplist"),
    [("fixed", False, ["punctuation"]), ("fixed", True, ["none"]), ("min", False, [","]), ("none", None, None)],
)
def test_the_folder_loads_in_plain_sentence_transformers_and_here_with_the_same_vectors(
    toy: dict, tmp_path: Path, expansion: str, attend: bool | None, skiplist: list[str] | None
) -> None:
    changes = {"expansion": expansion, "attend_to_expansion": attend, "skiplist": skiplist, "max_steps": 1}
    folder = train_colbert(settings(toy, tmp_path / "model", **changes, holdout=0, warmup=0))
    classes = [module["type"].rsplit(".", 1)[-1] for module in json.loads((folder / "modules.json").read_text())]
    assert classes == ["Transformer", "Dense", "MultiVectorMask", "Normalize"]
    theirs = MultiVectorEncoder(str(folder), device="cpu")
    ours = load_encoder(folder, device="cpu", precision="fp32", kind="late")
    assert theirs.prompts == {"query": "[Q] ", "document": "[D] "}
    assert theirs.tokenizer.tokenize("[Q] askA0")[0] == "[Q] "
    assert (ours.dim, ours.document_length) == (16, 24)
    assert (ours.expansion.length if ours.expansion else ours.query_length) == 16
    for encode, there in ((ours.encode_queries, theirs.encode_query), (ours.encode_documents, theirs.encode_document)):
        for found, wanted in zip(encode(TEXTS), there(TEXTS, convert_to_numpy=True), strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-5)
    words = {("punctuation",): 32, ("none",): 0, (",",): 1, (): 32}[tuple(skiplist or ())]
    assert len(ours.skiplist) == words


def test_signs_are_all_tokens_of_the_vocabulary_that_are_punctuation_alone(toy: dict, tmp_path: Path) -> None:
    changes = {"skiplist": ["signs"], "max_steps": 1, "holdout": 0}
    folder = train_colbert(settings(toy, tmp_path / "model", **changes))
    known = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    signs = {token for token in known if re.fullmatch(r"[!-/:-@\[-`{-~]+", token)}
    assert len(signs) >= 32
    assert set(load_encoder(folder, device="cpu", kind="late").skiplist) == signs


def test_the_readme_of_a_model_does_not_quote_its_training_texts(toy: dict, trained: Path) -> None:
    rows = [json.loads(line) for line in Path(toy["data"][0]).read_text().splitlines()]
    readme = (trained / "README.md").read_text()
    assert not [row for row in rows if row["query"] in readme or row["positive"] in readme]


def test_the_file_that_a_run_leaves_repeats_it_exactly_and_names_its_command(trained: Path, tmp_path: Path) -> None:
    assert "# modernir train-colbert --config training.toml" in (trained / "training.toml").read_text()
    again = train_colbert(ColbertTraining.from_sources(trained / "training.toml", output=str(tmp_path / "again")))
    assert same_weights(trained, again)


def test_the_settings_of_one_command_given_to_the_other_are_named_as_such(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"training\.toml: .* is a setting of train-colbert, not of train-dense"):
        DenseTraining.from_sources(trained / "training.toml", output=str(tmp_path))


@pytest.mark.parametrize("name", ["contrastive", "kl"])
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(
    toy: dict, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    changes = {} if name == "contrastive" else {"loss": name, "data": [toy["data"][0].replace("pairs", "scored")]}
    whole = trained if name == "contrastive" else train_colbert(settings(toy, tmp_path / "whole", **changes))
    step = colbert_trainer.ColbertTrainer.training_step

    def cut(self: colbert_trainer.ColbertTrainer, *args: object, **kwargs: object) -> torch.Tensor:
        if self.state.global_step == 5:
            raise RuntimeError("cut")
        return step(self, *args, **kwargs)

    monkeypatch.setattr(colbert_trainer.ColbertTrainer, "training_step", cut)
    with pytest.raises(RuntimeError, match="cut"):
        train_colbert(settings(toy, tmp_path / "run", **changes))
    monkeypatch.undo()
    assert same_weights(whole, train_colbert(ColbertTraining.from_sources(output=str(tmp_path / "run"), resume=True)))


@pytest.mark.parametrize("name", ["kl", "margin-mse"])
def test_a_teachers_scores_teach_to_find(toy: dict, tmp_path: Path, name: str) -> None:
    data = [toy["data"][0].replace("pairs", "scored")]
    changes = {"data": data, "loss": name, "temperature": 0.2 if name == "kl" else 1.0, "max_steps": 40}
    lines = log_lines(train_colbert(settings(toy, tmp_path / "model", **changes, mini_batch_size=32)))
    metrics = [line["nDCG@10"] for line in lines if "nDCG@10" in line]
    assert metrics[-1] > metrics[0] + 0.1


def test_bf16_trains_on_a_cpu_with_weights_in_fp32(toy: dict, trained: Path, tmp_path: Path) -> None:
    mixed = train_colbert(settings(toy, tmp_path / "model", precision="bf16"))
    assert not same_weights(trained, mixed)
    assert {weight.dtype for weight in load_file(mixed / "model.safetensors").values()} == {torch.float32}
    lines = [[line["loss"] for line in log_lines(folder) if "loss" in line] for folder in (trained, mixed)]
    np.testing.assert_allclose(lines[1][:3], lines[0][:3], rtol=0.1)


def test_a_network_of_another_kind_gets_a_projection_and_markers_with_rows_of_their_own(
    toy: dict, tiny_model: Path, tmp_path: Path
) -> None:
    rows = MultiVectorEncoder(str(tiny_model), device="cpu")[0].auto_model.get_input_embeddings().num_embeddings
    changes = {"init": None, "model": str(tiny_model), "max_steps": 1, "dim": 48, "holdout": 0}
    folder = train_colbert(settings(toy, tmp_path / "model", **changes))
    theirs = MultiVectorEncoder(str(folder), device="cpu")
    ours = load_encoder(folder, device="cpu", precision="fp32", kind="late")
    assert theirs[0].auto_model.get_input_embeddings().num_embeddings == rows + 2
    assert ours.dim == 48
    for found, wanted in zip(
        ours.encode_queries(TEXTS), theirs.encode_query(TEXTS, convert_to_numpy=True), strict=True
    ):
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_a_projection_begins_with_the_directions_of_the_states(toy: dict, tiny_model: Path, tmp_path: Path) -> None:
    model = starting_colbert(settings(toy, tmp_path, init=None, model=str(tiny_model), dim=8), EXAMPLES)
    dense = SentenceTransformer(str(tiny_model), device="cpu")
    states = torch.cat([*dense.encode(TEXTS, output_value="token_embeddings", show_progress_bar=False)])
    wanted = torch.linalg.svd(torch.nn.functional.normalize(states.double(), dim=1)).Vh[:8]
    found = model[1].linear.weight.detach().double()
    torch.testing.assert_close(found.T @ found, wanted.T @ wanted, atol=1e-4, rtol=0)


def test_the_row_of_a_marker_goes_by_the_seed_and_nothing_is_said(
    toy: dict, tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    changes = {"init": None, "model": str(tiny_model)}
    before = MultiVectorEncoder(str(tiny_model), device="cpu")[0].auto_model.get_input_embeddings().weight.detach()
    tables = []
    for noise, seed in ((1, 12), (2, 12), (2, 13)):
        torch.manual_seed(noise)
        model = starting_colbert(settings(toy, tmp_path, **changes, seed=seed), EXAMPLES)
        tables.append(model[0].auto_model.get_input_embeddings().weight.detach())
    assert torch.equal(tables[0], tables[1])
    assert all(torch.equal(table[: len(before)], before) for table in tables)
    rows = tables[0][len(before) :]
    assert len(rows) == 2
    assert not torch.equal(rows, tables[2][len(before) :])
    assert (rows[0] - rows[1]).norm() > before.std()
    assert rows.std() < 2 * before.std()
    assert "mean_resizing" not in capfd.readouterr().err


def test_a_colbert_keeps_its_settings_but_for_those_that_are_given(toy: dict, trained: Path, tmp_path: Path) -> None:
    plain = {name: None for name in ("init", "dim", "query_length", "document_length")}
    model = starting_colbert(settings(toy, tmp_path, **plain, model=str(trained)), None)
    assert model[0].query_expansion == {"strategy": "fixed", "attend": False, "token": None, "length": 16}
    assert (model[0].document_length, len(model[2].skiplist_words), model.prompts["query"]) == (24, 32, "[Q] ")
    changes = {
        "expansion": "min",
        "query_length": 12,
        "skiplist": ["none"],
        "query_prompt": "[X] ",
        "document_length": 9,
    }
    model = starting_colbert(settings(toy, tmp_path, **plain | changes, model=str(trained)), None)
    assert model[0].query_expansion == {"strategy": "min", "attend": False, "token": None, "length": 12}
    assert (model[0].document_length, model[2].skiplist_words) == (9, [])
    assert model.tokenizer.tokenize("[X] askA0")[0] == "[X] "
    model = starting_colbert(settings(toy, tmp_path, **plain | {"expansion": "none"}, model=str(trained)), None)
    assert (model[0].query_expansion, model[0].query_length) == (None, 16)


def test_the_longest_query_of_a_checkpoint_that_fills_up_to_a_minimum_stays(
    toy: dict, trained: Path, tmp_path: Path
) -> None:
    saved = MultiVectorEncoder(str(trained), device="cpu")
    saved[0].query_length = 20
    saved[0].query_expansion = {"strategy": "min", "attend": True, "length": 16}
    saved.save_pretrained(str(tmp_path / "min"))
    plain = {name: None for name in ("init", "dim", "query_length", "document_length")} | {
        "model": str(tmp_path / "min")
    }
    model = starting_colbert(settings(toy, tmp_path, **plain), None)
    assert (model[0].query_expansion["length"], model[0].query_length) == (16, 20)
    without = settings(toy, tmp_path, **plain | {"expansion": "none"})
    assert starting_colbert(without, None)[0].query_expansion is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"loss": "kl"},
            r"pairs\.jsonl: no example has a teacher's scores, which this --loss follows; give each a list",
        ),
        ({"document_length": 9000}, "document_length: 9000 tokens are more than the 8192 positions of the network"),
        ({"query_length": 9000}, "query_length: 9000 tokens are more than the 8192 positions"),
        ({"expansion": "none", "attend_to_expansion": True}, "attend_to_expansion: there is no expansion to attend to"),
        ({"loss": "margin-mse", "negatives": 0}, "negatives: loss margin-mse compares the documents of an example"),
        ({"loss": "kl", "negatives": 1}, "negatives: loss kl needs at least 2, .*; use margin-mse for one"),
        ({"dim": 0}, "dim: expected at least 1"),
        ({"loss": "hinge"}, "loss: expected one of contrastive, kl, margin-mse, found 'hinge'"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_one_line(toy: dict, tmp_path: Path, changes: dict, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        train_colbert(settings(toy, tmp_path / "run", **changes))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_the_command_trains_and_says_where_the_model_is_or_what_is_wrong(
    toy: dict, tmp_path: Path, run_cli: Callable
) -> None:
    given = ["--data", toy["data"][0], "--init", toy["init"], "--batch-size", 32, "--max-steps", 1, "--holdout", 0]
    given += ["--query-length", 16, "--document-length", 24, "--skiplist", "none", "--no-attend-to-expansion"]
    done = run_cli("train-colbert", *given, "--output", tmp_path / "model", "--expansion", "min")
    assert (done.code, done.stdout) == (0, f"{tmp_path / 'model'}\n"), done.stderr
    refused = run_cli("train-colbert", *given, "--output", tmp_path / "other", "--expansion", "some")
    assert refused.code == 2
    assert refused.stderr == "error: the flags: expansion: expected one of fixed, min, none, found 'some'\n"


def test_a_colbert_of_another_dimension_is_said(toy: dict, trained: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"dim: .* has vectors of 16 numbers; leave the setting out"):
        train_colbert(settings(toy, tmp_path / "run", init=None, model=str(trained), dim=32))


def test_a_colbert_is_not_trained_as_a_dense_model(toy: dict, trained: Path, tmp_path: Path) -> None:
    given = {"data": toy["data"], "output": str(tmp_path / "run"), "batch_size": 32}
    with pytest.raises(
        InputError, match=r"a multi-vector \(ColBERT\) checkpoint; train it with modernir train-colbert"
    ):
        train_dense(DenseTraining.from_sources(**given, model=str(trained)))


def test_a_marker_that_the_tokenizer_lacks_is_named(
    toy: dict, tiny_colbert: Path, tmp_path: Path, copy_as_pylate: Callable[[Path, Path], Path]
) -> None:
    model = copy_as_pylate(tiny_colbert, tmp_path / "pylate")
    with pytest.raises(InputError, match=r"tokenizer\.json: has no token '\[Nope\] ', the marker that .* asks for"):
        train_colbert(settings(toy, tmp_path / "run", init=None, model=str(model), dim=None))


@pytest.fixture
def copy_as_pylate() -> Callable[[Path, Path], Path]:
    """Say of a copy of a checkpoint what PyLate would, with a marker that no tokenizer has."""

    def copy(source: Path, target: Path) -> Path:
        import shutil

        shutil.copytree(source, target)
        file = target / "config_sentence_transformers.json"
        fields = json.loads(file.read_text()) | {"model_type": "ColBERT", "query_prefix": "[Nope] "}
        more = {"document_prefix": "", "do_query_expansion": True, "document_length": 48}
        file.write_text(json.dumps(fields | more))
        return target

    return copy
