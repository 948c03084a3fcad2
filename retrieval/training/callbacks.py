"""What happens beside the trainer's steps: an orderly stop, the log file, progress on stderr, a guard of the weights.

Imported only once training starts, since it needs transformers.
"""

import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ...errors import ModernirError

METRICS = {"ndcg@10": "nDCG@10", "mrr@10": "MRR@10", "recall@10": "Recall@10", "recall@100": "Recall@100"}
"""The evaluator's names, as its keys end, and ours."""
TRAINER_KEYS = ("loss", "learning_rate", "grad_norm")
STOPPING = b"\nstopping after this step; press Ctrl-C again to stop at once\n"


class StopOnInterrupt(TrainerCallback):
    """Lets a first Ctrl-C finish the step and save a checkpoint; a second one stops at once."""

    def __init__(self) -> None:
        self.requested = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGINT within the block; only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = signal.signal(signal.SIGINT, self._request)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, previous)

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.write(2, STOPPING)  # a buffered stream may be in the middle of a write

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,
    ) -> None:
        """Ask the trainer to save and stop."""
        if self.requested:
            control.should_save = True
            control.should_training_stop = True


class MeasureAtEnd(TrainerCallback):
    """Has the last step measured too, where it is no multiple of the steps between two measurements."""

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,
    ) -> None:
        """Ask the trainer to evaluate."""
        if state.global_step >= state.max_steps:
            control.should_evaluate = True


class GuardWeights(TrainerCallback):
    """Refuses to save a checkpoint with weights that are not finite, so that the last one on disk stays good."""

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: torch.nn.Module,
        **kwargs: object,
    ) -> None:
        """Look at the weights where a checkpoint is due."""
        if control.should_save and not all(torch.isfinite(weights).all() for weights in model.parameters()):
            raise not_finite(state.global_step, "the weights", args.output_dir)


def not_finite(step: int, what: str, checkpoints: str | None) -> ModernirError:
    """Return the error of a run whose numbers have run away."""
    return ModernirError(
        f"step {step}: {what} are not finite; the last good checkpoint, if any, is kept in {checkpoints}; "
        "start again with a lower --learning-rate, a longer --warmup, or --precision fp32"
    )


class RunLog(TrainerCallback):
    """Appends what the trainer reports to a file of JSON lines, and to stderr."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._began = time.monotonic()
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(file=sys.stderr),
        )
        self._task = self._progress.add_task("training", total=None)

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,
    ) -> None:
        """Drop the lines that a resumed run will write again, and show the bar."""
        if self._path.exists():
            lines = self._path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if _step_of(line) <= state.global_step]
            self._path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        self._progress.update(self._task, total=state.max_steps, completed=state.global_step)
        self._progress.start()

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,
    ) -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: object,
    ) -> None:
        """Write one line with the loss, or with the metrics on the held-out part."""
        values = _named(logs or {})
        if not values:
            return
        values = {name: float(f"{value:.6g}") for name, value in values.items()}
        line = {"step": state.global_step, "seconds": round(time.monotonic() - self._began, 1), **values}
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        self._progress.console.print(f"step {state.global_step}: {_sentence(values)}", highlight=False)

    def close(self) -> None:
        """Take the bar away; however training ended."""
        self._progress.stop()


def _named(logs: dict[str, Any]) -> dict[str, float]:
    values = {name: float(logs[name]) for name in TRAINER_KEYS if name in logs}
    values = {name: value for name, value in values.items() if math.isfinite(value)}  # JSON has no other numbers
    for ending, name in METRICS.items():
        key = next((key for key in logs if key.startswith("eval_") and key.endswith(f"_{ending}")), None)
        if key:
            values[name] = float(logs[key])
    return values


def _sentence(values: dict[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in values.items())


def _step_of(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return sys.maxsize  # a line that a crash cut short
