"""An accelerated model gives what it gave, trains as it trained, and saves what plain sentence-transformers loads."""

import copy
import json
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import MultiVectorEncoder, SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from transformers import AutoTokenizer, BertConfig, BertModel, ModernBertConfig, ModernBertModel

import modernir
from modernir import InputError
from modernir.encoders import accelerated

LONG = ["the fast exact index of ranked document search " * 22, "dense"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, bare_bert: Path) -> Path:
    """A ModernBERT of 4 layers, 3 of them local, whose window is shorter than the longest text."""
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("modernbert")
    tokens = {
        f"{role}_token_id": number for role, number in (("pad", 0), ("cls", 2), ("bos", 2), ("sep", 3), ("eos", 3))
    }
    config = ModernBertConfig(
        vocab_size=128,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=4,
        num_attention_heads=2,
        local_attention=16,
        max_position_embeddings=256,
        initializer_range=0.3,
        **tokens,
    )
    ModernBertModel(config).save_pretrained(place)
    tokenizer = AutoTokenizer.from_pretrained(bare_bert)
    tokenizer.model_max_length = 256
    tokenizer.save_pretrained(place)
    return place


@pytest.fixture
def model(folder: Path) -> SentenceTransformer:
    return SentenceTransformer(modules=[Transformer(str(folder)), Pooling(64, "mean"), Normalize()], device="cpu")


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the ways that were taken, in order."""
    taken: list[str] = []

    def watch(owner: object, name: str) -> None:
        original = getattr(owner, name)

        def watched(*args: object, **kwargs: object) -> object:
            taken.append(name)
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, watched)

    watch(accelerated, "_as_before")
    watch(accelerated, "hidden_states")
    watch(accelerated, "_in_packs")
    return taken


def features(model: SentenceTransformer, texts: list[str]) -> dict[str, torch.Tensor]:
    return model.tokenize(texts)


def test_embeddings_stay(model: SentenceTransformer, texts: list[str], forwards: list[str]) -> None:
    before = model.encode([*texts, *LONG])
    assert modernir.accelerate(model) is model
    np.testing.assert_allclose(model.encode([*texts, *LONG]), before, atol=1e-5)
    assert set(forwards) == {"_in_packs"}


@pytest.mark.parametrize("expansion", [None, {"attend": True, "length": 12}, {"attend": False, "length": 12}], ids=str)
def test_token_embeddings_of_a_multi_vector_model_stay(folder: Path, texts: list[str], expansion: dict | None) -> None:
    model = MultiVectorEncoder(str(folder), device="cpu")
    if expansion:
        model[0].query_expansion = {"strategy": "fixed", "token": "[MASK]", **expansion}
    queries = [text for text in texts if len(text) < 40]
    before = model.encode_query(queries), model.encode_document(texts)
    modernir.accelerate(model)
    after = model.encode_query(queries), model.encode_document(texts)
    for old, new in zip([*before[0], *before[1]], [*after[0], *after[1]], strict=True):
        torch.testing.assert_close(torch.as_tensor(new), torch.as_tensor(old), atol=1e-5, rtol=0)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_hidden_states_equal_the_original_and_are_zero_on_padding(
    folder: Path, mode: Callable, side: str, forwards: list[str]
) -> None:
    model = ModernBertModel.from_pretrained(folder).eval()
    ids = torch.randint(5, 128, (5, 40), generator=torch.Generator().manual_seed(0))
    seen = torch.arange(40) < torch.tensor([40, 1, 17, 33, 2])[:, None]
    seen = seen if side == "right" else seen.flip(1)
    ids = ids.masked_fill(~seen, 0)
    with mode():
        before = model(ids, seen.long()).last_hidden_state
        found = modernir.accelerate(model)(input_ids=ids, attention_mask=seen.long()).last_hidden_state
    torch.testing.assert_close(found[seen], before[seen], atol=5e-5, rtol=0)
    assert not found[~seen].any()
    assert forwards == ["hidden_states" if mode is torch.enable_grad else "_in_packs"]


@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad])
def test_tokens_that_are_read_but_not_seen_run_packed_with_the_states_and_gradients_of_the_original(
    folder: Path, mode: Callable, forwards: list[str]
) -> None:
    model = ModernBertModel.from_pretrained(folder).eval()
    columns = torch.arange(20)
    seen = columns < torch.tensor([20, 1, 7])[:, None]
    read = columns < torch.tensor([20, 12, 15])[:, None]
    ids = torch.randint(5, 128, (3, 20), generator=torch.Generator().manual_seed(0)).masked_fill(~read, 0)

    def run() -> tuple[torch.Tensor, list[torch.Tensor]]:
        with mode():
            states = model(input_ids=ids, attention_mask=seen.long()).last_hidden_state
        if mode is torch.no_grad:
            return states, []
        return states, list(torch.autograd.grad(states[read].square().sum(), list(model.parameters())))

    before, wanted = run()
    modernir.accelerate(model)
    found, gradients = run()
    torch.testing.assert_close(found[read], before[read], atol=5e-5, rtol=0)
    assert not found[~read].any()
    for gradient, expected in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, expected, atol=1e-4 * max(1.0, expected.abs().max().item()), rtol=1e-3)
    assert forwards == ["hidden_states" if mode is torch.enable_grad else "_in_packs"]


def test_texts_laid_end_to_end_by_the_caller_are_taken_as_such(folder: Path) -> None:
    model = modernir.accelerate(ModernBertModel.from_pretrained(folder).eval())
    texts = [torch.randint(5, 128, (1, length)) for length in (7, 30, 1)]
    bounds = torch.tensor([0, 7, 37, 38], dtype=torch.int32)
    positions = torch.cat([torch.arange(text.shape[1]) for text in texts])[None]
    with torch.no_grad():
        alone = torch.cat([model(text).last_hidden_state for text in texts], dim=1)
        found = model(
            torch.cat(texts, dim=1),
            position_ids=positions,
            cu_seq_lens_q=bounds,
            cu_seq_lens_k=bounds,
            max_length_q=30,
            max_length_k=30,
        ).last_hidden_state
    torch.testing.assert_close(found, alone, atol=1e-5, rtol=0)


def ways(model: ModernBertModel, ids: torch.Tensor) -> Iterator[tuple[str, dict]]:
    gaps, nothing = torch.ones_like(ids), torch.ones_like(ids)
    gaps[0, 3], nothing[1] = 0, 0
    yield "a mask with gaps", {"input_ids": ids * gaps, "attention_mask": gaps}
    yield "a text without tokens", {"input_ids": ids * nothing, "attention_mask": nothing}
    yield "embeddings", {"inputs_embeds": model.embeddings.tok_embeddings(ids).detach()}
    yield "hidden states", {"input_ids": ids, "output_hidden_states": True}
    yield "attentions", {"input_ids": ids, "output_attentions": True}
    yield "a tuple", {"input_ids": ids, "return_dict": False}
    yield "positions", {"input_ids": ids, "position_ids": torch.arange(20)[None].flip(1)}


def test_what_the_engine_does_not_cover_runs_as_before(folder: Path) -> None:
    model = ModernBertModel.from_pretrained(folder, attn_implementation="eager").eval()
    ids = torch.randint(5, 128, (2, 20))
    given = list(ways(model, ids))
    with torch.no_grad():
        expected = [model(**inputs) for _, inputs in given]
        modernir.accelerate(model)
        for (name, inputs), before in zip(given, expected, strict=True):
            after = model(**inputs)
            assert type(after) is type(before), name
            assert len(after) == len(before), name
            torch.testing.assert_close(after[0], before[0], atol=0, rtol=0, msg=name)
    assert len(model(**given[3][1]).hidden_states) == 5
    assert type(model) is accelerated.ModernBertModel


def info_nce(model: SentenceTransformer, texts: list[str]) -> torch.Tensor:
    embedded = [model(features(model, part))["sentence_embedding"] for part in (texts[::2], texts[1::2])]
    scores = embedded[0] @ embedded[1].T / 0.05
    return torch.nn.functional.cross_entropy(scores, torch.arange(len(scores)))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_of_a_contrastive_loss_stay(
    model: SentenceTransformer, texts: list[str], checkpointing: bool, forwards: list[str]
) -> None:
    model.train()
    if checkpointing:
        model[0].auto_model.gradient_checkpointing_enable({"use_reentrant": False})
    texts = texts[: len(texts) // 2 * 2]
    gradients = []
    for change in (lambda model: model, modernir.accelerate):
        loss = info_nce(change(model), texts)
        model.zero_grad()
        loss.backward()
        gradients.append(
            {name: weight.grad.clone() for name, weight in model.named_parameters()} | {"loss": loss.detach()}
        )
    assert forwards == ["hidden_states"] * 2
    scale = max(gradient.abs().max() for gradient in gradients[0].values())
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-5 * float(scale), rtol=1e-3, msg=name)


def test_autocast_is_followed(model: SentenceTransformer, texts: list[str], forwards: list[str]) -> None:
    texts = texts[: len(texts) // 2 * 2]
    exact = float(info_nce(model.train(), texts).detach())
    modernir.accelerate(model)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = info_nce(model, texts)
        with torch.no_grad():
            assert model.eval()(features(model, texts))["sentence_embedding"].isfinite().all()
    rounded.backward()
    assert float(rounded.detach()) != exact
    assert float(rounded.detach()) == pytest.approx(exact, rel=0.05)
    assert all(weight.grad.isfinite().all() for weight in model.parameters())
    assert set(forwards) == {"hidden_states"}


def test_drop_outs_act_in_training_only(folder: Path, forwards: list[str]) -> None:
    ids = torch.randint(5, 128, (2, 20))
    dropping = ModernBertModel.from_pretrained(folder, mlp_dropout=0.5, embedding_dropout=0.1)
    model = modernir.accelerate(dropping).train()
    assert not torch.equal(model(ids)[0], model(ids)[0])
    assert torch.equal(model.eval()(ids)[0], model(ids)[0])
    model = modernir.accelerate(ModernBertModel.from_pretrained(folder, attention_dropout=0.5)).train()
    forwards.clear()
    assert not torch.equal(model(ids)[0], model(ids)[0])
    assert forwards == ["_as_before"] * 2


def step(model: torch.nn.Module) -> None:
    torch.optim.SGD(model.parameters(), lr=1.0).step()


def through_data(model: torch.nn.Module) -> None:
    for weight in model.parameters():
        weight.data.mul_(1.1)


def replace(model: torch.nn.Module) -> None:
    for weight in model.parameters():
        weight.data = weight.data * 1.1


@pytest.mark.parametrize("change", [step, through_data, replace])
def test_encoding_uses_weights_as_they_are_after_training(
    model: SentenceTransformer, texts: list[str], change: Callable
) -> None:
    modernir.accelerate(model)
    first = model.encode(texts)
    model.train()
    info_nce(model, texts[:10]).backward()
    model.eval()
    change(model)
    second = model.encode(texts)
    plain = modernir.accelerate(copy.deepcopy(model), enabled=False)
    np.testing.assert_allclose(second, plain.encode(texts), atol=1e-5)
    assert np.abs(second - first).max() > 1e-3


def test_weights_are_packed_once_while_they_stay_the_same(
    model: SentenceTransformer, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    make = accelerated.CpuNetwork
    monkeypatch.setattr(accelerated, "CpuNetwork", lambda *args: made.append(args[2]) or make(*args))
    modernir.accelerate(model, precision="bf16")
    model.encode(texts)
    model.encode(texts)
    assert made == ["bf16"]
    model.train()
    info_nce(model, texts[:4])
    assert model[0].auto_model.modernir_settings.packed.network is None


class Adapter(torch.nn.Module):
    def __init__(self, base: torch.nn.Linear) -> None:
        super().__init__()
        self.base_layer, self.added = base, torch.nn.Linear(base.in_features, base.out_features, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base_layer(x) + self.added(x)


def adapt(backbone: ModernBertModel) -> None:
    backbone.layers[1].attn.Wqkv = Adapter(backbone.layers[1].attn.Wqkv)


def hook(backbone: ModernBertModel) -> None:
    backbone.layers[2].mlp_norm.register_forward_hook(lambda module, inputs, output: output * 1.5)


@pytest.mark.parametrize("change", [adapt, hook])
def test_adapters_and_hooks_in_the_layers_act(
    model: SentenceTransformer, texts: list[str], change: Callable, forwards: list[str]
) -> None:
    plain = model.encode(texts)
    change(model[0].auto_model)
    before = model.encode(texts)
    assert np.abs(before - plain).max() > 1e-3
    np.testing.assert_allclose(modernir.accelerate(model).encode(texts), before, atol=1e-5)
    assert forwards == ["hidden_states"]


def watch_gradients(projection: torch.nn.Module) -> None:
    projection.register_full_backward_hook(lambda module, to_input, to_output: None)


def bound_outputs(projection: torch.nn.Module) -> None:
    projection.register_forward_hook(lambda module, inputs, output: torch.tanh(output))


@pytest.mark.parametrize("change", [watch_gradients, bound_outputs])
def test_hooks_that_hold_a_projection_train(folder: Path, change: Callable[[torch.nn.Module], None]) -> None:
    ids = torch.randint(5, 128, (2, 40), generator=torch.Generator().manual_seed(0))
    gradients = []
    for accelerated_too in (False, True):
        model = ModernBertModel.from_pretrained(folder)
        change(model.layers[1].attn.Wqkv)
        if accelerated_too:
            modernir.accelerate(model)
        model(ids).last_hidden_state.square().sum().backward()
        gradients.append(model.layers[0].mlp.Wi.weight.grad)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-3)


def test_a_hook_sees_a_projection_as_it_is(folder: Path) -> None:
    ids = torch.randint(5, 128, (2, 40), generator=torch.Generator().manual_seed(0))
    seen: list[torch.Tensor] = []
    for accelerated_too in (False, True):
        model = ModernBertModel.from_pretrained(folder).eval()
        model.layers[0].attn.Wqkv.register_forward_hook(lambda module, inputs, output: seen.append(output))
        with torch.no_grad():
            (modernir.accelerate(model) if accelerated_too else model)(ids)
    torch.testing.assert_close(seen[1].flatten(0, -2), seen[0].flatten(0, -2), atol=1e-4, rtol=0)


def test_threads_may_share_a_model_that_runs_as_before(folder: Path) -> None:
    model = modernir.accelerate(ModernBertModel.from_pretrained(folder).eval())
    embeds = torch.randn(1, 9, 64, generator=torch.Generator().manual_seed(0))

    def run(number: int) -> torch.Tensor:
        with torch.no_grad():
            return model(inputs_embeds=embeds).last_hidden_state

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(run, range(24)))
    assert all(torch.equal(states, found[0]) for states in found)
    assert type(model) is accelerated.ModernBertModel


def test_frozen_embeddings_can_feed_what_is_trained(folder: Path) -> None:
    model = modernir.accelerate(ModernBertModel.from_pretrained(folder).eval())
    with torch.no_grad():
        hidden = model(torch.randint(5, 128, (2, 20))).last_hidden_state
    head = torch.nn.Linear(64, 1)
    head(hidden).sum().backward()
    assert head.weight.grad is not None


def test_a_checkpoint_loads_in_plain_sentence_transformers(
    model: SentenceTransformer, texts: list[str], tmp_path: Path
) -> None:
    modernir.accelerate(model)
    expected = model.encode(texts)
    model.save_pretrained(str(tmp_path))
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["ModernBertModel"]
    loaded = SentenceTransformer(str(tmp_path), device="cpu")
    assert type(loaded[0].auto_model) is ModernBertModel
    np.testing.assert_allclose(loaded.encode(texts), expected, atol=1e-5)
    for name, weight in loaded.state_dict().items():
        assert torch.equal(weight, model.state_dict()[name]), name


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])  # noqa: S301
def test_a_copy_has_weights_of_its_own(model: SentenceTransformer, texts: list[str], clone: Callable) -> None:
    before = modernir.accelerate(model).encode(texts)
    other = clone(model)
    np.testing.assert_array_equal(other.encode(texts), before)
    with torch.no_grad():
        other[0].auto_model.final_norm.weight.mul_(torch.arange(64.0))
    assert np.abs(other.encode(texts) - before).max() > 1e-3
    np.testing.assert_array_equal(model.encode(texts), before)


def test_twice_is_as_once_and_it_can_be_undone(model: SentenceTransformer, texts: list[str]) -> None:
    before = model.encode(texts)
    state = set(model[0].auto_model.__dict__)
    modernir.accelerate(modernir.accelerate(model))
    np.testing.assert_allclose(model.encode(texts), before, atol=1e-5)
    modernir.accelerate(modernir.accelerate(model, enabled=False), enabled=False)
    assert type(model[0].auto_model) is ModernBertModel
    assert set(model[0].auto_model.__dict__) == state
    np.testing.assert_array_equal(model.encode(texts), before)


def test_a_grown_vocabulary_is_followed(folder: Path) -> None:
    model = modernir.accelerate(ModernBertModel.from_pretrained(folder).eval())
    model.resize_token_embeddings(140)
    ids = torch.randint(128, 140, (2, 20))
    with torch.no_grad():
        found = model(ids).last_hidden_state
        torch.testing.assert_close(found, modernir.accelerate(model, enabled=False)(ids)[0], atol=1e-5, rtol=0)


class TestRefusals:
    """Each names what was found."""

    def test_another_network(self) -> None:
        bert = BertModel(BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=9))
        with pytest.raises(InputError, match="only ModernBERT is accelerated; the model holds BertModel"):
            modernir.accelerate(bert)

    def test_what_is_no_model(self) -> None:
        with pytest.raises(InputError, match="found PackedEncoder: what load_encoder returned already runs on this"):
            modernir.accelerate(modernir.load_encoder("modernir-mini-dense", device="cpu"))
        with pytest.raises(InputError, match="found str"):
            modernir.accelerate("model")
        with pytest.raises(InputError, match="a Linear without a transformer"):
            modernir.accelerate(torch.nn.Linear(1, 1))

    def test_a_configuration_that_does_not_run_here(self) -> None:
        config = ModernBertConfig(
            vocab_size=9,
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            mlp_bias=True,
            pad_token_id=0,
        )
        model = ModernBertModel(config)
        with pytest.raises(InputError, match="mlp_bias is True"):
            modernir.accelerate(model)
        assert type(model) is ModernBertModel

    def test_an_unknown_precision_or_back_end(self, model: SentenceTransformer) -> None:
        with pytest.raises(InputError, match="unknown precision 'fp8'"):
            modernir.accelerate(model, precision="fp8")
        with pytest.raises(InputError, match="unknown attention back-end 'quick'"):
            modernir.accelerate(model, attention="quick")
        with pytest.raises(InputError, match="bf16 has an attention of its own; leave 'plain' or the precision out"):
            modernir.accelerate(model, attention="plain", precision="bf16")
        assert type(model[0].auto_model) is ModernBertModel

    def test_a_precision_that_the_sizes_do_not_allow(self) -> None:
        tokens = {f"{role}_token_id": 0 for role in ("pad", "cls", "bos", "sep", "eos")}
        sizes = {"vocab_size": 9, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
        model = ModernBertModel(ModernBertConfig(**sizes, **tokens, num_attention_heads=1))
        with pytest.raises(InputError, match="int8 is not to be had: it needs heads whose width is a multiple of 32"):
            modernir.accelerate(model, precision="int8")
        ids = torch.randint(0, 9, (2, 5))
        with torch.no_grad():
            before = model.eval()(ids)[0]
            torch.testing.assert_close(modernir.accelerate(model)(ids)[0], before)
