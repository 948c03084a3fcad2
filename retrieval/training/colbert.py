"""Training of a late-interaction retriever: contrastive, or by a teacher's scores."""

from pathlib import Path
from typing import TYPE_CHECKING

from .colbert_model import load_colbert, starting_colbert
from .run import Kind, train
from .settings import ColbertTraining

if TYPE_CHECKING:
    from .trainer import Parts


def train_colbert(settings: ColbertTraining) -> Path:
    """Train a late-interaction retriever and return its folder, `settings.output`; see `run.train`.

    Raises:
        InputError: The settings, the data, the model or the folder cannot be used, or the disk is full.
        ModernirError: The loss or the weights are no longer finite.
        KeyboardInterrupt: Ctrl-C came; a checkpoint was saved.
    """
    return train(settings, Kind(starting_colbert, load_colbert, _parts), settings.scored_negatives)


def _parts() -> "Parts":
    from .colbert_trainer import PARTS

    return PARTS
