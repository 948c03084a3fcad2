"""Pre-training runs on a toy language, in which a text says the same word again and again."""

import builtins
import errno
import json
import random
import signal
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from transformers import AutoTokenizer, ModernBertForMaskedLM

from modernir.encoders.embedding_table import token_texts
from modernir.encoders.modernbert.folder import read_masked_language_model
from modernir.encoders.modernbert.presets import config_for
from modernir.encoders.modernbert.tokenizer import train_tokenizer
from modernir.errors import InputError, ModernirError
from modernir.retrieval.pretraining import checkpoint as checkpoints
from modernir.retrieval.pretraining import loop, trainer
from modernir.retrieval.pretraining.loop import Step
from modernir.retrieval.pretraining.packs import Example
from modernir.retrieval.pretraining.run import pretrain
from modernir.retrieval.pretraining.settings import Pretraining
from modernir.retrieval.pretraining.start import starting_point
from modernir.retrieval.training.model import load_model

WORDS = [f"{chr(97 + number)}word" for number in range(14)]
STEPS = 9


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Return the settings of a run of seconds."""
    folder = tmp_path_factory.mktemp("toy")
    draw = random.Random(0)

    def sentence() -> str:
        return " ".join([draw.choice(WORDS)] * draw.randint(24, 30))

    blocks = [sentence() for _ in range(400)]
    (folder / "toy.txt").write_text("\n\n".join(blocks))
    train_tokenizer(blocks, 320).save_pretrained(folder / "tokenizer")
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    drops = {"mlp_dropout": 0.1, "embedding_dropout": 0.1}
    fields = config_for("tiny").to_fields() | shape | drops | {"vocab_size": 320, "layer_types": None}
    (folder / "toy.json").write_text(json.dumps(fields))
    return {
        "data": [str(folder / "toy.txt")],
        "init": str(folder / "toy.json"),
        "tokenizer": str(folder / "tokenizer"),
        "positions": 32,
        "pack_tokens": 256,
        "batch_size": 3,
        "first_batch_size": 1,
        "batch_warmup": 0.5,
        "max_steps": STEPS,
        "learning_rate": 1e-2,
        "holdout": 20,
        "log_every": 2,
        "save_every": 2,
        "eval_every": 100,
    }


def settings(toy: dict, output: Path, **changes: object) -> Pretraining:
    return Pretraining.from_sources(**toy | {"output": str(output)} | changes)


def log_lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "training_log.jsonl").read_text().splitlines()]


def same_weights(one: Path, other: Path) -> bool:
    first, second = (load_file(folder / "model.safetensors") for folder in (one, other))
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def trained(toy: dict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrain(settings(toy, tmp_path_factory.mktemp("trained") / "model"))


def test_training_learns_what_the_masks_hide(toy: dict, tmp_path: Path) -> None:
    output = pretrain(settings(toy, tmp_path / "long", max_steps=50, first_batch_size=None, batch_warmup=0.0))
    measured = [line for line in log_lines(output) if "held_out_loss" in line]
    assert measured[0]["held_out_loss"] == pytest.approx(np.log(320), abs=0.3)
    assert measured[-1]["held_out_loss"] < measured[0]["held_out_loss"] / 2
    assert measured[-1]["held_out_accuracy"] > measured[0]["held_out_accuracy"] + 0.2


def test_transformers_loads_the_folder_and_predicts_the_same(trained: Path) -> None:
    theirs = ModernBertForMaskedLM.from_pretrained(trained, attn_implementation="eager").eval()
    tokenizer = AutoTokenizer.from_pretrained(trained)
    assert (theirs.config.max_position_embeddings, tokenizer.model_max_length) == (32, 32)
    texts = ["aword [MASK] cword dword", "gword hword [MASK]"]
    batch = tokenizer(texts, return_tensors="pt", padding=True)
    from modernir.encoders.stream import Stream

    ours = read_masked_language_model(trained)
    with torch.no_grad():
        expected = theirs(**batch).logits[batch["attention_mask"].bool()]
        found = ours(Stream.of_padded(batch["input_ids"], batch["attention_mask"])).logits
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_a_retriever_can_start_from_it(trained: Path) -> None:
    assert load_model(str(trained)).encode(["aword bword"]).shape == (1, 32)


def test_the_log_has_losses_measurements_and_throughput(trained: Path, toy: dict) -> None:
    lines = log_lines(trained)
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 4, 6, 8, 9]
    assert [line["step"] for line in lines if "held_out_loss" in line] == [0, 9]
    losses = [line for line in lines if "loss" in line]
    assert [line["batch_size"] for line in losses] == [1, 1, 2, 3, 3, 3]
    assert all(line["tokens_per_second"] > 0 and 0 < line["share_of_peak"] < 1 for line in losses)
    assert [line["tokens"] for line in losses] == sorted(line["tokens"] for line in losses)


def test_the_folder_keeps_two_checkpoints_and_no_copy_of_the_texts(trained: Path) -> None:
    assert sorted(path.name for path in trained.glob("checkpoints/*")) == ["checkpoint-8", "checkpoint-9"]
    assert not (trained / "corpus").exists()
    assert not [path for path in trained.iterdir() if path.name.startswith(".")]


def test_the_settings_that_a_run_leaves_repeat_it_exactly(trained: Path, tmp_path: Path) -> None:
    again = pretrain(Pretraining.from_sources(trained / "training.toml", output=str(tmp_path / "again")))
    assert same_weights(trained, again)


class CutError(Exception):
    """Stands for whatever ends a process."""


def before_step(number: int, action: Callable[[], None]) -> Callable[..., Step]:
    taken = iter(range(1, 1000))

    def step(*args: object) -> Step:
        if next(taken) == number:
            action()
        return loop.gradients(*args)

    return step


def fail() -> None:
    raise CutError


@pytest.mark.parametrize("cut_at", [1, 6, STEPS])
def test_a_run_that_was_cut_and_resumed_ends_with_the_same_weights(
    cut_at: int, toy: dict, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "gradients", before_step(cut_at, fail))
    with pytest.raises(CutError):
        pretrain(settings(toy, tmp_path / "run"))
    monkeypatch.undo()
    resumed = pretrain(Pretraining.from_sources(output=str(tmp_path / "run"), resume=True))
    assert same_weights(resumed, trained)
    steps = [line["step"] for line in log_lines(resumed) if "loss" in line]
    assert steps == sorted(steps) and steps[-1] == STEPS


def test_ctrl_c_finishes_the_step_saves_and_says_how_to_go_on(
    toy: dict, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "gradients", before_step(3, lambda: signal.raise_signal(signal.SIGINT)))
    with pytest.raises(KeyboardInterrupt, match=r"checkpoint-3; continue with --resume"):
        pretrain(settings(toy, tmp_path / "run"))
    monkeypatch.undo()
    assert same_weights(pretrain(settings(toy, tmp_path / "run", resume=True)), trained)


def test_ctrl_c_before_the_first_step_says_so_and_the_log_begins_anew(
    toy: dict, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: object) -> dict[str, float]:
        signal.raise_signal(signal.SIGINT)
        return loop.measure(*args)

    monkeypatch.setattr(trainer, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt, match=r"^before the first step; continue with --resume"):
        pretrain(settings(toy, tmp_path / "run"))
    monkeypatch.undo()
    resumed = pretrain(settings(toy, tmp_path / "run", resume=True))
    assert same_weights(resumed, trained)
    assert [line["step"] for line in log_lines(resumed) if "held_out_loss" in line] == [0, STEPS]


def test_a_loss_that_is_no_number_stops_with_the_last_good_checkpoint_kept(
    toy: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = iter(range(1, 100))

    def step(*args: object) -> Step:
        found = loop.gradients(*args)
        return found if next(taken) < 6 else Step(float("nan"), found.grad_norm, found.examples)

    monkeypatch.setattr(trainer, "gradients", step)
    with pytest.raises(ModernirError, match=r"step 6: losses \(found nan\).* not finite; .*kept in .*checkpoints"):
        pretrain(settings(toy, tmp_path / "run"))
    newest = sorted((tmp_path / "run" / "checkpoints").iterdir())[-1]
    assert newest.name == "checkpoint-4"
    assert all(torch.isfinite(tensor).all() for tensor in load_file(newest / "model.safetensors").values())


def test_a_full_disk_is_said_and_leaves_the_checkpoint_before(
    toy: dict, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = checkpoints.save_file

    def full(tensors: dict, path: Path) -> None:
        if "checkpoint-4" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(tensors, path)

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(InputError, match=r"no space left .*checkpoint-2 is kept: free some space and go on"):
        pretrain(settings(toy, tmp_path / "run"))
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["checkpoint-2"]
    assert same_weights(pretrain(settings(toy, tmp_path / "run", resume=True)), trained)


def test_a_resume_with_other_settings_names_them(toy: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "gradients", before_step(4, fail))
    with pytest.raises(CutError):
        pretrain(settings(toy, tmp_path / "run"))
    with pytest.raises(InputError, match=r"other settings \(masked was 0.3, is 0.2; seed was 12, is 13\)"):
        pretrain(settings(toy, tmp_path / "run", resume=True, masked=0.2, seed=13))
    with pytest.raises(InputError, match="holds an unfinished run; go on with --resume"):
        pretrain(settings(toy, tmp_path / "run"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"batch_size": 500}, r"fill \d+ packs of 256, less than one batch of 500; give more text"),
        ({"max_steps": None, "epochs": 0.001}, r"epochs: 0.001 of \d+ packs make no batch"),
        ({"data": ["nowhere.txt"]}, "nowhere.txt: no such file"),
        ({"tokenizer": "nowhere"}, "nowhere: not a folder with a tokenizer"),
        ({"compile": True}, "compile: torch.compile is used on CUDA"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(changes: dict, said: str, toy: dict, tmp_path: Path) -> None:
    if torch.cuda.is_available() and "compile" in changes:
        pytest.skip("torch.compile is allowed here")
    with pytest.raises(InputError, match=said):
        pretrain(settings(toy, tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


def test_texts_without_a_word_are_no_corpus(toy: dict, tmp_path: Path) -> None:
    (tmp_path / "blank.txt").write_text("\n \n\n")
    with pytest.raises(InputError, match=r"blank\.txt: no text to train on"):
        pretrain(settings(toy, tmp_path / "run", data=[str(tmp_path / "blank.txt")]))


def test_a_second_stage_has_a_longer_context(toy: dict, trained: Path, tmp_path: Path) -> None:
    changes = {"init": None, "tokenizer": None, "model": str(trained / "checkpoints" / "checkpoint-8")}
    longer = {"positions": 64, "global_theta": 160_000.0, "max_steps": 1}
    output = pretrain(settings(toy, tmp_path / "second", **changes, **longer))
    fields = json.loads((output / "config.json").read_text())
    assert (fields["max_position_embeddings"], fields["global_rope_theta"]) == (64, 160_000.0)
    assert AutoTokenizer.from_pretrained(output).model_max_length == 64
    first = next(line for line in log_lines(output) if "held_out_loss" in line)
    assert first["held_out_loss"] < np.log(320) - 0.5


def test_a_larger_model_begins_with_the_smaller_ones_weights(toy: dict, trained: Path, tmp_path: Path) -> None:
    fields = json.loads((trained / "config.json").read_text())
    larger = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 3, "layer_types": None}
    (tmp_path / "larger.json").write_text(json.dumps(fields | larger))
    changes = {"init": str(tmp_path / "larger.json"), "tokenizer": None, "tile_from": str(trained), "max_steps": 1}
    output = pretrain(settings(toy, tmp_path / "larger", **changes, learning_rate=1e-9))
    small, large = (read_masked_language_model(folder) for folder in (trained, output))
    found = large.model.embeddings.tok_embeddings.weight[:, 8:40]
    torch.testing.assert_close(found, small.model.embeddings.tok_embeddings.weight * 1.0, atol=1e-6, rtol=0)


def test_embeddings_begin_with_the_geometry_of_a_teacher(toy: dict, tmp_path: Path, tiny_model: Path) -> None:
    given = settings(toy, tmp_path / "run", embeddings_from=str(tiny_model))
    network, tokenizer = starting_point(given)
    texts = token_texts(tokenizer)
    numbers = [number for number, text in texts.items() if text in WORDS]
    expected = SentenceTransformer(str(tiny_model)).encode([texts[number] for number in numbers])
    rows = network.model.embeddings.tok_embeddings.weight[numbers]
    found = torch.nn.functional.cosine_similarity(rows[:, None], rows[None], dim=-1).detach().numpy()
    assert len(numbers) > 5
    np.testing.assert_allclose(found, expected @ expected.T, atol=1e-5)
    assert network.decoder.weight is network.model.embeddings.tok_embeddings.weight


def test_bf16_is_mixed_precision(toy: dict, tmp_path: Path) -> None:
    output = pretrain(settings(toy, tmp_path / "bf16", precision="bf16", max_steps=3))
    assert {tensor.dtype for tensor in load_file(output / "model.safetensors").values()} == {torch.float32}
    assert all(np.isfinite(line["loss"]) for line in log_lines(output) if "loss" in line)


def example(texts: list[list[int]], at: list[int]) -> Example:
    from modernir.encoders.stream import Stream

    stream = Stream.of(texts, torch.device("cpu"))
    labels = torch.full_like(stream.ids, -100)
    labels[at] = stream.ids[at]
    return Example(stream, labels, torch.tensor(at))


def test_packs_added_up_are_one_batch(toy: dict, trained: Path) -> None:
    network = read_masked_language_model(trained)
    texts = [[1, 20, 30, 2], [1, 40, 50, 60, 2], [1, 70, 2]]
    packs = [example(texts[:1], [1]), example(texts[1:], [1, 2, 6])]
    predict = loop.predictor(network, settings(toy, trained.parent / "x"), torch.device("cpu"))
    found = loop.gradients(predict, network, packs)
    summed = [parameter.grad.clone() for parameter in network.parameters()]
    whole = loop.gradients(predict, network, [example(texts, [1, 5, 6, 10])])
    assert found.loss == pytest.approx(whole.loss, rel=1e-5)
    for one, other in zip(summed, network.parameters(), strict=True):
        torch.testing.assert_close(one, other.grad, atol=1e-6, rtol=1e-4)
    expected = torch.cat([parameter.grad.flatten() for parameter in network.parameters()]).norm()
    assert whole.grad_norm == pytest.approx(float(expected), rel=1e-5)


def test_tensorboard_has_the_figures_of_the_log(toy: dict, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    output = pretrain(settings(toy, tmp_path / "board", max_steps=3))
    events = EventAccumulator(str(output / "tensorboard"))
    events.Reload()
    scalars = {scalar.step: scalar.value for scalar in events.Scalars("loss")}
    assert scalars == pytest.approx({line["step"]: line["loss"] for line in log_lines(output) if "loss" in line}, 1e-4)
    assert len(events.Scalars("held_out_accuracy")) == 2


def test_without_tensorboard_a_run_is_as_ever(
    toy: dict, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def refused(name: str, *args: object) -> ModuleType:
        if name.startswith("torch.utils.tensorboard"):
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", refused)
    output = pretrain(settings(toy, tmp_path / "run"))
    assert not (output / "tensorboard").exists()
    assert same_weights(output, trained)


def test_the_command_trains_and_prints_the_folder(
    toy: dict, tmp_path: Path, call: Callable[..., SimpleNamespace]
) -> None:
    flags = [part for name, value in toy.items() if name != "data" for part in (f"--{name.replace('_', '-')}", value)]
    done = call("pretrain", *flags, "--data", toy["data"][0], "--output", tmp_path / "run", "--max-steps", 2)
    assert (done.code, done.stdout.strip()) == (0, str(tmp_path / "run"))
    assert "% full" in done.stderr
    wrong = call("pretrain", "--output", tmp_path / "other", "--init", "mini", "--data", "a.txt")
    assert wrong.code == 2 and wrong.stderr.startswith("error: --init needs the folder of a tokenizer")
