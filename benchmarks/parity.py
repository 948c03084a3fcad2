"""Compare our ModernBERT with transformers' at full size: largest differences of hidden states, in a table.

    python benchmarks/parity.py --sizes base large --lengths 1 17 512 8192 1+17+300+64

Weights are random and the same on both sides, spread so that no part vanishes in the sums. Each row is one text, or one
pack of several (lengths joined by +), with one attention back-end of the plain network, or with the engine that
`load_encoder` takes on the device ("cpu engine", "cuda engine"; int8 is the CPU engine's alone). The reference runs in
float32 on the CPU with sdpa, one text at a time. Ends with code 1 where float32 differs by more than 1e-4.
"""

import argparse
import copy
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from command import exit_code, positives
from transformers import ModernBertConfig, ModernBertModel

from modernir.encoders.modernbert.attention.choose import BACKENDS
from modernir.encoders.modernbert.load import why_no_engine
from modernir.encoders.modernbert.network import ModernBert
from modernir.encoders.modernbert.presets import PRESETS
from modernir.encoders.precision import PRECISIONS, resolve_device, resolve_precision, torch_dtype
from modernir.encoders.stream import Stream
from modernir.errors import InputError, ModernirError

TOLERANCE = 1e-4
SPREAD = 0.05
"""Standard deviation of the weights; the 0.02 of a new network would hide mistakes."""
ENGINE = "engine"
"""Name, in `--backends`, of what `load_encoder` takes."""
Run = Callable[[Stream], torch.Tensor]
"""Maps a stream to hidden states."""
HEADER = f"{'size':6} {'lengths':20} {'back-end':12} {'precision':9} {'max abs':>9} {'min cosine':>10} {'seconds':>8}"


@dataclass(frozen=True)
class Row:
    """One comparison, or the reference's own time, which differs by nothing."""

    size: str
    lengths: str
    backend: str
    precision: str
    difference: float
    cosine: float
    seconds: float

    def __str__(self) -> str:
        names = f"{self.size:6} {self.lengths:20} {self.backend:12} {self.precision:9}"
        return f"{names} {self.difference:9.2g} {self.cosine:10.6f} {self.seconds:8.2f}"


def main() -> int:
    """Read the command line and run; return the process's exit code."""
    return exit_code(run, parse())


def run(options: argparse.Namespace) -> None:
    """Print the table.

    Raises:
        InputError: The device, a precision, a back-end or a length is not to be had.
        ModernirError: A network in float32 differs by more than is allowed.
    """
    on_cpu = resolve_device(options.device).type == "cpu"
    options.precisions = options.precisions or ["fp32", "bf16", *(["int8"] if on_cpu else [])]
    for size in options.sizes:
        check(size, options)
    sys.stdout.write(HEADER + "\n")
    failed = 0
    for row in (row for size in options.sizes for row in compare(size, options)):
        sys.stdout.write(f"{row}\n")
        sys.stdout.flush()
        failed += row.precision == "fp32" and not row.difference <= TOLERANCE
    if failed:
        raise ModernirError(f"{failed} rows in fp32 differ by more than {TOLERANCE}")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=PRESETS, default=["base"])
    lengths = [[1], [17], [512], [1, 17, 300, 64, 2]]
    parser.add_argument("--lengths", nargs="+", type=positives("+"), default=lengths, help="texts or packs")
    names = f"{ENGINE}, {', '.join(backend.name for backend in BACKENDS)}"
    parser.add_argument("--backends", nargs="+", help=f"of {names}; default: all that run here")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, help="default: fp32, bf16, and int8 on a CPU")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def check(size: str, options: argparse.Namespace) -> None:
    """Find what cannot be compared before anything is.

    Raises:
        InputError: A precision, a length or the name of a back-end is not to be had.
    """
    device = torch.device(options.device)
    for precision in options.precisions:
        resolve_precision(precision, device)
    longest = max(map(max, options.lengths))
    if longest > PRESETS[size].positions:
        raise InputError(f"--lengths {longest}: size {size} reads {PRESETS[size].positions} tokens of a text")
    reasons = [dict(why_not(size, device, precision)) for precision in options.precisions]
    for name in options.backends or ():
        if name not in reasons[0]:
            raise InputError(f"--backends {name}: unknown; expected {', '.join(reasons[0])}")
        if all(found[name] for found in reasons):
            raise InputError(f"--backends {name}: does not run on {device}: {reasons[0][name]}")
    if not any(reason is None for found in reasons for reason in found.values()):
        raise InputError(f"nothing runs on {device} in {', '.join(options.precisions)}")


def why_not(size: str, device: torch.device, precision: str) -> Iterator[tuple[str, str | None]]:
    """Yield the name of the engine and of each back-end, and why it does not run here in a precision, or None."""
    if device.type == "cpu":
        yield ENGINE, why_no_engine(PRESETS[size], precision)
    else:
        yield ENGINE, None if device.type == "cuda" else f"there is none for {device.type}"
    for backend in BACKENDS:
        only = "int8 is the engine's alone" if precision == "int8" else None
        yield backend.name, only or backend.why_not(device, torch_dtype(precision))


@torch.inference_mode()
def compare(size: str, options: argparse.Namespace) -> Iterator[Row]:
    """Yield a row for the reference and one for each way and precision to compute it, for each of the texts."""
    device = torch.device(options.device)
    torch.manual_seed(options.seed)
    reference, ours = networks(size)
    runs = [
        found for precision in options.precisions for found in ways(size, ours, device, precision, options.backends)
    ]
    for lengths in options.lengths:
        texts = [torch.randint(5, PRESETS[size].vocabulary, (length,)) for length in lengths]
        title = "+".join(map(str, lengths))
        started = time.perf_counter()
        wanted = torch.cat([reference(input_ids=text[None]).last_hidden_state[0] for text in texts])
        yield Row(size, title, "transformers", "fp32", 0.0, 1.0, time.perf_counter() - started)
        stream = Stream.of([text.tolist() for text in texts], device)
        for name, precision, compute in runs:
            started = time.perf_counter()
            found = compute(stream).float().cpu()
            seconds = time.perf_counter() - started
            difference = (found - wanted).abs().max().item()
            cosine = torch.cosine_similarity(found, wanted).min().item()
            yield Row(size, title, name, precision, difference, cosine, seconds)


def networks(size: str) -> tuple[ModernBertModel, ModernBert]:
    """Return transformers' network and ours with the same random weights."""
    config = PRESETS[size]
    with torch.device("meta"):
        ours = ModernBert(config).eval()
    ours.to_empty(device="cpu")
    for weights in ours.parameters():
        torch.nn.init.normal_(weights, mean=1.0 if weights.ndim == 1 else 0.0, std=SPREAD)
    reference = ModernBertModel(ModernBertConfig(**config.to_fields(), attn_implementation="sdpa")).eval()
    reference.load_state_dict(ours.state_dict())
    return reference, ours


def ways(
    size: str, network: ModernBert, device: torch.device, precision: str, names: list[str] | None
) -> Iterator[tuple[str, str, Run]]:
    """Yield (name, precision, function) of what runs here, or of what of it was named."""
    wanted = [name for name, reason in why_not(size, device, precision) if not reason]
    wanted = [name for name in wanted if names is None or name in names]
    if ENGINE in wanted:
        yield f"{device.type} {ENGINE}", precision, engine(network, device, precision)
    chosen = [backend for backend in BACKENDS if backend.name in wanted]
    moved = copy.deepcopy(network).to(device, torch_dtype(precision)) if chosen else network
    for backend in chosen:
        yield backend.name, precision, partial(moved, backend=backend)


def engine(network: ModernBert, device: torch.device, precision: str) -> Run:
    """Return what encodes on a device, kernels compiled."""
    if device.type == "cuda":
        from modernir.encoders.modernbert.cuda import CudaNetwork

        made: Run = CudaNetwork(network, precision, device)
    else:
        from modernir.encoders.modernbert.cpu import CpuNetwork

        made = CpuNetwork(network, network.config, precision)
    made(Stream.of([[5, 6, 7]], device))
    return made


if __name__ == "__main__":
    sys.exit(main())
