"""Softmax over rows of scores, several rows at a time, so that one hides the latency of the others.

Scores are float32; weights are float32, or bfloat16 as uint16. A row takes the place of CHUNK numbers.
"""

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from ....jit.vector import F32, FLOATS, HALVES, I32, INTS, LANES, Code, is_bf16

CHUNK = 256
ROWS_AT_ONCE = 4
LOG2_E = 1.4426950408889634
EXP2 = (1.0, 0.6931471805599453, 0.2402265069591007, 0.05550410866482158, 0.009618129107628477)
EXP2_FINE = (*EXP2, 0.0013333558146428443, 0.00015403530393381608)
"""Taylor coefficients of 2^x: within 4e-5 for |x| <= 1/2, enough for bfloat16; the finer within 2e-7."""
NOTHING_SEEN = np.float32(-1e30)
LOWEST_REFERENCE = np.float32(-1e29)


@intrinsic
def find_largest(
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
def exponentials(
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
def scaled(typing: Any, values: Any, first: Any, out: Any, to: Any, vectors: Any, factor: Any):
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
