"""Our ModernBERT says what transformers' says: states, gradients, predictions, and what training needs of a network."""

import dataclasses
import math
from collections.abc import Callable
from unittest.mock import patch

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from modernir.encoders.modernbert import rope
from modernir.encoders.modernbert.attention.choose import BACKENDS
from modernir.encoders.modernbert.attention.plain import PLAIN
from modernir.encoders.modernbert.config import ModernBertConfig, one_global_in
from modernir.encoders.modernbert.glu import gated
from modernir.encoders.modernbert.network import (
    MaskedLanguageModel,
    ModernBert,
    after_attention,
    before_attention,
    hidden_states,
)
from modernir.encoders.stream import Stream
from modernir.errors import InputError

CPU = torch.device("cpu")
CONFIG = ModernBertConfig(
    vocabulary=128,
    width=128,
    intermediate=192,
    layers=5,
    heads=2,
    global_layers=one_global_in(3, 5),
    initializer_range=0.08,
    pad_token_id=0,
)
LENGTHS = [1, 2, 63, 64, 65, 66, 129, 130, 300]
HERE = [backend for backend in BACKENDS if backend.why_not(CPU, torch.float32) is None]


def reference(network: ModernBert | MaskedLanguageModel) -> nn.Module:
    """Return transformers' network with the same weights."""
    import transformers

    kind = transformers.ModernBertModel if isinstance(network, ModernBert) else transformers.ModernBertForMaskedLM
    with patch.object(kind, "_init_weights", lambda *_: None):
        module = kind(transformers.ModernBertConfig(**network.config.to_fields()))
    module.load_state_dict(network.state_dict())
    return module.train(network.training)


def spread(network: nn.Module, matrices: float | None = None) -> None:
    """Draw norms and biases around one, so that one in the wrong place shows, and matrices if they have no values."""
    for parameter in network.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, mean=1.0, std=0.3)
        elif matrices:
            nn.init.normal_(parameter, std=matrices)


@pytest.fixture(scope="module")
def model() -> MaskedLanguageModel:
    torch.manual_seed(0)
    network = MaskedLanguageModel(CONFIG).eval()
    spread(network)
    return network


@pytest.fixture(scope="module")
def theirs(model: MaskedLanguageModel) -> nn.Module:
    return reference(model)


def texts(lengths: list[int], vocabulary: int = 128) -> list[list[int]]:
    draw = torch.Generator().manual_seed(sum(lengths))
    return [torch.randint(1, vocabulary, (length,), generator=draw).tolist() for length in lengths]


def padded(rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    return ids, (torch.arange(longest) < torch.tensor([[len(row)] for row in rows])).long()


def expected(backbone: nn.Module, rows: list[list[int]]) -> torch.Tensor:
    """Return transformers' hidden states of the tokens of a padded batch, end to end."""
    ids, mask = padded(rows)
    return backbone(input_ids=ids, attention_mask=mask).last_hidden_state[mask.bool()]


def far(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return (found - wanted).abs().max().item()


class TestStates:
    @pytest.mark.parametrize("length", LENGTHS)
    @torch.no_grad()
    def test_one_text_of_each_length(self, model: MaskedLanguageModel, theirs: nn.Module, length: int) -> None:
        rows = texts([length])
        assert far(model.model(Stream.of(rows, CPU)), expected(theirs.model, rows)) <= 1e-4

    @pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
    @pytest.mark.parametrize("backend", HERE, ids=lambda backend: backend.name)
    @torch.no_grad()
    def test_a_mixed_pack_with_every_back_end(
        self, model: MaskedLanguageModel, theirs: nn.Module, backend: object
    ) -> None:
        rows = texts([30, 1, 300, 2, 129, 64])
        assert far(model.model(Stream.of(rows, CPU), backend), expected(theirs.model, rows)) <= 1e-4

    @torch.no_grad()
    def test_it_runs_on_transformers_modules_with_their_hooks(
        self, model: MaskedLanguageModel, theirs: nn.Module
    ) -> None:
        calls: list[str] = []
        hooks = [
            module.register_forward_hook(lambda *_, name=name: calls.append(name))
            for name, module in theirs.model.named_modules()
            if name.endswith(("Wqkv", "Wo", "Wi"))
        ]
        stream = Stream.of(texts([70, 5]), CPU)
        assert torch.equal(hidden_states(theirs.model, stream, CONFIG), model.model(stream))
        assert len(calls) == 4 * CONFIG.layers
        for hook in hooks:
            hook.remove()

    @torch.no_grad()
    def test_packed_equals_padded(self, model: MaskedLanguageModel) -> None:
        rows = texts([17, 140, 3])
        ids, mask = padded(rows)
        assert torch.equal(model.model(Stream.of(rows, CPU)), model.model(Stream.of_padded(ids, mask)))

    @torch.no_grad()
    def test_a_text_does_not_depend_on_its_neighbours(self, model: MaskedLanguageModel) -> None:
        rows = texts([40, 150, 1, 66])
        together = model.model(Stream.of(rows, CPU)).split([len(row) for row in rows])
        assert all(
            far(states, model.model(Stream.of([row], CPU))) <= 1e-5 for states, row in zip(together, rows, strict=True)
        )

    @torch.no_grad()
    def test_in_bf16_it_stays_close_and_does_not_depend_on_neighbours(self, model: MaskedLanguageModel) -> None:
        rows = texts([40, 150, 1, 66])
        exact = model.model(Stream.of(rows, CPU))
        network = ModernBert(CONFIG).eval()
        network.load_state_dict(model.model.state_dict())
        network = network.bfloat16()
        together = network(Stream.of(rows, CPU))
        assert together.dtype == torch.bfloat16
        assert F.cosine_similarity(together.float(), exact).min() >= 0.999
        alone = torch.cat([network(Stream.of([row], CPU)) for row in rows])
        assert F.cosine_similarity(together.float(), alone.float()).min() >= 0.9995

    @pytest.mark.parametrize(
        ("width", "intermediate", "heads"), [(768, 1152, 12), (1024, 2624, 16)], ids=["base", "large"]
    )
    @torch.no_grad()
    def test_at_the_widths_of_the_paper(self, width: int, intermediate: int, heads: int) -> None:
        shape = {"width": width, "intermediate": intermediate, "heads": heads, "layers": 3, "vocabulary": 256}
        config = dataclasses.replace(CONFIG, **shape, global_layers=one_global_in(3, 3), initializer_range=0.05)
        with torch.device("meta"):  # drawing from the truncated distribution takes longer than all else here
            network = ModernBert(config).eval()
        spread(network.to_empty(device=CPU), 0.05)
        rows = texts([5, 140, 33], 256)
        assert far(network(Stream.of(rows, CPU)), expected(reference(network), rows)) <= 1e-4

    @torch.no_grad()
    def test_other_patterns_windows_and_bases(self) -> None:
        config = dataclasses.replace(
            CONFIG, global_layers=(False, False, True, False, True), window=3, global_theta=50.0, local_theta=900.0
        )
        network = ModernBert(config).eval()
        rows = texts([90, 4])
        assert far(network(Stream.of(rows, CPU)), expected(reference(network), rows)) <= 1e-4


class TestTraining:
    def test_gradients_are_those_of_transformers(self, model: MaskedLanguageModel, theirs: nn.Module) -> None:
        rows = texts([80, 1, 200, 9])
        weight = torch.randn(290, CONFIG.width, generator=torch.Generator().manual_seed(1))
        ours = model.model
        found = torch.autograd.grad((ours(Stream.of(rows, CPU)) * weight).sum(), list(ours.parameters()))
        names = [name for name, _ in ours.named_parameters()]
        parameters = dict(theirs.model.named_parameters())
        wanted = torch.autograd.grad(
            (expected(theirs.model, rows) * weight).sum(), [parameters[name] for name in names]
        )
        worst = {name: far(a, b) / b.abs().max().item() for name, a, b in zip(names, found, wanted, strict=True)}
        assert max(worst.values()) <= 1e-4, worst

    def test_checkpointing_changes_no_gradient_and_holds_less(self) -> None:
        torch.manual_seed(0)
        network = ModernBert(CONFIG).train()
        stream = Stream.of(texts([60, 30]), CPU)
        results = []
        for network.gradient_checkpointing in (False, True):
            network.zero_grad()
            held = bytes_held(lambda: network(stream).square().sum().backward(), network)
            results.append(([parameter.grad.clone() for parameter in network.parameters()], held))
        (plain, all_states), (again, few_states) = results
        assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))
        assert few_states < all_states / 4

    def test_drop_out_acts_in_training_only(self) -> None:
        network = ModernBert(dataclasses.replace(CONFIG, mlp_dropout=0.3, embedding_dropout=0.1))
        stream = Stream.of(texts([20]), CPU)
        assert far(network.train()(stream), network(stream)) > 0.01
        assert torch.equal(network.eval()(stream), network(stream))

    def test_drop_out_of_attention_weights_is_refused_in_training_only(self) -> None:
        network = ModernBert(dataclasses.replace(CONFIG, attention_dropout=0.1))
        stream = Stream.of(texts([3]), CPU)
        assert network.eval()(stream).isfinite().all()
        with pytest.raises(InputError, match=r"attention_dropout is 0\.1, .* set it to 0 for training"):
            network.train()(stream)

    def test_training_after_inference_mode_on_the_same_lengths(self, model: MaskedLanguageModel) -> None:
        rope._tables.cache_clear()
        stream = Stream.of(texts([11]), CPU)
        with torch.inference_mode():
            model.model(stream)
        model.model(stream).sum().backward()

    def test_under_autocast_it_trains_in_bf16(self, model: MaskedLanguageModel) -> None:
        network = ModernBert(CONFIG).train()
        stream = Stream.of(texts([40, 9]), CPU)
        exact = network(stream)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = network(stream)
        mixed.float().sum().backward()
        assert F.cosine_similarity(mixed.float(), exact).min() >= 0.999
        assert all(parameter.grad is not None for parameter in network.parameters())


def bytes_held(run: Callable[[], object], network: nn.Module) -> int:
    """Return the bytes that autograd holds for a backward pass besides the parameters."""
    known = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    held: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        run()
    return sum(size for place, size in held.items() if place not in known)


class TestLayer:
    def test_a_layer_holds_nine_and_a_half_widths_a_token_around_attention(self) -> None:
        config = dataclasses.replace(CONFIG, width=256, intermediate=384, heads=4)
        network = ModernBert(config).train()
        tokens = 300
        stream = Stream.of(texts([tokens]), CPU)
        rotation = rope.rotation_of(stream, config.global_theta, config.head_width)
        x, mixed = torch.randn(tokens, 256, requires_grad=True), torch.randn(tokens, 4, 64, requires_grad=True)
        outputs = []
        held = bytes_held(
            lambda: outputs.extend(
                (before_attention(network.layers[1], x, rotation, 4), after_attention(network.layers[1], x, mixed))
            ),
            network,
        )
        angles = sum(part.nbytes for part in rotation)
        widths = (held - angles) / (tokens * 256 * 4)
        # two norms' inputs and outputs, what attention mixed, the MLP's first product (3) and its gated half (1.5);
        # queries, keys and values are held by the attention alone
        assert 9.4 <= widths <= 9.6

    def test_the_gate_has_the_gradient_of_its_formula(self) -> None:
        torch.manual_seed(0)
        x = torch.randn(5, 12, dtype=torch.float64, requires_grad=True)
        value, gate = x.chunk(2, dim=-1)
        assert torch.equal(gated(x), F.gelu(value) * gate)
        assert torch.autograd.gradcheck(gated, (x,))

    def test_a_rotation_keeps_lengths_and_only_distance_matters(self) -> None:
        stream = Stream.of(texts([40]), CPU)
        rotation = rope.rotation_of(stream, 100.0, 16)
        one = torch.randn(3, 2, 16).flatten().expand(40, -1)
        query, key, value = rope.rotate(one.clone(), rotation, 2)
        assert torch.allclose(query.norm(dim=-1), query[:1].norm(dim=-1))
        assert torch.equal(value, value[:1].expand_as(value))
        scores = torch.einsum("qhd,khd->hqk", query, key)
        assert all(far(scores[:, 0, gap], scores[:, 39 - gap, 39]) < 1e-4 for gap in range(40))

    def test_compiled_it_says_the_same_and_has_the_same_gradients(self) -> None:
        torch.manual_seed(0)
        layer = ModernBert(CONFIG).train().layers[1]
        rotation = rope.rotation_of(Stream.of(texts([9, 4]), CPU), 100.0, 64)

        def run(x: torch.Tensor) -> torch.Tensor:
            query, key, value = before_attention(layer, x, rotation, 2)
            return after_attention(layer, x, query * 2 + key * value)

        compiled = torch.compile(run, backend="aot_eager", fullgraph=True)
        x = torch.randn(13, 128, requires_grad=True)
        inputs = [x, *layer.parameters()]
        assert far(compiled(x), run(x)) <= 1e-5
        gradients = zip(*(torch.autograd.grad(f(x).sum(), inputs) for f in (compiled, run)), strict=True)
        assert all(far(a, b) <= 1e-4 for a, b in gradients)


class TestMaskedLanguageModel:
    @torch.no_grad()
    def test_logits_of_every_token(self, model: MaskedLanguageModel, theirs: nn.Module) -> None:
        rows = texts([70, 1, 12])
        ids, mask = padded(rows)
        wanted = theirs(input_ids=ids, attention_mask=mask).logits[mask.bool()]
        prediction = model(Stream.of(rows, CPU))
        assert prediction.loss is None
        assert far(prediction.logits, wanted) <= 1e-4

    def test_loss_and_gradients_with_logits_of_labelled_tokens_only(
        self, model: MaskedLanguageModel, theirs: nn.Module
    ) -> None:
        rows = texts([70, 1, 12])
        ids, mask = padded(rows)
        places = torch.arange(0, 83, 3)
        labels = torch.full((83,), -100).index_fill(0, places, 5)
        prediction = model(Stream.of(rows, CPU), labels)
        wanted = theirs(
            input_ids=ids, attention_mask=mask, labels=torch.full(ids.shape, -100).masked_scatter(mask.bool(), labels)
        )
        assert prediction.logits.shape == (len(places), CONFIG.vocabulary)
        assert prediction.loss.item() == pytest.approx(wanted.loss.item(), abs=1e-5)
        parameters = dict(theirs.named_parameters())
        names = [name for name, _ in model.named_parameters()]
        found = torch.autograd.grad(prediction.loss, list(model.parameters()))
        reference = torch.autograd.grad(wanted.loss, [parameters[name] for name in names])
        worst = {name: far(a, b) / b.abs().max().item() for name, a, b in zip(names, found, reference, strict=True)}
        assert max(worst.values()) <= 1e-4, worst

    @torch.no_grad()
    def test_places_may_be_named_and_those_without_a_label_do_not_count(self, model: MaskedLanguageModel) -> None:
        stream = Stream.of(texts([20]), CPU)
        labels = torch.full((20,), -100).index_fill(0, torch.tensor([4, 7]), 9)
        named = model(stream, labels, at=torch.tensor([4, 7, 11]))
        assert named.loss.item() == pytest.approx(model(stream, labels).loss.item(), abs=1e-6)
        assert far(model(stream, at=torch.tensor([11])).logits, named.logits[2:]) <= 1e-5

    def test_nothing_to_predict_is_a_loss_of_zero(self, model: MaskedLanguageModel) -> None:
        prediction = model(Stream.of(texts([6]), CPU), torch.full((6,), -100))
        assert (prediction.loss.item(), len(prediction.logits)) == (0.0, 0)
        gradients = torch.autograd.grad(prediction.loss, list(model.parameters()), allow_unused=True)
        assert all(gradient is None or not gradient.any() for gradient in gradients)

    @torch.no_grad()
    def test_a_decoder_of_its_own_and_without_bias(self) -> None:
        model = MaskedLanguageModel(dataclasses.replace(CONFIG, tied=False, decoder_bias=False)).eval()
        assert model.decoder.weight is not model.model.embeddings.tok_embeddings.weight
        rows = texts([8])
        wanted = reference(model)(input_ids=torch.tensor(rows)).logits[0]
        assert far(model(Stream.of(rows, CPU)).logits, wanted) <= 1e-4


@pytest.mark.parametrize("tied", [True, False])
@torch.no_grad()
def test_new_weights_are_distributed_as_transformers_draws_them(tied: bool) -> None:
    import transformers

    torch.manual_seed(0)
    config = dataclasses.replace(CONFIG, vocabulary=400, tied=tied, initializer_cutoff=1.5)
    ours = dict(MaskedLanguageModel(config).named_parameters())
    theirs = dict(
        transformers.ModernBertForMaskedLM(transformers.ModernBertConfig(**config.to_fields())).named_parameters()
    )
    assert ours.keys() == theirs.keys()
    for name, weights in ours.items():
        wanted = theirs[name]
        if weights.ndim == 1:
            assert torch.equal(weights, wanted), name
        else:
            assert math.isclose(weights.std(), wanted.std(), rel_tol=0.03), name
            assert math.isclose(weights.abs().max(), wanted.abs().max(), rel_tol=0.01), name
            assert abs(weights.mean()) < 0.02 * weights.std() + 1e-3, name


def test_the_same_seed_draws_the_same_network() -> None:
    states = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        states.append(ModernBert(CONFIG).layers[2].mlp.Wi.weight)
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_the_plain_back_end_is_what_it_is_told(model: MaskedLanguageModel) -> None:
    windows = []
    spy = dataclasses.replace(
        PLAIN, prepare=lambda stream, window: windows.append(window) or PLAIN.prepare(stream, window)
    )
    model.model(Stream.of(texts([5]), CPU), spy)
    assert sorted(windows, key=str) == [64, None]
