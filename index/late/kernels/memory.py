"""Loads and stores by address, for arrays mapped from files: read-only, of any alignment, one of many segments.

Numba would compile a kernel anew for a read-only array and for an unaligned one, and counts references to arrays that
an intrinsic takes. An address, `array.ctypes.data` as int64, has neither cost; who passes it keeps the array alive.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

I8, I16, I32, I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))


def load(builder: Any, kind: Any, address: Any) -> Any:
    """Load a value of this LLVM type from an address that is aligned to nothing."""
    value = builder.load(builder.inttoptr(address, kind.as_pointer()))
    value.align = 1
    return value


def store(builder: Any, value: Any, address: Any) -> None:
    """Store a value at an address that is aligned to nothing."""
    builder.store(value, builder.inttoptr(address, value.type.as_pointer())).align = 1


def _reader(kind: Any) -> Any:
    @intrinsic
    def read(typing: Any, address: Any, index: Any):
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            start, number = arguments
            place = builder.add(start, builder.mul(number, ir.Constant(I64, kind.width // 8)))
            return builder.zext(load(builder, kind, place), I64) if kind.width < 64 else load(builder, kind, place)

        return types.int64(types.int64, types.int64), generate

    return read


byte_at, short_at, word_at, long_at = (_reader(kind) for kind in (I8, I16, I32, I64))
"""Element of an array of uint8, uint16, uint32 or int64: read(address of the array, index) as int64."""
