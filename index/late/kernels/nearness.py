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

PIECES = {1: (16,), 2: (32,), 3: (32, 16), 4: (64,)}
"""Vectors that the bytes of 1 to 4 groups of lanes are held in."""


def _pieces(code: Code, address: Any, groups: int) -> list[Any]:
    """Load the bytes of all lanes."""
    found, place = [], 0
    for size in PIECES[groups]:
        found.append(load(code.builder, ir.VectorType(I8, size), code.plus(address, code.integer(place), 1)))
        place += size
    return found


def _store(code: Code, pieces: list[Any], address: Any) -> None:
    place = 0
    for piece in pieces:
        store(code.builder, piece, code.plus(address, code.integer(place), 1))
        place += piece.type.count


def _row(code: Code, coarse: Any, codes: Any, number: Any, groups: int) -> list[Any]:
    row = code.builder.zext(load(code.builder, I32, code.plus(codes, number, 4)), I64)
    return _pieces(code, code.plus(coarse, row, LANES * groups), groups)


def _reaches(code: Code, pieces: list[Any], limits: list[Any]) -> Any:
    """Return whether a byte of any lane is at least its limit."""
    found = None
    for piece, limit in zip(pieces, limits, strict=True):
        above = code.builder.icmp_unsigned(">=", piece, limit)
        mask = code.builder.bitcast(above, ir.IntType(piece.type.count))
        some = code.builder.icmp_unsigned("!=", mask, ir.Constant(mask.type, 0))
        found = some if found is None else code.builder.or_(found, some)
    return found


@intrinsic
def coarsen(typing: Any, starts: Any, rows: Any, groups: Any, largest: Any, factors: Any, summands: Any, out: Any):
    """Write (rows, 16 · groups) int32 as bytes: (start − largest) · factor + summand, not below 0, cut to an integer.

    `largest`, int32, `factors` and `summands`, float32, are of one group; `starts` and `out` begin at this group.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = Code(context, builder)
        starts, rows, groups, largest, factors, summands, out = arguments
        top, factor, summand = (
            load(builder, kind, at) for kind, at in ((INTS, largest), (FLOATS, factors), (FLOATS, summands))
        )

        def body(number: Any, states: list[Any]) -> list[Any]:
            place = builder.mul(number, groups)
            value = builder.sub(load(builder, INTS, code.plus(starts, place, 64)), top)
            value = builder.fadd(builder.fmul(builder.sitofp(value, FLOATS), factor), summand)
            value = builder.select(builder.fcmp_ordered(">", value, code.constant(0.0)), value, code.constant(0.0))
            store(builder, builder.trunc(builder.fptosi(value, INTS), ir.VectorType(I8, LANES)), code.plus(out, place, 16))
            return states

        code.loop(rows, [], body)
        return code.nothing()

    return types.void(*[types.int64] * 7), generate


def _nearest(groups: int) -> Any:
    """Make the largest byte of each lane over a document's tokens.

    Arguments: codes, (tokens,) uint32; tokens; coarse, (…, 16 · groups) uint8; out, (16 · groups,) uint8.
    """

    @intrinsic
    def nearest(typing: Any, codes: Any, tokens: Any, coarse: Any, out: Any):
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            code = Code(context, builder)
            codes, tokens, coarse, out = arguments

            def body(number: Any, best: list[Any]) -> list[Any]:
                row = _row(code, coarse, codes, number, groups)
                return [
                    code.call(f"llvm.umax.v{one.type.count}i8", one.type, one, other)
                    for one, other in zip(best, row, strict=True)
                ]

            lowest = [ir.Constant(ir.VectorType(I8, size), [0] * size) for size in PIECES[groups]]
            _store(code, code.loop(tokens, lowest, body), out)
            return code.nothing()

        return types.void(*[types.int64] * 4), generate

    return nearest


def _reaching(groups: int) -> Any:
    """Make the list of tokens of which some lane's byte is at least its limit; return how many.

    Arguments: codes, (tokens,) uint32; tokens; coarse; limits, (16 · groups,) uint8; out, (tokens + 1,) uint32.
    """

    @intrinsic
    def reaching(typing: Any, codes: Any, tokens: Any, coarse: Any, limits: Any, out: Any):
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            code = Code(context, builder)
            codes, tokens, coarse, limits, out = arguments
            limits = _pieces(code, limits, groups)

            def body(number: Any, states: list[Any]) -> list[Any]:
                (count,) = states
                store(builder, builder.trunc(number, I32), code.plus(out, count, 4))
                found = _reaches(code, _row(code, coarse, codes, number, groups), limits)
                return [builder.add(count, builder.zext(found, I64))]

            return code.loop(tokens, [code.integer(0)], body)[0]

        return types.int64(*[types.int64] * 5), generate

    return reaching


def _counting(groups: int) -> Any:
    """Make the number of rows, at most 255, of which a lane's byte is at least its limit.

    Arguments: coarse; rows; limits, (16 · groups,) uint8; out, (16 · groups,) uint8.
    """

    @intrinsic
    def counting(typing: Any, coarse: Any, rows: Any, limits: Any, out: Any):
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            code = Code(context, builder)
            coarse, rows, limits, out = arguments
            limits = _pieces(code, limits, groups)

            def body(number: Any, counts: list[Any]) -> list[Any]:
                row = _pieces(code, code.plus(coarse, number, LANES * groups), groups)
                return [
                    builder.sub(count, builder.sext(builder.icmp_unsigned(">=", piece, limit), count.type))
                    for count, piece, limit in zip(counts, row, limits, strict=True)
                ]

            zeros = [ir.Constant(ir.VectorType(I8, size), [0] * size) for size in PIECES[groups]]
            _store(code, code.loop(rows, zeros, body), out)
            return code.nothing()

        return types.void(*[types.int64] * 4), generate

    return counting


nearest_1, nearest_2, nearest_3, nearest_4 = (_nearest(groups) for groups in (1, 2, 3, 4))
reaching_1, reaching_2, reaching_3, reaching_4 = (_reaching(groups) for groups in (1, 2, 3, 4))
counting_1, counting_2, counting_3, counting_4 = (_counting(groups) for groups in (1, 2, 3, 4))
