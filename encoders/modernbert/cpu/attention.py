"""Attention on a CPU for a whole stream of texts, local and global, in one kernel.

Each token sees one run of the stream: its text, or the part of it within the window. So no mask is ever made: a block
of queries takes the keys from the lowest to the highest that one of them sees, in chunks, and the softmax of each query
covers its own run (computed online over the chunks, Dao et al. 2022, arXiv 2205.14135). Costs tokens × window in local
layers, and the sum of squared lengths in global ones, and memory for one block of scores.

Products run on tiles of accumulators that stay in registers: fused multiply-adds in float32, or dot products of pairs
in bfloat16 (AVX512-BF16), accumulated in float32. Keys and values lie in panels of 16 tokens, as the tiles read them:

    queries  (rows, heads, width)
    keys     (rows / 16, heads, width / pair, 16, pair)
    values   (rows / 16, heads, 16 / pair, width, pair)

with pair 1 in float32 and 2 in bfloat16, and rows the tokens rounded up to 16, zeros in those beyond. NumPy holds
bfloat16 as uint16.
"""

from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

from .compile import compiled
from .vector import F32, FLOATS, HALVES, I32, INTS, LANES, PAIRS, Code, compiled_features, is_bf16

BLOCK = 16
CHUNK = 256
ROWS_AT_ONCE = 4
"""Rows of scores whose softmax is computed together, so that one hides the latency of the others."""
TILE_ROWS = 4 if "avx512f" in compiled_features() else 1
"""Rows of a tile; with 4 vectors of 16 floats each, what 32 long registers hold, or else 16 short ones."""
LOG2_E = 1.4426950408889634
EXP2 = (1.0, 0.6931471805599453, 0.2402265069591007, 0.05550410866482158, 0.009618129107628477)
EXP2_FINE = (*EXP2, 0.0013333558146428443, 0.00015403530393381608)
"""Taylor coefficients of 2^x: within 4e-5 for |x| <= 1/2, enough for bfloat16; the finer within 2e-7."""
NOTHING_SEEN = np.float32(-1e30)
LOWEST_REFERENCE = np.float32(-1e29)


def has_bf16() -> bool:
    """Say whether this processor has the dot product that the bfloat16 kernel is made of."""
    return {"avx512f", "avx512bf16"} <= compiled_features()


def _tile(columns: int, accumulate: bool) -> Any:
    """Make the product of TILE_ROWS rows with `columns` vectors, stored or added.

    Arguments: left, its first element and row step; right, its first element and the steps to the next number (or
    pair) of a row, to the next group of 16 numbers, and to the next vector; the groups in a row; out, its first element
    and row step.
    """

    @intrinsic
    def tile(
        typing: Any,
        left: Any,
        l0: Any,
        lr: Any,
        right: Any,
        r0: Any,
        rn: Any,
        rg: Any,
        rc: Any,
        n: Any,
        out: Any,
        o0: Any,
        o_r: Any,
    ):
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            code, bf16 = Code(context, builder), is_bf16(left)
            a, l0, lr, b, r0, rn, rg, rc, n, c, o0, o_r = arguments
            size, steps = (2, LANES // 2) if bf16 else (4, LANES)
            a, b, c = code.address(left, a, l0), code.address(right, b, r0), code.address(out, c, o0)
            rows = [code.plus(a, builder.mul(lr, code.integer(row)), size) for row in range(TILE_ROWS)]
            starts = [code.plus(c, builder.mul(o_r, code.integer(row)), 4) for row in range(TILE_ROWS)]
            places = [
                code.plus(start, code.integer(column), 4 * LANES) for start in starts for column in range(columns)
            ]
            zero = code.constant(0.0)
            sums = [code.load(FLOATS, place) if accumulate else zero for place in places]

            def step(group: Any, number: int, sums: list[Any]) -> list[Any]:
                base = code.plus(
                    code.plus(b, builder.mul(group, rg), size), builder.mul(code.integer(number), rn), size
                )
                vectors = [
                    code.load(PAIRS if bf16 else FLOATS, code.plus(base, builder.mul(rc, code.integer(column)), size))
                    for column in range(columns)
                ]
                results = []
                for row in range(TILE_ROWS):
                    place = code.plus(code.plus(rows[row], group, 4 * steps), code.integer(number), 4)
                    if bf16:
                        pair = builder.bitcast(code.splat(code.load(I32, place), INTS), PAIRS)
                    else:
                        value = code.splat(code.load(F32, place), FLOATS)
                    for column, vector in enumerate(vectors):
                        total = sums[row * columns + column]
                        if bf16:
                            results.append(code.call("llvm.x86.avx512bf16.dpbf16ps.512", FLOATS, total, pair, vector))
                        else:
                            results.append(code.call("llvm.fma.v16f32", FLOATS, value, vector, total))
                return results

            def steps_of(group: Any, sums: list[Any]) -> list[Any]:
                for number in range(steps):
                    sums = step(group, number, sums)
                return sums

            for value, place in zip(code.loop(n, sums, steps_of), places, strict=True):
                code.store(value, place)
            return code.nothing()

        i = types.int64
        return types.void(left, i, i, right, i, i, i, i, i, out, i, i), generate

    return tile


_score_1, _score_2, _score_3, _score_4 = (_tile(columns, accumulate=False) for columns in (1, 2, 3, 4))
_mix_1, _mix_2, _mix_3, _mix_4 = (_tile(columns, accumulate=True) for columns in (1, 2, 3, 4))


@intrinsic
def _largest(
    typing: Any, scores: Any, first: Any, vectors: Any, low: Any, high: Any, token: Any, chunk: Any, out: Any, to: Any
):
    """Find the largest score of ROWS_AT_ONCE rows, each over the run that its token sees; others become NOTHING_SEEN.

    Arguments: the scores and the first element of the first row; vectors in a row; the runs, the number of the first
    row's token and that of the first key; where the results go.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = Code(context, builder)
        array, first, vectors, lows, highs, token, chunk, results, to = arguments
        rows = range(ROWS_AT_ONCE)
        starts = [code.plus(code.address(scores, array, first), code.integer(row * CHUNK), 4) for row in rows]
        lanes = INTS([I32(lane) for lane in range(LANES)])
        chunk = builder.trunc(chunk, I32)

        def bounds(kind: Any, runs: Any) -> list[Any]:
            base = code.address(kind, runs, token)
            numbers = [code.load(I32, code.plus(base, code.integer(row), 4)) for row in rows]
            return [code.splat(builder.sub(number, chunk), INTS) for number in numbers]

        low, high, unseen = bounds(low_kind, lows), bounds(high_kind, highs), code.constant(float(NOTHING_SEEN))

        def step(number: Any, largest: list[Any]) -> list[Any]:
            column = builder.mul(builder.trunc(number, I32), I32(LANES))
            columns = builder.add(code.splat(column, INTS), lanes)
            found = []
            for row in rows:
                place = code.plus(starts[row], number, 4 * LANES)
                after, before = (
                    builder.icmp_signed(sign, columns, bound[row]) for sign, bound in ((">=", low), ("<", high))
                )
                score = builder.select(builder.and_(after, before), code.load(FLOATS, place), unseen)
                code.store(score, place)
                found.append(code.call("llvm.maxnum.v16f32", FLOATS, largest[row], score))
            return found

        base = code.address(out_kind, results, to)
        for row, largest in enumerate(code.loop(vectors, [unseen] * ROWS_AT_ONCE, step)):
            code.store(code.call("llvm.vector.reduce.fmax.v16f32", F32, largest), code.plus(base, code.integer(row), 4))
        return code.nothing()

    low_kind, high_kind, out_kind = low, high, out
    i = types.int64
    return types.void(scores, i, i, low, high, i, i, out, i), generate


@intrinsic
def _exponentials(
    typing: Any, scores: Any, first: Any, vectors: Any, references: Any, sums: Any, row_: Any, weights: Any
):
    """Store 2^(score · log2 e - reference) of ROWS_AT_ONCE rows as weights, and add up each row's.

    Arguments: the scores, which the weights lie like, and the first element of the first row; vectors in a row; the
    references and sums, and the number of the first row in them; the weights.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code, bf16 = Code(context, builder), is_bf16(weights)
        from_array, first, vectors, references_, sums_, row_, to_array = arguments
        size, rows = 2 if bf16 else 4, range(ROWS_AT_ONCE)
        source, target = code.address(scores, from_array, first), code.address(weights, to_array, first)
        reference, total = code.address(references, references_, row_), code.address(sums, sums_, row_)
        shifts = [code.load(F32, code.plus(reference, code.integer(row), 4)) for row in rows]
        shifts = [code.splat(builder.fneg(shift), FLOATS) for shift in shifts]

        def step(number: Any, totals: list[Any]) -> list[Any]:
            found = []
            for row in rows:
                place = builder.add(builder.mul(number, code.integer(LANES)), code.integer(row * CHUNK))
                score = code.load(FLOATS, code.plus(source, place, 4))
                power = code.call("llvm.fma.v16f32", FLOATS, score, code.constant(LOG2_E), shifts[row])
                value = _power_of_two(code, power, EXP2 if bf16 else EXP2_FINE)
                code.store(builder.fptrunc(value, HALVES) if bf16 else value, code.plus(target, place, size))
                found.append(builder.fadd(totals[row], value))
            return found

        for row, value in enumerate(code.loop(vectors, [code.constant(0.0)] * ROWS_AT_ONCE, step)):
            place = code.plus(total, code.integer(row), 4)
            new = code.call("llvm.vector.reduce.fadd.v16f32", F32, code.load(F32, place), value, fastmath=("reassoc",))
            code.store(new, place)
        return code.nothing()

    i = types.int64
    return types.void(scores, i, i, references, sums, i, weights), generate


def _power_of_two(code: Code, power: Any, coefficients: tuple[float, ...]) -> Any:
    builder = code.builder
    power = code.call("llvm.maxnum.v16f32", FLOATS, power, code.constant(-126.0))
    whole = code.call("llvm.nearbyint.v16f32", FLOATS, power)
    part = builder.fsub(power, whole)
    value = code.constant(coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = code.call("llvm.fma.v16f32", FLOATS, value, part, code.constant(coefficient))
    exponent = builder.shl(builder.fptosi(whole, INTS), INTS([I32(23)] * LANES))
    return builder.bitcast(builder.add(builder.bitcast(value, INTS), exponent), FLOATS)


@intrinsic
def _scaled(typing: Any, values: Any, first: Any, out: Any, to: Any, vectors: Any, factor: Any):
    """Store a row of floats times a factor, in the type of `out`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code, bf16 = Code(context, builder), is_bf16(out)
        from_array, first, to_array, to, vectors, factor = arguments
        source, target = code.address(values, from_array, first), code.address(out, to_array, to)
        factor = code.splat(factor, FLOATS)

        def step(number: Any, none: list[Any]) -> list[Any]:
            value = builder.fmul(code.load(FLOATS, code.plus(source, number, 4 * LANES)), factor)
            stored = builder.fptrunc(value, HALVES) if bf16 else value
            code.store(stored, code.plus(target, number, 2 * LANES if bf16 else 4 * LANES))
            return []

        code.loop(vectors, [], step)
        return code.nothing()

    return types.void(values, types.int64, out, types.int64, types.int64, types.float32), generate


@njit(nogil=True)
def _score(panels, queries, query, keys, key, scores, to):
    heads, width = queries.shape[1], queries.shape[2]
    row, step, panel = heads * width, LANES * (4 // queries.itemsize), heads * width * LANES
    if panels >= 4:
        _score_4(queries, query, row, keys, key, step, LANES * LANES, panel, width // LANES, scores, to, CHUNK)
    elif panels == 3:
        _score_3(queries, query, row, keys, key, step, LANES * LANES, panel, width // LANES, scores, to, CHUNK)
    elif panels == 2:
        _score_2(queries, query, row, keys, key, step, LANES * LANES, panel, width // LANES, scores, to, CHUNK)
    else:
        _score_1(queries, query, row, keys, key, step, LANES * LANES, panel, width // LANES, scores, to, CHUNK)


@njit(nogil=True)
def _mix(columns, weights, weight, values, value, panels, mixed, to, width):
    pair = 4 // weights.itemsize
    step, panel, vector = width * pair, values.shape[1] * width * LANES, LANES * pair
    if columns >= 4:
        _mix_4(weights, weight, CHUNK, values, value, step, panel, vector, panels, mixed, to, width)
    elif columns == 3:
        _mix_3(weights, weight, CHUNK, values, value, step, panel, vector, panels, mixed, to, width)
    elif columns == 2:
        _mix_2(weights, weight, CHUNK, values, value, step, panel, vector, panels, mixed, to, width)
    else:
        _mix_1(weights, weight, CHUNK, values, value, step, panel, vector, panels, mixed, to, width)


@compiled()
def attend(queries, keys, values, low, high, out, first_head, last_head):
    """Write the attention of some heads.

    Args:
        queries: As the module says, already scaled by 1/√width; width is a multiple of 16.
        keys: In panels.
        values: In panels.
        low: (rows,) int32, where the run of the stream begins that each token sees; in rows beyond, any other token's.
        high: (rows,) int32, where it ends; the token itself lies in it.
        out: (tokens, heads · width), float32, or bfloat16 as uint16, like the inputs.
        first_head: The first head to compute, so that threads can share the work.
        last_head: The head to stop before.
    """
    heads, width = queries.shape[1:]
    pair = 4 // queries.itemsize
    tokens = out.shape[0]
    scores = np.empty(BLOCK * CHUNK, np.float32)
    weights = np.empty(BLOCK * CHUNK, queries.dtype)
    mixed = np.empty(BLOCK * width, np.float32)
    reference = np.empty(BLOCK, np.float32)
    largest = np.empty(BLOCK, np.float32)
    total = np.empty(BLOCK, np.float32)
    columns = width // LANES
    for head in range(first_head, last_head):
        for token in range(0, tokens, BLOCK):
            last = min(token + BLOCK, tokens)
            lowest, highest = low[token], high[token]
            for number in range(token + 1, last):
                lowest, highest = min(lowest, low[number]), max(highest, high[number])
            lowest = lowest // LANES * LANES
            mixed[:] = 0.0
            total[:] = 0.0
            reference[:] = LOWEST_REFERENCE
            for chunk in range(lowest, highest, CHUNK):
                panels = (min(CHUNK, highest - chunk) + LANES - 1) // LANES
                panel = 0
                while panel < panels:
                    tiles = (panels - panel + 3) // 4
                    together = (panels - panel + tiles - 1) // tiles
                    key = ((chunk // LANES + panel) * heads + head) * LANES * width
                    for row in range(0, BLOCK, TILE_ROWS):
                        query, to = ((token + row) * heads + head) * width, row * CHUNK + panel * LANES
                        _score(together, queries, query, keys, key, scores, to)
                    panel += together
                for row in range(0, BLOCK, ROWS_AT_ONCE):
                    _largest(scores, row * CHUNK, panels, low, high, token + row, chunk, largest, row)
                for row in range(BLOCK):
                    # a query that sees nothing yet has a reference far above any score of what it does not see
                    new = max(largest[row] * np.float32(LOG2_E), reference[row])
                    if new > reference[row]:
                        if chunk > lowest:
                            factor = np.float32(2.0) ** max(reference[row] - new, np.float32(-126.0))
                            total[row] *= factor
                            _scaled(mixed, row * width, mixed, row * width, columns, factor)
                        reference[row] = new
                for row in range(0, BLOCK, ROWS_AT_ONCE):
                    _exponentials(scores, row * CHUNK, panels, reference, total, row, weights)
                value = (chunk // LANES * heads + head) * LANES * width
                for row in range(0, BLOCK, TILE_ROWS):
                    for column in range(0, columns, 4):
                        vector, to = value + column * LANES * pair, row * width + column * LANES
                        _mix(columns - column, weights, row * CHUNK, values, vector, panels, mixed, to, width)
            for row in range(last - token):
                to = (token + row) * heads * width + head * width
                _scaled(mixed, row * width, out, to, columns, np.float32(1.0) / total[row])
