"""The engine for CPUs computes what the modules of the network compute, alone or shared among threads."""

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from modernir.encoders.modernbert.attention.plain import PLAIN
from modernir.encoders.modernbert.config import ModernBertConfig
from modernir.encoders.modernbert.cpu import CpuNetwork, engine
from modernir.encoders.modernbert.cpu.attention import attend, has_bf16
from modernir.encoders.modernbert.cpu.int8_layer import Int8Layer
from modernir.encoders.modernbert.cpu.kernels import quantise, quantise_geglu, quantise_normalised
from modernir.encoders.modernbert.cpu.views import as_numpy
from modernir.encoders.modernbert.network import ModernBert
from modernir.encoders.stream import Stream
from modernir.errors import InputError

CPU = torch.device("cpu")
CONFIG = ModernBertConfig(
    vocabulary=300,
    width=128,
    intermediate=192,
    layers=4,
    heads=2,
    global_layers=(True, False, False, True),
    initializer_range=0.15,
)
LENGTHS = [(1,), (16,), (17, 1, 3), (64, 65, 66), (129, 40), (300, 2, 150), (16,) * 9, (520, 31)]


@pytest.fixture(scope="module")
def network() -> ModernBert:
    torch.manual_seed(0)
    network = ModernBert(CONFIG).eval()
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if "norm" in name:
                weight.uniform_(0.5, 2.0)
    return network


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def stream_of(lengths: tuple[int, ...]) -> Stream:
    generator = torch.Generator().manual_seed(sum(lengths))
    return Stream.of_ids(torch.randint(0, CONFIG.vocabulary, (sum(lengths),), generator=generator), lengths, CPU)


@torch.inference_mode()
def expected(network: ModernBert, stream: Stream) -> torch.Tensor:
    states: torch.Tensor = network(stream, PLAIN)
    return states


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_fp32_equals_the_modules(network: ModernBert, lengths: tuple[int, ...]) -> None:
    stream = stream_of(lengths)
    torch.testing.assert_close(
        CpuNetwork(network, CONFIG, "fp32")(stream), expected(network, stream), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize(("precision", "cosine"), [("bf16", 0.998), ("int8", 0.98)])
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_fewer_bits_stay_close(network: ModernBert, lengths: tuple[int, ...], precision: str, cosine: float) -> None:
    """Weights so large, and heads so few, make more of rounding than a trained network does."""
    stream = stream_of(lengths)
    found = CpuNetwork(network, CONFIG, precision)(stream).float()
    assert F.cosine_similarity(found, expected(network, stream)).min() > cosine


@pytest.mark.parametrize(("width", "heads"), [(64, 2), (192, 2), (256, 2), (192, 3)])
def test_heads_of_other_widths(width: int, heads: int) -> None:
    config = replace(CONFIG, width=width, heads=heads, initializer_range=0.05)
    torch.manual_seed(1)
    network, stream = ModernBert(config).eval(), stream_of((70, 5, 200))
    torch.testing.assert_close(
        CpuNetwork(network, config, "fp32")(stream), expected(network, stream), atol=1e-4, rtol=0
    )
    found = CpuNetwork(network, config, "bf16")(stream).float()
    assert F.cosine_similarity(found, expected(network, stream)).min() > 0.998


def test_a_head_too_narrow_is_refused() -> None:
    config = replace(CONFIG, heads=8)
    with pytest.raises(InputError, match="a multiple of 32, found 16"):
        CpuNetwork(ModernBert(config), config, "fp32")


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 0.0), ("int8", 1e-5)])
def test_a_text_does_not_depend_on_its_neighbours(network: ModernBert, precision: str, tolerance: float) -> None:
    run = CpuNetwork(network, CONFIG, precision)
    alone, other = stream_of((90,)), stream_of((33,))
    together = Stream.of_ids(torch.cat([other.ids, alone.ids, other.ids]), (33, 90, 33), CPU)
    found, wanted = run(together)[33:123].float(), run(alone).float()
    if tolerance:
        torch.testing.assert_close(found, wanted, atol=tolerance, rtol=0)
    else:
        assert F.cosine_similarity(found, wanted).min() >= 0.9995


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
@pytest.mark.parametrize("lengths", [(300, 2, 150), (7,), (129, 700)], ids=str)
def test_threads_share_a_stream_without_changing_it(
    network: ModernBert, lengths: tuple[int, ...], precision: str, threads: Callable[[int], None]
) -> None:
    run, stream = CpuNetwork(network, CONFIG, precision), stream_of(lengths)
    threads(1)
    alone = run(stream).float()
    for number in (2, 3):
        threads(number)
        assert F.cosine_similarity(run(stream).float(), alone).min() > 0.9999
        assert torch.get_num_threads() == number


def test_streams_come_back_in_order(network: ModernBert, threads: Callable[[int], None]) -> None:
    run = CpuNetwork(network, CONFIG, "fp32")
    streams = [stream_of((length, 9)) for length in range(40, 1, -3)]
    threads(1)
    alone = [run(stream) for stream in streams]
    for number in (1, 2, 30):
        threads(number)
        for found, wanted in zip(run.map(streams), alone, strict=True):
            torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def test_leaving_streams_unread_stops_the_threads(network: ModernBert, threads: Callable[[int], None]) -> None:
    threads(2)
    states = CpuNetwork(network, CONFIG, "fp32").map([stream_of((40,))] * 50)
    assert next(iter(states)).shape == (40, CONFIG.width)
    states.close()  # type: ignore[attr-defined]
    assert list(states) == []


def test_a_failure_in_a_thread_is_the_callers(network: ModernBert, threads: Callable[[int], None]) -> None:
    threads(2)
    broken = Stream.of([[CONFIG.vocabulary + 1]], CPU)
    with pytest.raises(IndexError):
        list(CpuNetwork(network, CONFIG, "fp32").map([stream_of((5,)), broken]))


def test_threads_that_start_later_are_not_held_to_one(network: ModernBert, threads: Callable[[int], None]) -> None:
    threads(3)
    CpuNetwork(network, CONFIG, "fp32")(stream_of((700,)))
    seen: list[int] = []
    later = Thread(target=lambda: seen.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert seen == [3]


def test_a_processor_that_rounds_int8_products_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "multiplies_exactly", lambda: False)
    with pytest.raises(InputError, match="rounds int8 products"):
        CpuNetwork(ModernBert(CONFIG), CONFIG, "int8")
    CpuNetwork(ModernBert(CONFIG), CONFIG, "fp32")


def test_a_torch_without_fused_products_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "has_fused_products", lambda dtype: dtype == torch.float32)
    with pytest.raises(InputError, match="no fused products in bf16"):
        CpuNetwork(ModernBert(CONFIG), CONFIG, "bf16")
    CpuNetwork(ModernBert(CONFIG), CONFIG, "fp32")


def test_a_token_beyond_the_table_is_refused(network: ModernBert) -> None:
    for token in (-1, CONFIG.vocabulary):
        with pytest.raises(IndexError):
            CpuNetwork(network, CONFIG, "fp32")(Stream.of([[token]], CPU))


PLAIN_PROCESSOR = """
import torch
from modernir.encoders.modernbert.attention.plain import PLAIN
from modernir.encoders.modernbert.config import ModernBertConfig
from modernir.encoders.modernbert.cpu import CpuNetwork
from modernir.encoders.modernbert.cpu.attention import TILE_ROWS, has_bf16
from modernir.encoders.modernbert.network import ModernBert
from modernir.encoders.stream import Stream

torch.manual_seed(0)
config = ModernBertConfig(
    vocabulary=300, width=64, intermediate=96, layers=2, heads=2, global_layers=(True, False), initializer_range=0.1
)
network = ModernBert(config).eval()
stream = Stream.of([[1] * 20, list(range(1, 280)), [2]], torch.device("cpu"))
with torch.inference_mode():
    wanted = network(stream, PLAIN)
for precision in ("fp32", "int8"):
    found = CpuNetwork(network, config, precision)(stream)
    print(TILE_ROWS, has_bf16(), (found - wanted).abs().max().item())
"""


def test_a_processor_with_short_registers(start_python: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    """The kernels are compiled for what every processor of this architecture has."""
    variables = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path)}
    process = start_python(PLAIN_PROCESSOR, **variables)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    exact, quantised = (line.split() for line in out.splitlines())
    assert exact[:2] == quantised[:2] == ["1", "False"]
    assert float(exact[2]) < 1e-4
    assert float(quantised[2]) < 0.1


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_a_processor_without_bfloat16_attends_in_float32(
    network: ModernBert, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "has_bf16", lambda: False)
    stream = stream_of((129, 40))
    found, wanted = CpuNetwork(network, CONFIG, precision)(stream).float(), expected(network, stream)
    assert F.cosine_similarity(found, wanted).min() > {"bf16": 0.998, "int8": 0.98}[precision]


def test_the_weights_of_an_engine_are_its_own(network: ModernBert) -> None:
    torch.manual_seed(3)
    other, stream = ModernBert(CONFIG).eval(), stream_of((20,))
    runs = [CpuNetwork(other, CONFIG, precision) for precision in ("fp32", "bf16", "int8")]
    before = [run(stream) for run in runs]
    with torch.no_grad():
        for layer in other.layers:
            for weight in layer.parameters():
                weight.zero_()
    for run, states in zip(runs, before, strict=True):
        torch.testing.assert_close(run(stream), states, atol=0, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("tokens", "scale"), [(1, 1.0), (40, 1.0), (700, 1.0), (600, 40.0)])
def test_the_attention_kernel_equals_the_formula(dtype: torch.dtype, tokens: int, scale: float) -> None:
    """Each token sees a run of its own, over several chunks of keys, with scores far apart."""
    if dtype == torch.bfloat16 and not has_bf16():
        pytest.skip("this processor has no bfloat16 dot product")
    heads, width, pair, rows = 3, 64, 4 // dtype.itemsize, -(-tokens // 16) * 16
    random = np.random.default_rng(tokens)
    low = random.integers(0, np.arange(tokens) + 1).astype(np.int32)
    high = random.integers(np.arange(tokens) + 1, tokens + 1).astype(np.int32)
    generator = torch.Generator().manual_seed(tokens)
    states = torch.zeros(3, rows, heads, width, dtype=dtype)
    states[:, :tokens] = torch.randn(3, tokens, heads, width, generator=generator).to(dtype)
    states[0] *= scale / 8
    query, key, value = states
    panels = rows // 16
    keys = key.view(panels, 16, heads, width // pair, pair).permute(0, 2, 3, 1, 4).contiguous()
    values = value.view(panels, 16 // pair, pair, heads, width).permute(0, 3, 1, 4, 2).contiguous()
    out = torch.full((tokens, heads * width), torch.nan, dtype=dtype)
    runs = [np.pad(run, (0, rows - tokens), "edge") for run in (low, high)]
    for first in range(heads):
        attend(as_numpy(query), as_numpy(keys), as_numpy(values), *runs, as_numpy(out), first, first + 1)
    query, key, value = (part[:tokens].double() for part in (query, key, value))
    scores = torch.einsum("qhd,khd->hqk", query, key)
    place = torch.arange(tokens)
    unseen = (place < torch.from_numpy(low)[:, None]) | (place >= torch.from_numpy(high)[:, None])
    wanted = torch.einsum("hqk,khd->qhd", scores.masked_fill(unseen, -torch.inf).softmax(-1), value).flatten(1)
    torch.testing.assert_close(out.double(), wanted, atol=1e-4 if dtype == torch.float32 else 3e-2, rtol=0)


def test_quantised_rows_are_within_half_a_step() -> None:
    states = torch.randn(9, 96, generator=torch.Generator().manual_seed(0)) * torch.logspace(-6, 4, 9)[:, None]
    states[3] = 0
    weight = torch.rand(96)
    for source, kernel in (
        (states, lambda out, scales: quantise(states.numpy(), out, scales)),
        (
            F.layer_norm(states, (96,), weight, None, 1e-5),
            lambda out, scales: quantise_normalised(states.numpy(), weight.numpy(), np.float32(1e-5), out, scales),
        ),
    ):
        out, scales = np.empty((9, 96), np.int8), np.empty(9, np.float32)
        kernel(out, scales)
        error = np.abs(out * scales[:, None] - source.numpy())
        assert (error <= 0.501 * scales[:, None] + 1e-6 * np.abs(source.numpy()).max(1, keepdims=True)).all()
        np.testing.assert_allclose(scales * 127, np.maximum(source.abs().amax(1), 1e-30), rtol=1e-4)


def test_quantised_geglu_is_within_half_a_step() -> None:
    generator = torch.Generator().manual_seed(0)
    products = torch.randint(-(2**20), 2**20, (7, 128), generator=generator, dtype=torch.int32)
    scales, weight_scales = torch.rand(7) * 1e-3, torch.rand(128) * 1e-2
    value, gate = (products.double() * scales[:, None] * weight_scales).chunk(2, 1)
    wanted = (F.gelu(value) * gate).numpy()
    out, out_scales = np.empty((7, 64), np.int8), np.empty(7, np.float32)
    quantise_geglu(products.numpy(), scales.numpy(), weight_scales.numpy(), out, out_scales)
    assert (np.abs(out * out_scales[:, None] - wanted) <= 0.501 * out_scales[:, None]).all()


def test_an_int8_layer_multiplies_the_rounded_numbers_exactly(network: ModernBert) -> None:
    layer = network.layers[1]
    x = torch.randn(5, CONFIG.width, generator=torch.Generator().manual_seed(0))
    products, scales, weight_scales = Int8Layer(layer, CONFIG.heads).project(x)
    weight = layer.attn.Wqkv.weight.detach().clone()
    weight[: CONFIG.width] /= 8
    steps = weight.abs().amax(1) / 127
    np.testing.assert_allclose(weight_scales, steps, rtol=1e-6)
    normed = layer.attn_norm(x).detach()
    rounded = (normed / torch.from_numpy(scales)[:, None]).round()
    wanted = rounded.double() @ (weight / steps[:, None]).round().double().T
    # a number on the edge of two steps may be rounded either way
    assert (products.double() - wanted).abs().max() <= 127 * 2
    assert (products.double() == wanted).double().mean() > 0.9
