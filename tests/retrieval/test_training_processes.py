"""Two processes on a CPU train as one does with the joined batch, stop together, and speak with one voice."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from safetensors.torch import load_file

from modernir.encoders.modernbert.presets import config_for
from modernir.retrieval.training.colbert import train_colbert
from modernir.retrieval.training.dense import train_dense
from modernir.retrieval.training.settings import ColbertTraining, DenseTraining

PROGRAM = """
import os, signal, sys
from pathlib import Path

from modernir.errors import InputError
from modernir.retrieval.training import dense_trainer
from modernir.retrieval.training.colbert import train_colbert
from modernir.retrieval.training.dense import train_dense
from modernir.retrieval.training.settings import ColbertTraining, DenseTraining

folder, rank = Path(sys.argv[1]), os.environ["RANK"]
whole = dense_trainer.DenseTrainer.training_step

def interrupted(self, *args, **kwargs):
    if rank == "1" and self.state.global_step == 1:  # which the other is not told by a signal
        os.kill(os.getpid(), signal.SIGINT)
    return whole(self, *args, **kwargs)

def ending(act):
    try:
        act()
    except BaseException as error:
        return f"{type(error).__name__} {getattr(error, 'code', error)}"

dense = DenseTraining.from_sources(folder / "dense.toml", output=str(folder / "dense"))
dense_trainer.DenseTrainer.training_step = interrupted
said = [ending(lambda: train_dense(dense))]
dense_trainer.DenseTrainer.training_step = whole
train_dense(DenseTraining.from_sources(output=str(folder / "dense"), resume=True))
train_colbert(ColbertTraining.from_sources(folder / "colbert.toml", output=str(folder / "colbert")))
broken = {"output": str(folder / "broken"), "data": [str(folder / "broken.jsonl")]}
said.append(ending(lambda: train_dense(DenseTraining.from_sources(folder / "dense.toml", **broken))))
(folder / f"said_{rank}").write_text("\\n".join(said))
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Train a dense model of two towers and a ColBERT, in one process and in two."""
    folder = tmp_path_factory.mktemp("processes")
    names = ("Alpha", "Beta", "Gamma")
    rows = [
        {
            "query": f"query {n} of {names[n % 3]}" + " and more" * (n % 4),
            "positive": f"text {n} " + "word " * (n % 7),
            "negative": f"nothing {n % 11}",
        }
        for n in range(60)
    ]
    (folder / "toy.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "broken.jsonl").write_text('{"query": 3}\n')
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    fields = config_for("tiny").to_fields() | shape | {"vocab_size": 320, "layer_types": None}
    (folder / "toy.json").write_text(json.dumps(fields))
    given = {
        "data": [str(folder / "toy.jsonl")],
        "init": str(folder / "toy.json"),
        "batch_size": 16,
        "mini_batch_size": 4,
        "max_steps": 3,
        "learning_rate": 1e-3,
        "warmup": 0.4,
        "holdout": 8,
        "negatives": 1,
        "log_every": 1,
    }
    dense = DenseTraining.from_sources(**given, output="unused", two_towers=True, accumulation=1)
    colbert = ColbertTraining.from_sources(**given, output="unused", query_length=16, dim=8)
    for name, settings in (("dense", dense), ("colbert", colbert)):
        settings.write(folder)
        (folder / "training.toml").rename(folder / f"{name}.toml")
    train_dense(DenseTraining.from_sources(folder / "dense.toml", output=str(folder / "one_dense")))
    train_colbert(ColbertTraining.from_sources(folder / "colbert.toml", output=str(folder / "one_colbert")))
    (folder / "program.py").write_text(PROGRAM)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *launch, str(folder / "program.py"), str(folder)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = [(folder / f"said_{rank}").read_text().split("\n") for rank in (0, 1)]
    return SimpleNamespace(folder=folder, said=said, stderr=done.stderr)


def log(folder: Path, name: str) -> list[float]:
    lines = [json.loads(line) for line in (folder / "training_log.jsonl").read_text().splitlines()]
    return [line[name] for line in lines if name in line]


@pytest.mark.parametrize(
    ("kind", "parts"),
    [("dense", ["query_0_Transformer", "document_0_Transformer"]), ("colbert", ["", "1_Dense"])],
)
def test_two_processes_end_with_the_weights_of_one_with_the_joined_batch(
    trained: SimpleNamespace, kind: str, parts: list[str]
) -> None:
    one, two = trained.folder / f"one_{kind}", trained.folder / kind
    for name in ("loss", "grad_norm", "nDCG@10"):
        assert log(two, name) == pytest.approx(log(one, name), rel=1e-4)
    for part in parts:
        expected, found = (load_file(run / part / "model.safetensors") for run in (one, two))
        assert expected.keys() == found.keys()
        for name in expected:
            apart = (found[name] - expected[name]).abs()
            # Adam divides a gradient by its own size, and so what is next to zero by rounding
            assert (apart > 1e-5).double().mean() < 0.01
            assert apart.max() < 1e-4


def test_the_training_moved_the_weights_by_more_than_that(trained: SimpleNamespace) -> None:
    saved = sorted(trained.folder.glob("one_colbert/checkpoints/checkpoint-*/model.safetensors"))
    first, last = load_file(saved[0]), load_file(saved[-1])
    assert max((last[name] - first[name]).abs().max() for name in first) > 1e-3


def test_an_interrupt_of_one_process_stops_all_at_the_same_step(trained: SimpleNamespace) -> None:
    checkpoint = trained.folder / "dense/checkpoints/checkpoint-2"
    assert trained.said[0][0] == f"KeyboardInterrupt checkpoint kept in {checkpoint}; continue with --resume"
    assert trained.said[1][0] == "SystemExit 130"


def test_bad_input_ends_all_and_is_said_by_the_first(trained: SimpleNamespace) -> None:
    assert trained.said[0][1].startswith(f"InputError {trained.folder}/broken.jsonl:1: expected a text under query")
    assert trained.said[1][1] == "SystemExit 2"
    assert not (trained.folder / "broken").exists()


def test_one_process_writes_the_log(trained: SimpleNamespace) -> None:
    assert len(log(trained.folder / "colbert", "loss")) == 3
    assert trained.stderr.count("step 3: loss") == 2  # once for each of the two models
