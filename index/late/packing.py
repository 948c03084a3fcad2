"""The choice of levels, compiled: which level each dimension of a token gets, all dimensions together.

The nearest level of each dimension would make the distance to the token least, but what counts is its product with
queries that lie near it. So levels are moved by one where that pays: the error along the token weighs more than that
across it, as in Guo et al., "Accelerating large-scale inference with anisotropic vector quantization" (arXiv
1908.10396); and where a scale gives the token its length back, the angle alone is made least, as in Gao et al.,
"Practical and asymptotically optimal quantization of high-dimensional vectors" (arXiv 2409.09913).
"""

import numpy as np

from ...jit.compile import compiled

LANES = 64  # tokens that are worked on side by side


@compiled()
def _weigh(
    tokens: np.ndarray, rest: np.ndarray, levels: np.ndarray, steps: np.ndarray, top: np.float32, weight: np.float32
) -> None:
    along = np.zeros(LANES, np.float32)
    for place in range(len(steps)):
        for lane in range(LANES):
            along[lane] += rest[place, lane] * tokens[place, lane]
    for place in range(len(steps)):
        step = steps[place]
        for lane in range(LANES):
            token = tokens[place, lane]
            slope = rest[place, lane] + weight * token * along[lane]
            sign = np.float32(-1.0) if slope > 0 else np.float32(1.0)
            moved = levels[place, lane] + sign
            pays = abs(slope) > np.float32(0.5) * step * (np.float32(1.0) + weight * token * token)
            sign = sign if pays and moved >= 0 and moved <= top else np.float32(0.0)
            levels[place, lane] += sign
            along[lane] += sign * step * token


@compiled()
def _turn(
    tokens: np.ndarray, decoded: np.ndarray, levels: np.ndarray, steps: np.ndarray, top: np.float32, rounds: int
) -> None:
    product, square = np.zeros(LANES, np.float32), np.zeros(LANES, np.float32)
    for place in range(len(steps)):
        for lane in range(LANES):
            product[lane] += decoded[place, lane] * tokens[place, lane]
            square[lane] += decoded[place, lane] * decoded[place, lane]
    for _ in range(rounds):
        for place in range(len(steps)):
            step = steps[place]
            for lane in range(LANES):
                token, value, before, length = tokens[place, lane], decoded[place, lane], product[lane], square[lane]
                change = step if token * length > before * value else -step
                moved = levels[place, lane] + (np.float32(1.0) if change > 0 else np.float32(-1.0))
                after = before + change * token
                longer = length + change * (np.float32(2.0) * value + change)
                pays = after > 0 and after * after * length > before * before * longer and moved >= 0 and moved <= top
                levels[place, lane] = moved if pays else levels[place, lane]
                decoded[place, lane] = value + change if pays else value
                product[lane] = after if pays else before
                square[lane] = longer if pays else length


@compiled()
def weigh_parallel(
    tokens: np.ndarray, rest: np.ndarray, levels: np.ndarray, steps: np.ndarray, top: np.float32, weight: np.float32
) -> None:
    """Move levels by one where that makes |error|² + weight · (error · token)² less, one dimension after the other.

    Args:
        tokens: (groups, dim, LANES) float32, a column a token.
        rest: Decoded − token, alike.
        levels: Alike; changed.
        steps: (dim,) float32.
        top: Highest level.
        weight: Of the error along the token.
    """
    for group in range(len(tokens)):
        _weigh(tokens[group], rest[group], levels[group], steps, top, weight)


@compiled()
def turn(
    tokens: np.ndarray, decoded: np.ndarray, levels: np.ndarray, steps: np.ndarray, top: np.float32, rounds: int
) -> None:
    """Move levels by one where that makes the angle between decoded token and token less, dimension after dimension.

    Args:
        tokens: (groups, dim, LANES) float32, a column a token.
        decoded: Alike; kept up to date.
        levels: Alike; changed.
        steps: (dim,) float32.
        top: Highest level.
        rounds: Over all dimensions.
    """
    for group in range(len(tokens)):
        _turn(tokens[group], decoded[group], levels[group], steps, top, rounds)
