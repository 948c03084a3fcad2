"""Several data sets mixed by temperature, every batch from one of them.

A batch of one data set keeps its negatives of one kind: told from functions, a question about chemistry teaches
nothing. Which data set comes next is drawn with a chance that grows with its size, and more slowly the higher the
temperature. Imported only once training starts, since it needs torch.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import accumulate, count
from typing import Any

import numpy as np
from sentence_transformers.base.sampler import BatchSamplers, DefaultBatchSampler, MultiDatasetDefaultBatchSampler

from ...errors import InputError
from .data import sets_by_source
from .duplicates import ShuffledBatchSampler, UniqueBatchSampler
from .settings import TrainingSettings

PASSES_AN_EPOCH = 1 << 20
"""Passes over a data set within an epoch that have a seed of their own."""


def chances(sizes: Sequence[int], temperature: float) -> np.ndarray:
    """Return the chance of each data set, (data sets,) float64, n^(1/T) for n examples, summing to one.

    Li, Zhang, Zhang, Long, Xie and Zhang, "Towards General Text Embeddings with Multi-stage Contrastive Learning"
    (2023), arXiv 2308.03281, whose exponent of 0.5 is a temperature of 2, and who take each batch from one data set;
    the form with a temperature is from Arivazhagan et al., "Massively Multilingual Neural Machine Translation in the
    Wild" (2019), arXiv 1907.05019.

    Args:
        sizes: Examples of each data set, at least one.
        temperature: 1 draws in proportion to size; the higher, the more evenly; infinity gives all the same chance.
    """
    powers = np.log(np.asarray(sizes, dtype=np.float64)) / temperature
    weights = np.exp(powers - powers.max())
    return weights / weights.sum()


class TemperatureBatchSampler(MultiDatasetDefaultBatchSampler):
    """Draws the data set of every batch.

    An epoch has as many batches as the data sets have together. A data set that is exhausted within it begins again in
    another order. What an epoch yields depends on the seed and the epoch alone, so that a run that resumes, and skips
    what it has seen, goes on where it stopped.

    Args:
        *args: Those of `MultiDatasetDefaultBatchSampler`.
        temperature: See `chances`.
        **kwargs: As `args`.
    """

    def __init__(self, *args: Any, temperature: float, **kwargs: Any) -> None:  # noqa: ANN401 - the trainer's
        super().__init__(*args, **kwargs)
        self._sizes = [len(examples) for examples in self.dataset.datasets]
        self._chances = chances(self._sizes, temperature)

    def __iter__(self) -> Iterator[list[int]]:
        drawn = np.random.default_rng([self.seed, self.epoch]).choice(len(self._sizes), len(self), p=self._chances)
        begins = [0, *accumulate(self._sizes)]
        batches = [self._endless(sampler) for sampler in self.batch_samplers]
        for place in drawn.tolist():
            yield [begins[place] + row for row in next(batches[place])]

    def __len__(self) -> int:
        return sum(map(len, self.batch_samplers))

    def _endless(self, sampler: DefaultBatchSampler) -> Iterator[list[int]]:
        for number in count(self.epoch * PASSES_AN_EPOCH):
            sampler.set_epoch(number)
            batch = None
            for batch in sampler:
                yield batch
            if batch is None:
                raise InputError(
                    f"a data set has no batch of {self.batch_size} different texts; lower --batch-size, or take "
                    "--allow-duplicates"
                )


def samplers(settings: TrainingSettings, scored: bool) -> dict[str, Any]:
    """Return the arguments of the trainer that say how batches are drawn.

    Args:
        settings: See `TrainingSettings`.
        scored: The loss compares an example's own documents only, and does not mind what others have.
    """
    apart = not (scored or settings.allow_duplicates)
    if settings.mixing is None:
        return {"batch_sampler": UniqueBatchSampler if apart else BatchSamplers.BATCH_SAMPLER}
    return {
        "batch_sampler": UniqueBatchSampler if apart else ShuffledBatchSampler,
        "multi_dataset_batch_sampler": partial(TemperatureBatchSampler, temperature=settings.mixing),
    }


def training_sets(examples: Any, settings: TrainingSettings) -> Any:  # noqa: ANN401 - datasets', which load slowly
    """Return the examples as the trainer takes them: in one pool, or, mixed, in a data set for each of their sources.

    Args:
        examples: A Dataset with the columns of `open_examples`.
        settings: See `TrainingSettings`.

    Raises:
        InputError: A source has fewer examples than a batch.
    """
    if settings.mixing is None:
        return examples
    sets = sets_by_source(examples, settings.data)
    for name, members in sets.items():
        if len(members) < settings.batch_size:
            raise InputError(
                f"{name}: {len(members)} examples to train on are less than one --batch-size {settings.batch_size}, "
                "which --mixing takes from one data set; lower it, leave the data set out, or join it to another"
            )
    return sets
