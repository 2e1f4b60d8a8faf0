"""The families of methods, and what the patterns of each are unless a method says otherwise. Free of torch."""

KEEPING = ("pruning", "radial", "random")
"""their patterns are sets of kept patches"""
MERGING = ("merging", "soft")
"""their patterns are partitions"""
UNORDERED = 2**31 - 1
"""the place among methods of one that names none: after all that do"""
