"""Products of a few document tokens with 16 or 32 query tokens, folded into the largest so far in registers.

Query tokens are lanes: a panel holds 16 of them, dimension by dimension, (width, 16) float32. Document tokens come in
slots of ROWS: (width / CHUNK rounded up, ROWS, CHUNK) float32, so that a slot is read at fixed distances from one
address. Width is the dimensions rounded up to GROUP, zeros in those beyond. Every product is one sum over the
dimensions in their order, whatever slot a token is in. Arrays are given by their addresses.
"""

from functools import reduce
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..jit.vector import F32, FLOATS, I16, I32, INTS, LANES, Code, compiled_features

_LONG = "avx512f" in compiled_features()
ROWS = 12 if _LONG else 6
"""Rows of a slot: with COLUMNS panels, what 32 long registers hold, or else 16 short ones."""
COLUMNS = 2 if _LONG else 1
CHUNK = 128
GROUP = 4


def _fold(rows: int, columns: int, winning: bool) -> Any:
    """Make the fold of the first rows of a slot.

    Arguments: slot; panel; bytes from a panel to the next; width / GROUP; best, (columns · 16,) float32, raised to the
    largest product; winners, (columns · 16,) int32, set to the row's number where a product is larger than the best;
    first, the number of the slot's first row. Rows are taken in their order, so that the first of equal ones wins;
    the first product that is NaN wins over all.
    """

    @intrinsic
    def fold(typing: Any, slot: Any, panel: Any, step: Any, groups: Any, best: Any, winners: Any, first: Any):
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            code = Code(context, builder)
            slot, panel, step, groups, best, winners, first = arguments
            panels = [code.plus(panel, step, column) for column in range(columns)]

            def group_of(start: Any, before: Any) -> Any:
                def multiply(number: Any, sums: list[Any]) -> list[Any]:
                    left = code.plus(start, number, 4 * GROUP)
                    place = builder.add(before, number)
                    rights = [code.plus(panel, place, 4 * LANES * GROUP) for panel in panels]
                    for dimension in range(GROUP):
                        vectors = [
                            code.load(FLOATS, builder.add(right, code.integer(4 * LANES * dimension)))
                            for right in rights
                        ]
                        results = []
                        for row in range(rows):
                            at = builder.add(left, code.integer(4 * (CHUNK * row + dimension)))
                            value = code.splat(code.load(F32, at), FLOATS)
                            for column, vector in enumerate(vectors):
                                total = sums[row * columns + column]
                                results.append(code.call("llvm.fma.v16f32", FLOATS, value, vector, total))
                        sums = results
                    return sums

                return multiply

            def chunk(number: Any, sums: list[Any]) -> list[Any]:
                before = builder.mul(number, code.integer(CHUNK // GROUP))
                left = builder.sub(groups, before)
                full = builder.icmp_signed(">", left, code.integer(CHUNK // GROUP))
                count = builder.select(full, code.integer(CHUNK // GROUP), left)
                return code.loop(count, sums, group_of(code.plus(slot, number, 4 * ROWS * CHUNK), before))

            chunks = builder.udiv(builder.add(groups, code.integer(CHUNK // GROUP - 1)), code.integer(CHUNK // GROUP))
            sums = code.loop(chunks, [code.constant(0.0)] * (rows * columns), chunk)
            for column in range(columns):
                at = builder.add(best, code.integer(4 * LANES * column))
                to = builder.add(winners, code.integer(4 * LANES * column))
                highest, winner = code.load(FLOATS, at), code.load(INTS, to) if winning else None
                values = [sums[row * columns + column] for row in range(rows)]
                for row, value in enumerate(values):
                    if winning:
                        known = builder.fcmp_ordered("ord", highest, highest)
                        higher = builder.and_(builder.fcmp_unordered(">", value, highest), known)
                    else:
                        higher = builder.fcmp_ordered(">", value, highest)
                    highest = builder.select(higher, value, highest)
                    if winning:
                        number = builder.trunc(builder.add(first, code.integer(row)), I32)
                        winner = builder.select(higher, code.splat(number, INTS), winner)
                if not winning:  # one comparison for two rows costs half
                    pairs = zip(values[::2], values[1::2], strict=True)
                    lost = [builder.fcmp_unordered("uno", one, other) for one, other in pairs]
                    highest = builder.select(reduce(builder.or_, lost), code.constant(float("nan")), highest)
                code.store(highest, at)
                if winning:
                    code.store(winner, to)
            return code.nothing()

        return types.void(*[types.int64] * 7), generate

    return fold


fold_full_2, fold_most_2, fold_few_2 = (_fold(ROWS * part // 3, COLUMNS, winning=False) for part in (3, 2, 1))
fold_full_1, fold_most_1, fold_few_1 = (_fold(ROWS * part // 3, 1, winning=False) for part in (3, 2, 1))
win_full_2, win_most_2, win_few_2 = (_fold(ROWS * part // 3, COLUMNS, winning=True) for part in (3, 2, 1))
win_full_1, win_most_1, win_few_1 = (_fold(ROWS * part // 3, 1, winning=True) for part in (3, 2, 1))


def _widened(code: Code, kind: Any, address: Any, count: int) -> Any:
    """Load numbers of a kind as float32."""
    builder = code.builder
    if kind == types.float32:
        return code.load(ir.VectorType(F32, count), address)
    bits = code.load(ir.VectorType(I16, count), address)
    if kind == types.int16:
        halves = builder.bitcast(bits, ir.VectorType(ir.HalfType(), count))
        return builder.fpext(halves, ir.VectorType(F32, count))
    words = ir.VectorType(I32, count)
    bits = builder.shl(builder.zext(bits, words), ir.Constant(words, [16] * count))
    return builder.bitcast(bits, ir.VectorType(F32, count))


def _widen(count: int) -> Any:
    """Make the copy of so many numbers as float32.

    Arguments: an array of their type, float32, int16 for float16 or uint16 for bfloat16; where they are; where to.
    """

    @intrinsic
    def widen(typing: Any, kind: Any, source: Any, to: Any):
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            code = Code(context, builder)
            _, source, to = arguments
            code.store(_widened(code, kind.dtype, source, count), to)
            return code.nothing()

        return types.void(kind, types.int64, types.int64), generate

    return widen


widen_1, widen_16 = _widen(1), _widen(LANES)
