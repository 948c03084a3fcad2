"""The best measurement of a run, by which it stops early and chooses what it leaves; and which checkpoints stay.

All is read from the history of measurements that each checkpoint holds, so that a run that resumes decides as one that
was never interrupted. The measurement before the first step counts for nothing, since no checkpoint goes with it.
Imported only once training starts, since it needs transformers.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from .callbacks import METRICS
from .steering_settings import SteeringSettings

CHECKPOINTS_KEPT = 2
ENDINGS = {name: ending for ending, name in METRICS.items()}


def measurements(history: Sequence[Mapping[str, Any]], metric: str) -> list[tuple[int, float]]:
    """Return step and value of every measurement after the first step, in order.

    Args:
        history: The trainer's `log_history`.
        metric: Our name of the measure.
    """
    found = []
    for entry in history:
        key = next((key for key in entry if key.startswith("eval_") and key.endswith(f"_{ENDINGS[metric]}")), None)
        if key and entry["step"]:
            found.append((int(entry["step"]), float(entry[key])))
    return found


def best_measurement(history: Sequence[Mapping[str, Any]], metric: str) -> tuple[int, float] | None:
    """Return step and value of the best measurement, of equal ones the first; None before any."""
    return max(measurements(history, metric), key=lambda found: (found[1], -found[0]), default=None)


def is_exhausted(history: Sequence[Mapping[str, Any]], settings: SteeringSettings) -> bool:
    """Say whether so many measurements came after the best one that the run is to stop."""
    best = best_measurement(history, settings.metric)
    if best is None or settings.early_stopping is None:
        return False
    steps = [step for step, _ in measurements(history, settings.metric)]
    return len(steps) - 1 - steps.index(best[0]) >= settings.early_stopping


class KeepBest(TrainerCallback):
    """Saves a checkpoint with every best measurement, and stops the run after too many that are not.

    Args:
        settings: Say by which measure, and how many.
    """

    def __init__(self, settings: SteeringSettings) -> None:
        self._settings = settings

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,
    ) -> None:
        """Look at the newest measurement."""
        best = best_measurement(state.log_history, self._settings.metric)
        if best is None:
            return
        if self._settings.keeps_best and best[0] == state.global_step:
            control.should_save = True
        if is_exhausted(state.log_history, self._settings):
            control.should_save = True
            control.should_training_stop = True


class Prune(TrainerCallback):
    """Keeps the last two checkpoints, and the one of the best measurement where it is to be the final model.

    Args:
        settings: Say by which measure.
    """

    def __init__(self, settings: SteeringSettings) -> None:
        self._settings = settings

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,
    ) -> None:
        """Remove the others."""
        steps = {int(path.name.rsplit("-", 1)[1]): path for path in Path(args.output_dir or "").glob("checkpoint-*")}
        kept = set(sorted(steps)[-CHECKPOINTS_KEPT:])
        best = best_measurement(state.log_history, self._settings.metric) if self._settings.keeps_best else None
        if best:
            kept.add(best[0])
        for step in steps.keys() - kept:
            shutil.rmtree(steps[step], ignore_errors=True)
