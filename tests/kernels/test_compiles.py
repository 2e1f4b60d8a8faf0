"""Kernels compile for a Hopper without one: what Triton's interpreter lets through, its compiler may not."""

import subprocess
import sys

import pytest

COMPILE = """
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
import triton
from tokenlens.clustering import triton_rounds, triton_walk
from tokenlens.kernels import triton_attention, triton_match, triton_peaks, triton_tally
half, full, i32, f32 = "*fp16", "*fp32", "i32", "fp32"
double, ints, longs = "*fp64", "*i32", "*i64"
tree = [longs, double, longs, ints, full]
attended = [half, half, full, full, *[i32] * 10, f32]
for kernel, given, constants, warps in (
    (triton_match._match, [half, "*i64", *[i32] * 9], {"SORTED": True, "SIDE": 128, "PART": 32}, 8),
    (triton_tally._tally, ["*i64", full, full, full, "*i64", full, i32, i32, f32],
     {"WEIGHED": True, "SIZED": True, "ROWS": 32, "TOKENS": 256}, 4),
    (triton_attention._first, attended, {"WEIGHED": True, "TOKENS": 256, "DIMS": 64}, 8),
    (triton_attention._received, attended, {"WEIGHED": True, "TOKENS": 256, "DIMS": 64, "ROWS": 32}, 8),
    (triton_peaks._neighbourhood, [*[full] * 4, i32, i32, f32], {"TOKENS": 256}, 1),
    (triton_rounds._carry, [double, ints, full, double, ints, ints, double, i32], {"AVERAGE": True, "PART": 512}, 4),
    (triton_rounds._pair, [double, ints, *tree[:3], ints, full, ints, i32, i32], {"BLOCK": 4096}, 16),
    (triton_walk._walk, [double, *tree, double, ints, ints, i32],
     {"BLOCK": 4096, "SINGLE": False, "AVERAGE": True, "REST": True}, 16),
    (triton_peaks._separate, [*[full] * 4, i32], {"TOKENS": 256}, 1),
):
    types = iter(given)
    signature = {name: "constexpr" if name in constants else next(types) for name in kernel.arg_names}
    constants = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    source = ASTSource(kernel, signature, constexprs=constants)
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": warps})
    assert made.asm["cubin"] and made.metadata.shared <= 99 * 1024, (kernel.__name__, made.metadata.shared)
print("all compile")
"""


@pytest.mark.long
def test_kernels_compile_and_fit_into_the_shared_memory_of_smaller_gpus() -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    done = subprocess.run([sys.executable, "-c", COMPILE], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "all compile", done.stderr
