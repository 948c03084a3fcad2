"""The GPU network computes what the plain one does: regions compiled once, batches filled up, graphs replayed."""

import logging
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

from modernir.encoders.modernbert import cuda
from modernir.encoders.modernbert.attention import varlen
from modernir.encoders.modernbert.attention.padded import PADDED
from modernir.encoders.modernbert.attention.plain import PLAIN
from modernir.encoders.modernbert.attention.varlen import VARLEN
from modernir.encoders.modernbert.buckets import LONGEST, TOKENS, Bucket, bucket_of, fill, filling, laid_out
from modernir.encoders.modernbert.config import ModernBertConfig, one_global_in
from modernir.encoders.modernbert.cuda import CudaNetwork
from modernir.encoders.modernbert.fused import Regions
from modernir.encoders.modernbert.network import ModernBert
from modernir.encoders.stream import Stream
from modernir.encoders.transfers import Fetched, send
from modernir.errors import InputError

CPU = torch.device("cpu")
WORDS = 40
BATCHES = [(5,), (128,), (3, 4, 5), (17, 1, 100, 9), (60, 60), (2,) * 30, (300, 20)]

on_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture(scope="module")
def network() -> ModernBert:
    torch.manual_seed(0)
    return small(heads=2, width=32)


def small(heads: int, width: int) -> ModernBert:
    config = ModernBertConfig(
        vocabulary=WORDS,
        width=width,
        intermediate=48,
        layers=4,
        heads=heads,
        global_layers=one_global_in(3, 4),
        window=4,
        initializer_range=0.2,
    )
    return ModernBert(config).eval()


def stream_of(lengths: tuple[int, ...], device: torch.device = CPU) -> Stream:
    generator = torch.Generator().manual_seed(sum(lengths))
    return Stream.of_ids(torch.randint(0, WORDS, (sum(lengths),), generator=generator), lengths, device)


@torch.inference_mode()
def expected(network: ModernBert, stream: Stream) -> torch.Tensor:
    return network(stream, PLAIN)


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Regions, "compiled", lambda regions: regions)
    monkeypatch.setattr(cuda, "installed", lambda name: True)


def compiled_with(monkeypatch: pytest.MonkeyPatch, compiler: str | Callable[..., Any]) -> None:
    compile_regions = Regions.compiled
    monkeypatch.setattr(Regions, "compiled", lambda regions: compile_regions(regions, compiler))
    monkeypatch.setattr(cuda, "installed", lambda name: True)


@pytest.mark.parametrize("lengths", BATCHES, ids=str)
def test_regions_equal_the_network(network: ModernBert, lengths: tuple[int, ...], uncompiled: None) -> None:
    stream = stream_of(lengths)
    found = CudaNetwork(network, "fp32", CPU)(stream)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected(network, stream), atol=1e-5, rtol=0)


def test_half_precision_stays_near(network: ModernBert, uncompiled: None) -> None:
    stream = stream_of((60, 60))
    found = CudaNetwork(network, "bf16", CPU)(stream)
    assert found.dtype == torch.bfloat16
    cosines = torch.cosine_similarity(found.float(), expected(network, stream))
    assert cosines.min() >= 0.99


@pytest.mark.parametrize("compiler", ["eager", "aot_eager"])
def test_regions_are_compiled_once_for_all_batches_of_a_network(
    compiler: str, network: ModernBert, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch._dynamo.reset()
    counters.clear()
    compiled_with(monkeypatch, compiler)
    torch.manual_seed(0)
    for number, one in enumerate((network, small(heads=3, width=48)), start=1):
        fused = CudaNetwork(one, "fp32", CPU)
        for lengths in BATCHES:
            stream = stream_of(lengths)
            torch.testing.assert_close(fused(stream), expected(one, stream), atol=1e-5, rtol=0)
        assert counters["stats"]["unique_graphs"] == 3 * number
    assert not counters["graph_break"]
    torch._dynamo.reset()


def test_a_compiler_that_fails_costs_speed_only(
    network: ModernBert, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(*_: object) -> Callable[..., Any]:
        raise RuntimeError("no C compiler\nwas found")

    torch._dynamo.reset()
    compiled_with(monkeypatch, failing)
    fused, stream = CudaNetwork(network, "fp32", CPU), stream_of((9, 4))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            torch.testing.assert_close(fused(stream), expected(network, stream), atol=1e-5, rtol=0)
    (message,) = [record.getMessage() for record in caplog.records if record.name == cuda.__name__]
    assert "uncompiled" in message
    assert "\n" not in message
    torch._dynamo.reset()


def test_without_triton_nothing_is_compiled(
    network: ModernBert, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cuda, "installed", lambda name: False)
    monkeypatch.setattr(torch, "compile", lambda *_, **__: pytest.fail("compiled"))
    with caplog.at_level(logging.WARNING):
        fused = CudaNetwork(network, "fp32", CPU)
    assert "triton is not installed" in caplog.text
    stream = stream_of((9,))
    torch.testing.assert_close(fused(stream), expected(network, stream), atol=1e-5, rtol=0)


def test_an_attention_backend_can_be_forced(network: ModernBert, uncompiled: None) -> None:
    assert CudaNetwork(network, "fp32", CPU, attention="padded")._backend is PADDED
    with pytest.raises(InputError, match="'varlen' cannot run on cpu"):
        CudaNetwork(network, "bf16", CPU, attention="varlen")


def test_buckets_are_few_and_grow_evenly() -> None:
    assert (TOKENS[0], TOKENS[-1]) == (128, 8192)
    assert all(1.39 <= larger / smaller <= 1.44 for smaller, larger in pairwise(TOKENS))
    assert len(TOKENS) * len(LONGEST) <= 32


def test_a_batch_goes_into_the_smallest_bucket_that_holds_it() -> None:
    draw = random.Random(0)
    for _ in range(300):
        lengths = tuple(draw.randint(1, draw.choice((4, 30, 600))) for _ in range(draw.randint(1, 60)))
        fitting = [
            bucket
            for bucket in (Bucket(tokens, longest) for longest in LONGEST for tokens in TOKENS)
            if max(lengths) <= bucket.longest
            and sum(lengths) <= bucket.tokens
            and len(lengths) + -(-(bucket.tokens - sum(lengths)) // bucket.longest) <= bucket.texts
        ]
        assert bucket_of(lengths) == (fitting[0] if fitting else None)


@pytest.mark.parametrize("lengths", [(513,), (500,) * 17, (1,) * 2000], ids=["long", "many tokens", "many texts"])
def test_a_batch_that_no_bucket_holds_has_none(lengths: tuple[int, ...]) -> None:
    assert bucket_of(lengths) is None


@pytest.mark.parametrize("lengths", BATCHES, ids=str)
def test_filling_up_changes_nothing_for_the_real_tokens(network: ModernBert, lengths: tuple[int, ...]) -> None:
    stream, bucket = stream_of(lengths), bucket_of(lengths)
    assert bucket
    numbers = fill(stream, bucket)
    assert (numbers.dtype, len(numbers)) == (torch.int32, bucket.numbers)
    filled = laid_out(numbers, bucket)
    sizes = filled.offsets.diff()
    assert (len(sizes), int(filled.offsets[-1])) == (bucket.texts, bucket.tokens)
    assert int(sizes.max()) <= filled.longest == bucket.longest
    real = tuple(sizes[sizes > 0].tolist())
    assert real == (*lengths, *filling(sum(lengths), bucket))
    assert not sizes[len(real) :].any()
    whole = Stream(filled.ids.long(), filled.positions.long(), filled.offsets[: len(real) + 1], real)
    found = expected(network, whole)
    assert found.isfinite().all()
    torch.testing.assert_close(found[: sum(lengths)], expected(network, stream), atol=1e-5, rtol=0)


class Recorder:
    """Stands for CUDA graphs: a replay runs the captured function again, on what its fixed tensors hold then."""

    def __init__(self) -> None:
        self.captures = self.replays = 0

    def capture(
        self, run: Callable[[], torch.Tensor], device: torch.device, pool: object
    ) -> tuple[torch.Tensor, Callable[[], None]]:
        assert pool == "pool"
        self.captures += 1
        place = torch.full_like(run(), torch.nan)

        def replay() -> None:
            self.replays += 1
            place.copy_(run())

        return place, replay


def from_offsets(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    offsets: torch.Tensor,
    _: torch.Tensor,
    longest: int,
    __: int,
    *,
    window_size: tuple[int, int],
) -> torch.Tensor:
    """Stands for a kernel: all that it reads of a batch are the offsets, each time that it runs."""
    sizes = offsets.diff()
    assert int(sizes.max()) <= longest
    lengths = tuple(sizes[sizes > 0].tolist())
    stream = Stream.of_ids(torch.zeros(sum(lengths), dtype=torch.int64), lengths, CPU)
    return PLAIN.prepare(stream, None if window_size[0] < 0 else window_size[0])(query, key, value)


@pytest.fixture
def graphed(
    network: ModernBert, monkeypatch: pytest.MonkeyPatch, uncompiled: None
) -> Iterator[tuple[CudaNetwork, Recorder]]:
    """The network with graphs on the CPU."""
    recorder = Recorder()
    monkeypatch.setattr(varlen, "_varlen_attn", lambda: from_offsets)
    monkeypatch.setattr(cuda, "choose", lambda *_: replace(VARLEN, why_not=lambda device, dtype: None))
    monkeypatch.setattr(cuda, "capture", recorder.capture)
    monkeypatch.setattr(cuda, "new_pool", lambda: "pool")
    fused = CudaNetwork(network, "fp32", CPU)
    assert fused._graphs is None
    fused._graphs = cuda.Graphs(fused._replayable, CPU)
    yield fused, recorder


def test_a_graph_serves_every_batch_of_its_bucket(graphed: tuple[CudaNetwork, Recorder], network: ModernBert) -> None:
    fused, recorder = graphed
    for lengths in (*BATCHES, *reversed(BATCHES)):
        stream = stream_of(lengths)
        torch.testing.assert_close(fused(stream), expected(network, stream), atol=1e-5, rtol=0)
    assert recorder.captures == len({bucket_of(lengths) for lengths in BATCHES})
    assert recorder.captures < len(BATCHES)
    assert recorder.replays == 2 * len(BATCHES)


def test_a_result_outlives_the_next_replay(graphed: tuple[CudaNetwork, Recorder], network: ModernBert) -> None:
    fused, _ = graphed
    first, second = stream_of((9, 8)), stream_of((4, 4, 4))
    kept = fused(first)
    fused(second)
    torch.testing.assert_close(kept, expected(network, first), atol=1e-5, rtol=0)


def test_long_batches_are_not_captured(graphed: tuple[CudaNetwork, Recorder], network: ModernBert) -> None:
    fused, recorder = graphed
    stream = stream_of((600, 3))
    torch.testing.assert_close(fused(stream), expected(network, stream), atol=1e-5, rtol=0)
    assert recorder.captures == 0


def test_a_capture_that_fails_switches_graphs_off(
    graphed: tuple[CudaNetwork, Recorder],
    network: ModernBert,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fused, _ = graphed

    def failing(*_: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(cuda, "capture", failing)
    stream = stream_of((9, 8))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            torch.testing.assert_close(fused(stream), expected(network, stream), atol=1e-5, rtol=0)
    (message,) = [record.getMessage() for record in caplog.records]
    assert "CUDA graphs are switched off" in message
    assert "\n" not in message


def test_a_stream_is_sent_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = stream_of((3, 5))
    assert send(stream, CPU) is stream
    there = send(stream, torch.device("meta"))
    assert {x.device.type for x in (there.ids, there.positions, there.offsets)} == {"meta"}
    assert [(x.dtype, x.shape) for x in (there.ids, there.positions, there.offsets)] == [
        (x.dtype, x.shape) for x in (stream.ids, stream.positions, stream.offsets)
    ]
    assert there.lengths == stream.lengths


def test_what_is_fetched_arrives() -> None:
    x = torch.arange(6.0).view(2, 3)
    assert torch.equal(Fetched(x).result(), x)


@on_cuda
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("where", ["cpu", "cuda"])
def test_the_network_on_cuda_equals_the_plain_one(precision: str, where: str) -> None:
    torch.manual_seed(0)
    network = small(heads=2, width=128)
    ungraphed = CudaNetwork(network, precision, graphs=False)
    graphed = CudaNetwork(network, precision)
    assert bool(graphed._graphs) == (precision == "bf16" and graphed._backend.replays)
    for lengths in (*BATCHES, (600, 3), *BATCHES):
        stream = stream_of(lengths, torch.device(where))
        reference = expected(network.to(where), stream).cpu()
        for one in (ungraphed, graphed):
            found = Fetched(one(stream)).result().float()
            assert torch.cosine_similarity(found, reference).min() >= (0.99999 if precision == "fp32" else 0.99)
        torch.testing.assert_close(graphed(stream), ungraphed(stream), atol=2e-2, rtol=2e-2)


@on_cuda
def test_a_stream_and_a_result_cross_to_the_gpu_and_back() -> None:
    stream = stream_of((3, 5))
    there = send(stream, torch.device("cuda"))
    for name in ("ids", "positions", "offsets"):
        assert torch.equal(Fetched(getattr(there, name)).result(), getattr(stream, name))
