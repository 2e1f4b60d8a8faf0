"""Is one run more accurate than another? Both saw the same images, so it is told image by image.

The `accuracy` table: for each pair of runs along method, capacity, keep rate, seed and change, the difference in points
with the interval of a bootstrap over their common images, which draws the same images of both runs. A run whose seed no
un-reduced model was trained with is also beside that of the lowest seed. Of single labels, p is McNemar's, exact: of
the images that one run alone has right, by chance half are either's. Of several labels, where accuracy is a mean
average precision, p is the bootstrap's.
Sources: McNemar, Psychometrika 1947; Dietterich, Neural Computation 1998; Efron & Tibshirani, 1993.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import binomtest

from tokenlens.records import tables as table
from tokenlens.records.accuracy import EPSILON

from .accuracy_proxy import UNREDUCED
from .chunked_reader import Images, common, images_of, stored
from .metrics import ranks
from .pairing import Card, Pair, card, pair
from .statistics.bootstrap import Means, Resampler, noisier, percentiles, widening

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[Any]
AXES = ("method", "capacity", "keep_rate", "seed", "change")
SEVERAL_RESAMPLES = 200  # of average precisions, each of which sums up all images anew
NUMBERS_AT_ONCE = 2**24  # of images x pairs whose differences are held at once


def paired_accuracy(runs: Sequence[xr.Dataset], *, resamples: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Compare accuracies of all pairs of runs with labels, over the images that both hold: the `accuracy` table.

    q is after Benjamini-Hochberg over the table. A pair without an image in common has no row, nor has one of images
    whose classes are not known.
    """
    import pandas as pd

    cards = {one.run: one for one in map(card, runs)}
    judged = {str(run.attrs["run"]): run for run in runs if "label" in run and ("rank" in run or "score" in run)}
    several = {name for name, run in judged.items() if run["label"].ndim == 2}
    images = images_of(judged)
    ones, ons = (list(_pairs(cards, names)) for names in (judged.keys() - several, several))
    rows = [*_single(ones, judged, images, resamples, seed), *_several(ons, judged, images, seed)]
    frame = pd.DataFrame(rows)
    if len(frame):
        frame["q"] = ranks.benjamini_hochberg(frame["p"])
    return table.conform(frame, "accuracy")


def with_unreduced(runs: pd.DataFrame, accuracy: pd.DataFrame) -> pd.DataFrame:
    """The `runs` table with how far each run is `below` the un-reduced model, by the `accuracy` table; q is its test's.

    NaN where no un-reduced model of the run's setting saw the same images, and where accuracies were given by hand.
    """
    import pandas as pd

    whole = runs.loc[runs["method"] == UNREDUCED, "run"]
    pairs = accuracy[accuracy["axis"] == "method"]
    turned = pairs.assign(run_a=pairs["run_b"], run_b=pairs["run_a"], difference=-pairs["difference"],
                          low=-pairs["high"], high=-pairs["low"])  # fmt: skip
    both = pd.concat([pairs, turned])
    beside = both[both["run_a"].isin(whole)].drop_duplicates("run_b").set_index("run_b")
    names = {"below": "difference", "below_low": "low", "below_high": "high", "q": "q"}
    own = runs["measure"] != "given"
    return runs.assign(**{name: runs["run"].map(beside[column]).where(own) for name, column in names.items()})


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided p-value that as many images are right in a alone as in b alone; 1 where there are none.

    Examples:
        >>> round(mcnemar(1, 9), 4)
        0.0215
    """
    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def _pairs(cards: Mapping[str, Card], names: Iterable[str]) -> Iterator[Pair]:
    own = [cards[name] for name in sorted(names)]
    for axis in AXES:
        yield from pair(own, axis)
    whole = sorted((one for one in own if one.method == UNREDUCED), key=lambda one: one.seed)
    for one in own:  # seeds that were trained without an un-reduced model of their own are beside the first
        beside = [(each.seed, pair([replace(one, seed=each.seed), each], "method")) for each in whole
                  if each.grid == one.grid]  # fmt: skip
        found = [(seed, pairs) for seed, pairs in beside if pairs]
        if found and one.seed not in dict(found):
            yield from found[0][1]


def _single(
    pairs: Sequence[Pair], runs: Mapping[str, xr.Dataset], images: Mapping[str, Images], resamples: int, seed: int
) -> Iterator[dict[str, Any]]:
    """Pairs over one set of images at a time, and by as many as can be held: their resamples are shared."""
    right = {name: _right(runs[name]) for name in {end for one in pairs for end in (one.a, one.b)}}
    blind = {name for name, each in right.items() if np.isnan(each).all()}
    by_images: dict[str, tuple[Images, list[Pair]]] = {}
    for one in pairs:
        if blind & {one.a, one.b}:
            continue
        both = common(images[one.a], images[one.b])
        if len(both):
            by_images.setdefault(both.key, (both, []))[1].append(one)
    for both, here in by_images.values():
        size = max(1, NUMBERS_AT_ONCE // len(both))
        for start in range(0, len(here), size):
            part = here[start : start + size]
            a, b = (np.stack([right[name][both.rows(images[name].ids)] for name in names], axis=1)
                    for names in zip(*((one.a, one.b) for one in part), strict=True))  # fmt: skip
            means = Means(len(part), resamples)
            means.add(a - b, Resampler(len(both), resamples, seed).counts(len(both)))
            low, high = means.interval((-1, 1))
            for i, one in enumerate(part):
                only = int((a[:, i] > b[:, i]).sum()), int((a[:, i] < b[:, i]).sum())
                yield _row(one, "top1", (np.nanmean(a[:, i]), np.nanmean(b[:, i])), (low[i], high[i]), mcnemar(*only),
                           int(means.n[i]), only)  # fmt: skip


def _several(
    pairs: Sequence[Pair], runs: Mapping[str, xr.Dataset], images: Mapping[str, Images], seed: int
) -> Iterator[dict[str, Any]]:
    """Pairs over the very same images alone, so that a run's resamples serve all its pairs."""
    here = [one for one in pairs if images[one.a].key == images[one.b].key]
    drawn = {name: _precisions(runs[name], images[name], seed) for name in {n for one in here for n in (one.a, one.b)}}
    for one in here:
        a, b = drawn[one.a], drawn[one.b]
        counted = _of_a_class(runs[one.a])
        low, high, p = _of_resamples(float(a[0] - b[0]), a[1:] - b[1:], len(images[one.a]), counted)
        yield _row(one, "mAP", (a[0], b[0]), (low, high), p, len(images[one.a]), (-1, -1))


def _of_a_class(run: xr.Dataset) -> float:
    """How many images are of a class, on average, taken as 2 at least."""
    label = stored(run["label"], 0, run.sizes["image"], str(run.attrs["run"]))
    return float(np.maximum(np.asarray(label, bool).sum(axis=0), 2).mean())


def _of_resamples(value: float, drawn: Array, n: int, counted: float) -> tuple[float, float, float]:
    """Interval and p-value of a difference of average precisions; NaN of one image.

    Few images rank well by luck, which brings both runs together; as of heat maps, the interval goes from the value
    over that without this bias to the most that it may be. An average precision is a mean over the `counted` images of
    its class, and it is by these that resamples of n images fall short of its noise.
    """
    if n < 2:
        return np.nan, np.nan, np.nan
    apart = value + widening(n, counted) * (drawn - drawn.mean())
    p = 2 * (1 + min((apart <= 0).sum(), (apart >= 0).sum())) / (1 + len(apart))
    most = (1 + np.sqrt(2)) * (value - noisier(value, drawn, counted))
    low, high = (float(np.squeeze(end)) for end in percentiles(apart[:, None]))
    return max(low + min(most, 0), -1.0), min(high + max(most, 0), 1.0), min(float(p), 1.0)


def _row(one: Pair, measure: str, each: tuple[float, float], ends: tuple[Any, Any], p: float, n: int,
         only: tuple[int, int]) -> dict[str, Any]:  # fmt: skip
    low, high = (100 * float(np.squeeze(end)) for end in ends)
    return {"axis": one.axis, "run_a": one.a, "run_b": one.b, "measure": measure, "accuracy_a": 100 * each[0],
            "accuracy_b": 100 * each[1], "difference": 100 * (each[0] - each[1]), "low": low, "high": high, "p": p,
            "n": n, "only_a": only[0], "only_b": only[1]}  # fmt: skip


def _right(run: xr.Dataset) -> Array:
    """Whether the best class is the image's, (n,) float64; NaN where its class is not known."""
    rank = stored(run["rank"], 0, run.sizes["image"], str(run.attrs["run"]))
    return np.where(rank < 0, np.nan, rank == 0)


def _precisions(run: xr.Dataset, images: Images, seed: int) -> Array:
    """Mean average precision of all images, and of each resample of them: (1 + R,)."""
    name, n = str(run.attrs["run"]), len(images)
    score, label = (stored(run[part], 0, n, name) for part in ("score", "label"))
    order = np.argsort(score, axis=0, kind="stable")[::-1]
    right = np.take_along_axis(np.asarray(label, bool), order, axis=0)
    counts = Resampler(n, SEVERAL_RESAMPLES, [seed, int(images.key, 16)]).counts(n)
    found = []
    for weight in (np.ones(n), *counts):
        drawn = weight[order]
        hits = np.cumsum(drawn * right, axis=0)
        precision = hits / np.maximum(np.cumsum(drawn, axis=0), 1)
        found.append(float(((precision * drawn * right).sum(axis=0) / (hits[-1] + EPSILON)).mean()))
    return np.array(found)
