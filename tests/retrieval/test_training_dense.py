"""Training runs on a toy language whose queries and documents share no word, so that only training can find them."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer

from modernir.encoders.loading import load_encoder
from modernir.encoders.modernbert.presets import config_for
from modernir.errors import InputError, ModernirError
from modernir.retrieval.training import dense_trainer, trainer
from modernir.retrieval.training.dense import train_dense
from modernir.retrieval.training.model import load_model
from modernir.retrieval.training.run_folder import RunFolder
from modernir.retrieval.training.settings import DenseTraining

CONCEPTS = 30


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Return the settings of a run of seconds; a query word `askH0` always goes with the document word `hsay0`."""
    folder = tmp_path_factory.mktemp("toy")
    draw = random.Random(0)
    rows = []
    for _ in range(400):
        concepts = draw.sample(range(CONCEPTS), 3)
        rows.append(
            {
                "query": " ".join(f"ask{chr(65 + c % 26)}{c // 26}" for c in concepts),
                "positive": " ".join(f"{chr(97 + c % 26)}say{c // 26}" for c in reversed(concepts)),
                "negative": f"nothing of {draw.random():.6f}",
            }
        )
    (folder / "toy.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    fields = config_for("tiny").to_fields() | shape | {"vocab_size": 384, "layer_types": None}
    (folder / "toy.json").write_text(json.dumps(fields))
    return {
        "data": [str(folder / "toy.jsonl")],
        "init": str(folder / "toy.json"),
        "batch_size": 32,
        "mini_batch_size": 16,
        "max_steps": 8,
        "learning_rate": 1e-2,
        "query_length": 16,
        "document_length": 24,
        "holdout": 50,
        "negatives": 0,
        "log_every": 1,
        "save_every": 3,
        "eval_every": 100,
    }


def settings(toy: dict, output: Path, **changes: object) -> DenseTraining:
    return DenseTraining.from_sources(**toy | {"output": str(output)} | changes)


def log_lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "training_log.jsonl").read_text().splitlines()]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def same_weights(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def trained(toy: dict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_dense(settings(toy, tmp_path_factory.mktemp("trained") / "model"))


@pytest.fixture(scope="module")
def long_trained(toy: dict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("long") / "model"
    changes = {"max_steps": 90, "query_prompt": "query: ", "document_prompt": "document: ", "negatives": 1}
    return train_dense(settings(toy, output, **changes))


def test_training_finds_what_the_untrained_model_does_not(long_trained: Path) -> None:
    metrics = [line["nDCG@10"] for line in log_lines(long_trained) if "nDCG@10" in line]
    assert metrics[0] < 0.4
    assert metrics[-1] > metrics[0] + 0.3


def test_the_folder_loads_in_plain_sentence_transformers_and_finds_its_pairs(toy: dict, long_trained: Path) -> None:
    classes = [module["type"] for module in json.loads((long_trained / "modules.json").read_text())]
    assert all(name.startswith("sentence_transformers.") for name in classes)
    model = SentenceTransformer(str(long_trained))
    assert model.prompts == {"query": "query: ", "document": "document: "}
    assert (model[0].query_length, model[0].document_length, model.max_seq_length) == (16, 24, 24)
    assert np.allclose(np.linalg.norm(model.encode(["askA0", "asay0"]), axis=1), 1, atol=1e-5)
    rows = [json.loads(line) for line in Path(toy["data"][0]).read_text().splitlines()[:100]]
    queries = model.encode_query([row["query"] for row in rows])
    documents = model.encode_document([row["positive"] for row in rows])
    assert ((queries @ documents.T).argmax(1) == np.arange(100)).mean() > 0.5


def test_the_log_has_the_loss_of_every_step_and_the_metrics_before_and_after(trained: Path) -> None:
    lines = log_lines(trained)
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 9))
    measured = [line for line in lines if "nDCG@10" in line]
    assert [line["step"] for line in measured] == [0, 8]
    assert {"MRR@10", "Recall@10", "Recall@100", "seconds"} <= set(measured[0])


def test_the_last_two_checkpoints_are_kept_and_the_copy_of_the_data_is_not(trained: Path) -> None:
    assert sorted(path.name for path in trained.glob("checkpoints/checkpoint-*")) == ["checkpoint-6", "checkpoint-8"]
    assert not (trained / "examples").exists()
    assert not [path for path in trained.iterdir() if path.name.startswith(".")]


def test_the_file_that_a_run_leaves_repeats_it_exactly(trained: Path, tmp_path: Path) -> None:
    again = train_dense(DenseTraining.from_sources(trained / "training.toml", output=str(tmp_path / "again")))
    assert same_weights(trained, again)


def test_a_model_can_be_trained_further(trained: Path, toy: dict, tmp_path: Path) -> None:
    further = train_dense(
        settings(toy, tmp_path / "more", init=None, model=str(trained), max_steps=1, warmup=0, holdout=0)
    )
    assert not same_weights(trained, further)
    assert SentenceTransformer(str(further))[0].query_length == 16


@pytest.fixture(scope="module")
def towers(toy: dict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_dense(settings(toy, tmp_path_factory.mktemp("towers") / "model", two_towers=True))


def test_two_towers_begin_alike_and_are_learnt_apart(toy: dict, towers: Path, tmp_path: Path) -> None:
    begun = train_dense(settings(toy, tmp_path / "begun", two_towers=True, max_steps=1, warmup=0.9, holdout=0))
    before, after = (SentenceTransformer(str(folder), device="cpu") for folder in (begun, towers))
    assert np.array_equal(before.encode_query(["askA0"]), before.encode_document(["askA0"]))
    assert not np.allclose(after.encode_query(["askA0"]), after.encode_document(["askA0"]), atol=0.1)


def test_two_towers_load_in_plain_sentence_transformers_and_here(toy: dict, towers: Path) -> None:
    config = json.loads((towers / "router_config.json").read_text())
    assert set(config["structure"]) == {"query", "document"}
    theirs = SentenceTransformer(str(towers), device="cpu")
    assert [route[0].query_length for route in theirs[0].sub_modules.values()] == [16, 16]
    ours = load_encoder(towers, device="cpu", precision="fp32", kind="dense")
    texts = ["askA0", "asay0 " * 40, ""]
    np.testing.assert_allclose(ours.encode_queries(texts), theirs.encode_query(texts), atol=1e-5)
    np.testing.assert_allclose(ours.encode_documents(texts), theirs.encode_document(texts), atol=1e-5)


def test_two_towers_resume_and_can_be_trained_further(
    toy: dict, towers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole_step = dense_trainer.DenseTrainer.training_step

    def cut(self: dense_trainer.DenseTrainer, *args: object, **kwargs: object) -> torch.Tensor:
        if self.state.global_step == 5:
            raise CutError
        return whole_step(self, *args, **kwargs)

    monkeypatch.setattr(dense_trainer.DenseTrainer, "training_step", cut)
    with pytest.raises(CutError):
        train_dense(settings(toy, tmp_path / "run", two_towers=True))
    monkeypatch.undo()
    resumed = train_dense(DenseTraining.from_sources(output=str(tmp_path / "run"), resume=True))
    further = train_dense(
        settings(
            toy, tmp_path / "more", init=None, model=str(towers), two_towers=True, max_steps=1, warmup=0, holdout=0
        )
    )
    for tower in ("query_0_Transformer", "document_0_Transformer"):
        assert same_weights(towers / tower, resumed / tower)
        assert not same_weights(towers / tower, further / tower)


class CutError(Exception):
    """What a crash is in these tests."""


@pytest.mark.parametrize("step", [2, 5])
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(
    toy: dict, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    whole_step = dense_trainer.DenseTrainer.training_step

    def cut(self: dense_trainer.DenseTrainer, *args: object, **kwargs: object) -> torch.Tensor:
        if self.state.global_step == step:
            raise CutError
        return whole_step(self, *args, **kwargs)

    monkeypatch.setattr(dense_trainer.DenseTrainer, "training_step", cut)
    with pytest.raises(CutError):
        train_dense(settings(toy, tmp_path / "run"))
    assert not (tmp_path / "run/modules.json").exists()
    monkeypatch.undo()
    half = tmp_path / "run/checkpoints/checkpoint-7"  # as a crash in the middle of saving leaves one
    half.mkdir(parents=True)
    (half / "trainer_state.json").write_text('{"global_')
    resumed = train_dense(DenseTraining.from_sources(output=str(tmp_path / "run"), resume=True))
    assert same_weights(trained, resumed)
    assert [line["step"] for line in log_lines(resumed) if "loss" in line] == list(range(1, 9))


def test_resuming_with_other_settings_says_which(toy: dict, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.begin(settings(toy, tmp_path).with_full_paths())
    with pytest.raises(InputError, match=r"other settings \(learning_rate was 0.01, is 0.5; seed was 12, is 3\)"):
        train_dense(settings(toy, tmp_path, resume=True, learning_rate=0.5, seed=3))


def test_there_must_be_a_run_to_resume(toy: dict, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run to resume"):
        train_dense(settings(toy, tmp_path / "new", resume=True))


@pytest.mark.parametrize("resume", [False, True])
def test_a_finished_model_is_never_written_over(trained: Path, toy: dict, resume: bool) -> None:
    before = (trained / "model.safetensors").stat().st_mtime_ns
    with pytest.raises(InputError, match="holds a finished model"):
        train_dense(settings(toy, trained, resume=resume))
    assert (trained / "model.safetensors").stat().st_mtime_ns == before


def test_another_runs_checkpoints_and_other_peoples_files_are_never_written_over(toy: dict, tmp_path: Path) -> None:
    checkpoint = tmp_path / "run/checkpoints/checkpoint-5"
    checkpoint.mkdir(parents=True)
    (checkpoint / "trainer_state.json").write_text('{"global_step": 5}')
    with pytest.raises(InputError, match="holds an unfinished run; go on with --resume"):
        train_dense(settings(toy, tmp_path / "run"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").write_text("all my work")
    with pytest.raises(InputError, match=r"not empty \(it holds thesis.tex\)"):
        train_dense(settings(toy, tmp_path / "mine"))


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_last_good_checkpoint(toy: dict, tmp_path: Path) -> None:
    changes = {"learning_rate": 10.0, "temperature": 1e-4, "save_every": 1}
    module = trainer.BaseTrainer
    whole_step = module.training_step

    def spoilt(self: dense_trainer.DenseTrainer, *args: object, **kwargs: object) -> torch.Tensor:
        loss = whole_step(self, *args, **kwargs)
        return loss * float("nan") if self.state.global_step == 2 else loss

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "training_step", spoilt)
        with pytest.raises(ModernirError, match=r"step 3: losses \(found nan\) are not finite.*kept in .*checkpoints"):
            train_dense(settings(toy, tmp_path / "run", **changes))
    newest = RunFolder(tmp_path / "run").newest_checkpoint()
    assert newest is not None
    assert newest.name == "checkpoint-2"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("unexpected pos 64")])
def test_a_full_disk_is_said_in_one_line_and_the_checkpoint_is_kept(
    toy: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    save = dense_trainer.DenseTrainer._save_checkpoint

    def full(self: dense_trainer.DenseTrainer, *args: object) -> None:
        if self.state.global_step > 3:
            (Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}").mkdir()
            raise error
        save(self, *args)

    monkeypatch.setattr(dense_trainer.DenseTrainer, "_save_checkpoint", full)
    with pytest.raises(InputError, match=r"no space left on the disk of .*checkpoint-3 is kept.*--resume"):
        train_dense(settings(toy, tmp_path / "run"))
    assert [path.name for path in tmp_path.glob("run/checkpoints/checkpoint-*")] == ["checkpoint-3"]


def test_too_few_examples_or_too_few_different_ones_are_refused_and_leave_nothing(toy: dict, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="350 examples to train on are less than one --batch-size 512"):
        train_dense(settings(toy, tmp_path / "few", batch_size=512))
    (tmp_path / "same.jsonl").write_text('{"query": "q", "positive": "p"}\n' * 40)
    with pytest.raises(InputError, match="no batch of 32 different texts"):
        train_dense(settings(toy, tmp_path / "same", data=[str(tmp_path / "same.jsonl")], holdout=0))
    assert [path.name for path in tmp_path.iterdir()] == ["same.jsonl"]


@pytest.mark.parametrize("name", ["no/such/model", "nobody/nothing-here"])
def test_an_unknown_model_is_named_in_one_line(
    toy: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=rf"{name}: (no such folder|neither a folder here nor)") as caught:
        train_dense(settings(toy, tmp_path / "run", init=None, model=name))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("towers", [False, True])
@pytest.mark.parametrize("start", ["init", "model"])
def test_a_length_beyond_the_positions_of_the_network_is_refused(
    toy: dict, trained: Path, tmp_path: Path, towers: bool, start: str
) -> None:
    changes = {"init": None, "model": str(trained)} if start == "model" else {}
    said = "^document_length: 9000 tokens are more than the 8192 positions of the network$"
    with pytest.raises(InputError, match=said):
        train_dense(settings(toy, tmp_path / "run", **changes, document_length=9000, two_towers=towers))
    assert not (tmp_path / "run").exists()


def lacking(tensors: dict) -> None:
    del tensors["final_norm.weight"]


def spoilt(tensors: dict) -> None:
    tensors["layers.1.mlp.Wi.weight"][0, 0] = torch.nan


def short(tensors: dict) -> None:
    tensors["embeddings.tok_embeddings.weight"] = tensors["embeddings.tok_embeddings.weight"][:64].clone()


@pytest.mark.parametrize(
    ("change", "fields", "said"),
    [
        (lacking, {}, "the weights lack the tensor 'final_norm.weight', which config.json asks for"),
        (spoilt, {}, "'layers.1.mlp.Wi.weight' holds weights that are NaN or infinite; the checkpoint is damaged"),
        (short, {"vocab_size": 64}, r"tokenizer.json: has token \d+, but config.json has vocab_size 64"),
        (lambda tensors: None, {"attention_bias": True}, "config.json: attention_bias is True; only False is"),
    ],
)
def test_a_start_that_is_not_sound_is_refused_before_anything_is_made(
    toy: dict, trained: Path, tmp_path: Path, change: Callable[[dict], None], fields: dict, said: str
) -> None:
    model = tmp_path / "model"
    shutil.copytree(trained, model, ignore=shutil.ignore_patterns("checkpoints"))
    tensors = weights(model)
    change(tensors)
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | fields))
    with pytest.raises(InputError, match=said):
        train_dense(settings(toy, tmp_path / "run", init=None, model=str(model)))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_ctrl_c_saves_a_checkpoint_from_which_the_run_goes_on(toy: dict, trained: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    config = tmp_path / "config"
    config.mkdir()
    settings(toy, output).write(config)
    program = (
        "import sys, time; from pathlib import Path\n"
        "from modernir.retrieval.training import dense_trainer\n"
        "from modernir.retrieval.training.dense import train_dense\n"
        "from modernir.retrieval.training.settings import DenseTraining\n"
        "step = dense_trainer.DenseTrainer.training_step\n"
        "def slow(self, *args, **kwargs):\n"
        "    time.sleep(0.5)\n"
        "    return step(self, *args, **kwargs)\n"
        "dense_trainer.DenseTrainer.training_step = slow\n"
        "try:\n"
        "    train_dense(DenseTraining.from_sources(Path(sys.argv[1]), output=sys.argv[2]))\n"
        "except KeyboardInterrupt as interrupt:\n"
        "    sys.stderr.write(f'said: {interrupt}')\n"
        "    sys.exit(130)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(config / "training.toml"), str(output)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    log = output / "training_log.jsonl"
    deadline = time.monotonic() + 120
    while not (log.exists() and '"loss"' in log.read_text()) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr
    assert stdout == ""
    assert "stopping after this step" in stderr
    assert f"said: checkpoint kept in {output}/checkpoints/checkpoint-" in stderr
    assert not (output / "modules.json").exists()
    resumed = train_dense(DenseTraining.from_sources(output=str(output), resume=True))
    assert same_weights(trained, resumed)


def test_folders_that_are_not_of_a_run_are_left_alone(toy: dict, tmp_path: Path) -> None:
    pairs = tmp_path / "run" / "examples" / "pairs.jsonl"
    pairs.parent.mkdir(parents=True)
    shutil.copy(toy["data"][0], pairs)
    before = pairs.read_bytes()
    with pytest.raises(InputError, match="not empty"):
        train_dense(settings(toy, tmp_path / "run", data=[str(pairs)]))
    assert pairs.read_bytes() == before


def test_a_bundled_model_can_be_trained_further() -> None:
    assert load_model("modernir-mini-dense").get_embedding_dimension() == 256
