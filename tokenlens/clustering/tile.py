"""The inner product of the distances, as vector instructions.

numba has no vector type, and sums that a compiled loop keeps in an array cost a load and a store for each product. So
these few lines hand LLVM the vectors themselves; it keeps the sums in registers (98 % of the peak of one AVX-512 core,
where the plain loop reached 40 %), and splits the vectors where the machine's are shorter.
"""

from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16
"""tokens in a panel, and entries in a vector"""
ROWS = 8 if binding.get_host_cpu_features().get("avx512f") else 4  # as many vectors of sums as registers hold
"""rows of a tile; divides LANES"""


@intrinsic  # type: ignore[misc]
def distance_tile(
    typing: Any, panels: Any, left: Any, right: Any, channels: Any, dist: Any, row: Any, column: Any
) -> Any:
    """Write 1 - a·b into dist[row : row + ROWS, column : column + LANES].

    panels is flat: a panel holds LANES tokens, channel after channel. The tokens a start at entry `left`, which may be
    inside a panel; the panel of the tokens b starts at entry `right`. dist may be wider than panels (float64 for
    float32): the products are still summed as narrow as panels is.
    """
    return types.void(panels, left, right, channels, dist, row, column), _emit


def _emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    panels, left, right, channels, dist, row, column = arguments
    narrow, wide = (ir.VectorType(context.get_value_type(signature.args[k].dtype), LANES) for k in (0, 4))
    bytes_in, bytes_out = (signature.args[k].dtype.bitwidth // 8 for k in (0, 4))
    source = context.make_array(signature.args[0])(context, builder, panels).data
    matrix = context.make_array(signature.args[4])(context, builder, dist)

    def number(value: int) -> Any:
        return ir.Constant(left.type, value)

    sums = [cgutils.alloca_once(builder, narrow) for _ in range(ROWS)]  # LLVM makes registers of them
    for total in sums:
        builder.store(ir.Constant(narrow, None), total)
    with cgutils.for_range(builder, channels) as loop:
        step = builder.mul(loop.index, number(LANES))
        b = builder.gep(source, [builder.add(right, step)])
        many = builder.load(builder.bitcast(b, narrow.as_pointer()), align=bytes_in)
        a = builder.gep(source, [builder.add(left, step)])
        for r, total in enumerate(sums):
            one = _spread(builder, builder.load(builder.gep(a, [number(r)])), narrow)
            product = builder.fmul(one, many, flags=["contract"])
            builder.store(builder.fadd(builder.load(total), product, flags=["contract"]), total)
    stride = builder.sdiv(cgutils.unpack_tuple(builder, matrix.strides)[0], number(bytes_out))
    corner = builder.add(builder.mul(row, stride), column)
    for r, total in enumerate(sums):
        away = builder.fsub(ir.Constant(narrow, [1.0] * LANES), builder.load(total))
        place = builder.gep(matrix.data, [builder.add(corner, builder.mul(stride, number(r)))])
        away = builder.fpext(away, wide) if bytes_out > bytes_in else away
        builder.store(away, builder.bitcast(place, wide.as_pointer()), align=bytes_out)
    return context.get_dummy_value()


def _spread(builder: Any, value: Any, vector: Any) -> Any:
    """A vector that holds the value everywhere."""
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(ir.IntType(32), LANES), None))
