"""The folder of a pre-training run: that of any training run, with the tokenised texts and TensorBoard's files.

training.toml, training_log.jsonl, tensorboard/   the settings and the log
corpus/, checkpoints/checkpoint-N/                what a run needs to go on; the corpus goes when it is done
config.json and the model's files                 the finished model, config.json last
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ..training.run_folder import RunFolder

CONFIG = "config.json"


@dataclass(frozen=True)
class PretrainingFolder(RunFolder):
    """Paths and states of one run."""

    mark: ClassVar[str] = CONFIG

    @property
    def examples(self) -> Path:
        """Folder of the tokenised texts."""
        return self.path / "corpus"

    @property
    def board(self) -> Path:
        """Folder of TensorBoard's files."""
        return self.path / "tensorboard"

    @property
    def own_names(self) -> set[str]:
        """Names of what a run writes here before its model."""
        return super().own_names | {self.board.name}

    def drop_half_corpus(self) -> None:
        """Remove what a process that was killed left of the tokenised texts."""
        for left in self.path.glob(f".{self.examples.name}.*.tmp"):
            shutil.rmtree(left, ignore_errors=True)

    def _clear(self) -> None:
        super()._clear()
        self.drop_half_corpus()
        shutil.rmtree(self.board, ignore_errors=True)
