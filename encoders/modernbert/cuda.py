"""ModernBERT for encoding on a GPU: compiled regions between the attentions, CUDA graphs for short batches.

A batch of a few queries takes a GPU less time than the host needs to launch its kernels one by one. Such batches are
filled up to one of a few shapes (`buckets`), and the kernels of each shape are captured once and launched as one. Long
batches run from the host, which is ahead of the GPU then.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from ..precision import torch_dtype
from ..stream import Stream
from ..transfers import copy_over, send
from .attention.attended import prepare
from .attention.backend import Attend
from .attention.choose import choose
from .attention.gpu import installed
from .buckets import LONGEST, Bucket, bucket_of, fill, laid_out
from .fused import Regions, Weights, any_number, regions
from .network import ModernBert
from .rope import Rotation, rotation_of

Plan = Mapping[bool, tuple[Rotation, Attend]]
"""Rotation and attention of a batch, for global layers (True) and local ones."""

logger = logging.getLogger(__name__)


class CudaNetwork:
    """A ModernBERT that encodes; calling it maps a stream to hidden states. One thread at a time may call it.

    Args:
        network: Whose weights to use; they are copied where device or precision differ.
        precision: "bf16", "fp16" or "fp32".
        device: Where to run.
        attention: Name of the attention back-end; None takes the best there is.
        graphs: Whether short batches go through CUDA graphs.

    Attributes:
        device: Where it runs.
        width: Width of the hidden states.

    Raises:
        InputError: The attention back-end is unknown or does not run here.
    """

    def __init__(
        self,
        network: ModernBert,
        precision: str = "bf16",
        device: torch.device | str = "cuda",
        attention: str | None = None,
        graphs: bool = True,
    ) -> None:
        self.device = torch.device(device)
        self.width = network.config.width
        self._config = network.config
        dtype = torch_dtype(precision)
        self._backend = choose(self.device, dtype, attention)
        self._weights = Weights.of(network, self.device, dtype)
        self._plain = regions(network.config.eps)
        self._regions = self._compiled()
        self._graphs: Graphs | None = None
        if graphs and self.device.type == "cuda" and self._backend.replays:
            self._graphs = Graphs(self._replayable, self.device)

    @torch.inference_mode()
    def __call__(self, stream: Stream) -> torch.Tensor:
        """Return the last hidden states, (tokens, width) in the network's precision.

        A stream on the host, best for speed, is copied to the device in one piece.
        """
        bucket = bucket_of(stream.lengths) if self._graphs and stream.attended is None else None
        if self._graphs and bucket:
            try:
                return self._graphs(stream, bucket)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                self._graphs = None
                logger.warning("CUDA graphs are switched off, short batches take longer: %s", _first_line(error))
        stream = send(stream, self.device)
        return self._run(stream.ids, self._plan(stream))

    def _compiled(self) -> Regions:
        if installed("triton"):
            return self._plain.compiled()
        logger.warning("the package triton is not installed: the network runs uncompiled on %s, slower", self.device)
        return self._plain

    def _plan(self, stream: Stream) -> Plan:
        def prepare(is_global: bool) -> tuple[Rotation, Attend]:
            rotation = rotation_of(stream, self._theta(is_global), self._config.head_width)
            return rotation, self._attend(stream, is_global)

        return {is_global: prepare(is_global) for is_global in set(self._config.global_layers)}

    def _theta(self, is_global: bool) -> float:
        return self._config.global_theta if is_global else self._config.local_theta

    def _attend(self, stream: Stream, is_global: bool) -> Attend:
        return prepare(self._backend, stream, None if is_global else self._config.window)

    def _replayable(self, stream: Stream) -> Callable[[], torch.Tensor]:
        """Return what computes the hidden states of whatever the stream's tensors hold whenever it is called."""
        attends = {is_global: self._attend(stream, is_global) for is_global in set(self._config.global_layers)}

        def run() -> torch.Tensor:
            places = stream.positions
            tables = {kind: self._tables[kind] for kind in attends}
            plan = {kind: ((cos[places], sin[places]), attends[kind]) for kind, (cos, sin) in tables.items()}
            return self._run(stream.ids.long(), plan)

        return run

    @cached_property
    def _tables(self) -> Mapping[bool, Rotation]:
        """Rotations by place, which live as long as the graphs that read them."""
        longest = max(LONGEST)
        text = Stream.of_ids(torch.zeros(longest, dtype=torch.int64), (longest,), self.device)
        return {kind: rotation_of(text, self._theta(kind), self._config.head_width) for kind in (True, False)}

    def _run(self, ids: torch.Tensor, plan: Plan) -> torch.Tensor:
        try:
            return self._pass(self._regions, ids, plan)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # compilers fail in many ways
            if self._regions is self._plain:
                raise
            logger.warning("torch.compile fails, the network runs uncompiled, slower: %s", _first_line(error))
            self._regions = self._plain
            return self._pass(self._regions, ids, plan)

    def _pass(self, parts: Regions, ids: torch.Tensor, plan: Plan) -> torch.Tensor:
        weights, kinds = self._weights, self._config.global_layers
        any_number(ids, *(angles for rotation, _ in plan.values() for angles in rotation))
        rotation, attend = plan[kinds[0]]
        states = parts.enter(ids, weights.table, weights.embedding_norm, weights.layers[0].qkv, rotation)
        for layer, after, kind in zip(weights.layers, weights.layers[1:], kinds[1:], strict=False):
            x, mixed = _mix(states, attend)
            rotation, attend = plan[kind]
            states = parts.between(
                x, mixed, layer.out, layer.mlp_norm, layer.up, layer.down, after.attention_norm, after.qkv, rotation
            )
        x, mixed = _mix(states, attend)
        last = weights.layers[-1]
        return parts.leave(x, mixed, last.out, last.mlp_norm, last.up, last.down, weights.final_norm)


def _mix(states: tuple[torch.Tensor, torch.Tensor, torch.Tensor], attend: Attend) -> tuple[torch.Tensor, torch.Tensor]:
    x, turned, projected = states
    mixed = attend(turned[:, 0], turned[:, 1], projected[:, 2]).flatten(1)
    any_number(x, mixed)
    return x, mixed


class Graphs:
    """CUDA graphs, one for each bucket that was asked for; there are few buckets, so all are kept.

    Args:
        replayable: Given a stream of fixed tensors, returns what computes the hidden states of what they hold. All
            else that it reads has to stay where it is for as long as the graphs.
        device: Where.
    """

    def __init__(self, replayable: Callable[[Stream], Callable[[], torch.Tensor]], device: torch.device) -> None:
        self._replayable = replayable
        self._device = device
        self._captured: dict[Bucket, Captured] = {}
        # One pool for all: a result is copied out before another graph runs, so that they may write over each other.
        self._pool: Any = None

    def __call__(self, stream: Stream, bucket: Bucket) -> torch.Tensor:
        """Return hidden states (tokens, width) of a stream that the bucket holds, on the host or the device."""
        numbers = fill(stream, bucket)
        if (captured := self._captured.get(bucket)) is None:
            place = numbers.to(self._device)
            if self._pool is None:
                self._pool = new_pool()
            result, replay = capture(self._replayable(laid_out(place, bucket)), self._device, self._pool)
            captured = self._captured[bucket] = Captured(place, result, replay)
        else:
            copy_over(numbers, captured.place)
        captured.replay()
        return captured.result[: len(stream.ids)].clone()


@dataclass(frozen=True)
class Captured:
    """The graph of one bucket.

    Attributes:
        place: (bucket.numbers,) int32, where it reads what `fill` made.
        result: (bucket.tokens, width), where it writes hidden states.
        replay: Runs it.
    """

    place: torch.Tensor
    result: torch.Tensor
    replay: Callable[[], None]


def new_pool() -> Any:  # noqa: ANN401 - torch calls it opaque
    """Return a memory pool that graphs can share."""
    return torch.cuda.graph_pool_handle()


def capture(
    run: Callable[[], torch.Tensor],
    device: torch.device,
    pool: Any,  # noqa: ANN401 - as above
) -> tuple[torch.Tensor, Callable[[], None]]:
    """Capture what a function launches.

    Returns:
        Where the result will be, and what computes it from what is then in the tensors that the function reads.
    """
    with torch.cuda.device(device):
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(2):  # compiles, tunes, and makes what is made once, none of which can be captured
                run()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # Other threads (tokenizers, copies) may go on with their own work.
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            result = run()
    return result, graph.replay


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
