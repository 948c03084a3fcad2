"""Folders go to transformers and back without a difference, and one with anything wrong in it is refused by name."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from modernir.encoders.modernbert import folder as folders
from modernir.encoders.modernbert.config import ModernBertConfig, one_global_in
from modernir.encoders.modernbert.folder import read_masked_language_model, read_network, save
from modernir.encoders.modernbert.network import MaskedLanguageModel, ModernBert
from modernir.encoders.stream import Stream
from modernir.errors import InputError

CONFIG = ModernBertConfig(
    vocabulary=64,
    width=32,
    intermediate=48,
    layers=4,
    heads=2,
    global_layers=one_global_in(3, 4),
    window=4,
    pad_token_id=0,
    initializer_range=0.1,
)
IDS = torch.arange(1, 31)
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
TABLE = "embeddings.tok_embeddings.weight"


@pytest.fixture(scope="module")
def model() -> MaskedLanguageModel:
    torch.manual_seed(0)
    network = MaskedLanguageModel(CONFIG).eval()
    torch.nn.init.normal_(network.decoder.bias)
    return network


@pytest.fixture
def saved(model: MaskedLanguageModel, tmp_path: Path) -> Path:
    """The encoder alone."""
    save(model.model, tmp_path / "encoder")
    return tmp_path / "encoder"


@pytest.fixture
def saved_with_head(model: MaskedLanguageModel, tmp_path: Path) -> Path:
    save(model, tmp_path / "model")
    return tmp_path / "model"


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def edit(file: Path, change: Callable[[dict], object]) -> None:
    """Change the tensors of a safetensors file or the fields of a JSON file."""
    if file.suffix == ".json":
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))
    else:
        content = {name: tensor.clone() for name, tensor in load_file(file).items()}
        change(content)
        save_file(content, file)


class TestRoundTrips:
    def test_what_we_save_transformers_loads_whole(
        self, model: MaskedLanguageModel, saved: Path, saved_with_head: Path
    ) -> None:
        from transformers import AutoModel, AutoModelForMaskedLM

        encoder, report = AutoModel.from_pretrained(saved, output_loading_info=True)
        assert not any(report.values())
        assert same(encoder, model.model)
        whole, report = AutoModelForMaskedLM.from_pretrained(saved_with_head, output_loading_info=True)
        assert not any(report.values())
        assert same(whole, model)
        assert type(AutoModel.from_pretrained(saved_with_head)).__name__ == "ModernBertModel"
        assert whole.decoder.weight.data_ptr() == whole.model.embeddings.tok_embeddings.weight.data_ptr()

    def test_what_transformers_saves_we_read_whole(self, model: MaskedLanguageModel, tmp_path: Path) -> None:
        from transformers import ModernBertConfig as Theirs
        from transformers import ModernBertForMaskedLM, ModernBertModel

        whole = ModernBertForMaskedLM(Theirs(**CONFIG.to_fields()))
        whole.load_state_dict(model.state_dict())
        whole.save_pretrained(tmp_path / "whole")
        whole.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
        encoder = ModernBertModel(Theirs(**CONFIG.to_fields()))
        encoder.load_state_dict(model.model.state_dict())
        encoder.save_pretrained(tmp_path / "encoder")
        assert (tmp_path / "shards" / INDEX).exists()
        for name in ("whole", "shards"):
            assert same(read_masked_language_model(tmp_path / name), model)
        for name in ("whole", "shards", "encoder"):
            assert same(read_network(tmp_path / name), model.model)

    @torch.no_grad()
    def test_a_saved_network_says_what_it_said(self, model: MaskedLanguageModel, saved_with_head: Path) -> None:
        stream = Stream.of_ids(IDS, [20, 10], torch.device("cpu"))
        again = read_masked_language_model(saved_with_head)
        assert not again.training
        assert torch.equal(again(stream).logits, model(stream).logits)
        assert again.config == CONFIG

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_weights_of_16_bits_stay_so_unless_asked(
        self, model: MaskedLanguageModel, tmp_path: Path, dtype: torch.dtype
    ) -> None:
        from transformers import AutoModel

        half = ModernBert(CONFIG)
        half.load_state_dict(model.model.state_dict())
        save(half.to(dtype), tmp_path)
        assert same(read_network(tmp_path), half)
        assert same(read_network(tmp_path, torch.float32), half.float())
        assert AutoModel.from_pretrained(tmp_path).dtype == dtype

    def test_mixed_types_are_read_as_the_widest(self, saved: Path) -> None:
        edit(saved / SINGLE, lambda tensors: tensors.update({TABLE: tensors[TABLE].bfloat16()}))
        assert {weights.dtype for weights in read_network(saved).parameters()} == {torch.float32}

    def test_shards_are_read_by_us_and_by_transformers(self, model: MaskedLanguageModel, tmp_path: Path) -> None:
        from transformers import AutoModelForMaskedLM

        save(model, tmp_path, shard_bytes=20_000)
        shards = sorted(path.name for path in tmp_path.glob("*.safetensors"))
        assert len(shards) > 2
        assert shards[0] == f"model-00001-of-{len(shards):05}.safetensors"
        assert all((tmp_path / name).stat().st_size < 30_000 for name in shards)
        assert same(read_masked_language_model(tmp_path), model)
        assert same(AutoModelForMaskedLM.from_pretrained(tmp_path), model)

    def test_a_decoder_of_its_own_is_kept(self, tmp_path: Path) -> None:
        from transformers import AutoModelForMaskedLM

        model = MaskedLanguageModel(dataclasses.replace(CONFIG, tied=False, decoder_bias=False))
        save(model, tmp_path)
        assert same(read_masked_language_model(tmp_path), model)
        assert same(AutoModelForMaskedLM.from_pretrained(tmp_path), model)

    def test_a_tied_decoder_may_be_stored_and_stays_tied(
        self, model: MaskedLanguageModel, saved_with_head: Path
    ) -> None:
        edit(saved_with_head / SINGLE, lambda t: t.update({"decoder.weight": t[f"model.{TABLE}"].clone()}))
        again = read_masked_language_model(saved_with_head)
        assert same(again, model)
        assert again.decoder.weight is again.model.embeddings.tok_embeddings.weight

    def test_other_heads_are_passed_over(self, model: MaskedLanguageModel, saved_with_head: Path) -> None:
        others = {"classifier.weight": torch.full((2, 32), torch.nan), "decoder.weight": torch.zeros(3, 3).int()}
        edit(saved_with_head / SINGLE, lambda tensors: tensors.update(others))
        assert same(read_network(saved_with_head), model.model)

    def test_training_on_what_was_read_leaves_the_file(self, saved: Path) -> None:
        before = (saved / SINGLE).read_bytes()
        network = read_network(saved).train()
        network(Stream.of_ids(IDS, [30], torch.device("cpu"))).square().sum().backward()
        torch.optim.SGD(network.parameters(), 0.1).step()
        assert (saved / SINGLE).read_bytes() == before
        save(network, saved)
        assert same(read_network(saved), network)


class TestSaving:
    def test_other_files_stay_and_old_weights_go(self, model: MaskedLanguageModel, tmp_path: Path) -> None:
        (tmp_path / "2_Dense").mkdir()
        for name in ("tokenizer.json", "2_Dense/model.safetensors", "2_Dense/config.json"):
            (tmp_path / name).write_text(name)
        save(model, tmp_path, shard_bytes=20_000)
        save(model, tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["2_Dense", "config.json", SINGLE, "tokenizer.json"]
        assert (tmp_path / "2_Dense" / SINGLE).read_text() == "2_Dense/model.safetensors"
        assert (tmp_path / "2_Dense" / "config.json").read_text() == "2_Dense/config.json"

    def test_a_failure_leaves_the_folder_as_it_was(
        self, model: MaskedLanguageModel, saved: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = {path.name: path.read_bytes() for path in saved.iterdir()}

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(folders, "write_json", full)
        with pytest.raises(OSError, match="No space left"):
            save(model, saved)
        assert {path.name: path.read_bytes() for path in saved.iterdir()} == before
        assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def nan(tensors: dict) -> None:
    tensors["layers.2.mlp.Wi.weight"][3, 4] = torch.nan


def infinite(tensors: dict) -> None:
    tensors["final_norm.weight"][0] = -torch.inf


def both_infinities(tensors: dict) -> None:
    tensors[TABLE][0, :2] = torch.tensor([torch.inf, -torch.inf])


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        (SINGLE, nan, rf"{SINGLE}: 'layers.2.mlp.Wi.weight' holds weights that are NaN or infinite"),
        (SINGLE, infinite, rf"{SINGLE}: 'final_norm.weight' holds weights that are NaN"),
        (SINGLE, both_infinities, rf"{SINGLE}: '{TABLE}' holds weights that are NaN"),
        (SINGLE, lambda t: t.pop("layers.1.attn.Wo.weight"), "lack the tensor 'layers.1.attn.Wo.weight', which config"),
        (
            SINGLE,
            lambda t: [t.pop(name) for name in list(t) if name.startswith("layers.3")],
            "lack the tensor 'layers.3.attn_norm.weight' and 5 others, which config.json asks for",
        ),
        (
            SINGLE,
            lambda t: t.update({"layers.4.attn.Wo.weight": torch.zeros(32, 32)}),
            rf"{SINGLE}: unexpected tensor 'layers.4.attn.Wo.weight', which config.json has no place for",
        ),
        (
            SINGLE,
            lambda t: t.update({"layers.0.attn_norm.weight": torch.ones(32)}),
            "unexpected tensor 'layers.0.attn_norm.weight'",
        ),
        (
            SINGLE,
            lambda t: t.update({TABLE: torch.zeros(60, 32)}),
            rf"{SINGLE}: '{TABLE}' has shape \(60, 32\), but config.json asks for \(64, 32\)",
        ),
        (
            "config.json",
            lambda c: c.update(vocab_size=65),
            r"has shape \(64, 32\), but config.json asks for \(65, 32\)",
        ),
        ("config.json", lambda c: c.update(intermediate_size=44), r"'layers.0.mlp.Wi.weight' has shape \(96, 32\)"),
        ("config.json", lambda c: c.update(num_hidden_layers=3, layer_types=None), "unexpected tensor 'layers.3"),
        (SINGLE, lambda t: t.update({TABLE: torch.zeros(64, 32).int()}), f"'{TABLE}' is stored as torch.int32"),
        ("config.json", lambda c: c.update(model_type="bert"), "config.json: model_type is 'bert'; only 'modernbert'"),
        ("config.json", lambda c: c.update(hidden_activation="relu"), "config.json: hidden_activation is 'relu'"),
    ],
)
def test_a_folder_with_something_wrong_is_refused_by_name(saved: Path, file: str, change: Callable, said: str) -> None:
    edit(saved / file, change)
    with pytest.raises(InputError, match=said) as caught:
        read_network(saved)
    assert str(saved) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_large_but_finite_weights_are_no_error(saved: Path) -> None:
    edit(saved / SINGLE, lambda tensors: tensors[TABLE].fill_(3e38))
    assert read_network(saved).embeddings.tok_embeddings.weight.isfinite().all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop("head.dense.weight"), "lack the tensor 'head.dense.weight', which config.json"),
        (lambda t: t.update({"head.dense.bias": torch.zeros(32)}), "unexpected tensor 'head.dense.bias'"),
        (lambda t: t.update({"decoder.weight": torch.zeros(64, 32)}), "'decoder.weight' differs from the embeddings"),
        (lambda t: t["decoder.bias"].fill_(torch.nan), "'decoder.bias' holds weights that are NaN"),
    ],
)
def test_a_head_with_something_wrong_is_refused_by_name(saved_with_head: Path, change: Callable, said: str) -> None:
    edit(saved_with_head / SINGLE, change)
    with pytest.raises(InputError, match=said):
        read_masked_language_model(saved_with_head)


def test_an_encoder_is_no_masked_language_model(saved: Path) -> None:
    with pytest.raises(InputError, match=r"lack the tensor 'head.dense.weight' and 2 others, which config.json"):
        read_masked_language_model(saved)


class TestFiles:
    @pytest.mark.parametrize("harm", [b"", b"not weights", None], ids=["empty", "other", "cut"])
    def test_a_damaged_file(self, saved: Path, harm: bytes | None) -> None:
        content = (saved / SINGLE).read_bytes()
        (saved / SINGLE).write_bytes(content[: len(content) // 2] if harm is None else harm)
        with pytest.raises(InputError, match=rf"encoder/{SINGLE}: damaged or not a safetensors file"):
            read_network(saved)

    def test_pickled_weights_are_not_read(self, saved: Path) -> None:
        torch.save(load_file(saved / SINGLE), saved / "pytorch_model.bin")
        (saved / SINGLE).unlink()
        with pytest.raises(InputError, match="pickled weights are not read, save the model as safetensors"):
            read_network(saved)

    def test_a_folder_without_a_configuration(self, saved: Path) -> None:
        (saved / "config.json").unlink()
        with pytest.raises(InputError, match=r"config\.json: no such file"):
            read_network(saved)

    @pytest.fixture
    def shards(self, model: MaskedLanguageModel, tmp_path: Path) -> Path:
        save(model.model, tmp_path / "shards", shard_bytes=20_000)
        return tmp_path / "shards"

    def test_a_missing_shard(self, shards: Path) -> None:
        missing = sorted(shards.glob("*.safetensors"))[1]
        missing.unlink()
        with pytest.raises(InputError, match=rf"{missing.name}: no such file, but {INDEX} names it"):
            read_network(shards)

    def test_a_tensor_that_is_not_where_the_index_says(self, shards: Path) -> None:
        first = sorted(shards.glob("*.safetensors"))[0]
        edit(first, lambda tensors: tensors.pop(TABLE))
        with pytest.raises(InputError, match=rf"{first.name}: lacks the tensor '{TABLE}', which {INDEX} says is there"):
            read_network(shards)

    @pytest.mark.parametrize("shard", ["../other/model.safetensors", 7])
    def test_an_index_that_points_elsewhere(self, shards: Path, shard: object) -> None:
        edit(shards / INDEX, lambda index: index["weight_map"].update({TABLE: shard}))
        with pytest.raises(InputError, match=rf"{INDEX}: .* is not the name of a file beside it"):
            read_network(shards)

    @pytest.mark.parametrize("content", ["[]", "{}", '{"weight_map": {}}'])
    def test_an_index_without_a_map(self, shards: Path, content: str) -> None:
        (shards / INDEX).write_text(content)
        with pytest.raises(InputError, match=rf"{INDEX}: expected a 'weight_map'"):
            read_network(shards)
