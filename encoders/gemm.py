"""How fast this machine multiplies matrices of a model's own shapes: the limit that an encoder is held against.

On a CPU both plain calls and oneDNN's with prepacked weights are tried and the faster counts, since either may win.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from .precision import torch_dtype

if TYPE_CHECKING:
    import torch

ROWS = {"cpu": 512, "cuda": 16_384}
REPEATS = 7
ZERO_POINT = 128
"""Of unsigned activations, for which oneDNN has fast kernels everywhere."""
Multiply = Callable[[], object]


def load_gemm(shapes: Sequence[tuple[int, int]], device: str) -> Callable[[str], float | None]:
    """Return a function from a precision to the rate in GFLOP/s over one layer's matrices.

    Args:
        shapes: (inputs, outputs) of each matrix.
        device: "cpu" or a CUDA device.

    Returns:
        A function that gives None where the device has no such product.
    """
    return lambda precision: measure_gemm(precision, shapes, device)


def measure_gemm(precision: str, shapes: Sequence[tuple[int, int]], device: str) -> float | None:
    """Return GFLOP/s over all shapes, each at the best time of its fastest kernel; None if there is no such kernel."""
    rows = ROWS.get(device.split(":")[0], ROWS["cpu"])
    seconds = [_best_seconds(precision, rows, inputs, outputs, device) for inputs, outputs in shapes]
    known = [value for value in seconds if value is not None]
    if len(known) < len(shapes):
        return None
    return sum(2 * rows * inputs * outputs for inputs, outputs in shapes) / sum(known) / 1e9


def _best_seconds(precision: str, rows: int, inputs: int, outputs: int, device: str) -> float | None:
    import torch

    torch.manual_seed(0)
    x = torch.randn(rows, inputs, device=device)
    weight = torch.randn(outputs, inputs, device=device)
    kernels = _int8_kernels(x, weight) if precision == "int8" else _float_kernels(x, weight, precision)
    best = None
    with torch.inference_mode(), suppress(RuntimeError, NotImplementedError, AttributeError):
        for kernel in kernels:
            with suppress(RuntimeError, NotImplementedError, AttributeError):
                seconds = _time(kernel, device)
                best = seconds if best is None else min(best, seconds)
    return best


def _time(kernel: Multiply, device: str) -> float:
    kernel()
    seconds = []
    for _ in range(REPEATS):
        _wait(device)
        started = time.perf_counter()
        kernel()
        _wait(device)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize(device)


def _float_kernels(x: "torch.Tensor", weight: "torch.Tensor", precision: str) -> Iterator[Multiply]:
    import torch

    dtype = torch_dtype(precision)
    a, w = x.to(dtype), weight.to(dtype)
    yield lambda: torch.nn.functional.linear(a, w)
    if x.device.type == "cpu":
        packed = torch.ops.mkldnn._reorder_linear_weight(w, len(a))
        yield lambda: torch.ops.mkldnn._linear_pointwise(a, packed, None, "none", [], "")


def _int8_kernels(x: "torch.Tensor", weight: "torch.Tensor") -> Iterator[Multiply]:
    import torch

    signed = (x * 32).clamp(-127, 127).round().to(torch.int8)
    w = (weight * 32).clamp(-127, 127).round().to(torch.int8)
    yield lambda: torch._int_mm(signed, w.t())
    if x.device.type != "cpu":
        return
    unsigned = (signed.int() + ZERO_POINT).to(torch.uint8)
    yield lambda: torch._int_mm(unsigned, w.t())
    packed = torch.ops.onednn.qlinear_prepack(w, list(unsigned.shape))
    scales, zeros = torch.ones(len(w)), torch.zeros(len(w), dtype=torch.int32)
    linear = torch.ops.onednn.qlinear_pointwise
    yield lambda: linear(unsigned, 1.0, ZERO_POINT, packed, scales, zeros, None, 1.0, 0, torch.bfloat16, "none", [], "")
