"""`modernir bench encode`: how fast an encoder is here, beside sentence-transformers on the same model and texts."""

import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ..encoders.checkpoint import open_checkpoint
from ..encoders.cost import cost_of
from ..encoders.precision import PRECISIONS, resolve_device
from ..errors import InputError
from .report import environment
from .rounds import Outcome, Task, announce, run_rounds
from .synthetic import save_random_model
from .texts import TextMaker
from .variants import (
    Variant,
    check_precisions,
    default_precisions,
    own_variants,
    peer_variants,
)
from .workloads import SHAPES, draw_workload

SEED = 0


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What to measure and how.

    Attributes:
        workloads: See `workloads.SHAPES`.
        precisions: Of this package's encoder; None takes all that model and device have.
        size: Preset of the random weights, where no model is named.
        with_peer: Measure sentence-transformers too, first.
        device: See `load_encoder`.
        attention: See `load_encoder`.
        threads: Threads of each variant; None leaves the libraries' choice.
        rounds: Timed rounds.
        scale: Times as many texts as usual.
        trust_remote_code: Run Python code that the checkpoint brings.
        quiet: Show no progress.
    """

    workloads: tuple[str, ...]
    precisions: tuple[str, ...] | None = None
    size: str = "base"
    with_peer: bool = True
    device: str | None = None
    attention: str | None = None
    threads: int | None = None
    rounds: int = 3
    scale: float = 1.0
    trust_remote_code: bool = False
    quiet: bool = False

    @classmethod
    def parse(cls, workloads: str, precisions: str | None = None, **others: Any) -> Self:  # noqa: ANN401 - see the class
        """Read lists of names separated by commas.

        Raises:
            InputError: A workload or a precision is unknown.
        """
        chosen = None if precisions is None else _names(precisions, "precision", PRECISIONS)
        return cls(workloads=_names(workloads, "workload", SHAPES), precisions=chosen, **others)


def bench_encode(model: str | None, settings: Settings) -> tuple[Outcome, dict[str, Any]]:
    """Measure a model, or a ModernBERT of random weights where none is named.

    Args:
        model: Folder or hub name.
        settings: What to measure and how.

    Returns:
        What was found, and what it depends on (see `report.environment`).

    Raises:
        InputError: The model, the device, the size, a precision or the attention back-end is not to be had.
        ModernirError: Nothing was measured.
    """
    with _model_folder(model, settings) as folder:
        device = str(resolve_device(settings.device))
        checkpoint, attention = open_checkpoint(folder), settings.attention
        chosen = settings.precisions or default_precisions(checkpoint, device, attention)
        check_precisions(checkpoint, device, chosen, attention)
        trust = settings.trust_remote_code
        peers = peer_variants(folder, device, chosen, trust) if settings.with_peer else []
        variants = [*peers, *own_variants(folder, device, chosen, trust, attention)]
        outcome = measure(folder, variants, settings, device)
    outcome.require()
    return outcome, environment(model or f"ModernBERT-{settings.size}, random weights", device, settings.threads)


def measure(model: str, variants: Sequence[Variant], settings: Settings, device: str = "cpu") -> Outcome:
    """Make the texts for a model and run variants of it over them.

    Args:
        model: Folder or hub name; its tokenizer and configuration are read.
        variants: Ratios and cosines refer to the first of them that runs.
        settings: Workloads beyond the model's maximum length are skipped.
        device: Where the variants run.

    Raises:
        InputError: The model is not to be had, or no texts can be made for its tokenizer.
    """
    checkpoint = open_checkpoint(model)
    maker = TextMaker(checkpoint, SEED)
    tasks, skipped = [], []
    for name in settings.workloads:
        workload = draw_workload(name, checkpoint.max_length, settings.scale, SEED)
        if workload is None:
            skipped.append((name, f"the model reads {checkpoint.max_length:,} tokens of a text"))
            continue
        texts = maker.make(workload.lengths, workload.task)
        tasks.append(Task(name, workload.task, texts, maker.count(texts, workload.task), workload.batch))
    if not tasks:
        return Outcome(skipped=skipped)
    outcome = run_rounds(
        variants,
        tasks,
        maker.warm_up(),
        cost_of(checkpoint.config),
        rounds=settings.rounds,
        threads=settings.threads,
        device=device,
        quiet=settings.quiet,
    )
    outcome.skipped[:0] = skipped
    return outcome


def _names(text: str, kind: str, known: Collection[str]) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        given = f"unknown {kind} {unknown[0]!r}" if unknown else f"no {kind} given"
        raise InputError(f"{given}; expected one of {', '.join(known)}")
    return names


@contextmanager
def _model_folder(model: str | None, settings: Settings) -> Iterator[str]:
    """Yield the model as a folder, since peers do not know the names of bundled models."""
    if model is not None:
        announce(f"reading {model}", settings.quiet)
        yield str(open_checkpoint(model).folder.absolute())
        return
    announce(f"making a ModernBERT of random weights, size {settings.size}", settings.quiet)
    with tempfile.TemporaryDirectory() as folder:
        save_random_model(Path(folder) / settings.size, settings.size)
        yield str(Path(folder) / settings.size)
