"""Encoding with ModernBERT-base, ours beside its peers, on the same texts, in interleaved rounds.

    python benchmarks/encode.py --cache FOLDER [--workloads bulk,passages,queries,long] [--only modernir,openvino]
        [--rounds 5] [--scale 1] [--threads 1] [--device cpu] [--json FILE]

The figures of benchmarks/README.md are of one core: `--threads 1` (the default), and, to keep the kernel from moving
the processes about, `taskset --cpu-list 1` before the command. The peers are not needed by modernir itself:
`pip install onnxruntime onnx onnxscript openvino nncf`; those missing are listed. packed-encoders asks for an older
torch than modernir: `pip install --no-deps packed-encoders`, then what it imports. The folder keeps the random weights
and the exports; with --model it keeps the exports of that model, whose embeddings must be the normalised mean.

Each variant is a process of its own, loaded before, and asked in turn; all tokenise and encode the same texts in one
call with their own batching. Memory is the peak of the resident set during the work over its level after loading and
encoding short texts (on CUDA: of torch's allocator), so weights do not count. Ratios and cosines refer to the first
variant. With random weights the cosines only show that all compute the same network: what a precision costs in
accuracy is to be seen with a trained model (--model).
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from command import exit_code, matching, positive
from peers.exports import export_apart
from peers.runtimes import load_compiled, load_onnxruntime, load_openvino, load_packed_encoders

from modernir.bench.encode import Settings, measure
from modernir.bench.report import environment, print_outcome, to_json
from modernir.bench.rounds import Outcome
from modernir.bench.synthetic import save_random_model
from modernir.bench.texts import TextMaker
from modernir.bench.variants import Variant, load_sentence_transformers, own_variants, peer_variants
from modernir.bench.workloads import passages, queries
from modernir.encoders.checkpoint import open_checkpoint
from modernir.encoders.precision import resolve_device

CALIBRATION_TEXTS = 64
CALIBRATION_SEED = 1
ONNX = (("onnx", "onnx"), ("onnxscript", "onnxscript"))
ONNXRUNTIME = (*ONNX, ("onnxruntime", "onnxruntime"))
OPENVINO = (*ONNX, ("openvino", "openvino"))
NNCF = (*OPENVINO, ("nncf", "nncf"))
FLASH = (("flash_attn", "flash-attn --no-build-isolation"),)
PACKED = (("packed_encoders", "packed-encoders"),)


@dataclass(frozen=True)
class Runtime:
    """A peer that runs an export.

    Attributes:
        name, precision: Of the variant.
        export: What it runs, see `peers.exports`.
        load: Its loader; called with model, export, threads and `extra`.
        needs: See `Variant`.
        extra: More arguments of the loader.
    """

    name: str
    precision: str
    export: str
    load: Callable[..., object]
    needs: tuple[tuple[str, str], ...]
    extra: tuple[object, ...] = ()


RUNTIMES = (
    Runtime("ONNX Runtime fp32", "fp32", "onnx-fp32", load_onnxruntime, ONNXRUNTIME),
    Runtime("ONNX Runtime int8 (dynamic)", "int8", "onnx-int8", load_onnxruntime, ONNXRUNTIME),
    Runtime("OpenVINO fp32", "fp32", "openvino-fp32", load_openvino, OPENVINO, ("f32",)),
    Runtime("OpenVINO bf16", "bf16", "openvino-fp32", load_openvino, OPENVINO, ("bf16",)),
    Runtime("OpenVINO int8 (NNCF, calibrated)", "int8", "openvino-int8", load_openvino, NNCF, (None,)),
)


def cpu_variants(model: str, threads: int | None, cache: Path) -> list[Variant]:
    """Return sentence-transformers, the runtimes and ours."""
    runtimes = [
        Variant(
            runtime.name,
            runtime.precision,
            runtime.load,
            (model, str(cache / runtime.export), threads, *runtime.extra),
            runtime.needs,
        )
        for runtime in RUNTIMES
    ]
    ours = own_variants(model, "cpu", ("fp32", "bf16", "int8"))
    return [*peer_variants(model, "cpu", ("fp32", "bf16")), *runtimes, *ours]


def cuda_variants(model: str, device: str) -> list[Variant]:
    """Return sentence-transformers with each attention and compiled, packed-encoders, and ours."""
    half = (model, device, "bf16")
    flash = (*half, False, "flash_attention_2")
    return [
        *peer_variants(model, device, ("bf16",))[::-1],
        Variant("sentence-transformers bf16, flash attention", "bf16", load_sentence_transformers, flash, FLASH),
        Variant("sentence-transformers bf16, torch.compile", "bf16", load_compiled, half),
        Variant("packed-encoders bf16", "bf16", load_packed_encoders, (*half, False), PACKED),
        Variant("packed-encoders bf16, CUDA graphs", "bf16", load_packed_encoders, (*half, True), PACKED),
        *own_variants(model, device, ("bf16", "fp32")),
    ]


def make_exports(model: str, variants: list[Variant], cache: Path) -> tuple[list[Variant], list[tuple[str, str]]]:
    """Make the exports that the variants run; return those that can run, and (variant, reason) of the others."""
    kinds = {runtime.name: runtime.export for runtime in RUNTIMES}
    checkpoint = open_checkpoint(model)
    random = np.random.default_rng(CALIBRATION_SEED)
    lengths = [*passages(random, CALIBRATION_TEXTS // 2, checkpoint.max_length)]
    lengths += [*queries(random, CALIBRATION_TEXTS // 2, checkpoint.max_length)]
    texts = TextMaker(checkpoint, CALIBRATION_SEED).make(lengths, "document")
    usable, failed = [], []
    for variant in variants:
        needed = variant.name in kinds and not variant.missing
        reason = export_apart(kinds[variant.name], model, cache, texts) if needed else None
        if reason:
            failed.append((variant.name, reason))
        else:
            usable.append(variant)
    return usable, failed


def run(options: argparse.Namespace) -> tuple[Outcome, str]:
    """Prepare model and exports, measure, and return what was found with the model's name.

    Raises:
        InputError: The model, the size, the device, a workload or a variant is not to be had.
        ModernirError: Nothing was measured.
    """
    settings = Settings.parse(options.workloads, threads=options.threads, rounds=options.rounds, scale=options.scale)
    resolve_device(options.device)
    cache = Path(options.cache)
    folder = open_checkpoint(options.model).folder if options.model else cache / options.size / "model"
    if not options.model and not folder.is_dir():
        save_random_model(folder, options.size)
    model = str(folder.resolve())
    exports = cache / (open_checkpoint(model).fingerprint()[:12] if options.model else options.size)
    cuda = options.device.startswith("cuda")
    variants = cuda_variants(model, options.device) if cuda else cpu_variants(model, options.threads, exports)
    wanted = matching([variant.name for variant in variants], options.only)
    variants = [variant for variant in variants if variant.name in wanted]
    variants, failed = make_exports(model, variants, exports)
    outcome = measure(model, variants, settings, options.device)
    outcome.skipped[:0] = failed
    outcome.require()
    return outcome, options.model or f"ModernBERT-{options.size}, random weights"


def report(options: argparse.Namespace) -> None:
    """Measure, print the tables, and write the JSON."""
    outcome, name = run(options)
    about = environment(name, options.device, options.threads, ("onnxruntime", "openvino", "nncf"))
    if options.json:
        options.json.write_text(json.dumps(to_json(outcome, about), indent=2) + "\n")
    print_outcome(outcome, about)


def main() -> int:
    """Read the command line and run; return the process's exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", required=True, help="folder that keeps weights and exports")
    parser.add_argument("--model", help="folder or name of a checkpoint, in place of random weights")
    parser.add_argument("--size", default="base", help="of the random weights: tiny, mini, base, large")
    parser.add_argument("--workloads", default="bulk,passages,queries,long")
    parser.add_argument("--only", default="", help="parts of the names of variants, with commas")
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="times as many texts")
    parser.add_argument("--threads", type=positive, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="file for all figures")
    return exit_code(report, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
