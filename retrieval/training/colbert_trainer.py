"""The parts of the trainer of late-interaction retrievers; imported only once training starts."""

from typing import Any

import torch
from sentence_transformers import MultiVectorEncoder, MultiVectorEncoderTrainer, MultiVectorEncoderTrainingArguments
from sentence_transformers.multi_vector_encoder.data_collator import MultiVectorEncoderDataCollator
from sentence_transformers.multi_vector_encoder.evaluation import MultiVectorInformationRetrievalEvaluator
from torch import Tensor

from ...maxsim.torch import maxsim, ragged
from .losses.goals import goals_of
from .losses.late import CachedMaxSimLoss
from .settings import ColbertTraining
from .teacher import Taught
from .trainer import GuardedTrainer, LengthSorted, Parts


class ColbertCollator(LengthSorted, Taught, MultiVectorEncoderDataCollator):
    """Makes batches of a late-interaction model, sorted by length."""


class ColbertTrainer(GuardedTrainer, MultiVectorEncoderTrainer):
    """Trains a late-interaction model."""

    data_collator_class = ColbertCollator


def make_loss(settings: ColbertTraining, model: MultiVectorEncoder) -> CachedMaxSimLoss:
    """Return the loss that the settings name, with cached gradients."""
    return CachedMaxSimLoss(model, goals_of(settings), settings.mini_batch_size, settings.mean_scores)


def score(queries: Tensor, documents: list[Tensor]) -> Tensor:
    """Return exact MaxSim scores, (queries, documents) float32, as the evaluator wants them.

    Args:
        queries: (queries, tokens, dim), zeros behind the tokens of each.
        documents: (tokens, dim) each.
    """
    asked, bounds = ragged(queries, queries.any(2))
    return maxsim(asked, bounds, torch.cat(documents), torch.tensor([0, *map(len, documents)]).cumsum(0))


def make_evaluator(*args: Any, **kwargs: Any) -> MultiVectorInformationRetrievalEvaluator:  # noqa: ANN401 - its own
    """Return the evaluator of sentence-transformers, which scores here with this package's kernels."""
    return MultiVectorInformationRetrievalEvaluator(*args, score_functions={"maxsim": score}, **kwargs)


PARTS = Parts(ColbertTrainer, MultiVectorEncoderTrainingArguments, make_loss, make_evaluator)
