"""Every attention back-end computes what the plain one does, and the one that is chosen is the first that runs."""

import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

from modernir.encoders.modernbert.attention import choose as choosing
from modernir.encoders.modernbert.attention import flex, gpu, padded, varlen
from modernir.encoders.modernbert.attention.backend import Backend
from modernir.encoders.modernbert.attention.choose import BACKENDS, choose
from modernir.encoders.modernbert.attention.flash import FLASH
from modernir.encoders.modernbert.attention.flex import FLEX
from modernir.encoders.modernbert.attention.padded import PADDED
from modernir.encoders.modernbert.attention.plain import PLAIN
from modernir.encoders.modernbert.attention.varlen import FA3_GLOBAL, FA4_GLOBAL, VARLEN, VARLEN_FA3, VARLEN_FA4
from modernir.encoders.stream import Stream
from modernir.errors import InputError

CPU = torch.device("cpu")
CUDA = torch.device("cuda")
HEADS, WIDTH = 2, 16
LENGTHS = (1, 2, 63, 64, 65, 66, 128, 129, 130, 200)
STREAMS = [(length,) for length in LENGTHS] + [(65, 65, 65), LENGTHS]
WINDOWS = (None, 64, 1)
HERE = [backend for backend in BACKENDS if backend is not PLAIN and backend.why_not(CPU, torch.float32) is None]
KERNELS = [VARLEN, FLASH, VARLEN_FA3, VARLEN_FA4, FA3_GLOBAL, FA4_GLOBAL]

here = pytest.mark.parametrize("backend", HERE, ids=lambda backend: backend.name)
on_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")


def stream_of(lengths: tuple[int, ...], device: torch.device = CPU) -> Stream:
    return Stream.of_ids(torch.zeros(sum(lengths), dtype=torch.int64), lengths, device)


def states_of(tokens: int, dtype: torch.dtype = torch.float32, width: int = WIDTH) -> torch.Tensor:
    return torch.randn(tokens, 3, HEADS, width, generator=torch.Generator().manual_seed(tokens)).to(dtype)


def difference(backend: Backend, stream: Stream, window: int | None, states: torch.Tensor) -> float:
    found, expected = (one.prepare(stream, window)(*states.unbind(1)) for one in (backend, PLAIN))
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    return (found.float() - expected.float()).abs().max().item()


def test_plain_is_torchs_own_attention_within_each_text() -> None:
    stream, (query, key, value) = stream_of((3, 1, 7)), states_of(11).unbind(1)
    found = PLAIN.prepare(stream, 2)(query, key, value)
    start = 0
    for length in stream.lengths:
        here = slice(start, start + length)
        place = torch.arange(length)
        rows = (x[here].transpose(0, 1) for x in (query, key, value))
        seen = (place[:, None] - place).abs() <= 2
        expected = torch.nn.functional.scaled_dot_product_attention(*rows, attn_mask=seen).transpose(0, 1)
        torch.testing.assert_close(found[here], expected, atol=1e-6, rtol=0)
        start += length


@here
@pytest.mark.parametrize("lengths", STREAMS, ids=str)
def test_a_backend_equals_the_plain_one(backend: Backend, lengths: tuple[int, ...]) -> None:
    stream = stream_of(lengths)
    with torch.no_grad():
        for window in WINDOWS:
            assert difference(backend, stream, window, states_of(sum(lengths))) <= 1e-5
            assert difference(backend, stream, window, states_of(sum(lengths), torch.bfloat16)) <= 2e-2


@here
@pytest.mark.parametrize("lengths", [(130,), (65, 65), (2, 66, 200, 1)], ids=str)
@pytest.mark.parametrize("window", WINDOWS)
def test_memory_layout_changes_nothing(backend: Backend, lengths: tuple[int, ...], window: int | None) -> None:
    stream, states = stream_of(lengths), states_of(sum(lengths))
    attend = backend.prepare(stream, window)
    token_major = states.unbind(1)
    head_major = [x.transpose(0, 1).contiguous().transpose(0, 1) for x in token_major]
    assert not token_major[0].is_contiguous()
    assert head_major[0].stride() != token_major[0].stride()
    expected = PLAIN.prepare(stream, window)(*(x.contiguous() for x in token_major))
    for layout in (token_major, head_major):
        torch.testing.assert_close(attend(*layout), expected, atol=1e-5, rtol=0)


@here
@pytest.mark.parametrize("lengths", [(65, 65), LENGTHS], ids=str)
@pytest.mark.parametrize("window", WINDOWS)
def test_gradients_equal_the_plain_ones(backend: Backend, lengths: tuple[int, ...], window: int | None) -> None:
    if backend is FLEX:
        pytest.skip("FlexAttention has no gradients on the CPU")
    stream = stream_of(lengths)
    weights = torch.randn(sum(lengths), HEADS, WIDTH, generator=torch.Generator().manual_seed(1))
    gradients = []
    for one in (backend, PLAIN):
        states = states_of(sum(lengths)).requires_grad_()
        (one.prepare(stream, window)(*states.unbind(1)) * weights).sum().backward()
        gradients.append(states.grad)
    torch.testing.assert_close(*gradients, atol=2e-5, rtol=1e-4)


@here
def test_a_text_does_not_see_its_neighbours(backend: Backend) -> None:
    states = states_of(200)
    changed = states.clone()
    changed[:70] += 1
    changed[130:] -= 1
    for window in WINDOWS:
        attend = backend.prepare(stream_of((70, 60, 70)), window)
        before, after = (attend(*x.unbind(1)) for x in (states, changed))
        assert torch.equal(before[70:130], after[70:130])
        assert not torch.equal(before[:70], after[:70])


def test_padded_rows_waste_little_and_long_texts_are_not_padded() -> None:
    short = torch.randint(1, 400, (200,), generator=torch.Generator().manual_seed(0))
    lengths = (*short.tolist(), 2000, 1500)
    groups = padded._groups(lengths)
    assert sorted(text for group in groups for text in group) == list(range(len(lengths)))
    rows = [len(group) * max(lengths[text] for text in group) for group in groups]
    assert sum(rows) <= 1.25 * sum(lengths)
    assert [[lengths[text] for text in group] for group in groups[-2:]] == [[1500], [2000]]


@pytest.mark.parametrize("window", WINDOWS)
def test_padding_sees_something_since_nothing_has_no_gradient(window: int | None) -> None:
    rows = padded._rows(stream_of((100, 110, 120)), [0, 1, 2], window)
    assert rows.mask is not None
    assert not rows.valid.all()
    assert rows.mask.any(-1).all()


@pytest.mark.parametrize("tokens", [1, 127, 255, 256, 257, 384, 385, 5000, 65_537])
def test_flex_rounds_token_counts_to_few_sizes(tokens: int) -> None:
    total = flex.rounded(tokens)
    assert total >= max(tokens, 256)
    assert total % flex.BLOCK == 0
    assert total <= max(256, 1.5 * tokens)
    assert flex.rounded(total) == total


@pytest.mark.parametrize("window", [None, 64, 1])
def test_flex_looks_at_every_block_that_anything_sees_and_at_no_other(window: int | None) -> None:
    lengths = (100, 300, 1, 1, 500)
    mask = flex._block_mask(stream_of((*lengths, 122)).offsets, 1024, window)
    document = torch.repeat_interleave(torch.arange(6), torch.tensor([*lengths, 122]))
    place = torch.arange(1024)
    sees = document[:, None] == document
    if window is not None:
        sees &= (place[:, None] - place).abs() <= window
    blocks = sees.view(8, flex.BLOCK, 8, flex.BLOCK).any(3).any(1)
    assert torch.equal(mask.to_dense()[0, 0].bool(), blocks)


def test_flex_is_compiled_for_one_token_count_and_once_for_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.nn.attention.flex_attention import flex_attention

    torch._dynamo.reset()
    counters.clear()
    compiled = torch.compile(flex_attention, dynamic=True, backend="eager")
    monkeypatch.setattr(flex, "_flex", lambda compile: compiled)
    with torch.inference_mode():
        for lengths in ((70, 30), (300, 5, 7), (700,), (1500, 20)):
            for window in (None, 64):
                assert difference(FLEX, stream_of(lengths), window, states_of(sum(lengths))) <= 1e-5
    assert counters["stats"]["unique_graphs"] == 2 * len((None, 64))
    torch._dynamo.reset()


class Kernel:
    """Stands for a CUDA kernel: computes with the plain back-end from the offsets that it is given."""

    def __init__(self, returns_tuple: bool = False) -> None:
        self.returns_tuple = returns_tuple
        self.windows: list[tuple[int, int]] = []

    def __call__(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        cu_seqlens_q: torch.Tensor,
        cu_seqlens_k: torch.Tensor,
        max_seqlen_q: int,
        max_seqlen_k: int,
        *,
        causal: bool = False,
        window_size: tuple[int, int] = (-1, -1),
    ) -> torch.Tensor | tuple[torch.Tensor, None]:
        assert torch.equal(cu_seqlens_q, cu_seqlens_k)
        assert cu_seqlens_q.dtype == torch.int32
        assert cu_seqlens_q[0] == 0
        lengths = tuple(cu_seqlens_q.diff().tolist())
        assert (sum(lengths), max(lengths), max(lengths)) == (len(query), max_seqlen_q, max_seqlen_k)
        assert window_size[0] == window_size[1]
        assert not causal
        self.windows.append(window_size)
        output = PLAIN.prepare(stream_of(lengths), None if window_size[0] < 0 else window_size[0])(query, key, value)
        return (output, None) if self.returns_tuple else output


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> dict[str, Kernel]:
    """Stand-ins for torch's kernel and those of the packages; nothing is activated for the process."""
    fakes = {"torch": Kernel(), **{name: Kernel(name == "flash_attn.cute") for name in varlen.PACKAGES.values()}}
    fakes["flash_attn.flash_attn_interface"] = Kernel()
    monkeypatch.setattr(varlen, "_varlen_attn", lambda: fakes["torch"])
    for name, kernel in fakes.items():
        module = ModuleType(name)
        module.flash_attn_varlen_func = kernel  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "flash_attn", ModuleType("flash_attn"))
    return fakes


@pytest.fixture
def activated(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What torch is asked to activate."""
    calls: list[str] = []
    attention = torch.nn.attention
    monkeypatch.setattr(attention, "activate_flash_attention_impl", calls.append)
    monkeypatch.setattr(attention, "current_flash_attention_impl", lambda: calls[-1] if calls else None)
    yield calls


@pytest.mark.parametrize("backend", KERNELS, ids=lambda backend: backend.name)
@pytest.mark.parametrize("lengths", [(1,), (130,), LENGTHS], ids=str)
def test_kernels_get_offsets_lengths_and_windows(
    backend: Backend, lengths: tuple[int, ...], kernels: dict[str, Kernel], activated: list[str]
) -> None:
    for window in WINDOWS:
        assert difference(backend, stream_of(lengths), window, states_of(sum(lengths))) == 0
    asked = [window for kernel in kernels.values() for window in kernel.windows]
    assert sorted(asked) == [(-1, -1), (1, 1), (64, 64)]


@pytest.mark.parametrize(
    ("backend", "package"), [(FA3_GLOBAL, "flash_attn_interface"), (FA4_GLOBAL, "flash_attn.cute")]
)
def test_a_newer_kernel_for_global_layers_leaves_local_ones_and_the_process_alone(
    backend: Backend, package: str, kernels: dict[str, Kernel], activated: list[str]
) -> None:
    for window in (None, 64):
        backend.prepare(stream_of((5,)), window)(*states_of(5).unbind(1))
    assert kernels[package].windows == [(-1, -1)]
    assert kernels["torch"].windows == [(64, 64)]
    assert not activated


@pytest.mark.parametrize(("backend", "name"), [(VARLEN_FA3, "FA3"), (VARLEN_FA4, "FA4")])
def test_a_newer_kernel_is_activated_once(
    backend: Backend, name: str, kernels: dict[str, Kernel], activated: list[str]
) -> None:
    for window in (None, 64, None):
        backend.prepare(stream_of((5,)), window)
    assert activated == [name]


def test_the_default_activates_nothing(kernels: dict[str, Kernel], activated: list[str]) -> None:
    VARLEN.prepare(stream_of((5,)), 64)
    assert not activated


@pytest.mark.parametrize("backend", KERNELS, ids=lambda backend: backend.name)
def test_cuda_kernels_say_why_they_do_not_run_on_a_cpu(backend: Backend) -> None:
    reason = backend.why_not(CPU, torch.bfloat16)
    assert reason
    assert "\n" not in reason


Pretend = Callable[[tuple[int, int]], None]


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Pretend:
    """Makes torch tell of a CUDA device of a compute capability, with all packages installed."""

    def install(capability: tuple[int, int]) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
        for module in ("flash", "flex", "varlen"):
            monkeypatch.setattr(f"modernir.encoders.modernbert.attention.{module}.installed", lambda name: True)

    return install


@pytest.mark.parametrize(
    ("capability", "dtype", "usable"),
    [
        ((7, 5), torch.float16, {"flex"}),
        ((8, 6), torch.bfloat16, {"varlen", "flash-attn", "flex"}),
        ((8, 6), torch.float32, {"flex"}),
        (
            (9, 0),
            torch.bfloat16,
            {"varlen", "flash-attn", "flex", "varlen-fa3", "varlen-fa4", "varlen-fa3-global", "varlen-fa4-global"},
        ),
        ((10, 0), torch.float16, {"varlen", "flash-attn", "flex", "varlen-fa4", "varlen-fa4-global"}),
        ((12, 0), torch.bfloat16, {"varlen", "flash-attn", "flex"}),
    ],
)
def test_what_runs_follows_from_device_and_type(
    pretend: Pretend, capability: tuple[int, int], dtype: torch.dtype, usable: set[str]
) -> None:
    pretend(capability)
    runs = {backend.name for backend in BACKENDS if backend.why_not(CUDA, dtype) is None}
    assert runs == usable | {"padded", "plain"}


def test_a_torch_without_windows_leaves_varlen_out(monkeypatch: pytest.MonkeyPatch, pretend: Pretend) -> None:
    pretend((9, 0))
    monkeypatch.setattr(varlen, "_varlen_attn", lambda: lambda query, key, value, offsets: query)
    assert "sliding window" in (VARLEN.why_not(CUDA, torch.bfloat16) or "")
    assert FLASH.why_not(CUDA, torch.bfloat16) is None

    def missing() -> Callable[..., torch.Tensor]:
        raise ImportError

    monkeypatch.setattr(varlen, "_varlen_attn", missing)
    assert "no varlen_attn" in (VARLEN.why_not(CUDA, torch.bfloat16) or "")


def test_a_package_that_breaks_when_it_is_looked_for_counts_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise RuntimeError("undefined symbol")

    assert not gpu.installed("no_such_package.inside")
    monkeypatch.setattr(gpu.importlib.util, "find_spec", broken)
    assert not gpu.installed("flash_attn.cute")


def test_a_cpu_gets_the_blockwise_backend() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        assert choose(CPU, dtype).name == "blockwise"
        assert choose(CPU, dtype) is choose(CPU, dtype)


def test_other_devices_get_padded_rows() -> None:
    for kind in ("mps", "xpu"):
        assert choose(torch.device(kind), torch.float16) is PADDED


def test_a_name_forces_a_backend() -> None:
    for backend in (PLAIN, PADDED, FLEX):
        assert choose(CPU, torch.float32, backend.name) is backend


def test_an_unknown_name_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(InputError, match=r"'sdpa'; expected one of varlen, .*blockwise.*padded"):
        choose(CPU, torch.float32, "sdpa")


def test_a_forced_backend_that_cannot_run_says_why() -> None:
    with pytest.raises(InputError, match=r"'varlen' cannot run on cpu in bfloat16: needs a CUDA device"):
        choose(CPU, torch.bfloat16, "varlen")


def test_names_are_unique_and_only_the_asked_for_come_last() -> None:
    names = [backend.name for backend in BACKENDS]
    assert len(set(names)) == len(names)
    only = [backend.only_by_name for backend in BACKENDS]
    assert only == sorted(only)


@pytest.fixture
def tested_on_cpu(monkeypatch: pytest.MonkeyPatch, pretend: Pretend) -> Iterator[None]:
    """Runs the self-test that CUDA back-ends pass on the CPU."""
    pretend((9, 0))
    lay_out = Stream.of_ids
    monkeypatch.setattr(choosing.Stream, "of_ids", lambda ids, lengths, device: lay_out(ids, lengths, CPU))
    to = torch.Tensor.to
    monkeypatch.setattr(torch.Tensor, "to", lambda x, *rest: to(x, *(CPU if part == CUDA else part for part in rest)))
    choose.cache_clear()
    yield
    choose.cache_clear()


def shifted(stream: Stream, window: int | None) -> Callable[..., torch.Tensor]:
    return lambda query, key, value: value


def broken(stream: Stream, window: int | None) -> Callable[..., torch.Tensor]:
    raise RuntimeError("no kernel image is available\nfor execution on the device")


@pytest.mark.parametrize(
    ("prepare", "told"),
    [(shifted, "differs from the plain back-end by"), (broken, "fails (no kernel image is available)")],
)
def test_a_backend_that_fails_its_self_test_is_passed_over(
    prepare: Callable[..., Any],
    told: str,
    tested_on_cpu: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    wrong = replace(VARLEN, prepare=prepare)
    monkeypatch.setattr(choosing, "BACKENDS", (wrong, PADDED))
    with caplog.at_level(logging.WARNING):
        assert choose(CUDA, torch.bfloat16) is PADDED
    (message,) = [record.getMessage() for record in caplog.records]
    assert "varlen" in message
    assert told in message
    assert "\n" not in message
    with pytest.raises(InputError, match="'varlen' cannot run on cuda in bfloat16: it"):
        choose(CUDA, torch.bfloat16, "varlen")


def test_kernels_that_fail_their_self_test_do_not_stay_activated(
    tested_on_cpu: None, kernels: dict[str, Kernel], activated: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    restored: list[None] = []
    monkeypatch.setattr(torch.nn.attention, "restore_flash_attention_impl", lambda: restored.append(None))
    assert choose(CUDA, torch.bfloat16, "varlen-fa3") is VARLEN_FA3
    assert (activated, restored) == (["FA3"], [])
    monkeypatch.setattr(varlen, "_varlen_attn", lambda: lambda query, key, value, *shape, window_size: value)
    with pytest.raises(InputError, match="'varlen-fa4' cannot run on cuda in bfloat16: it differs"):
        choose(CUDA, torch.bfloat16, "varlen-fa4")
    assert (activated, restored) == (["FA3", "FA4"], [None])


def test_a_backend_that_passes_its_self_test_is_taken(tested_on_cpu: None, kernels: dict[str, Kernel]) -> None:
    assert choose(CUDA, torch.bfloat16) is VARLEN
    assert set(kernels["torch"].windows) == {(-1, -1), (64, 64)}


@on_cuda
@pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_backend_equals_the_plain_one_on_cuda(backend: Backend, dtype: torch.dtype) -> None:
    if reason := backend.why_not(CUDA, dtype):
        pytest.skip(reason)
    for lengths in STREAMS:
        stream, states = stream_of(lengths, CUDA), states_of(sum(lengths), dtype, width=64).cuda()
        for window in WINDOWS:
            with torch.no_grad():
                assert difference(backend, stream, window, states) <= (1e-5 if dtype == torch.float32 else 2e-2)


@on_cuda
@pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.name)
def test_gradients_equal_the_plain_ones_on_cuda(backend: Backend) -> None:
    dtype = torch.float32 if backend.why_not(CUDA, torch.float32) is None else torch.bfloat16
    if reason := backend.why_not(CUDA, dtype):
        pytest.skip(reason)
    if "fa4" in backend.name and torch.cuda.get_device_capability()[0] == 9:
        pytest.skip("FlashAttention 4 has no backward pass for texts end to end on compute capability 9")
    stream = stream_of(LENGTHS, CUDA)
    for window in (None, 64):
        gradients = []
        for one in (backend, PLAIN):
            states = states_of(sum(LENGTHS), dtype, width=64).cuda().requires_grad_()
            one.prepare(stream, window)(*states.unbind(1)).float().square().sum().backward()
            gradients.append(states.grad.float())
        tolerance = 1e-4 if dtype == torch.float32 else 5e-2
        torch.testing.assert_close(*gradients, atol=tolerance, rtol=tolerance)
