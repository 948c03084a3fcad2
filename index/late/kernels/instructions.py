"""Products of bytes: the instructions that a processor has for them, behind one name for each set.

A step of a product takes four consecutive levels of a row (unsigned bytes) and, for 16 lanes, the same four dimensions
of a query (signed bytes), and adds the 16 dot products of four to 16 int32. All sets give the same integers.

A kernel gets an `Instructions` value and is compiled for what it says; numba sees each as a type of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import NativeValue, models, register_model, typeof_impl, unbox

from ....jit.vector import I16, I32, INTS, Code, compiled_features

I8 = ir.IntType(8)
BYTES = ir.VectorType(I8, 64)


def _vector(kind: Any, count: int) -> Any:
    return ir.VectorType(kind, count)


def _part(code: Code, vector: Any, number: int, parts: int) -> Any:
    """Return one of equal parts of a vector."""
    count = vector.type.count // parts
    places = ir.Constant(_vector(I32, count), list(range(number * count, (number + 1) * count)))
    return code.builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), places)


def _joined(code: Code, parts: list[Any]) -> Any:
    """Return the vector of all parts, a power of two of them."""
    while len(parts) > 1:
        count = 2 * parts[0].type.count
        places = ir.Constant(_vector(I32, count), list(range(count)))
        parts = [
            code.builder.shuffle_vector(first, second, places)
            for first, second in zip(parts[::2], parts[1::2], strict=True)
        ]
    return parts[0]


def _vnni(width: int) -> Callable[..., Any]:
    """Make the step of AVX-512 VNNI (512 bits) or AVX-VNNI (256): vpdpbusd."""

    def step(code: Code, totals: Any, levels: Any, query: Any, wide: bool) -> Any:
        parts, name = 512 // width, f"llvm.x86.avx512.vpdpbusd.{width}"
        kind, small = _vector(I32, width // 32), _vector(I8, width // 8)
        results = []
        for number in range(parts):
            total, row, lanes = (_part(code, vector, number, parts) for vector in (totals, levels, query))
            row, lanes = (code.builder.bitcast(vector, small) for vector in (row, lanes))
            results.append(code.call(name, kind, total, row, lanes))
        return _joined(code, results)

    return step


def _in_halves(code: Code, totals: Any, levels: Any, wide: bool, dot: Callable[[Any, Any], Any]) -> Any:
    """Add a dot product that overflows for levels above 127: of their low 7 bits, and of the bit above."""
    builder = code.builder
    if not wide:
        return dot(totals, levels)
    low = builder.and_(levels, ir.Constant(INTS, [0x7F7F7F7F] * 16))
    high = builder.and_(builder.lshr(levels, ir.Constant(INTS, [7] * 16)), ir.Constant(INTS, [0x01010101] * 16))
    above = dot(ir.Constant(INTS, [0] * 16), high)
    return builder.add(dot(totals, low), builder.shl(above, ir.Constant(INTS, [7] * 16)))


def _avx2(code: Code, totals: Any, levels: Any, query: Any, wide: bool) -> Any:
    """vpmaddubsw, whose sums of two products saturate at 16 bits, so not for levels above 127; then vpmaddwd."""
    builder = code.builder
    ones = ir.Constant(_vector(I16, 16), [1] * 16)

    def dot(sums: Any, row: Any) -> Any:
        results = []
        for number in range(2):
            total, part, lanes = (_part(code, vector, number, 2) for vector in (sums, row, query))
            part, lanes = (builder.bitcast(vector, _vector(I8, 32)) for vector in (part, lanes))
            pairs = code.call("llvm.x86.avx2.pmadd.ub.sw", _vector(I16, 16), part, lanes)
            results.append(builder.add(total, code.call("llvm.x86.avx2.pmadd.wd", _vector(I32, 8), pairs, ones)))
        return _joined(code, results)

    return _in_halves(code, totals, levels, wide, dot)


def _neon(code: Code, totals: Any, levels: Any, query: Any, wide: bool) -> Any:
    """Sdot of ARMv8.2: both sides are signed, so not for levels above 127."""
    builder = code.builder

    def dot(sums: Any, row: Any) -> Any:
        results = []
        for number in range(4):
            total, part, lanes = (_part(code, vector, number, 4) for vector in (sums, row, query))
            part, lanes = (builder.bitcast(vector, _vector(I8, 16)) for vector in (part, lanes))
            results.append(code.call("llvm.aarch64.neon.sdot.v4i32.v16i8", _vector(I32, 4), total, part, lanes))
        return _joined(code, results)

    return _in_halves(code, totals, levels, wide, dot)


def _portable(code: Code, totals: Any, levels: Any, query: Any, wide: bool) -> Any:
    """Multiply and add 32-bit integers, as every processor can."""
    builder = code.builder

    def shift(bits: int) -> Any:
        return ir.Constant(INTS, [bits] * 16)

    for place in range(4):
        row = builder.and_(builder.lshr(levels, shift(8 * place)), shift(255))
        lanes = builder.ashr(builder.shl(query, shift(24 - 8 * place)), shift(24))
        totals = builder.add(totals, builder.mul(row, lanes))
    return totals


@dataclass(frozen=True)
class InstructionSet:
    """How a processor multiplies bytes.

    Attributes:
        needs: LLVM's names of the features, all of one of the sets.
        step: (code, totals, levels, query, wide) -> totals, each a vector of 16 int32, the last two holding 4 bytes a
            lane; `wide` says that levels may be above 127.
        rows: How many rows to multiply at once: what the registers hold.
    """

    needs: tuple[frozenset[str], ...]
    step: Callable[..., Any]
    rows: int


SETS = {
    "avx512-vnni": InstructionSet((frozenset({"avx512f", "avx512bw", "avx512vnni"}),), _vnni(512), 8),
    "avx-vnni": InstructionSet((frozenset({"avxvnni"}), frozenset({"avx512vl", "avx512vnni"})), _vnni(256), 4),
    "avx2": InstructionSet((frozenset({"avx2"}),), _avx2, 4),
    "neon": InstructionSet((frozenset({"neon", "dotprod"}),), _neon, 4),
    "portable": InstructionSet((frozenset(),), _portable, 2),
}
"""Fastest first."""


@dataclass(frozen=True)
class Instructions:
    """What a kernel is compiled for.

    Attributes:
        name: A key of `SETS`.
        nbits: Bits of a residual level, 2, 4 or 8.
    """

    name: str
    nbits: int


def usable_sets() -> list[str]:
    """Return the names of the instruction sets that numba compiles for on this machine, fastest first."""
    return [name for name, found in SETS.items() if any(need <= compiled_features() for need in found.needs)]


class InstructionsType(types.Opaque):
    """Numba's type of one `Instructions` value."""

    def __init__(self, chosen: str, nbits: int) -> None:
        self.chosen = chosen
        self.nbits = nbits
        super().__init__(name=f"Instructions({chosen}, {nbits})")


register_model(InstructionsType)(models.OpaqueModel)


@typeof_impl.register(Instructions)
def _typeof(value: Instructions, context: Any) -> InstructionsType:
    return InstructionsType(value.name, value.nbits)


@unbox(InstructionsType)
def _unbox(kind: InstructionsType, value: Any, context: Any) -> NativeValue:
    return NativeValue(context.context.get_dummy_value())
