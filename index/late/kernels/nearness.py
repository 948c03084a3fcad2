"""Scores of centroids in bytes, one row of lanes a centroid: small enough for the cache, and quick to compare.

A document's largest byte in each lane says, to within what its tokens' residuals add, what it scores; and a token can
only hold the maximum of a lane if its byte comes near the document's largest. Arrays are given by their addresses.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ....jit.vector import FLOATS, I32, I64, INTS, LANES, Code
from .memory import I8, load, store


def _vector(lanes: int) -> Any:
    return ir.VectorType(I8, lanes)


@intrinsic
def coarsen(typing: Any, starts: Any, rows: Any, largest: Any, factors: Any, summands: Any, out: Any, step: Any):
    """Write (rows, 16) int32 as bytes: (start − largest) · factor + summand, not below 0, cut to an integer.

    `largest`, int32, `factors` and `summands`, float32, are (16,); rows of `out` are `step` bytes apart.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = Code(context, builder)
        starts, rows, largest, factors, summands, out, step = arguments
        top, factor, summand = (
            load(builder, kind, at) for kind, at in ((INTS, largest), (FLOATS, factors), (FLOATS, summands))
        )

        def body(number: Any, states: list[Any]) -> list[Any]:
            value = builder.sub(load(builder, INTS, code.plus(starts, number, 64)), top)
            value = builder.fadd(builder.fmul(builder.sitofp(value, FLOATS), factor), summand)
            value = builder.select(builder.fcmp_ordered(">", value, code.constant(0.0)), value, code.constant(0.0))
            small = builder.trunc(builder.fptosi(value, INTS), _vector(LANES))
            store(builder, small, builder.add(out, builder.mul(number, step)))
            return states

        code.loop(rows, [], body)
        return code.nothing()

    return types.void(*[types.int64] * 7), generate


def _nearest(lanes: int) -> Any:
    """Make the largest byte of each lane over a document's tokens.

    Arguments: codes, (tokens,) uint32; tokens; coarse, (…, lanes) uint8; out, (lanes,) uint8.
    """

    @intrinsic
    def nearest(typing: Any, codes: Any, tokens: Any, coarse: Any, out: Any):
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            code, kind = Code(context, builder), _vector(lanes)
            codes, tokens, coarse, out = arguments

            def body(number: Any, states: list[Any]) -> list[Any]:
                row = builder.zext(load(builder, I32, code.plus(codes, number, 4)), I64)
                found = load(builder, kind, code.plus(coarse, row, lanes))
                return [code.call(f"llvm.umax.v{lanes}i8", kind, states[0], found)]

            store(builder, code.loop(tokens, [ir.Constant(kind, [0] * lanes)], body)[0], out)
            return code.nothing()

        return types.void(*[types.int64] * 4), generate

    return nearest


def _reaching(lanes: int) -> Any:
    """Make the list of rows of which some lane's byte is at least its limit; return how many.

    Arguments: coarse, (rows, lanes) uint8; rows; limits, (lanes,) uint8; out, (rows + 1,) uint32.
    """

    @intrinsic
    def reaching(typing: Any, coarse: Any, rows: Any, limits: Any, out: Any):
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            code, kind, bits = Code(context, builder), _vector(lanes), ir.IntType(lanes)
            coarse, rows, limits, out = arguments
            limits = load(builder, kind, limits)

            def body(number: Any, states: list[Any]) -> list[Any]:
                (count,) = states
                store(builder, builder.trunc(number, I32), code.plus(out, count, 4))
                row = load(builder, kind, code.plus(coarse, number, lanes))
                mask = builder.bitcast(builder.icmp_unsigned(">=", row, limits), bits)
                found = builder.icmp_unsigned("!=", mask, ir.Constant(bits, 0))
                return [builder.add(count, builder.zext(found, I64))]

            return code.loop(rows, [code.integer(0)], body)[0]

        return types.int64(*[types.int64] * 4), generate

    return reaching


def _counting(lanes: int) -> Any:
    """Make the number of rows, at most 255, of which a lane's byte is at least its limit.

    Arguments: coarse, (rows, lanes) uint8; rows; limits, (lanes,) uint8; out, (lanes,) uint8.
    """

    @intrinsic
    def counting(typing: Any, coarse: Any, rows: Any, limits: Any, out: Any):
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            code, kind = Code(context, builder), _vector(lanes)
            coarse, rows, limits, out = arguments
            limits = load(builder, kind, limits)

            def body(number: Any, states: list[Any]) -> list[Any]:
                row = load(builder, kind, code.plus(coarse, number, lanes))
                return [builder.sub(states[0], builder.sext(builder.icmp_unsigned(">=", row, limits), kind))]

            store(builder, code.loop(rows, [ir.Constant(kind, [0] * lanes)], body)[0], out)
            return code.nothing()

        return types.void(*[types.int64] * 4), generate

    return counting


nearest_16, nearest_32 = _nearest(16), _nearest(32)
reaching_16, reaching_32 = _reaching(16), _reaching(32)
counting_16, counting_32 = _counting(16), _counting(32)
