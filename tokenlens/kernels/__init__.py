"""Compiled steps of a walk, each with a twin in plain torch that says what it does and runs where it cannot.

Triton launches on the current GPU, whichever holds the tensors: who calls a kernel makes it that of the tensors.
"""

from importlib.util import find_spec

TRITON = find_spec("triton") is not None
"""whether Triton is there; looked for once, and imported by what launches a kernel"""
