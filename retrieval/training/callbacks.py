"""What happens beside the trainer's steps: an orderly stop, the log file, progress on stderr, a guard of the weights.

Imported only once training starts, since it needs transformers.
"""

import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ...errors import ModernirError
from . import processes
from .run_log import LoggedRun

METRICS = {"ndcg@10": "nDCG@10", "mrr@10": "MRR@10", "recall@10": "Recall@10", "recall@100": "Recall@100"}
"""The evaluator's names, as its keys end, and ours."""
TRAINER_KEYS = ("loss", "learning_rate", "grad_norm")
STOPPING = b"\nstopping after this step; press Ctrl-C again to stop at once\n"
SAME_PRESS = 2.0
"""Seconds within which one Ctrl-C may reach a process twice: from the terminal, and handed on by torchrun."""


class StopOnInterrupt(TrainerCallback):
    """Lets a first Ctrl-C finish the step and save a checkpoint; a second one stops at once."""

    def __init__(self) -> None:
        self.requested = False
        self._asked = 0.0

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
        if self.requested:
            if processes.count() > 1 and time.monotonic() - self._asked < SAME_PRESS:
                return
            raise KeyboardInterrupt
        self.requested = True
        self._asked = time.monotonic()
        if processes.is_first():
            os.write(2, STOPPING)  # a buffered stream may be in the middle of a write

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,
    ) -> None:
        """Ask the trainer to save and stop, in all processes at the same step."""
        if processes.anywhere(self.requested):
            self.requested = True
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

    on_evaluate = on_step_end  # which may ask for one too


def not_finite(step: int, what: str, checkpoints: str | None) -> ModernirError:
    """Return the error of a run whose numbers have run away."""
    return ModernirError(
        f"step {step}: {what} are not finite; the last good checkpoint, if any, is kept in {checkpoints}; "
        "start again with a lower --learning-rate, a longer --warmup, or --precision fp32"
    )


class RunLog(TrainerCallback):
    """Appends what the trainer reports to a file of JSON lines, and to stderr."""

    def __init__(self, path: Path) -> None:
        self._log = LoggedRun(path)

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,
    ) -> None:
        """Drop the lines that a resumed run will write again, and show the bar."""
        self._log.start(state.global_step, state.max_steps)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,
    ) -> None:
        """Move the bar."""
        self._log.move(state.global_step)

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
        if values:
            self._log.write(state.global_step, values)

    def say(self, sentence: str) -> None:
        """Write a sentence to stderr."""
        self._log.say(sentence)

    def close(self) -> None:
        """Take the bar away; however training ended."""
        self._log.close()


def _named(logs: dict[str, Any]) -> dict[str, float]:
    values = {name: float(logs[name]) for name in TRAINER_KEYS if name in logs}
    values = {name: value for name, value in values.items() if math.isfinite(value)}  # JSON has no other numbers
    for ending, name in METRICS.items():
        key = next((key for key in logs if key.startswith("eval_") and key.endswith(f"_{ending}")), None)
        if key:
            values[name] = float(logs[key])
    return values
