"""The outcome of a measurement as tables and as JSON."""

import math
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from typing import Any

from .rounds import Outcome, Result
from .workloads import SHAPES

LIBRARIES = ("modernir", "torch", "transformers", "sentence-transformers")
COLUMNS = ("variant", "tokens/s (range)", "texts/s", "ratio", "of peak", "MB", "cosine")
MEGABYTE = 1e6
NOT_KNOWN = "-"


def environment(model: str, device: str, threads: int | None, libraries: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return what figures depend on: model, device, processor, threads, versions of libraries."""
    from llvmlite import binding

    return {
        "model": model,
        "device": _device_name(device),
        "processor": f"{binding.get_host_cpu_name()}, {os.cpu_count()} cores, {platform.machine()}",
        "threads": threads,
        "python": platform.python_version(),
        "versions": {name: found for name in (*LIBRARIES, *libraries) if (found := _version(name))},
    }


def to_json(outcome: Outcome, about: dict[str, Any]) -> dict[str, Any]:
    """Return everything as JSON values; seconds, bytes and shares are raw, and a cosine of broken vectors is null."""
    return {
        **about,
        "gemm_gflops": outcome.gemm,
        "intended_reference": outcome.intended_reference,
        "results": [
            asdict(result)
            | {
                "cosine": result.cosine if math.isfinite(result.cosine) else None,
                "median_seconds": result.median,
                "tokens_per_second": result.tokens / result.median,
                "texts_per_second": result.texts / result.median,
            }
            for result in outcome.results
        ],
        "skipped": [{"what": what, "why": why} for what, why in outcome.skipped],
    }


def print_outcome(outcome: Outcome, about: dict[str, Any]) -> None:
    """Print what the figures depend on, one Markdown table a workload, and what was not measured."""
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    lines = [
        f"{about['model']} on {about['device']} ({about['processor']}), "
        f"threads: {about['threads'] or 'as the libraries choose'}",
        versions,
    ]
    if outcome.gemm:
        rates = ", ".join(f"{precision} {rate:,.0f}" for precision, rate in sorted(outcome.gemm.items()))
        lines.append(f"GEMM peak at the model's shapes, GFLOP/s: {rates}")
    for workload, group in groupby(outcome.results, key=lambda result: result.workload):
        results = list(group)
        refers = f"ratios and cosines refer to {results[0].reference}"
        if outcome.intended_reference not in (None, results[0].reference):
            refers = f"warning: {refers}, since {outcome.intended_reference} was not measured"
        about_texts = f"{results[0].texts:,} texts, {results[0].tokens:,} tokens"
        lines += ["", f"{workload}: {SHAPES[workload].about}; {about_texts}", refers, ""]
        lines += table([COLUMNS, *map(_cells, results)])
    lines += [f"\nnot measured: {what}: {why}" for what, why in outcome.skipped]
    sys.stdout.write("\n".join(lines) + "\n")


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table whose first row is the head, columns aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]


def _cells(result: Result) -> tuple[str, ...]:
    rates = [result.tokens / seconds for seconds in result.seconds]
    return (
        result.variant,
        f"{result.tokens / result.median:,.0f} ({min(rates):,.0f}-{max(rates):,.0f})",
        f"{result.texts / result.median:,.2f}",
        f"{result.ratio:.2f}",
        NOT_KNOWN if result.peak_share is None else f"{result.peak_share:.0%}",
        NOT_KNOWN if result.memory is None else f"{result.memory / MEGABYTE:,.0f}",
        f"{result.cosine:.5f}",
    )


def _device_name(device: str) -> str:
    if not device.startswith("cuda"):
        return device
    import torch

    return f"{device}, {torch.cuda.get_device_name(device)}"


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None
