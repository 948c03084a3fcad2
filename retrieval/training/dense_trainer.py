"""The parts of the trainer of dense retrievers; imported only once training starts."""

from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

from ...errors import InputError
from .losses.dense import CachedDenseLoss
from .losses.goals import goals_of
from .settings import DenseTraining
from .teacher import Taught
from .trainer import GuardedTrainer, LengthSorted, Parts


class DenseCollator(LengthSorted, Taught, SentenceTransformerDataCollator):
    """Makes batches of a dense model, sorted by length."""


class DenseTrainer(GuardedTrainer, SentenceTransformerTrainer):
    """Trains a dense model."""

    data_collator_class = DenseCollator


def make_loss(settings: DenseTraining, model: SentenceTransformer) -> CachedDenseLoss:
    """Return the loss that the settings name, with cached gradients.

    Raises:
        InputError: A Matryoshka size is more than the model's width.
    """
    width = model.get_embedding_dimension()
    if width is not None and (wrong := next((size for size in settings.matryoshka if size > width), None)):
        raise InputError(f"matryoshka: {wrong} is more than the {width} numbers of the model's embeddings")
    if settings.matryoshka:
        model.model_card_data.add_tags("matryoshka")
    return CachedDenseLoss(model, goals_of(settings), settings.mini_batch_size, settings.matryoshka)


PARTS = Parts(DenseTrainer, SentenceTransformerTrainingArguments, make_loss, InformationRetrievalEvaluator)
