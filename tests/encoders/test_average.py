"""The average of checkpoints: the plain mean of their weights, in a folder that loads everywhere as the first did."""

import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import MultiVectorEncoder, SentenceTransformer

from modernir.encoders.average import average, shares_of
from modernir.encoders.loading import load_encoder
from modernir.encoders.modernbert.fresh import new_model
from modernir.encoders.modernbert.tokenizer import train_tokenizer
from modernir.errors import InputError

TEXTS = ["red apples in the garden", "a ship with three masts crosses the sea", "bread"]


def moved(source: Path, target: Path, seed: int, scale: float = 0.05) -> Path:
    """Copy a model with noise on its weights, as another state of its training."""
    shutil.copytree(source, target)
    noise = torch.Generator().manual_seed(seed)
    for file in target.rglob("*.safetensors"):
        tensors = {
            name: tensor + scale * torch.randn(tensor.shape, generator=noise) if tensor.is_floating_point() else tensor
            for name, tensor in load_file(file).items()
        }
        save_file(tensors, file, metadata={"format": "pt"})
    return target


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return {
        f"{file.relative_to(folder)} {name}": tensor
        for file in folder.rglob("*.safetensors")
        for name, tensor in load_file(file).items()
    }


@pytest.fixture(scope="module")
def others(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("others")
    return [moved(tiny_model, folder / f"model-{seed}", seed) for seed in (1, 2)]


@pytest.mark.parametrize("weights", [None, [2.0, 1.0, 1.0], [0.0, 0.3, 0.7]])
def test_every_tensor_is_the_weighted_mean(
    tiny_model: Path, others: list[Path], tmp_path: Path, weights: list[float] | None
) -> None:
    models = [tiny_model, *others]
    found = tensors(average(models, tmp_path / "soup", weights))
    given = [tensors(model) for model in models]
    assert found.keys() == given[0].keys()
    for name, tensor in found.items():
        stacked = np.stack([one[name].numpy() for one in given])
        expected = np.average(stacked.astype(np.float64), axis=0, weights=weights)
        np.testing.assert_allclose(tensor.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_the_average_of_a_model_with_itself_is_the_model_and_all_its_files(tiny_model: Path, tmp_path: Path) -> None:
    soup = average([tiny_model, tiny_model], tmp_path / "soup")
    files = {file.relative_to(tiny_model) for file in tiny_model.rglob("*") if file.is_file()}
    assert {file.relative_to(soup) for file in soup.rglob("*") if file.is_file()} == files
    assert all(torch.equal(tensor, tensors(tiny_model)[name]) for name, tensor in tensors(soup).items())
    vectors = [
        load_encoder(model, precision="fp32", kind="dense").encode_queries(TEXTS) for model in (tiny_model, soup)
    ]
    np.testing.assert_array_equal(*vectors)


def test_checkpoints_of_a_run_leave_their_state_of_training_behind(
    tiny_model: Path, others: list[Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_model, run)
    (run / "training.toml").write_text("")
    (run / "training_log.jsonl").write_text("")
    steps = [shutil.copytree(other, run / f"checkpoints/checkpoint-{step}") for step, other in enumerate(others)]
    for step in steps:
        (step / "trainer_state.json").write_text(json.dumps({"global_step": step.name}))
        (step / "optimizer.pt").write_bytes(b"a pickle")
        save_file({"exp_avg": torch.zeros(2)}, step / "optimizer.safetensors")
    soup = average([run, *steps], tmp_path / "soup")
    assert {file.name for file in soup.iterdir()} == {file.name for file in tiny_model.iterdir()}
    alike = average([tiny_model, *others], tmp_path / "alike")
    assert all(torch.equal(tensor, tensors(alike)[name]) for name, tensor in tensors(soup).items())


def test_a_colbert_s_projection_is_averaged_too(tiny_colbert: Path, tmp_path: Path) -> None:
    other = moved(tiny_colbert, tmp_path / "other", 3)
    soup = average([tiny_colbert, other], tmp_path / "soup")
    name = next(name for name in tensors(soup) if "Dense" in name)
    assert torch.allclose(tensors(soup)[name], (tensors(tiny_colbert)[name] + tensors(other)[name]) / 2)
    ours = load_encoder(soup, precision="fp32", kind="late").encode_documents(TEXTS)
    theirs = MultiVectorEncoder(str(soup), device="cpu").encode_document(TEXTS, convert_to_numpy=True)
    np.testing.assert_allclose(ours.values, np.concatenate(theirs), atol=1e-5)


@pytest.fixture(scope="module")
def modernbert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("modernbert")
    sizes = {"num_hidden_layers": 2, "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2}
    more = {"vocab_size": 320, "model_type": "modernbert", "max_position_embeddings": 64}
    (folder / "sizes.json").write_text(json.dumps(sizes | more))
    model = new_model(folder / "sizes.json", train_tokenizer(TEXTS * 9, 320), 64, 1)
    model.save_pretrained(str(folder / "model"))
    return folder / "model"


@pytest.mark.parametrize("kind", ["tiny_model", "modernbert"])
def test_a_copy_in_16_bits_is_half_the_size_and_computes_in_float32_everywhere(
    request: pytest.FixtureRequest, kind: str, tmp_path: Path
) -> None:
    model = request.getfixturevalue(kind)
    half = average([model], tmp_path / "half", dtype="bf16")
    for name, tensor in tensors(half).items():
        assert torch.equal(tensor, tensors(model)[name].bfloat16())
    whole = average([half], tmp_path / "whole", dtype="fp32")
    expected = SentenceTransformer(str(whole), device="cpu").encode(TEXTS)
    theirs = SentenceTransformer(str(half), device="cpu")
    assert {parameter.dtype for parameter in theirs.parameters()} == {torch.float32}
    np.testing.assert_array_equal(theirs.encode(TEXTS), expected)
    ours = load_encoder(half, precision="fp32", kind="dense").encode_documents(TEXTS)
    np.testing.assert_allclose(ours, expected, atol=1e-5)
    before = SentenceTransformer(str(model), device="cpu").encode(TEXTS)
    assert 0 < np.abs(before - expected).max() < 0.02


def test_shards_are_averaged_and_cut_as_the_first_model_s(modernbert: Path, tmp_path: Path) -> None:
    from modernir.encoders.modernbert.folder import read_network, save

    one_file, sharded = (shutil.copytree(modernbert, tmp_path / name) for name in ("one-file", "sharded"))
    save(read_network(modernbert), one_file)
    save(read_network(modernbert), sharded, shard_bytes=20_000)
    assert len(list(sharded.glob("model-*.safetensors"))) > 2
    other = moved(one_file, tmp_path / "other", 4)
    soup = average([sharded, other], tmp_path / "soup", dtype="bf16")
    assert {file.name for file in soup.iterdir()} == {file.name for file in sharded.iterdir()}
    assert {stat.S_IMODE(file.stat().st_mode) for file in soup.glob("*.safetensors")} == {0o644}
    stored = sum(tensor.nbytes for tensor in tensors(soup).values())
    assert json.loads((soup / "model.safetensors.index.json").read_text())["metadata"]["total_size"] == stored
    found, expected = read_network(soup).state_dict(), average([one_file, other], tmp_path / "whole", dtype="bf16")
    for name, tensor in read_network(expected).state_dict().items():
        assert torch.equal(found[name], tensor)


def change(model: Path, file: str, **fields: object) -> None:
    content = json.loads((model / file).read_text())
    (model / file).write_text(json.dumps(content | fields))


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "configuration": (lambda m: change(m, "config.json", hidden_act="relu"), "config.json.* hidden_act .'relu', where"),
    "pooling": (lambda m: change(m, "1_Pooling/config.json", include_prompt=False), "1_Pooling/config.json.*prompt"),
    "prompts": (lambda m: change(m, "config_sentence_transformers.json", prompts={"query": "q: "}), "in prompts"),
    "tokenizer": (lambda m: change(m, "tokenizer.json", normalizer=None), "tokenizer.json differs.* in normalizer"),
    "file": (lambda m: (m / "1_Pooling/config.json").unlink(), "lacks 1_Pooling/config.json"),
    "adapter": (lambda m: (m / "adapter_config.json").write_text("{}"), "an adapter"),
    "shape": (lambda m: reshaped(m), "has shape"),
    "tensor": (lambda m: renamed(m), "is not among the tensors of both"),
    "NaN": (lambda m: filled(m, float("nan")), "not finite"),
}


def rewrite(model: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    file = next(model.rglob("*.safetensors"))
    save_file(change(load_file(file)), file, metadata={"format": "pt"})


def reshaped(model: Path) -> None:
    rewrite(model, lambda tensors: {name: tensor[:1].clone() for name, tensor in tensors.items()})


def renamed(model: Path) -> None:
    rewrite(model, lambda tensors: {f"{name}_": tensor for name, tensor in tensors.items()})


def filled(model: Path, value: float) -> None:
    rewrite(model, lambda tensors: {name: torch.full_like(tensor, value) for name, tensor in tensors.items()})


@pytest.mark.parametrize("broken", BROKEN)
def test_models_that_are_not_alike_are_refused_by_what_differs(tiny_model: Path, tmp_path: Path, broken: str) -> None:
    other = shutil.copytree(tiny_model, tmp_path / "other")
    spoil, message = BROKEN[broken]
    spoil(other)
    with pytest.raises(InputError, match=message):
        average([tiny_model, other], tmp_path / "soup")
    assert not (tmp_path / "soup").exists()


@pytest.mark.parametrize(
    ("weights", "message"),
    [([1.0], "1 for 2 models"), ([1.0, -1.0], "at least 0"), ([0.0, 0.0], "not all"), ([1.0, float("inf")], "finite")],
)
def test_weights_that_make_no_sense_are_refused(weights: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        shares_of(weights, 2)


def test_the_command_averages_and_says_where(
    tiny_model: Path, others: list[Path], tmp_path: Path, call: Callable
) -> None:
    done = call("average", tiny_model, others[0], "-o", tmp_path / "soup", "--weights", "3,1")
    assert (done.code, done.stdout) == (0, f"{tmp_path / 'soup'}\n")
    expected = average([tiny_model, others[0]], tmp_path / "expected", [0.75, 0.25])
    assert all(torch.equal(tensor, tensors(expected)[name]) for name, tensor in tensors(tmp_path / "soup").items())
    for arguments, message in (
        ([tiny_model, others[0], "-o", tmp_path / "soup"], "exists already"),
        ([tiny_model, "-o", tmp_path / "one"], "its own average"),
        ([tiny_model, others[0], "-o", tmp_path / "x", "--weights", "a,b"], "expected numbers"),
        ([tiny_model, others[0], "-o", tiny_model / "x"], "lies within"),
    ):
        failed = call("average", *arguments)
        assert failed.code == 2
        assert message in failed.stderr
