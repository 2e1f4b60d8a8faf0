"""How traces, models and runs say in one line what they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def in_a_line(method: str, images: int | None, tokens: Sequence[float]) -> str:
    """What a method did to how many images: `tokens` are those before the first stage and after each.

    Examples:
        >>> in_a_line("topk", 4, [196, 98, 49, 24])
        'topk, 4 images, 3 stages, 196 → 98 → 49 → 24'
    """
    stages = len(tokens) - 1
    words = [method] if method else []
    words += [] if images is None else [f"{images} image{'s' * (images != 1)}"]
    words += [f"{stages} stage{'s' * (stages != 1)}", " → ".join(f"{count:.1f}".removesuffix(".0") for count in tokens)]
    return ", ".join(words)


def as_html(line: str, header: Sequence[str] = (), rows: Iterable[Sequence[object]] = ()) -> str:
    """The line for a notebook, with a small table below where there is one."""
    cells = "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    return f"<p><b>{escape(line)}</b></p>" + (f"<table><tr>{head}</tr>{cells}</table>" if cells else "")
