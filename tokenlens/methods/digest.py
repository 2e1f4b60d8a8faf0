"""What tells one version of a method's code from another, so that a changed method makes new runs.

Comments, docstrings and blank lines do not count: they change no pattern.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import io
import textwrap
import tokenize
from types import CodeType, FunctionType

CORE = ("torch", "builtins", "tokenlens.core")  # what every method stands on is told by the versions


def digest_of(cls: type) -> str:
    """Sixteen hexadecimal digits of the source of a class and of those that it inherits from.

    The whole file counts, since a class calls what stands beside it. Where there is no source, as in some notebooks,
    the compiled functions of the class are taken, which other versions of Python compile otherwise.
    """
    found = hashlib.sha256()
    for one in cls.__mro__:
        if one.__module__.split(".")[0] in CORE or any(one.__module__.startswith(f"{core}.") for core in CORE):
            continue
        module = inspect.getmodule(one)
        try:
            found.update(_bare(inspect.getsource(module if module and module.__name__ != "__main__" else one)).encode())
        except (OSError, TypeError, SyntaxError):
            for name, part in sorted(vars(one).items()):
                if isinstance(part, FunctionType):
                    found.update(name.encode() + _compiled(part.__code__))
    return found.hexdigest()[:16]


def _bare(source: str) -> str:
    """Source without comments, docstrings and blank lines, the same under every version of Python."""
    lines = [line.encode() for line in textwrap.dedent(source).splitlines()]
    text = b"\n".join(lines).decode()
    cuts: list[tuple[int, int, int, int]] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                cuts.append((first.lineno, first.col_offset, first.end_lineno or 0, first.end_col_offset or 0))
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:  # counted in letters, what `ast` counts is in bytes
            line = token.line.encode()
            begin = len(token.line[: token.start[1]].encode())
            cuts.append((token.start[0], begin, token.start[0], len(line.rstrip(b"\n"))))
    for top, left, bottom, right in sorted(cuts, reverse=True):
        lines[top - 1 : bottom] = [lines[top - 1][:left] + lines[bottom - 1][right:]]
        lines[top:top] = [b""] * (bottom - top)
    return "\n".join(line.rstrip() for line in b"\n".join(lines).decode().splitlines() if line.strip())


def _compiled(code: CodeType) -> bytes:
    inner = [const for const in code.co_consts if not isinstance(const, CodeType)]
    nested = b"".join(_compiled(const) for const in code.co_consts if isinstance(const, CodeType))
    return code.co_code + repr((inner, code.co_names)).encode() + nested
