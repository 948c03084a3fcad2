"""Code on vectors of 16 floats, written as LLVM instructions for numba's intrinsics.

Numba turns plain loops into vector code, but cannot be told to keep a tile of accumulators in registers or to use an
instruction such as a dot product of bytes. Kernels that need either build it with what is here. Vectors of 16 are right
everywhere: LLVM splits them where registers are shorter.

Numba's cache sees when the file of a compiled kernel changes, and not when this one, or another that it imports, does.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.registry import cpu_target

LANES = 16
I16, I32, I64, F32 = ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()


class _Bfloat(ir.Type):
    """LLVM's bfloat, which llvmlite has no class for."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Bfloat)

    def __hash__(self) -> int:
        return hash("bfloat")


BF16 = _Bfloat()
FLOATS = ir.VectorType(F32, LANES)
INTS = ir.VectorType(I32, LANES)
HALVES = ir.VectorType(BF16, LANES)
PAIRS = ir.VectorType(BF16, 2 * LANES)


class Code:
    """Writes instructions at the place of a numba intrinsic's builder."""

    def __init__(self, context: Any, builder: Any) -> None:
        self.context = context
        self.builder = builder

    def integer(self, value: int) -> Any:
        """Return a 64-bit constant."""
        return ir.Constant(I64, value)

    def address(self, array_type: Any, array: Any, index: Any) -> Any:
        """Return the address of an element, counted along the array's memory."""
        data = self.context.make_array(array_type)(self.context, self.builder, array).data
        size = array_type.dtype.bitwidth // 8
        return self.plus(self.builder.ptrtoint(data, I64), index, size)

    def plus(self, address: Any, count: Any, size: int) -> Any:
        """Return address + count · size."""
        return self.builder.add(address, self.builder.mul(count, self.integer(size)))

    def load(self, kind: Any, address: Any) -> Any:
        """Load a value of this LLVM type from an address that is aligned to no more than an element."""
        value = self.builder.load(self.builder.inttoptr(address, kind.as_pointer()))
        value.align = 2
        return value

    def store(self, value: Any, address: Any) -> None:
        """Store a value at an address that is aligned to no more than an element."""
        self.builder.store(value, self.builder.inttoptr(address, value.type.as_pointer())).align = 2

    def splat(self, value: Any, kind: Any) -> Any:
        """Return a vector whose lanes all hold the value."""
        empty = ir.Constant(kind, ir.Undefined)
        first = self.builder.insert_element(empty, value, ir.Constant(I32, 0))
        return self.builder.shuffle_vector(first, empty, ir.Constant(ir.VectorType(I32, kind.count), [0] * kind.count))

    def constant(self, value: float) -> Any:
        """Return a vector of 16 equal floats."""
        return ir.Constant(FLOATS, [value] * LANES)

    def call(self, name: str, result: Any, *arguments: Any, **options: Any) -> Any:
        """Call one of LLVM's intrinsics by its full name."""
        module = self.builder.module
        function = module.globals.get(name)
        if function is None:
            kinds = [argument.type for argument in arguments]
            function = ir.Function(module, ir.FunctionType(result, kinds), name)
        return self.builder.call(function, arguments, **options)

    def loop(self, count: Any, states: Sequence[Any], body: Callable[[Any, list[Any]], list[Any]]) -> list[Any]:
        """Repeat `states = body(number, states)` count times and return the states at the end."""
        builder, before = self.builder, self.builder.block
        inside, after = builder.append_basic_block("inside"), builder.append_basic_block("after")
        builder.cbranch(builder.icmp_signed(">", count, self.integer(0)), inside, after)
        builder.position_at_end(inside)
        number = builder.phi(I64)
        number.add_incoming(self.integer(0), before)
        carried = []
        for state in states:
            carried.append(builder.phi(state.type))
            carried[-1].add_incoming(state, before)
        results = body(number, carried)
        following, last = builder.add(number, self.integer(1)), builder.block
        for phi, value in zip([number, *carried], [following, *results], strict=True):
            phi.add_incoming(value, last)
        builder.cbranch(builder.icmp_signed("<", following, count), inside, after)
        builder.position_at_end(after)
        finals = []
        for state, result in zip(states, results, strict=True):
            finals.append(builder.phi(state.type))
            finals[-1].add_incoming(state, before)
            finals[-1].add_incoming(result, last)
        return finals

    def nothing(self) -> Any:
        """Return the value of an intrinsic that has none."""
        return self.context.get_dummy_value()


@cache
def compiled_features() -> frozenset[str]:
    """Return LLVM's names of the processor features that numba compiles for: this machine's, unless told other."""
    _, _, features = cpu_target.target_context.codegen().magic_tuple()
    return frozenset(feature[1:] for feature in features.split(",") if feature.startswith("+"))


def is_bf16(array_type: Any) -> bool:
    """Say whether an array holds bfloat16 numbers, which NumPy knows only as uint16."""
    return bool(array_type.dtype == types.uint16)
