"""The report's sections as markup, and the tables that they show as pieces of data."""

from __future__ import annotations

from datetime import date
from html import escape
from importlib.metadata import version
from typing import TYPE_CHECKING

from tqdm import tqdm

from ..source import Missing, Source
from ..theme.style import place
from .data import overview
from .figures import figures
from .page import Writer, table_data, text

if TYPE_CHECKING:
    import pandas as pd

COLOURS = {"supported for these data": "good", "contradicted": "bad"}  # classes of page.css


def head(source: Source) -> dict[str, str]:
    """Title, lead and footer."""
    runs = source.opened or []
    sets = ", ".join(sorted({place(str(run.attrs["dataset"])) for run in runs}))
    models = ", ".join(sorted({str(run.attrs["model"]) for run in runs}))
    methods = len({str(run.attrs["method"]) for run in runs})
    title = f"Which tokens are kept: {sets}" if runs else "Which tokens are kept"
    lead = f"{len(runs)} runs of {methods} methods on {sets} with {models}." if runs else "Tables without runs."
    made = f"Made with tokenlens {version('tokenlens-vit')} on {date.today().isoformat()}."
    return {"title": escape(title), "lead": escape(lead), "footer": escape(made)}


def runs_section(writer: Writer, source: Source) -> str:
    """The table of the runs, folded; without runs, the one in the results."""
    frame = overview(source.opened) if source.opened else _table(source, "runs")
    if frame is None:
        return text("There are no runs.")
    writer.add("table-runs", table_data(frame))
    count = f"{len(frame)} runs" if len(frame) > 1 else "1 run"
    return f'<details><summary>{count}, a row each</summary><div data-table="runs"></div></details>'


def findings_section(source: Source) -> str:
    """What the runs say about each finding of the study, and what the ground truth adds where there is one."""
    try:
        made = _judged(source.table("findings"))
    except Missing as lack:
        return text(f"There are no findings, `tokenlens compare --findings` judges them: {lack}.")
    truth = _table(source, "truth")
    return made if truth is None else f"{made}<h3>What the ground truth adds</h3>{_judged(truth)}"


def _judged(claims: pd.DataFrame) -> str:
    """Each claim in one line, with its verdict and its number; what is said of it unfolds."""
    made = []
    for row in claims.to_dict("records"):
        number = "–" if row["value"] != row["value"] else f"{row['value']:.3f}"
        interval = "" if row["low"] != row["low"] else f" [{row['low']:.3f}, {row['high']:.3f}]"
        said = row["paragraph"].removeprefix(f"{row['claim']}: {row['verdict']}. ")  # the line above says it
        made.append(
            f'<details class="finding"><summary><span>{row["finding"]}. {escape(row["claim"])}</span> '
            f'<span class="{COLOURS.get(row["verdict"], "open")} verdict">{escape(row["verdict"])}</span> '
            f'<span class="number">{number}</span></summary>'
            f"{text(said)}<p>{escape(row['statistic'])}: {number}{interval}, n = {row['n']}.</p></details>"
        )
    return "".join(made)


def figures_section(writer: Writer, source: Source, progress: bool) -> str:
    """Every figure with its table; at the end, what is missing for the others."""
    made: list[str] = []
    lacks: dict[str, list[str]] = {}
    for shown in tqdm(figures(source), desc="figures", unit="figure", disable=not progress):
        if shown.numbers is None:
            lacks.setdefault(shown.lack, []).append(shown.name)
            continue
        made.append(shown.markup)
        if shown.svg:
            writer.add(f"svg-{shown.name}", shown.svg)
        writer.add(f"table-{shown.name}", table_data(shown.numbers))
    if lacks:
        made.append("<h3>Not drawn</h3>")
    made += [text(f"{', '.join(names)}: {lack}.") for lack, names in lacks.items()]
    return "".join(made)


def _table(source: Source, name: str) -> pd.DataFrame | None:
    try:
        return source.table(name)
    except Missing:
        return None
