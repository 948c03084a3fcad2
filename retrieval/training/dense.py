"""Contrastive training of a dense retriever.

In-batch negatives come with cached gradients, so that memory goes by `mini_batch_size` and not by `batch_size`.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from .model import load_model, starting_model
from .run import Kind, train
from .settings import DenseTraining

if TYPE_CHECKING:
    from .trainer import Parts


def train_dense(settings: DenseTraining) -> Path:
    """Train a dense retriever and return its folder, `settings.output`; see `run.train`.

    Raises:
        InputError: The settings, the data, the model or the folder cannot be used, or the disk is full.
        ModernirError: The loss or the weights are no longer finite.
        KeyboardInterrupt: Ctrl-C came; a checkpoint was saved.
    """
    return train(settings, Kind(starting_model, load_model, _parts), settings.scored_negatives)


def _parts() -> "Parts":
    from .dense_trainer import PARTS

    return PARTS
