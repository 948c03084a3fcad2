"""What a run reports: a line of JSON in a file, the same as a sentence on stderr, and a bar of the steps.

The file is the run's, not the process's: a run that goes on drops the lines of steps that it takes again.
"""

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class LoggedRun:
    """The log of a run; `start` before the first step, `close` however it ends.

    Args:
        path: File of JSON lines, appended to.
    """

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

    def start(self, step: int, steps: int) -> None:
        """Drop the lines that a resumed run will write again, and show the bar.

        Args:
            step: Steps that are done.
            steps: Steps of the whole run.
        """
        if self._path.exists():
            lines = self._path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if _step_of(line) <= step]
            self._path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        self._progress.update(self._task, total=steps, completed=step)
        self._progress.start()

    def move(self, step: int) -> None:
        """Move the bar to the steps that are done."""
        self._progress.update(self._task, completed=step)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write one line of finite numbers by name."""
        rounded = {name: float(f"{value:.6g}") for name, value in values.items()}
        line = {"step": step, "seconds": round(time.monotonic() - self._began, 1), **rounded}
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        self.say(f"step {step}: {_sentence(rounded)}")

    def say(self, sentence: str) -> None:
        """Write a sentence to stderr alone."""
        self._progress.console.print(sentence, highlight=False)

    def close(self) -> None:
        """Take the bar away."""
        self._progress.stop()


def _sentence(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in values.items())


def _step_of(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return sys.maxsize  # a line that a crash cut short
