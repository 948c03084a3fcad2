"""Codecs from samples of tokens: the first one, and more centroids when the tokens change or have become many."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .codec import STEPS, Codec, storable
from .encode import Encoder
from .kmeans import PER_CENTROID, centroid_count, two_level

TRAIN_TOKENS = 1 << 16
"""Tokens from which on a codec is trained."""
_FITTED = 1 << 16  # tokens that steps and statistics are taken from
_STRETCHED = 4096  # tokens that the stretch of steps is taken from
_FACTORS = tuple(np.linspace(0.8, 2.0, 25).tolist())
_WIDE = 1.4
_TOO_FAR = 0.05  # share of tokens beyond the 99th percentile of training
_TOO_WIDE = 1.25  # their mean distance, as a multiple of training's
_JUDGED = 1024  # tokens needed to judge by
_JUDGED_BY = 8192  # tokens judged by, where there are so many
_FEWEST = 8  # tokens for each appended centroid
_LEAST_STEP = np.float32(1e-6)  # of a dimension, as a share of the largest step


@dataclass(frozen=True)
class Recipe:
    """What a codec is trained for.

    Attributes:
        nbits: Bits of a level.
        spherical: Whether all tokens have length 1.
        seed: Of the centroids.
        centroids: How many; None for what the number of tokens calls for.
    """

    nbits: int
    spherical: bool
    seed: int
    centroids: int | None = None

    def count(self, tokens: int) -> int:
        """Return the number of centroids for a collection of so many tokens."""
        return self.centroids or centroid_count(tokens)


def sample_size(count: int) -> int:
    """Return how many tokens to train a number of centroids on."""
    return max(_FITTED, count * PER_CENTROID)


def trained(recipe: Recipe, sample: np.ndarray, tokens: int) -> Codec:
    """Return the first version of a codec.

    Args:
        recipe: What it is for.
        sample: (n, dim) float32 of random documents, n at least 1.
        tokens: How many there are in the collection.
    """
    centroids, cells = two_level(sample, recipe.count(tokens), recipe.spherical, recipe.seed)
    ones = np.ones(sample.shape[1], np.float32)
    codec = Codec(storable(centroids), storable(cells), ones, recipe.nbits, 1, 0.0, 0.0)
    some = sample[:: max(1, len(sample) // _FITTED)]
    rest = some - codec.centroids[Encoder(codec, recipe.spherical).assign(some)]
    squares = rest**2
    steps = np.sqrt(squares.mean(0)) * np.float32(STEPS[recipe.nbits])
    steps *= np.float32(_stretch(rest, _positive(steps, some), recipe.nbits))
    distances = squares.sum(1)
    mean, tail = float(distances.mean()), float(np.quantile(distances, 0.99))
    return Codec(codec.centroids, codec.cells, _positive(steps, some), recipe.nbits, 1, mean, tail)


def _positive(steps: np.ndarray, sample: np.ndarray) -> np.ndarray:
    """Return steps that can be divided by, also for dimensions that do not vary, at whatever scale the tokens are."""
    return np.maximum(steps, _LEAST_STEP * (steps.max() or np.abs(sample).max() or np.float32(1)))


def _stretch(rest: np.ndarray, steps: np.ndarray, nbits: int) -> float:
    """Return what to multiply Gaussian steps with: tokens lie at distances that vary, so large values are commoner.

    With 2 bits and a scale it is the angle that counts, for which far wider steps are better: they leave the levels
    next to 0 to most dimensions.
    """
    if nbits == 2:
        return _WIDE
    half, some = 1 << (nbits - 1), rest[:: max(1, len(rest) // _STRETCHED)] / steps

    def distortion(factor: float) -> float:
        levels = np.clip(np.floor(some / factor), -half, half - 1) + 0.5
        return float((((levels * factor - some) * steps) ** 2).mean())

    return min(_FACTORS, key=distortion)


def grown(codec: Codec, recipe: Recipe, draw: Callable[[int], np.ndarray], added: int, tokens: int) -> Codec:
    """Return the codec, or its next version if these tokens are not like those of its training or have become many.

    Args:
        codec: What there is.
        recipe: What it is for.
        draw: Returns at most so many tokens (n, dim) float32 of random documents among those to be coded next.
        added: How many tokens these have.
        tokens: How many there are in the collection, they included.
    """
    present = len(codec.centroids)
    if added < _JUDGED or recipe.centroids is not None or present > 2 * recipe.count(tokens):
        return codec
    encoder = Encoder(codec, recipe.spherical)
    distances = encoder.distances(draw(_JUDGED_BY))
    many = added >= TRAIN_TOKENS and _outgrown(codec, recipe, tokens)
    far = bool((distances > codec.tail).mean() > _TOO_FAR)
    if not far and not many and distances.mean() <= _TOO_WIDE * codec.mean:
        return codec
    wanted = max(recipe.count(added), recipe.count(tokens) - present if many else 0)
    sample = draw(sample_size(wanted))
    if far:
        sample = sample[encoder.distances(sample) > codec.tail]
    return _extended(codec, recipe, sample, wanted)


def enlarged(codec: Codec, recipe: Recipe, draw: Callable[[int], np.ndarray], tokens: int) -> Codec:
    """Return the codec, or its next version if the collection calls for more than twice its centroids.

    Args:
        codec: What there is.
        recipe: What it is for.
        draw: Returns at most so many tokens (n, dim) float32 of random documents of the collection.
        tokens: How many there are in the collection.
    """
    if recipe.centroids is not None or tokens < TRAIN_TOKENS or not _outgrown(codec, recipe, tokens):
        return codec
    wanted = recipe.count(tokens) - len(codec.centroids)
    later = _extended(codec, recipe, draw(sample_size(wanted)), wanted)
    return codec if _outgrown(later, recipe, tokens) else later  # else every compaction would append a few


def _outgrown(codec: Codec, recipe: Recipe, tokens: int) -> bool:
    return 2 * len(codec.centroids) < recipe.count(tokens)


def _extended(codec: Codec, recipe: Recipe, sample: np.ndarray, wanted: int) -> Codec:
    """Return the codec with centroids of a sample appended, as many as are wanted where it has tokens enough."""
    count = min(wanted, len(sample) // _FEWEST)
    if not count:
        return codec
    return codec.extended(*two_level(sample, count, recipe.spherical, recipe.seed + codec.version))
