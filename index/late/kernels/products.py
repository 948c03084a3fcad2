"""Products of rows of levels with the lanes of a query, many rows at once so that a load of the query serves them all.

Lanes are the tokens of a query; they come in groups of 16, one to four groups at a time. All arrays are given by their
addresses. What is multiplied:

    levels  (rows, 4 · steps) uint8
    query   (steps, 16 · groups, 4) int8: the same four dimensions of all lanes side by side
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ....jit.vector import F32, FLOATS, I32, INTS, LANES, Code
from .instructions import SETS
from .memory import I8, load, store

ZERO = ir.Constant(INTS, [0] * LANES)


def _at(code: Code, address: Any, index: Any, size: int) -> Any:
    index = code.integer(index) if isinstance(index, int) else index
    return code.plus(address, index, size)


def _dots(code: Code, step: Callable[..., Any], wide: bool, rows: list[Any], query: Any, steps: Any, sums: list[Any]):
    """Add the products of some rows, given by address, to `sums`, which hold the groups of the first row first."""
    groups = len(sums) // len(rows)

    def body(number: Any, sums: list[Any]) -> list[Any]:
        place = _at(code, query, number, 64 * groups)
        lanes = [load(code.builder, INTS, _at(code, place, group, 64)) for group in range(groups)]
        results = []
        for row, address in enumerate(rows):
            levels = code.splat(load(code.builder, I32, _at(code, address, number, 4)), INTS)
            for group in range(groups):
                results.append(step(code, sums[row * groups + group], levels, lanes[group], wide))
        return results

    return code.loop(steps, sums, body)


def _in_blocks(code: Code, count: Any, rows: int, states: list[Any], body: Callable[[Any, int, list[Any]], list[Any]]):
    """Run `states = body(first row, rows, states)` over blocks of `rows` rows, and row by row over what is left."""
    builder = code.builder
    blocks = builder.udiv(count, code.integer(rows))
    states = code.loop(
        blocks, states, lambda number, states: body(builder.mul(number, code.integer(rows)), rows, states)
    )
    if rows > 1:
        done = builder.mul(blocks, code.integer(rows))
        states = code.loop(
            builder.sub(count, done), states, lambda number, states: body(builder.add(done, number), 1, states)
        )
    return states


def _scorer(groups: int) -> Any:
    """Make the scores of centroids.

    Arguments: instructions; levels; rows; steps; query; the integer to add to a lane's product (16 · groups,) int32;
    each row's factor (rows,) float32; a lane's factor and summand (16 · groups,) float32 each; out, (rows, 16 · groups)
    int32: the product times both factors plus the summand, rounded to even; largest, (16 · groups,) int32: the largest
    of each lane.
    """

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
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            code, chosen = Code(context, builder), SETS[instructions.chosen]
            _, levels, rows, steps, query, corrections, row_factors, factors, summands, out, largest = arguments
            places = range(groups)
            corrections = [load(builder, INTS, _at(code, corrections, place, 64)) for place in places]
            factors = [load(builder, FLOATS, _at(code, factors, place, 64)) for place in places]
            summands = [load(builder, FLOATS, _at(code, summands, place, 64)) for place in places]
            width = builder.mul(steps, code.integer(4))

            def body(first: Any, count: int, largest: list[Any]) -> list[Any]:
                numbers = [builder.add(first, code.integer(row)) for row in range(count)]
                starts = [builder.add(levels, builder.mul(number, width)) for number in numbers]
                sums = _dots(code, chosen.step, True, starts, query, steps, corrections * count)
                for row, number in enumerate(numbers):
                    factor = code.splat(load(builder, F32, _at(code, row_factors, number, 4)), FLOATS)
                    for group in places:
                        value = builder.sitofp(sums[row * groups + group], FLOATS)
                        value = builder.fmul(builder.fmul(value, factor), factors[group])
                        value = builder.fadd(value, summands[group])
                        value = builder.fptosi(code.call("llvm.nearbyint.v16f32", FLOATS, value), INTS)
                        store(builder, value, _at(code, _at(code, out, number, 64 * groups), group, 64))
                        largest = list(largest)
                        largest[group] = code.call("llvm.smax.v16i32", INTS, largest[group], value)
                return largest

            lowest = [ir.Constant(INTS, [-(2**31)] * LANES)] * groups
            for group, value in enumerate(_in_blocks(code, rows, chosen.rows[groups - 1], lowest, body)):
                store(builder, value, _at(code, largest, group, 64))
            return code.nothing()

        return types.void(instructions, *[types.int64] * 10), generate

    return score


def _maximiser(groups: int) -> Any:
    """Make the maxima of a document: of each lane the largest, over tokens, of start + product, times the token's scale.

    Arguments: instructions; levels; tokens; steps; query; starts, (…, 16 · groups) int32; codes, (tokens,) uint32: the
    row of starts of each token; scales, (tokens,) uint32, read for 2 bits only; maxima, (16 · groups,) int32: raised.
    """

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
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            code, chosen = Code(context, builder), SETS[instructions.chosen]
            _, levels, tokens, steps, query, starts, codes, scales, maxima = arguments
            width = builder.mul(steps, code.integer(4))

            def body(first: Any, count: int, best: list[Any]) -> list[Any]:
                numbers = [builder.add(first, code.integer(row)) for row in range(count)]
                rows = [builder.add(levels, builder.mul(number, width)) for number in numbers]
                sums = []
                for number in numbers:
                    row = builder.zext(load(builder, I32, _at(code, codes, number, 4)), width.type)
                    place = _at(code, starts, row, 64 * groups)
                    sums += [load(builder, INTS, _at(code, place, group, 64)) for group in range(groups)]
                sums = _dots(code, chosen.step, instructions.nbits == 8, rows, query, steps, sums)
                best = list(best)
                for row, number in enumerate(numbers):
                    if instructions.nbits == 2:
                        scale = code.splat(load(builder, I32, _at(code, scales, number, 4)), INTS)
                    for group in range(groups):
                        value = sums[row * groups + group]
                        value = builder.mul(value, scale) if instructions.nbits == 2 else value
                        best[group] = code.call("llvm.smax.v16i32", INTS, best[group], value)
                return best

            best = [load(builder, INTS, _at(code, maxima, group, 64)) for group in range(groups)]
            for group, value in enumerate(_in_blocks(code, tokens, chosen.rows[groups - 1], best, body)):
                store(builder, value, _at(code, maxima, group, 64))
            return code.nothing()

        return types.void(instructions, *[types.int64] * 8), generate

    return maximise


score_1, score_2, score_3, score_4 = (_scorer(groups) for groups in (1, 2, 3, 4))
maximise_1, maximise_2, maximise_3, maximise_4 = (_maximiser(groups) for groups in (1, 2, 3, 4))


@intrinsic
def unpack(typing: Any, instructions: Any, packed: Any, width: Any, out: Any):
    """Write the levels of one packed row of `width` bytes, a byte each: dimension p · width + j from bits p of byte j."""

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
