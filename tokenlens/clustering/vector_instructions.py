"""The inner product of the distances, and the transpositions around it, as vector instructions.

numba has no vector type, and sums that a compiled loop keeps in an array cost a load and a store for each product. So
these few lines hand LLVM the vectors themselves; it keeps the sums in registers (98 % of the peak of one AVX-512 core,
where the plain loop reached 40 %), and splits the vectors where the machine's are shorter. Transposing in registers
takes a fifth of the time of a loop that copies one entry at a time.
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
def transposed_tile(typing: Any, x: Any, row: Any, column: Any, scale: Any, panels: Any, place: Any) -> Any:
    """Write the columns of x[row : row + LANES, column : column + LANES] * scale[row : row + LANES], one after another.

    They go into panels (flat) from entry `place` on, LANES entries each. x is contiguous.
    """
    return types.void(x, row, column, scale, panels, place), _emit_transposed


@intrinsic  # type: ignore[misc]
def distance_tile(
    typing: Any, panels: Any, left: Any, right: Any, channels: Any, origin: Any, dist: Any, row: Any, column: Any
) -> Any:
    """Write origin - a·b into dist[row : row + ROWS, column : column + LANES], and what mirrors it at the diagonal.

    panels is flat: a panel holds LANES tokens, channel after channel. The tokens a start at entry `left`, which may be
    inside a panel; the panel of the tokens b starts at entry `right`. origin is of the type of panels; dist may be
    wider (float64 for float32), the products are still summed as narrow as panels is.
    """
    return types.void(panels, left, right, channels, origin, dist, row, column), _emit_distances


def _emit_transposed(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    x, row, column, scale, panels, place = arguments
    source = _Matrix(context, builder, signature.args[0], x)
    rows = [source.read(builder.add(row, row.type(r)), column, LANES) for r in range(LANES)]
    factor = _Matrix(context, builder, signature.args[3], scale).read(None, row, LANES)
    target = _Matrix(context, builder, signature.args[4], panels)
    for c, entries in enumerate(_transposed(builder, rows)):
        target.write(builder.fmul(entries, factor), None, builder.add(place, place.type(c * LANES)))
    return context.get_dummy_value()


def _emit_distances(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    panels, left, right, channels, origin, dist, row, column = arguments
    source = _Matrix(context, builder, signature.args[0], panels)
    target = _Matrix(context, builder, signature.args[5], dist)
    narrow = ir.VectorType(source.kind, LANES)
    sums = [cgutils.alloca_once(builder, narrow) for _ in range(ROWS)]  # LLVM makes registers of them
    for total in sums:
        builder.store(ir.Constant(narrow, None), total)
    with cgutils.for_range(builder, channels) as loop:
        step = builder.mul(loop.index, left.type(LANES))
        many = source.read(None, builder.add(right, step), LANES)
        a = builder.add(left, step)
        for r, total in enumerate(sums):
            entry = _spread(builder, source.read(None, builder.add(a, a.type(r)), 1), narrow)
            product = builder.fmul(entry, many, flags=["contract"])
            builder.store(builder.fadd(builder.load(total), product, flags=["contract"]), total)
    origins = _spread(builder, origin, narrow)
    tile = [builder.fsub(origins, builder.load(total)) for total in sums]
    for r, away in enumerate(tile):
        target.write(away, builder.add(row, row.type(r)), column)
    for c, away in enumerate(_transposed(builder, tile)):
        target.write(away, builder.add(column, column.type(c)), row)
    return context.get_dummy_value()


class _Matrix:
    """An array of one or two axes, contiguous along the last, read and written by vectors."""

    def __init__(self, context: Any, builder: Any, kind: Any, value: Any) -> None:
        self.builder, self.kind = builder, context.get_value_type(kind.dtype)
        self.bytes = kind.dtype.bitwidth // 8
        array = context.make_array(kind)(context, builder, value)
        self.start, first = array.data, cgutils.unpack_tuple(builder, array.strides)[0]
        self.stride = builder.sdiv(first, first.type(self.bytes))

    def _at(self, row: Any, column: Any, kind: Any) -> Any:
        entry = column if row is None else self.builder.add(self.builder.mul(row, self.stride), column)
        return self.builder.bitcast(self.builder.gep(self.start, [entry]), kind.as_pointer())

    def read(self, row: Any, column: Any, count: int) -> Any:
        """`count` entries; a number if it is one."""
        kind = self.kind if count == 1 else ir.VectorType(self.kind, count)
        return self.builder.load(self._at(row, column, kind), align=self.bytes)

    def write(self, vector: Any, row: Any, column: Any) -> None:
        """The vector's entries, made as wide as those of the array."""
        kind = ir.VectorType(self.kind, vector.type.count)
        vector = vector if vector.type == kind else self.builder.fpext(vector, kind)
        self.builder.store(vector, self._at(row, column, kind), align=self.bytes)


def _transposed(builder: Any, rows: list[Any]) -> list[Any]:
    """The columns of a power of two of rows: each turn interleaves the first half of the vectors with the second."""
    half = len(rows) // 2
    for _ in range(half.bit_length()):
        rows = [
            _shuffled(builder, a, b, [k + side * LANES for k in range(first, first + LANES // 2) for side in (0, 1)])
            for a, b in zip(rows[:half], rows[half:], strict=True)
            for first in (0, LANES // 2)
        ]
    size = 2 * half
    return [_shuffled(builder, v, v, range(first, first + size)) for v in rows for first in range(0, LANES, size)]


def _shuffled(builder: Any, a: Any, b: Any, places: Any) -> Any:
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(places)), list(places)))


def _spread(builder: Any, value: Any, vector: Any) -> Any:
    """A vector that holds the value everywhere."""
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    return _shuffled(builder, first, first, [0] * LANES)
