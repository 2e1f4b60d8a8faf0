"""How a claim about runs is judged: one number with an interval, beside a reference that it should be above or below.

The claims stand in `claims.yaml`. The number is a mean over crossed factors (`statistics.crossed`); p-values of all
claims of a table are corrected together, by Holm. Supported for these data: the number lies on the claim's side of the
reference, and its corrected p is at most 0.05. Contradicted: likewise on the other side. Undecided: neither. Not enough
runs: there are fewer than three cells, or they do not differ and nothing bounds how far others might.
A claim of equivalence wants the number within a bound of the reference: supported where the 95 % interval lies between
both ends, contradicted where it lies outside of them. That is two one-sided tests (TOST) at 0.025 each, by the interval
of 1 - 2 x 0.025; p is that of the nearer end.
Here too are the rows that several claims rest on; all are taken of runs with one keep rate. A set with a photographer's
bias is the set without, its objects moved, and a changed set its very pictures; neither is a data set of its own.
Source of the tests: Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 1987.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .metrics import base, ranks
from .metrics.base import METRICS
from .pairing import CHANGED
from .statistics.crossed import EVERYTHING, FEWEST, Estimate, estimate

if TYPE_CHECKING:
    import pandas as pd

SUPPORTED, CONTRADICTED = "supported for these data", "contradicted"
UNDECIDED, OPEN = "undecided", "not enough runs"
LEVEL = 0.05
PROXIES = ("procrustes", "vmeasure", "iou")
BIASED = r"(embedded:\w+)@bias=(.+)"  # a set, and how far its objects are moved to the centre
SETTING = ["dataset", "split", "model", "capacity", "blocks", "content"]  # what runs must share to be compared


class Claim(NamedTuple):
    """A claim as `claims.yaml` declares it; see there."""

    number: int
    title: str
    cells: str
    claim: str
    statistic: str
    says: str
    reference: float
    side: str
    factors: Sequence[str]
    pool: Sequence[str]
    needs: str
    range: tuple[float, float] = EVERYTHING
    bound: float = 0.0
    given: Mapping[str, str] = MappingProxyType({})

    @property
    def ends(self) -> tuple[float, ...]:
        """What the number has to be told from: the reference, or both ends about it."""
        return (self.reference - self.bound, self.reference + self.bound) if self.bound else (self.reference,)

    @property
    def wanted(self) -> str:
        """Where the claim wants the number."""
        return f"within {self.bound:g} of {self.reference:g}" if self.bound else f"{self.side} {self.reference:g}"

    def fits(self, value: float) -> bool:
        """Whether a number is on the claim's side."""
        if self.bound:
            return abs(value - self.reference) < self.bound
        return (value > self.reference) == (self.side == "above")

    def pvalue(self, found: Estimate) -> float:
        """Two-sided p-value of the number being at the end that it is nearest to; NaN where there is no interval."""
        return float(np.max([found.pvalue(end) for end in self.ends]))


@dataclass
class Evidence:
    """What a statistic gives: rows of `value` and factors (and `error`, see `crossed.estimate`), what else there is to
    say, and a standard error that all rows share beyond the factors.
    """

    rows: pd.DataFrame
    detail: str = ""
    shared: float = 0.0


Statistic = Callable[[Sequence[str]], Evidence]
"""from a pool of families"""


def declared(table: str) -> list[Claim]:
    """The claims of a table, `findings` or `truth`."""
    import yaml

    text = files("tokenlens.analysis").joinpath("claims.yaml").read_text()
    return [Claim(number, **facts) for number, facts in yaml.safe_load(text)[table].items()]


def judge(table: str, statistics: Mapping[str, Statistic]) -> pd.DataFrame:
    """Judge the claims of a table, as in `tokenlens.records.tables`, by the statistics that they name."""
    import pandas as pd

    from tokenlens.records import tables

    claims = declared(table)
    evidence = [statistics[one.statistic](one.pool) for one in claims]
    found = [_estimated(one, each) for one, each in zip(claims, evidence, strict=True)]
    corrected = ranks.holm([one.pvalue(each) for one, each in zip(claims, found, strict=True)])
    rows = [
        _row(one, each, float(p), what.detail, _sensitivity(one, statistics))
        for one, each, p, what in zip(claims, found, corrected, evidence, strict=True)
    ]
    return tables.conform(pd.DataFrame(rows), table)


def _estimated(claim: Claim, evidence: Evidence) -> Estimate:
    return estimate(evidence.rows, claim.factors, evidence.shared, claim.range)


def _sensitivity(claim: Claim, statistics: Mapping[str, Statistic]) -> str:
    """The statistic without one family at a time, and given what else may explain it."""
    families = claim.pool if len(claim.pool) > 1 else ()
    said = [(f"without {family}", claim.statistic, [other for other in claim.pool if other != family])
            for family in families]  # fmt: skip
    said += [(f"given {words}", statistic, list(claim.pool)) for words, statistic in claim.given.items()]
    found = [(words, _estimated(claim, statistics[statistic](pool))) for words, statistic, pool in said]
    return "; ".join(f"{words} {_shown(one)}" for words, one in found if one.n)


def _shown(found: Estimate) -> str:
    interval = "" if np.isnan(found.low) else f" [{found.low:.3f}, {found.high:.3f}]"
    return f"{found.value:.3f}{interval}"


def _row(claim: Claim, found: Estimate, p: float, detail: str, sensitivity: str) -> dict[str, Any]:
    levels = ", ".join(f"{count} of {name}" for name, count in found.levels.items())
    verdict = UNDECIDED
    if np.isnan(p):
        verdict = OPEN
        missing = f"{claim.needs}: {found.n} of {FEWEST} ({levels})"
        if found.n >= FEWEST:
            missing = f"a spread: all {found.n} cells give {found.value:g}, or one alone of each factor ({levels})"
    elif p <= LEVEL:
        verdict, missing = (SUPPORTED if claim.fits(found.value) else CONTRADICTED), ""
    else:
        inside = [f"{end:g}" for end in claim.ends if found.low <= end <= found.high]
        why = f"the interval contains {' and '.join(inside)}" if inside else "after Holm's correction it may be chance"
        missing = f"{why}: more levels of what varies most ({levels})"
    shown = "not known yet" if np.isnan(found.value) else f"{found.value:.3f}"
    if not np.isnan(found.low):
        shown += f", interval {found.low:.3f} to {found.high:.3f} over {levels}; p = {p:.2g} after Holm"
    text = f"{claim.claim}: {verdict}. The statistic, {claim.says}, is {shown}; the claim wants it "
    text += f"{claim.wanted}." + (f" {detail}" if detail else "")
    text += (f" Sensitivity: {sensitivity}." if sensitivity else "") + (f" Missing: {missing}." if missing else "")
    return {"finding": claim.number, "claim": claim.claim, "statistic": claim.says, "value": found.value,
            "low": found.low, "high": found.high, "reference": claim.reference, "bound": claim.bound, "n": found.n,
            "p": p, "verdict": verdict, "missing": missing, "sensitivity": sensitivity, "paragraph": text}  # fmt: skip


def report(judged: pd.DataFrame) -> str:
    """Write a table of judged claims as text: one row and one paragraph each."""
    lines = []
    for row in judged.to_dict("records"):
        number = "-" if np.isnan(row["value"]) else f"{row['value']:.3f}"
        number += "" if np.isnan(row["low"]) else f" [{row['low']:.3f}, {row['high']:.3f}]"
        lines += [f"{row['finding']}  {row['verdict']:24s}  {number:26s}  n={row['n']:<4d} {row['claim']}"]
        lines += [f"   {row['paragraph']}", ""]
    return "\n".join(lines)


def lines(judged: pd.DataFrame) -> list[str]:
    """A table of judged claims, one line each that fits a terminal: what is claimed, and what came out or lacks."""
    known = {one.number: one for table in ("findings", "truth") for one in declared(table)}
    made = []
    for number, verdict, value, n in judged[["finding", "verdict", "value", "n"]].itertuples(index=False):
        claim = known[number]
        said = f"{verdict}: {value:.3f}"
        if verdict == OPEN:
            said = f"{n} {claim.cells} without a spread"
            if n < FEWEST:
                said = f"needs {FEWEST} {claim.cells}; there {'is' if n == 1 else 'are'} {n}"
        made.append(f"{number}  {claim.title:33}{said}")
    return made


def above_chance(pairs: pd.DataFrame, metrics: tuple[str, ...]) -> pd.DataFrame:
    """The rows of these metrics with `above`, how far above chance they are, and its standard error, `error`."""
    part = pairs[pairs["metric"].isin(metrics)].assign(above=np.nan, error=np.nan)
    for name in metrics:
        rows = part["metric"] == name
        value, low, high, chance = (part.loc[rows, column] for column in ("value", "low", "high", "chance"))
        part.loc[rows, "above"] = base.above_chance(value, chance, name)
        furthest = np.maximum(value - low, high - value)  # at the end of a range one of them is 0
        room = np.abs(base.as_metric(name).best - chance)
        part.loc[rows, "error"] = (furthest / ranks.NORMAL / room).where(room > 1e-12, 0.0).fillna(0.0)
    return part


def without_bias(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table with a column `dataset` that are not of a set with a photographer's bias, or changed."""
    return rows[~rows["dataset"].str.fullmatch(f"{BIASED}|{CHANGED.pattern}")]


def mixed(runs: pd.DataFrame, cell: Sequence[str]) -> str:
    """A sentence on what runs that are averaged differ in: blocks, options, images, split or model; else nothing."""
    apart = {"split": "split", "model": "model", "blocks": "blocks", "content": "images"}
    by_cell = runs.groupby(list(cell))
    words = [word for column, word in apart.items() if (by_cell[column].nunique() > 1).any()]
    if (runs.groupby([*cell, *apart, "method"])["options"].nunique() > 1).any():
        words.append("options of a method")
    return f" Averaged over settings that differ in {', '.join(words)}." if words else ""


def with_attributes(comparison: pd.DataFrame, runs: pd.DataFrame, ends: str = "ab") -> pd.DataFrame:
    """Rows whose runs have one keep rate, with what the runs at these ends are in columns such as family_a."""
    names = ("family", "merges", "dataset", "capacity", "method", "keep_rate", "blocks", "options", "content")
    known = runs.set_index("run")
    merged = comparison.assign(
        **{f"{name}_{end}": comparison[f"run_{end}"].map(known[name]) for name in names for end in ends}
    )
    return merged[merged[[f"keep_rate_{end}" for end in ends]].notna().all(axis=1)]


def beside_radial(merged: pd.DataFrame, metric: str, families: Iterable[str] = ("pruning",)) -> pd.DataFrame:
    """A metric above chance, `above`, of a `method` of these families and a radial pattern, `norm`, at one keep rate.

    `merged` is what `with_attributes` gives.
    """
    families = list(families)
    alike = (merged["axis"] == "method") & (merged["keep_rate_a"] == merged["keep_rate_b"])
    first = merged["family_a"].isin(families) & (merged["family_b"] == "radial")
    second = merged["family_b"].isin(families) & (merged["family_a"] == "radial")
    part = above_chance(merged.assign(first=first)[alike & (first | second)], (metric,))
    return part.assign(method=part["method_a"].where(part["first"], part["method_b"]),
                       norm=part["method_b"].where(part["first"], part["method_a"]))  # fmt: skip


def as_distance(rows: pd.DataFrame) -> pd.Series[float]:
    """`value` of rows with a `metric`, similarities with their sign turned: more means less alike.

    Correlations of a metric with something turn with it.
    """
    distances = [name for name, metric in METRICS.items() if metric.direction == "distance"]
    return rows["value"] * np.where(rows["metric"].isin(distances), 1.0, -1.0)
