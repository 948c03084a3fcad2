"""Commands that measure speed and memory on this machine."""

from enum import StrEnum
from typing import Annotated

import typer

from .options import AsJson, Attention, Device, RemoteCode, print_json
from .root import bench_app


class Against(StrEnum):
    """What an encoder is measured against."""

    sentence_transformers = "sentence-transformers"
    nothing = "nothing"


@bench_app.command("encode")
def bench_encode(
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Folder or hub name. Default: random weights of --init's size.")
    ] = None,
    init: Annotated[str, typer.Option(help="Size without --model: tiny, mini, base or large.")] = "base",
    precision: Annotated[
        str | None, typer.Option(help="Such as fp32,bf16,int8. Default: all that model and device have.")
    ] = None,
    workload: Annotated[
        str,
        typer.Option(
            help="With commas, of queries, single, calls32, passages, bulk, long, fixed512, fixed8192, variable256, "
            "variable4096."
        ),
    ] = "queries,passages,bulk,long",
    against: Annotated[Against, typer.Option(help="Measured beside it.")] = Against.sentence_transformers,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads a variant. Default: the libraries'.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Timed rounds.")] = 3,
    scale: Annotated[float, typer.Option(min=0.01, help="Times as many texts.")] = 1.0,
    device: Device = None,
    attention: Attention = None,
    trust_remote_code: RemoteCode = False,
    as_json: AsJson = False,
) -> None:
    """Measure tokens/s, memory and parity of an encoder here, in interleaved rounds with sentence-transformers."""
    from ..bench.encode import Settings
    from ..bench.encode import bench_encode as measure
    from ..bench.report import print_outcome, to_json
    from ..bench.variants import OURS

    settings = Settings.parse(
        precisions=precision,
        workloads=workload,
        size=init,
        with_peer=against is not Against.nothing,
        device=device,
        attention=attention,
        threads=threads,
        rounds=rounds,
        scale=scale,
        trust_remote_code=trust_remote_code,
    )
    outcome, about = measure(model, settings)
    if as_json:
        print_json(to_json(outcome, about))
    else:
        print_outcome(outcome, about)
    outcome.require(OURS)
