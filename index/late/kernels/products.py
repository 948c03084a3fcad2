"""Products of rows of levels with 16 lanes of a query, many rows at once so that a load of the query serves them all.

Lanes are tokens of a query. All arrays are given by their addresses. What is multiplied:

    levels  (rows, 4 · steps) uint8
    query   (steps, 16, 4) int8: the same four dimensions of all lanes side by side
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ....jit.vector import F32, FLOATS, I32, I64, INTS, LANES, Code
from .instructions import SETS
from .memory import I8, load, store

LOWEST = ir.Constant(INTS, [-(2**31)] * LANES)


def _dots(code: Code, step: Callable[..., Any], wide: bool, rows: list[Any], query: Any, steps: Any, sums: list[Any]):
    """Add the product of each row, given by its address, to its vector of sums."""

    def body(number: Any, sums: list[Any]) -> list[Any]:
        lanes = load(code.builder, INTS, code.plus(query, number, 64))
        levels = [code.splat(load(code.builder, I32, code.plus(row, number, 4)), INTS) for row in rows]
        return [step(code, total, four, lanes, wide) for total, four in zip(sums, levels, strict=True)]

    return code.loop(steps, sums, body)


def _in_blocks(code: Code, count: Any, rows: int, state: Any, body: Callable[[list[Any], Any], Any]) -> Any:
    """Run `state = body(numbers of rows, state)` over blocks of `rows` rows, and row by row over what is left."""
    builder = code.builder
    blocks = builder.udiv(count, code.integer(rows))

    def block(number: Any, states: list[Any]) -> list[Any]:
        first = builder.mul(number, code.integer(rows))
        return [body([builder.add(first, code.integer(row)) for row in range(rows)], states[0])]

    (state,) = code.loop(blocks, [state], block)
    done = builder.mul(blocks, code.integer(rows))
    left = builder.sub(count, done)
    return code.loop(left, [state], lambda number, states: [body([builder.add(done, number)], states[0])])[0]


@intrinsic
def score(
    typing: Any,
    instructions: Any,
    levels: Any,
    rows: Any,
    steps: Any,
    query: Any,
    corrections: Any,
    row_factors: Any,
    factors: Any,
    summands: Any,
    out: Any,
    largest: Any,
):
    """Score centroids: the product times two factors plus a summand, rounded to even.

    Arguments: instructions; levels; rows; steps; query; the integer to add to a lane's product, (16,) int32; each row's
    factor, (rows,) float32; a lane's factor and summand, (16,) float32 each; out, (rows, 16) int32; largest, (16,)
    int32: the largest of each lane.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code, chosen = Code(context, builder), SETS[instructions.chosen]
        _, levels, rows, steps, query, corrections, row_factors, factors, summands, out, largest = arguments
        kinds = ((INTS, corrections), (FLOATS, factors), (FLOATS, summands))
        correction, factor, summand = (load(builder, kind, address) for kind, address in kinds)
        width = builder.mul(steps, code.integer(4))

        def body(numbers: list[Any], best: Any) -> Any:
            starts = [builder.add(levels, builder.mul(number, width)) for number in numbers]
            sums = _dots(code, chosen.step, True, starts, query, steps, [correction] * len(numbers))
            for number, total in zip(numbers, sums, strict=True):
                worth = code.splat(load(builder, F32, code.plus(row_factors, number, 4)), FLOATS)
                value = builder.fmul(builder.fmul(builder.sitofp(total, FLOATS), worth), factor)
                value = code.call("llvm.nearbyint.v16f32", FLOATS, builder.fadd(value, summand))
                value = builder.fptosi(value, INTS)
                store(builder, value, code.plus(out, number, 64))
                best = code.call("llvm.smax.v16i32", INTS, best, value)
            return best

        store(builder, _in_blocks(code, rows, chosen.rows, LOWEST, body), largest)
        return code.nothing()

    return types.void(instructions, *[types.int64] * 10), generate


@intrinsic
def maximise(
    typing: Any,
    instructions: Any,
    levels: Any,
    tokens: Any,
    steps: Any,
    query: Any,
    starts: Any,
    codes: Any,
    scales: Any,
    maxima: Any,
):
    """Raise maxima over tokens of a document: to start + product, times the token's scale.

    Arguments: instructions; levels; tokens; steps; query; starts, (…, 16) int32; codes, (tokens,) uint32: the row of
    starts of each token; scales, (tokens,) uint32, read for 2 bits only; maxima, (16,) int32.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code, chosen = Code(context, builder), SETS[instructions.chosen]
        _, levels, tokens, steps, query, starts, codes, scales, maxima = arguments
        width = builder.mul(steps, code.integer(4))

        def body(numbers: list[Any], best: Any) -> Any:
            rows = [builder.add(levels, builder.mul(number, width)) for number in numbers]
            known = [builder.zext(load(builder, I32, code.plus(codes, number, 4)), I64) for number in numbers]
            sums = [load(builder, INTS, code.plus(starts, row, 64)) for row in known]
            sums = _dots(code, chosen.step, instructions.nbits == 8, rows, query, steps, sums)
            for number, value in zip(numbers, sums, strict=True):
                if instructions.nbits == 2:
                    scale = code.splat(load(builder, I32, code.plus(scales, number, 4)), INTS)
                    value = builder.mul(value, scale)
                best = code.call("llvm.smax.v16i32", INTS, best, value)
            return best

        best = load(builder, INTS, maxima)
        store(builder, _in_blocks(code, tokens, chosen.rows, best, body), maxima)
        return code.nothing()

    return types.void(instructions, *[types.int64] * 8), generate


@intrinsic
def unpack(typing: Any, instructions: Any, packed: Any, width: Any, out: Any):
    """Write the levels of a packed row of `width` bytes, a byte each: p · width + j from the p-th bits of byte j."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code, nbits = Code(context, builder), instructions.nbits
        _, packed, width, out = arguments

        def piece(kind: Any, at: Any) -> None:
            value = load(builder, kind, builder.add(packed, at))
            for place in range(8 // nbits):
                level = builder.lshr(value, ir.Constant(kind, [nbits * place] * kind.count)) if place else value
                if nbits < 8:
                    level = builder.and_(level, ir.Constant(kind, [(1 << nbits) - 1] * kind.count))
                store(builder, level, builder.add(builder.add(out, builder.mul(width, code.integer(place))), at))

        def pieces(size: int, start: Any) -> Any:
            count = builder.udiv(builder.sub(width, start), code.integer(size))

            def body(number: Any, states: list[Any]) -> list[Any]:
                piece(ir.VectorType(I8, size), builder.add(start, builder.mul(number, code.integer(size))))
                return states

            code.loop(count, [], body)
            return builder.add(start, builder.mul(count, code.integer(size)))

        pieces(4, pieces(32, code.integer(0)))
        return code.nothing()

    return types.void(instructions, *[types.int64] * 3), generate
