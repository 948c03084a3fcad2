"""The parts of the trainer of dense retrievers; imported only once training starts."""

from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss

from .settings import DenseTraining
from .trainer import GuardedTrainer, LengthSorted, Parts


class DenseCollator(LengthSorted, SentenceTransformerDataCollator):
    """Makes batches of a dense model, sorted by length."""


class DenseTrainer(GuardedTrainer, SentenceTransformerTrainer):
    """Trains a dense model."""

    data_collator_class = DenseCollator


def make_loss(settings: DenseTraining, model: SentenceTransformer) -> CachedMultipleNegativesRankingLoss:
    """Return the in-batch contrastive loss with cached gradients."""
    return CachedMultipleNegativesRankingLoss(
        model, scale=1 / settings.temperature, mini_batch_size=min(settings.mini_batch_size, settings.batch_size)
    )


PARTS = Parts(DenseTrainer, SentenceTransformerTrainingArguments, make_loss, InformationRetrievalEvaluator)
