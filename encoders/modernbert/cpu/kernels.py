"""Element-wise work between the matrix products of a ModernBERT layer on a CPU, each pass over memory done once.

NumPy holds bfloat16 as uint16. Integers come from int8 products: a number of row t and column c stands for
`product[t, c] · scale[t] · weight_scale[c]`.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from ....jit.compile import compiled
from ....jit.vector import BF16, F32, I32

FREE_ORDER = {"reassoc", "contract", "nsz", "arcp", "nnan"}
"""What the compiler may assume of floats here: sums in any order, no NaN (weights with NaN are refused)."""
INT8_MAX = np.float32(127)
TINY = np.float32(1e-30)
SQRT_HALF = np.float32(0.7071067811865476)
ERF_NUMERATOR = (
    *(np.float32(-2.72614225801306e-10), np.float32(2.77068142495902e-08), np.float32(-2.10102402082508e-06)),
    *(np.float32(-5.69250639462346e-05), np.float32(-7.34990630326855e-04), np.float32(-2.95459980854025e-03)),
    np.float32(-1.60960333262415e-02),
)
ERF_DENOMINATOR = (
    *(np.float32(-1.45660718464996e-05), np.float32(-2.13374055278905e-04), np.float32(-1.68282697438203e-03)),
    *(np.float32(-7.37332916720468e-03), np.float32(-1.42647390514189e-02)),
)
"""The rational approximation of erf on [-4, 4] that Eigen and XLA use; within 3e-7."""


@intrinsic
def _widened(typing: Any, value: Any):
    """Return a bfloat16 (as uint16), an int32 or a float32 as float32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if value == types.uint16:
            return builder.fpext(builder.bitcast(arguments[0], BF16), F32)
        return builder.sitofp(arguments[0], F32) if value == types.int32 else arguments[0]

    return types.float32(value), generate


@intrinsic
def _magnitude(typing: Any, value: Any):
    """Return the bits of a float32 without its sign, which order as magnitudes do.

    The largest of integers is found many at a time; of floats, whose order knows NaN, it is not.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.and_(builder.bitcast(arguments[0], I32), I32(0x7FFFFFFF))

    return types.int32(types.float32), generate


@intrinsic
def _float_of(typing: Any, bits: Any):
    """Return the float32 that has these bits."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], F32)

    return types.float32(types.int32), generate


@intrinsic
def _nearest(typing: Any, value: Any):
    """Round half to even."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.call(builder.module.declare_intrinsic("llvm.nearbyint", [ir.FloatType()]), arguments)

    return types.float32(types.float32), generate


@njit(error_model="numpy", fastmath=FREE_ORDER)
def _erf(x):
    x = min(max(x, np.float32(-4)), np.float32(4))
    square = x * x
    above, below = ERF_NUMERATOR[0], ERF_DENOMINATOR[0]
    for coefficient in ERF_NUMERATOR[1:]:
        above = above * square + coefficient
    for coefficient in ERF_DENOMINATOR[1:]:
        below = below * square + coefficient
    return x * above / below


@njit(error_model="numpy", fastmath=FREE_ORDER)
def _quantise_row(row, out):
    bits = np.int32(0)
    for column in range(row.size):
        bits = max(bits, _magnitude(row[column]))
    largest = max(_float_of(bits), TINY)
    factor = INT8_MAX / largest
    for column in range(row.size):
        out[column] = np.int8(_nearest(row[column] * factor))
    return largest / INT8_MAX


@compiled(fastmath=FREE_ORDER)
def quantise(states, out, scales):
    """Quantise each row to int8 by its largest magnitude: `states[t, c]` is about `out[t, c] · scales[t]`."""
    row = np.empty(states.shape[1], np.float32)
    for number in range(states.shape[0]):
        for column in range(row.size):
            row[column] = _widened(states[number, column])
        scales[number] = _quantise_row(row, out[number])


@compiled(fastmath=FREE_ORDER)
def add_products(products, scales, weight_scales, residual):
    """Add int8 products to the residual stream, (n, width) float32, in place."""
    for number in range(products.shape[0]):
        scale, product, states = scales[number], products[number], residual[number]
        for column in range(product.size):
            states[column] += np.float32(product[column]) * (scale * weight_scales[column])


@compiled(fastmath=FREE_ORDER)
def quantise_normalised(residual, weight, eps, out, out_scales):
    """Quantise the layer norm, without bias, of each row of (n, width) float32."""
    width = residual.shape[1]
    row = np.empty(width, np.float32)
    for number in range(residual.shape[0]):
        states = residual[number]
        total = np.float32(0)
        for column in range(width):
            total += states[column]
        mean = total / np.float32(width)
        squares = np.float32(0)
        for column in range(width):
            squares += (states[column] - mean) * (states[column] - mean)
        factor = np.float32(1) / np.sqrt(squares / np.float32(width) + eps)
        for column in range(width):
            row[column] = (states[column] - mean) * factor * weight[column]
        out_scales[number] = _quantise_row(row, out[number])


@compiled(fastmath=FREE_ORDER)
def quantise_geglu(products, scales, weight_scales, out, out_scales):
    """Quantise GeGLU (Shazeer 2020, arXiv 2002.05202): GELU of the first half of each row times its second half."""
    half = products.shape[1] // 2
    row = np.empty(half, np.float32)
    for number in range(products.shape[0]):
        scale, product = scales[number], products[number]
        for column in range(half):
            x = np.float32(product[column]) * (scale * weight_scales[column])
            gate = np.float32(product[half + column]) * (scale * weight_scales[half + column])
            row[column] = np.float32(0.5) * x * (np.float32(1) + _erf(x * SQRT_HALF)) * gate
        out_scales[number] = _quantise_row(row, out[number])
