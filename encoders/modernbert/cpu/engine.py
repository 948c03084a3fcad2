"""The encoder stack on a CPU.

The stream goes through a layer in chunks of rows that stay in cache, and only attention sees it whole: so the memory of
a long text is its residual stream, its queries, keys and values, and what attention found.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ....errors import InputError
from ...stream import Stream
from ..config import ModernBertConfig
from ..rope import tables
from .attention import LANES, attend, has_bf16
from .float_layer import CHUNK_ROWS, FloatLayer, has_fused_products
from .int8_layer import Int8Layer, multiplies_exactly
from .rotary import rotate_and_pack
from .views import as_numpy

HEAD_WIDTH_STEP = 2 * LANES
FEWEST_ROWS = 64
"""A stream is not shared among threads in chunks smaller than this, but each product is."""


Each = Callable[..., Iterable[Any]]
"""Maps a function over lists, like the built-in `map`."""


@dataclass(frozen=True)
class Sight:
    """What the tokens of a stream see in one kind of layer, and the angles that RoPE turns them by.

    Attributes:
        low, high: (rows,) int32, each token sees the run of the stream from `low` to before `high`; rows beyond the
            tokens repeat the last one's.
        cosines, sines: (positions, head width / 2) float32.
    """

    low: np.ndarray
    high: np.ndarray
    cosines: np.ndarray
    sines: np.ndarray

    @classmethod
    def of(cls, stream: Stream, config: ModernBertConfig, *, is_global: bool) -> "Sight":
        """Work it out for global or for local layers."""
        lengths, ends = np.array(stream.lengths), stream.offsets[1:].numpy()
        seen = lengths if stream.attended is None else np.array(stream.attended)
        low, high = np.repeat(ends - lengths, lengths), np.repeat(ends - lengths + seen, lengths)
        if not is_global:
            place = np.arange(len(low))
            low, high = np.maximum(low, place - config.window), np.minimum(high, place + config.window + 1)
        theta = config.global_theta if is_global else config.local_theta
        cosines, sines = tables(theta, config.head_width, stream.longest, stream.ids.device)
        low, high = (np.pad(run.astype(np.int32), (0, -len(run) % LANES), "edge") for run in (low, high))
        return cls(low, high, cosines.numpy(), sines.numpy())


def why_not(config: ModernBertConfig, precision: str) -> str | None:
    """Say why the engine cannot run a network of these sizes in a precision here, or None if it can."""
    if precision == "int8" and not multiplies_exactly():
        return "this processor rounds int8 products"
    if precision != "int8" and not has_fused_products(torch.bfloat16 if precision == "bf16" else torch.float32):
        return f"this torch has no fused products in {precision} for this processor"
    if config.head_width % HEAD_WIDTH_STEP:
        return f"it needs heads whose width is a multiple of {HEAD_WIDTH_STEP}, found {config.head_width}"
    return None


class CpuNetwork:
    """A ModernBERT made ready to encode on a CPU; calling it maps a stream to hidden states.

    Args:
        backbone: A `ModernBert` or any module with its sub-modules; its weights are copied, but for the embedding
            table, which stays as it is stored.
        config: The backbone's sizes.
        precision: "fp32", "bf16" or "int8".

    Attributes:
        device: The CPU.
        width: Width of a hidden state.

    Raises:
        InputError: See `why_not`.
    """

    def __init__(self, backbone: nn.Module, config: ModernBertConfig, precision: str) -> None:
        if reason := why_not(config, precision):
            raise InputError(f"the engine for CPUs cannot run this network: {reason}")
        modules: Mapping[str, nn.Module] = dict(backbone.named_children())
        embeddings: nn.Module = modules["embeddings"]
        self._config = config
        self._states = torch.bfloat16 if precision == "bf16" else torch.float32
        self._attention = torch.bfloat16 if precision != "fp32" and has_bf16() else torch.float32
        layers = modules["layers"].children()
        if precision == "int8":
            self._layers: list[FloatLayer | Int8Layer] = [Int8Layer(layer, config.heads) for layer in layers]
        else:
            self._layers = [FloatLayer(layer, config.heads, self._states) for layer in layers]
        self._words = embeddings.get_submodule("tok_embeddings").get_parameter("weight").detach()
        self._first_norm = _copied(embeddings.get_submodule("norm"))
        self._last_norm = _copied(modules["final_norm"])
        self.device = torch.device("cpu")
        self.width = config.width

    def __call__(self, stream: Stream) -> torch.Tensor:
        """Return the last hidden states, (tokens, width), float32, or bfloat16 in bf16."""
        threads = torch.get_num_threads()
        rows = min(CHUNK_ROWS, -(-len(stream.ids) // (threads * LANES)) * LANES)
        if threads == 1 or rows < FEWEST_ROWS:
            return self._run(stream, CHUNK_ROWS, 1, map)
        with workers(threads) as pool:
            return self._run(stream, rows, threads, pool.map)

    def map(self, streams: Iterable[Stream]) -> Iterator[torch.Tensor]:
        """Yield the hidden states of each stream in order, several streams under way at a time where threads allow."""
        threads, waiting = torch.get_num_threads(), deque(streams)
        if threads == 1 or len(waiting) < threads:
            yield from map(self, waiting)
            return
        with workers(threads) as pool:
            running: deque[Future[torch.Tensor]] = deque()
            while waiting or running:
                while waiting and len(running) <= threads:
                    running.append(pool.submit(self._run, waiting.popleft(), CHUNK_ROWS, 1, map))
                yield running.popleft().result()

    @torch.inference_mode()
    def _run(self, stream: Stream, chunk_rows: int, threads: int, each: Each) -> torch.Tensor:
        """Run a stream in chunks of rows; `each` maps functions over chunks and heads, in this thread or in several."""
        run = _Run(self._config, stream, self._attention)
        starts = range(0, run.rows, chunk_rows)
        chunks = list(each(lambda start: self._embed(stream.ids[start : start + chunk_rows]), starts))
        chunks[-1] = F.pad(chunks[-1], (0, 0, 0, run.rows - run.tokens))
        for layer, is_global in zip(self._layers, self._config.global_layers, strict=True):
            chunks = run.layer(layer, chunks, starts, is_global, threads, each)
        return torch.cat([self._normalise(x, self._last_norm) for x in chunks])[: run.tokens]

    @torch.inference_mode()
    def _embed(self, ids: torch.Tensor) -> torch.Tensor:
        return self._normalise(F.embedding(ids, self._words), self._first_norm)

    def _normalise(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x.float(), weight.shape, weight, None, self._config.eps).to(self._states)


def _copied(norm: nn.Module) -> torch.Tensor:
    return norm.get_parameter("weight").detach().to(torch.float32, copy=True)


@contextmanager
def workers(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Give threads of which each computes alone; work that was not begun is dropped at the end."""
    pool = ThreadPoolExecutor(threads, "modernbert", initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(threads)  # what a thread sets for itself, torch also gives to threads that are yet to be


class _Run:
    """One pass over a stream: the queries, keys and values of the present layer, and what attention makes of them."""

    def __init__(self, config: ModernBertConfig, stream: Stream, dtype: torch.dtype) -> None:
        self.tokens = len(stream.ids)
        self.rows = -(-self.tokens // LANES) * LANES
        self._sights = {kind: Sight.of(stream, config, is_global=kind) for kind in set(config.global_layers)}
        self._positions = F.pad(stream.positions, (0, self.rows - self.tokens)).numpy()
        self._heads = config.heads
        width, panels, pair = config.head_width, self.rows // LANES, 4 // dtype.itemsize
        self._queries = as_numpy(torch.zeros(self.rows, self._heads, width, dtype=dtype))
        self._keys = as_numpy(torch.zeros(panels, self._heads, width // pair, LANES, pair, dtype=dtype))
        self._values = as_numpy(torch.zeros(panels, self._heads, LANES // pair, width, pair, dtype=dtype))
        self._mixed = torch.zeros(self.rows, config.width, dtype=dtype)
        self._ones = np.ones(max(CHUNK_ROWS, 3 * config.width), np.float32)

    def layer(
        self,
        layer: FloatLayer | Int8Layer,
        chunks: list[torch.Tensor],
        starts: range,
        is_global: bool,
        threads: int,
        each: Each,
    ) -> list[torch.Tensor]:
        """Take the residual stream through a layer: chunks of (rows, width), which begin at `starts`."""
        sight, step = self._sights[is_global], -(-self._heads // threads)

        @torch.inference_mode()
        def project(first: int, x: torch.Tensor) -> None:
            self._keep(sight, first, *layer.project(x))

        def attend_some(first_head: int) -> None:
            last_head = min(self._heads, first_head + step)
            out = as_numpy(self._mixed[: self.tokens])
            attend(self._queries, self._keys, self._values, sight.low, sight.high, out, first_head, last_head)
            blind = (sight.high <= sight.low)[: self.tokens]
            if blind.any():  # of the tokens that are not attended to; what sees nothing takes nothing on
                width = out.shape[1] // self._heads
                out[blind, first_head * width : last_head * width] = 0

        @torch.inference_mode()
        def finish(first: int, x: torch.Tensor) -> torch.Tensor:
            return layer.finish(x, self._mixed[first : first + len(x)])

        list(each(project, starts, chunks))
        list(each(attend_some, range(0, self._heads, step)))
        return list(each(finish, starts, chunks))

    def _keep(
        self,
        sight: Sight,
        first: int,
        states: torch.Tensor,
        scales: np.ndarray | None,
        weight_scales: np.ndarray | None,
    ) -> None:
        """Keep the projections of a chunk that starts at token `first`."""
        scales = self._ones if scales is None else scales
        weight_scales = self._ones if weight_scales is None else weight_scales
        where = (self._positions, sight.cosines, sight.sines, first)
        rotate_and_pack(as_numpy(states), scales, weight_scales, *where, self._queries, self._keys, self._values)
