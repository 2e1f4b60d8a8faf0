"""Write docs/methods.md: `python docs/methods.py [--check]`.

Facts come from the methods themselves: their cards, where they were published, which code they were held against.
What was measured comes from two files beside the benchmarks, each written by what measured it:

    python tests/benchmarks/walk.py --methods --out tests/benchmarks/results/methods.json
    TOKENLENS_DIFFERENCES=tests/benchmarks/results/differences.json pytest -n0 tests/agreement
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from tokenlens.methods import Method, methods

PAGE = Path(__file__).with_suffix(".md")
RESULTS = Path(__file__).parents[1] / "tests" / "benchmarks" / "results"
HEAD = """# Methods

<!-- written by docs/methods.py: change the methods' cards, and not this page -->

Every method that `tokenlens methods` lists, as it says of itself. *Held against*: the code whose numbers its agreement
tests compare with, and the licence that code stands under; tokenlens copies none of it. *Off by*: the largest
difference of any logit (of VisionZip a token's channel, of DivPrune the choice) over all recorded settings. *GFLOPs*
and *time* are shares of the un-reduced model's, of DeiT-S with random weights at keep rate 0.5 and blocks 3, 6, 9, on
one CPU thread beside other work, each method right after the un-reduced model; these ratios scatter by up to a tenth.
*Of its ideal* is how much of what its GFLOPs promise its time keeps. Untrained, methods that choose for themselves how
many tokens stay (◇) keep what they happen to. *Off by* is empty where no recorded numbers hold a method.

"""
MARKS = "● has parameters of its own, which are trained. ◇ decides how many tokens remain."
COLUMNS = ("method", "family", "paper", "held against", "off by", "GFLOPs", "time", "of its ideal")
CODE = re.compile(r"([\w.-]+/[\w.-]+)@([0-9a-f]{7})\s+\(([^)]+)\)")


def codes(method: Method) -> Iterator[str]:
    """The repositories that its card names, with their licence."""
    for name, commit, licence in CODE.findall(card(method)):
        yield f"[{name}](https://github.com/{name}/tree/{commit}) ({licence})"


def card(method: Method) -> str:
    """Its module's docstring."""
    return inspect.getdoc(inspect.getmodule(method.reducer)) or ""


def paper(method: Method) -> str:
    """A link."""
    word = method.reducer.paper
    return f"[{word}](https://arxiv.org/abs/{word.removeprefix('arXiv:')})" if word.startswith("arXiv:") else word


def cells(name: str, method: Method, measured: dict[str, dict[str, float]], off: dict[str, float]) -> list[str]:
    """One row."""
    marks = " ◇" * method.reducer.adaptive + " ●" * method.reducer.trained
    row = measured.get(name, {})
    numbers = [f"{row[key]:.2f}" if row else "" for key in ("gflops", "time", "of_ideal")]
    differs = f"{off[name]:.0e}" if off.get(name) else "0" if name in off else ""
    held = ", ".join(codes(method))
    return [f"[`{name}`](#{name}){marks}", method.reducer.family, paper(method), held, differs, *numbers]


def page() -> str:
    """The whole page."""
    measured, off = (json.loads((RESULTS / f"{name}.json").read_text()) for name in ("methods", "differences"))
    ours = {name: m for name, m in methods().items() if m.reducer.__module__.startswith("tokenlens.")}
    rows = [COLUMNS, ["---"] * len(COLUMNS), *(cells(name, m, measured, off) for name, m in ours.items())]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    files: dict[str, list[Method]] = {}
    for m in ours.values():
        files.setdefault(m.reducer.__module__, []).append(m)
    cards = "\n".join(section(group) for group in files.values())
    return f"{HEAD}{table}\n\n{MARKS}\n\n{cards}"


def section(group: list[Method]) -> str:
    """Of methods that share a file: their card, and of each its options and what it needs."""
    anchors = "".join(f'<a id="{method.name}"></a>' for method in group)
    title = ", ".join(f"`{method.name}`" for method in group)
    lines = [f"{anchors}\n\n## {title}\n\n{card(group[0])}\n"]
    for method in group:
        options = ", ".join(f"`{name}={value}`" for name, value in method.defaults.items())
        told = [f"options {options}"] * bool(options) + [f"needs {need}" for need in method.reducer.needs]
        if told:
            lines.append(f"* `{method.name}`: {'; '.join(told)}.")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the page, or say that it is out of date."""
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page(), encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != page():
        sys.exit(f"{PAGE.name} is out of date; run python docs/methods.py")


if __name__ == "__main__":
    main()
