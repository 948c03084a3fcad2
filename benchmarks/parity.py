"""Compare our ModernBERT with transformers' at full size: largest differences of hidden states, in a table.

    python benchmarks/parity.py --sizes base large --lengths 1 17 512 8192 1+17+300+64

Weights are random and the same on both sides, spread so that no part vanishes in the sums. Each row is one text, or one
pack of several (lengths joined by +), with one attention back-end. The reference runs in float32 on the CPU with sdpa,
one text at a time. Ends with code 1 where float32 differs by more than 1e-4.
"""

import argparse
import copy
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from transformers import ModernBertConfig, ModernBertModel

from modernir.encoders.modernbert.attention.backend import Backend
from modernir.encoders.modernbert.attention.choose import BACKENDS
from modernir.encoders.modernbert.network import ModernBert
from modernir.encoders.modernbert.presets import PRESETS
from modernir.encoders.stream import Stream

TOLERANCE = 1e-4
SPREAD = 0.05
"""Standard deviation of the weights; the 0.02 of a new network would hide mistakes."""
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
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
    """Print the table; return the process's exit code."""
    options = parse()
    sys.stdout.write(HEADER + "\n")
    failed = False
    for row in (row for size in options.sizes for row in compare(size, options)):
        sys.stdout.write(f"{row}\n")
        sys.stdout.flush()
        failed |= row.precision == "fp32" and not row.difference <= TOLERANCE
    return int(failed)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=PRESETS, default=["base"])
    parser.add_argument("--lengths", nargs="+", default=["1", "17", "512", "1+17+300+64+2"], help="texts or packs")
    parser.add_argument("--backends", nargs="+", help="default: all that run here")
    parser.add_argument("--precisions", nargs="+", choices=DTYPES, default=["fp32"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


@torch.inference_mode()
def compare(size: str, options: argparse.Namespace) -> Iterator[Row]:
    """Yield a row for the reference and one for each back-end and precision, for each of the texts."""
    device = torch.device(options.device)
    torch.manual_seed(options.seed)
    reference, ours = networks(size)
    copies = {name: copy.deepcopy(ours).to(device, DTYPES[name]) for name in options.precisions}
    for lengths in options.lengths:
        texts = [torch.randint(5, PRESETS[size].vocabulary, (int(length),)) for length in lengths.split("+")]
        started = time.perf_counter()
        wanted = torch.cat([reference(input_ids=text[None]).last_hidden_state[0] for text in texts])
        yield Row(size, lengths, "transformers", "fp32", 0.0, 1.0, time.perf_counter() - started)
        stream = Stream.of([text.tolist() for text in texts], device)
        for precision, network in copies.items():
            for backend in backends(device, DTYPES[precision], options.backends):
                started = time.perf_counter()
                found = network(stream, backend).float().cpu()
                seconds = time.perf_counter() - started
                difference = (found - wanted).abs().max().item()
                cosine = torch.cosine_similarity(found, wanted).min().item()
                yield Row(size, lengths, backend.name, precision, difference, cosine, seconds)


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


def backends(device: torch.device, dtype: torch.dtype, names: list[str] | None) -> list[Backend]:
    """Return the back-ends that run here, or those of them that were named."""
    here = [backend for backend in BACKENDS if backend.why_not(device, dtype) is None]
    return [backend for backend in here if names is None or backend.name in names]


if __name__ == "__main__":
    sys.exit(main())
