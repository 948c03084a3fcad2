"""A run from its first step, or from a checkpoint, to its last: steps, measurements, checkpoints, the log.

What a resumed run needs is in the checkpoint and the settings, so it ends with the weights of an uninterrupted one.
Imported only once training starts, since it needs torch and transformers.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import numpy as np

from ...errors import InputError
from ..training.callbacks import StopOnInterrupt, not_finite
from ..training.run_log import LoggedRun
from .board import Board
from .checkpoint import Progress, read_progress, restore, save_checkpoint
from .loop import Step, gradients, is_finite, make_optimizer, measure, move, predictor
from .packs import Supply
from .run_folder import PretrainingFolder
from .schedule import batch_sizes, steps_of
from .settings import Pretraining
from .start import Start
from .throughput import Throughput

OFTEN = 10
"""Measurements and checkpoints of a run whose settings do not say how many."""


@dataclass
class Trainer:
    """A run.

    Attributes:
        settings: How it goes.
        run: Where it goes.
        start: The model, trained in place.
        supply: Packs to train on.
        held_out: (n,) numbers of the texts to measure on; may be empty.

    Raises:
        InputError: The passes over the texts are not enough for one step.
    """

    settings: Pretraining
    run: PretrainingFolder
    start: Start
    supply: Supply
    held_out: np.ndarray
    _losses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        settings, supply = self.settings, self.supply
        batches = (settings.batch_size, settings.first_batch_size, settings.batch_warmup)
        self._steps = settings.max_steps or steps_of(int(settings.epochs * supply.per_pass), *batches)
        if not self._steps:
            raise InputError(f"epochs: {settings.epochs:g} of {supply.per_pass} packs make no batch of {batches[0]}")
        self._sizes = batch_sizes(self._steps, *batches)
        self._network = self.start.network.to(supply.device).train()
        self._network.model.gradient_checkpointing = settings.gradient_checkpointing
        self._predict = predictor(self._network, settings, supply.device)
        self._optimizer = make_optimizer(self._network, settings)

    def train(self, checkpoint: Path | None = None) -> None:
        """Take all steps that are left.

        Args:
            checkpoint: Of this run, whose weights the model has; None begins the run.

        Raises:
            ModernirError: Loss, gradients or weights are no longer finite; no checkpoint was written with them.
            KeyboardInterrupt: Ctrl-C came, and a checkpoint was saved.
        """
        import torch

        torch.manual_seed(self.settings.seed)
        progress = Progress()
        if checkpoint:
            progress = read_progress(checkpoint)
            restore(checkpoint, self._network, self._optimizer, progress)
        stop = StopOnInterrupt()
        with self._logging(progress), stop.listening():
            if not checkpoint:
                self._measure(progress)
            while progress.global_step < self._steps and not stop.requested:
                progress = self._step(progress)
                self._between(progress, stop.requested)
        if progress.global_step < self._steps:
            kept = self.run.newest_checkpoint()
            where = f"checkpoint kept in {kept}" if kept else "before the first step"
            raise KeyboardInterrupt(f"{where}; continue with --resume")

    @contextmanager
    def _logging(self, progress: Progress) -> Iterator[None]:
        device, config = self.supply.device, self._network.config
        self._speed = Throughput.measured(config, self.settings.precision, device)
        self._log, self._board = LoggedRun(self.run.log), Board(self.run.board, progress.global_step)
        try:
            if not progress.global_step:
                self.run.log.unlink(missing_ok=True)  # of a run that was cut before its first checkpoint
            self._log.start(progress.global_step, self._steps)
            self._log.say(self._plan())
            yield
        finally:
            self._log.close()
            self._board.close()

    def _plan(self) -> str:
        supply, settings = self.supply, self.settings
        peak = (
            f"; matrix products in {settings.precision}: {self._speed.peak / 1e9:,.0f} GFLOP/s"
            if self._speed.peak
            else ""
        )
        return (
            f"{len(supply.texts):,} texts, {supply.tokens:,} tokens in {supply.per_pass:,} packs of "
            f"{supply.capacity:,}, {supply.fullness:.2%} full; {len(self.held_out):,} texts held out; "
            f"{self._steps:,} steps of up to {settings.batch_size} packs on {supply.device}{peak}"
        )

    def _step(self, progress: Progress) -> Progress:
        self._speed.start()
        count = int(self._sizes[progress.global_step])
        examples = [self.supply.example(number) for number in range(progress.packs, progress.packs + count)]
        step = gradients(self._predict, self._network, examples)
        if not step.finite:
            what = f"losses (found {step.loss}) or gradients (norm {step.grad_norm})"
            raise not_finite(progress.global_step + 1, what, str(self.run.checkpoints))
        rate = move(self._optimizer, self.settings, progress.global_step, self._steps)
        self._speed.add(examples)
        progress = Progress(progress.global_step + 1, progress.packs + count, progress.tokens + step.tokens)
        self._report(progress, step, rate)
        return progress

    def _report(self, progress: Progress, step: Step, rate: float) -> None:
        self._losses.append(step.loss)
        self._log.move(progress.global_step)
        if progress.global_step == 1 or self._due(progress, self.settings.log_every):
            values = {
                "loss": fmean(self._losses),
                "learning_rate": rate,
                "grad_norm": step.grad_norm,
                "batch_size": float(len(step.examples)),
                "tokens": float(progress.tokens),
                **self._speed.read(),
            }
            self._losses.clear()
            self._write(progress, values)

    def _between(self, progress: Progress, stopping: bool) -> None:
        """Measure and save where it is due."""
        tenth = -(-self._steps // OFTEN)
        if self._due(progress, self.settings.eval_every or tenth):
            self._measure(progress)
        if stopping or self._due(progress, self.settings.save_every or tenth):
            if not is_finite(self._network):
                raise not_finite(progress.global_step, "the weights", str(self.run.checkpoints))
            save_checkpoint(self.run.checkpoints, self.start, self._optimizer, progress)

    def _due(self, progress: Progress, every: int) -> bool:
        return progress.global_step % every == 0 or progress.global_step == self._steps

    def _measure(self, progress: Progress) -> None:
        if len(self.held_out):
            self._write(progress, measure(self._predict, self._network, self.supply, self.held_out))

    def _write(self, progress: Progress, values: dict[str, float]) -> None:
        self._log.write(progress.global_step, values)
        self._board.write(progress.global_step, values)
