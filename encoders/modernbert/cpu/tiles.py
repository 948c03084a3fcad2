"""Products of a few rows with a few vectors, whose accumulators stay in registers."""

from typing import Any

from numba import types
from numba.extending import intrinsic

from ....jit.vector import F32, FLOATS, I32, INTS, LANES, PAIRS, Code, compiled_features, is_bf16

TILE_ROWS = 4 if "avx512f" in compiled_features() else 1
"""Rows of a tile; with 4 vectors of 16 floats each, what 32 long registers hold, or else 16 short ones."""


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


score_1, score_2, score_3, score_4 = (_tile(columns, accumulate=False) for columns in (1, 2, 3, 4))
mix_1, mix_2, mix_3, mix_4 = (_tile(columns, accumulate=True) for columns in (1, 2, 3, 4))
