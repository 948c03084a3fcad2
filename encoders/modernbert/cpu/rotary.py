"""From a layer's projection to what the attention kernel reads: rotated, and laid out in panels.

Keys and values of two neighbouring tokens lie side by side in a panel, so tokens are taken in pairs.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ....jit.compile import compiled
from ....jit.vector import FLOATS, HALVES, I16, I32, I64, INTS, LANES, Code, is_bf16

SHORTS = ir.VectorType(I16, LANES)


def _pair_of_tokens(code: Code, states: Any, rows: list[Any], scales: list[Any], weights: Any) -> Any:
    """Return a function that loads 16 numbers of both tokens as floats, given where they begin in a row."""
    builder, whole = code.builder, states.dtype == types.int32

    def load(column: Any) -> list[Any]:
        factors = code.load(FLOATS, code.plus(weights, column, 4)) if whole else None
        loaded = []
        for row, scale in zip(rows, scales, strict=True):
            place = code.plus(row, column, states.dtype.bitwidth // 8)
            if whole:
                value = builder.sitofp(code.load(INTS, place), FLOATS)
                loaded.append(builder.fmul(value, builder.fmul(scale, factors)))
            elif is_bf16(states):
                loaded.append(builder.fpext(code.load(HALVES, place), FLOATS))
            else:
                loaded.append(code.load(FLOATS, place))
        return loaded

    return load


def _interleaved(code: Code, first: Any, second: Any) -> Any:
    """Return the lanes of two vectors in turn: both first lanes, both second ones, and so on."""
    count = first.type.count
    order = [lane + token * count for lane in range(count) for token in (0, 1)]
    return code.builder.shuffle_vector(first, second, ir.Constant(ir.VectorType(I32, 2 * count), order))


def _store_key(code: Code, turned: list[Any], key: Any, *, bf16: bool) -> None:
    """Store 16 numbers of two tokens as columns of a panel; a float32 or a pair of bfloat16 is a word of 4 bytes."""
    builder = code.builder
    words = ir.VectorType(I32, LANES // 2 if bf16 else LANES)
    first, second = (builder.bitcast(value, words) for value in turned)
    both = builder.bitcast(_interleaved(code, first, second), ir.VectorType(I64, words.count))
    for number in range(words.count):
        word = builder.extract_element(both, I32(number))
        code.store(word, code.plus(key, code.integer(number), 4 * LANES))


def _store_value(code: Code, values: list[Any], places: list[Any], *, bf16: bool) -> None:
    if bf16:
        first, second = (code.builder.bitcast(value, SHORTS) for value in values)
        code.store(_interleaved(code, first, second), places[0])
    else:
        for value, place in zip(values, places, strict=True):
            code.store(value, place)


@intrinsic
def _pack_pair(
    typing: Any,
    states: Any,
    row: Any,
    scale_a: Any,
    scale_b: Any,
    weight_scales: Any,
    cosines: Any,
    sines: Any,
    angle_a: Any,
    angle_b: Any,
    heads: Any,
    width: Any,
    queries: Any,
    query: Any,
    keys: Any,
    key: Any,
    values: Any,
    value: Any,
):
    """Pack all heads of two tokens; given are their first elements in each array, `angle_…` in the tables."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code, bf16 = Code(context, builder), is_bf16(queries)
        state, row, scale_a, scale_b, weights, cosine, sine, angle_a, angle_b, heads, width, *outputs = arguments
        all_heads = builder.mul(heads, width)
        three = builder.mul(all_heads, code.integer(3))
        rows = [code.address(states, state, at) for at in (row, builder.add(row, three))]
        scales = [code.splat(scale, FLOATS) for scale in (scale_a, scale_b)]
        load = _pair_of_tokens(code, states, rows, scales, code.address(weight_scales, weights, code.integer(0)))
        angles = [
            (code.address(cosines, cosine, angle), code.address(sines, sine, angle)) for angle in (angle_a, angle_b)
        ]
        size = 2 if bf16 else 4
        query = code.address(queries, outputs[0], outputs[1])
        key = code.address(keys, outputs[2], outputs[3])
        value = code.address(values, outputs[4], outputs[5])
        half = builder.sdiv(width, code.integer(2))
        panel = builder.mul(width, code.integer(LANES))

        def narrow(vector: Any) -> Any:
            return builder.fptrunc(vector, HALVES) if bf16 else vector

        def turn(column: Any, at: Any) -> tuple[list[Any], list[Any]]:
            """Return 16 numbers of the first half and 16 of the second half of a head that begins at `at`."""
            start = builder.add(at, column)
            first, second = load(start), load(builder.add(start, half))
            turned_first, turned_second = [], []
            for x, y, (cosine, sine) in zip(first, second, angles, strict=True):
                c, s = code.load(FLOATS, code.plus(cosine, column, 4)), code.load(FLOATS, code.plus(sine, column, 4))
                turned_first.append(narrow(builder.fsub(builder.fmul(x, c), builder.fmul(y, s))))
                turned_second.append(narrow(builder.fadd(builder.fmul(y, c), builder.fmul(x, s))))
            return turned_first, turned_second

        def one_head(head: Any, none: list[Any]) -> list[Any]:
            at = builder.mul(head, width)
            key_of_head = code.plus(key, builder.mul(head, panel), size)
            value_of_head = code.plus(value, builder.mul(head, panel), size)

            def turned_vector(number: Any, none: list[Any]) -> list[Any]:
                column = builder.mul(number, code.integer(LANES))
                for turned, offset in zip(turn(column, at), (code.integer(0), half), strict=True):
                    place = builder.add(builder.add(at, column), offset)
                    code.store(turned[0], code.plus(query, place, size))
                    code.store(turned[1], code.plus(query, builder.add(place, all_heads), size))
                for turned, offset in zip(
                    turn(column, builder.add(at, all_heads)), (code.integer(0), half), strict=True
                ):
                    place = builder.mul(builder.add(column, offset), code.integer(LANES))
                    _store_key(code, turned, code.plus(key_of_head, place, size), bf16=bf16)
                return []

            def plain_vector(number: Any, none: list[Any]) -> list[Any]:
                column = builder.mul(number, code.integer(LANES))
                loaded = load(builder.add(builder.add(at, column), builder.mul(all_heads, code.integer(2))))
                pair = 2 if bf16 else 1
                first = code.plus(value_of_head, column, size * pair)
                places = [first, code.plus(first, width, size)]
                _store_value(code, [narrow(vector) for vector in loaded], places, bf16=bf16)
                return []

            code.loop(builder.sdiv(half, code.integer(LANES)), [], turned_vector)
            code.loop(builder.sdiv(width, code.integer(LANES)), [], plain_vector)
            return []

        code.loop(heads, [], one_head)
        return code.nothing()

    i, f = types.int64, types.float32
    return types.void(
        states, i, f, f, weight_scales, cosines, sines, i, i, i, i, queries, i, keys, i, values, i
    ), generate


@compiled()
def rotate_and_pack(states, scales, weight_scales, positions, cosines, sines, first, queries, keys, values):
    """Rotate queries and keys and lay all three out as the attention kernel reads them.

    Args:
        states: (n, 3 · heads · width), queries, keys and values of tokens `first` to `first + n`: float32, bfloat16 as
            uint16, or int8 products as int32. n is even, width a multiple of 32.
        scales: (n,) float32, of the tokens in int8 products; see `kernels`.
        weight_scales: (3 · heads · width,) float32, of the columns in int8 products.
        positions: (tokens,) int64 of all tokens, from 0 in each text.
        cosines: (positions, width / 2) float32, RoPE's table (Su et al. 2021, arXiv 2104.09864).
        sines: Likewise.
        first: The number of the first token, even.
        queries: Written; see `attention`.
        keys: Written, in panels.
        values: Written, in panels.
    """
    heads, width = queries.shape[1], queries.shape[2]
    all_heads = heads * width
    for number in range(0, states.shape[0], 2):
        token = first + number
        angle_a, angle_b = positions[token] * (width // 2), positions[token + 1] * (width // 2)
        panel, lane = token // LANES * LANES * all_heads, token % LANES
        pair = 4 // queries.itemsize
        _pack_pair(
            states,
            number * 3 * all_heads,
            scales[number],
            scales[number + 1],
            weight_scales,
            cosines,
            sines,
            angle_a,
            angle_b,
            heads,
            width,
            queries,
            token * all_heads,
            keys,
            panel + lane * pair,
            values,
            panel + lane * width,
        )
