"""Made-up tables of a whole study, so that figures of several data sets and capacities can be looked at and tested.

Every method has a trait t in [0, 1], and every number follows from it: accuracy falls with t and with the tokens that
are taken away, and two methods are the more alike the closer their traits are.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from tokenlens.figures.theme import style
from tokenlens.figures.theme.looks import looks
from tokenlens.methods import methods
from tokenlens.records import tables as table

FACTS = {name: one.facts() for name, one in methods().items() if one.facts()["color"]}  # the study's, as runs have them
METHODS = [name for name in FACTS if name not in ("none", "atc")]
KEEPS = {name for name in METHODS if FACTS[name]["keeps"]}
MERGES = {name for name in METHODS if FACTS[name]["merges"]}
SAID = ("family", "keeps", "merges", "label", "color", "marker", "order")  # in the `runs` table
DATASETS = ("embedded:shapes", "folder:/data/birds")
CAPACITIES = ("tiny", "small", "base")
RATES = (0.25, 0.5, 0.7, 0.9)
STAGES, LAYERS = (3, 6, 9), (3, 6, 9, 11)
Tables = dict[str, pd.DataFrame]


@pytest.fixture(scope="session")
def make_tables() -> Callable[..., Tables]:
    """All tables for some data sets, capacities, methods and rates."""
    return build


@pytest.fixture
def among_methods() -> Iterator[None]:
    """Each method looks as its facts say, as within a figure."""
    with style.among(looks({"method": name, **facts} for name, facts in FACTS.items())):
        yield


@pytest.fixture(scope="session")
def tables(make_tables: Callable[..., Tables]) -> Tables:
    """Two data sets, three capacities, all methods, four rates; nobody may change them."""
    return make_tables()


@pytest.fixture(scope="session")
def small(make_tables: Callable[..., Tables]) -> Tables:
    """Two data sets, two capacities, seven methods, three rates; nobody may change them."""
    some = ("topk", "dynamicvit", "tome", "dpcknn", "sit", "l2", "random")
    return make_tables(("embedded:shapes", "folder:/birds"), ("tiny", "small"), some, (0.25, 0.5, 0.9))


@pytest.fixture(scope="session")
def make_run() -> Callable[..., xr.Dataset]:
    """A run of two images of the embedded set on a grid of 7 x 7 patches; what it keeps and merges is drawn by lot."""
    return made_run


def made_run(method: str, rate: float | None = 0.5, stages: tuple[int, ...] = (3, 6), **attrs: Any) -> xr.Dataset:
    facts = FACTS.get(method, {"family": "none", "merges": False})
    ids, asked = ["shapes/test/000000", "shapes/test/000001"], [24, 12, 6][: len(stages)]
    rng = np.random.default_rng(len(method))
    shape = (len(ids), len(stages), 49)
    order = rng.permuted(np.broadcast_to(np.arange(49), shape), axis=-1)
    kept = (order < np.array(asked)[:, None]) & (not facts["merges"])
    group = np.where(kept, order, -1) if not facts["merges"] else order % np.array(asked)[:, None]
    dims = ("image", "stage", "patch")
    boxes = {"box": (("image", "detection", "corner"), np.tile(np.float32([20, 30, 70, 90]), (2, 1, 1))),
             "box_score": (("image", "detection"), np.float32([[0.9], [0.8]])),
             "box_class": (("image", "detection"), np.int16([[1], [0]])),
             "box_scale": (("image", "corner"), np.ones((2, 4), np.float32))}  # fmt: skip
    return xr.Dataset(
        boxes | {"kept": (dims, kept), "group": (dims, group.astype(np.int16)),
         "tokens_left": (dims[:2], np.broadcast_to(np.int16(asked), shape[:2]))},
        {"image": ids, "stage": list(stages), "patch": np.arange(49)},
        {"run": f"{method}-{rate}", "dataset": "embedded:shapes", "split": "test", "model": "nano", "method": method,
         **facts, "keep_rate": rate, "keep": asked, "grid": [7, 7], "input_size": [112, 112], "depth": 12,
         "classes": ["circle", "square"],
         "metrics": {"top1": 50.0, "box AP": 50.0, "box APs": 40.0, "intact": 60.0, "intact s": 30.0},
         "crop_pct": 1.0, "written": len(ids), "complete": True, "seed": 0, **attrs},
    )  # fmt: skip


@pytest.fixture(scope="session")
def make_synthesized() -> Callable[..., xr.Dataset]:
    """A run of `tokenlens synthesize` of two pictures on a grid of 7 x 7: three steps, two branches, two blocks."""
    return made_synthesized


def made_synthesized(method: str, **attrs: Any) -> xr.Dataset:
    steps, branches = [0, 4, 7], ["unconditional", "conditional"]
    rng = np.random.default_rng(len(method))
    group = rng.integers(0, 12, (2, len(steps), len(branches), 2, 49), np.int16)
    kept = np.zeros(group.shape, bool) if FACTS[method]["merges"] else group < 6
    dims = ("image", "step", "branch", "stage", "patch")
    return xr.Dataset(
        {"kept": (dims, kept), "group": (dims, group),
         "tokens_left": (dims[:4], np.full(group.shape[:4], 12, np.int16))},
        {"image": ["shapes/0_0", "shapes/0_1"], "step": steps, "branch": branches, "stage": [0, 2],
         "patch": np.arange(49)},
        {"run": f"prompts-{method}", "dataset": "prompts:shapes", "split": "2 each", "model": "nano", "method": method,
         **FACTS[method], "keep_rate": 0.25, "keep": [12, 12], "grid": [7, 7], "written": 2, "complete": True,
         "seed": 0, **attrs},
    )  # fmt: skip


def made_quality() -> pd.DataFrame:
    """Two seeds of pictures of three methods at two ratios, and un-reduced ones."""
    rows = [
        {"drawn": f"{method}-{ratio:g}-{seed}", "real": "embedded:shapes", "features": "nano", "n_real": 1000,
         "n_drawn": 60, "fid": 1 + 20 * ratio * trait(method) + seed / 10, "precision": 0.9, "recall": 0.8,
         "recognised": 0.9 - ratio * trait(method), "model": "nano", "method": method, "ratio": ratio,
         "seconds": 2 - ratio, "steps": 8, "guidance": 1.0, "seed": seed,
         **{name: FACTS[method][name] for name in SAID if name not in ("keeps", "merges")}}
        for method, ratio in [("none", 0.0), *((m, r) for m in ("tome", "kmedoids", "random") for r in (0.5, 0.9))]
        for seed in (0, 1)
    ]  # fmt: skip
    return table.conform(pd.DataFrame(rows), "quality")


def made_steps() -> pd.DataFrame:
    """Two methods of `made_synthesized`, at every step, branch and block."""
    rows = [
        {"run_a": "prompts-tome", "run_b": "prompts-kmedoids", "axis": "method", "stage": stage, "metric": "ami",
         "std": 0.1, "n": 2, "chance": 0.0, "value": step / 10, "low": 0.0, "high": 0.9, "step": step, "branch": branch}
        for stage in (0, 2) for step in (0, 4, 7) for branch in ("unconditional", "conditional")
    ]  # fmt: skip
    return table.conform(pd.DataFrame(rows).assign(**{
        name: np.nan for name in table.COLUMNS["steps"] if name not in rows[0]}), "steps")  # fmt: skip


def build(
    datasets: tuple[str, ...] = DATASETS,
    capacities: tuple[str, ...] = CAPACITIES,
    methods: tuple[str, ...] = tuple(METHODS),
    rates: tuple[float, ...] = RATES,
) -> Tables:
    runs = made_runs(datasets, capacities, methods, rates)
    comparison = made_comparison(runs)
    made = {
        "runs": runs, "comparison": comparison, "proxy": made_proxy(runs, comparison), "bench": made_bench(runs),
        "heatmap": made_heatmaps(runs), "findings": made_findings(), "quality": made_quality(), "steps": made_steps(),
    }  # fmt: skip
    return {name: frame.reset_index(drop=True) for name, frame in made.items()}


def trait(method: str) -> float:
    return 0.5 if method == "none" else METHODS.index(method) / (len(METHODS) - 1)


def made_runs(datasets: Any, capacities: Any, methods: Any, rates: Any) -> pd.DataFrame:
    rows = []
    for d, dataset in enumerate(datasets):
        for c, capacity in enumerate(capacities):
            for method, rate in [("none", 1.0), *((m, r) for m in methods for r in rates)]:
                lost = (1 - rate) ** 2 * (6 + 20 * trait(method)) if method != "none" else 0
                rows.append({
                    "run": f"d{d}_{capacity}_{method}_r{rate:g}", "dataset": dataset, "split": "val",
                    "model": f"deit_{capacity}", "capacity": capacity, "method": method,
                    **{name: FACTS[method][name] for name in SAID}, "keep_rate": rate, "seed": 0,
                    "images": 2000 - 1000 * d, "complete": True, "measure": "top1",
                    "accuracy": 72 + 4.5 * c - 6 * d - lost,
                    "gflops": (1.3, 4.6, 17.6)[c] * (1 if method == "none" else 0.25 + 0.7 * rate**1.5),
                })  # fmt: skip
    return pd.DataFrame(rows)


def paired(runs: pd.DataFrame, axis: str) -> pd.DataFrame:
    """Pairs of runs that differ in `axis` alone, with the columns of both ends."""
    same = [name for name in ("dataset", "capacity", "method", "keep_rate") if name != axis]
    reduced = runs[runs["method"] != "none"] if axis == "keep_rate" else runs
    both = reduced.merge(reduced, on=same, suffixes=("_a", "_b"))
    if axis == "method":
        whole = runs[runs["method"] == "none"]
        both = pd.concat([both, runs[runs["method"] != "none"].merge(whole, on=same[:2], suffixes=("_a", "_b"))])
        return both[both["run_a"] < both["run_b"]].assign(axis=axis)
    place = {"capacity": CAPACITIES.index, "keep_rate": lambda r: -r, "dataset": str}[axis]
    return both[both[f"{axis}_a"].map(place) < both[f"{axis}_b"].map(place)].assign(axis=axis)


def made_comparison(runs: pd.DataFrame) -> pd.DataFrame:
    pairs = []
    for axis in ("method", "capacity", "keep_rate", "dataset"):
        both = paired(runs, axis)
        ends = [both.get(f"method_{e}", both.get("method")) for e in "ab"]
        traits = [end.map(trait).astype(float) for end in ends]  # also where there are no pairs
        apart = abs(traits[0] - traits[1])
        apart += {"method": 0, "capacity": 0.5, "keep_rate": 0.2, "dataset": 0.3}[axis] * (1 + traits[0]) / 2
        pairs.append(pd.DataFrame({"run_a": both["run_a"], "run_b": both["run_b"], "axis": axis, "apart": apart,
                                   "a": ends[0], "b": ends[1]}))  # fmt: skip
    every = pd.concat(pairs, ignore_index=True)
    within = every[every["axis"] != "dataset"]
    keep = within[within["a"].isin(KEEPS) & within["b"].isin(KEEPS)]
    merge = within[within["a"].isin(MERGES) & within["b"].isin(MERGES)]
    maps = every[every["a"].isin(KEEPS) & every["b"].isin(KEEPS)]
    rate = keep["run_a"].str.extract(r"_r([0-9.]+)$")[0].astype(float)
    parts = []
    for stage in STAGES:
        deep = 1 - stage / 20
        parts += [numbers(keep, stage, "iou", rate / (2 - rate), deep), numbers(merge, stage, "vmeasure", 0.3, deep)]
        parts += [numbers(keep[keep["axis"] == "keep_rate"], stage, "ioa", 0.6, deep)]
        parts += [numbers(keep, stage, "corrected_iou", 0.0, deep), numbers(merge, stage, "ami", 0.0, deep)]
    parts += [numbers(within, layer, "procrustes", 2.0, 1 - layer / 20, distance=True) for layer in LAYERS]
    parts += [numbers(maps, -1, "scc", 0.0, 1.0), numbers(maps, -1, "emd", 0.2, 1.0, distance=True)]
    return table.conform(pd.concat(parts, ignore_index=True), "comparison")


def numbers(
    pairs: pd.DataFrame, stage: int, metric: str, chance: Any, depth: float, distance: bool = False
) -> pd.DataFrame:
    alike = depth * np.exp(-2 * pairs["apart"])
    value = chance * (1 - alike) if distance else chance + (1 - chance) * alike
    return pairs.assign(stage=stage, metric=metric, value=value, std=0.1, n=1000, chance=chance, low=value - 0.02,
                        high=value + 0.02).drop(columns=["a", "b", "apart"])  # fmt: skip


def made_proxy(runs: pd.DataFrame, comparison: pd.DataFrame) -> pd.DataFrame:
    rows = []
    metrics = comparison.loc[comparison["axis"] == "method", ["stage", "metric"]].drop_duplicates().values
    reduced = runs[runs["method"] != "none"]
    for (dataset, capacity, rate), group in reduced.groupby(["dataset", "capacity", "keep_rate"]):
        whole = runs[(runs["dataset"] == dataset) & (runs["capacity"] == capacity) & (runs["method"] == "none")]
        top = group[group["method"] == "topk"] if "topk" in set(group["method"]) else group.iloc[:1]
        for anchor, run in {"best": group.sort_values("accuracy").iloc[-1], "topk": top.iloc[0],
                            "none": whole.iloc[0]}.items():  # fmt: skip
            for i, (stage, metric) in enumerate(metrics):
                if run["method"] == "none" and metric != "procrustes":
                    continue
                if run["method"] != "none" and (run["method"] in KEEPS) != (metric in ("iou", "corrected_iou", "scc",
                    "emd")) and metric != "procrustes":  # fmt: skip
                    continue
                sign = 1 if metric in ("procrustes", "emd") else -1
                for statistic, strength in (("spearman", 0.8), ("kendall", 0.6)):
                    value = sign * strength * (1 - i / 40) * (0.6 + 0.4 * rate)
                    rows.append({
                        "anchor": anchor, "run": run["run"], "dataset": dataset, "capacity": capacity,
                        "keep_rate": rate, "stage": stage, "metric": metric, "statistic": statistic, "value": value,
                        "n": 12, "p": 0.01 * (1 + i), "q": 0.02 * (1 + i), "low": max(value - 0.3, -1),
                        "high": min(value + 0.3, 1),
                    })  # fmt: skip
    return pd.DataFrame(rows)


def made_bench(runs: pd.DataFrame) -> pd.DataFrame:
    one = runs.drop_duplicates(["model", "method", "keep_rate"])
    speed = 2000 / (one["gflops"] + 0.5)
    whole = one["model"].map(one[one["method"] == "none"].set_index("model")["gflops"])
    return pd.DataFrame({
        "model": one["model"], "method": one["method"], "keep_rate": one["keep_rate"], "batch_size": 32,
        "precision": "float32", "compiled": False, "graph": False, "device": "cpu", "threads": 1, "data": "random",
        "repeats": 9, "tokens_left": "3:98 6:49 9:24", "machine": "a machine", "images_per_second": speed,
        "low": speed * 0.95, "high": speed * 1.05, "latency_ms": 32000 / speed, "peak_mb": 500.0,
        "gflops": one["gflops"], "speedup": (whole + 0.5) / (one["gflops"] + 0.5),
        "ideal_speedup": whole / one["gflops"],
    })  # fmt: skip


def made_heatmaps(runs: pd.DataFrame) -> pd.DataFrame:
    keepers = runs[runs["method"].isin(KEEPS)]
    row, column = np.divmod(np.arange(196), 14)
    away = np.hypot(row - 6.5, column - 6.5) / 10
    parts = []
    for run in keepers.itertuples():
        depth = 12 - 9 * (1 - run.keep_rate) * (0.5 + trait(str(run.method)) * away)
        parts.append(pd.DataFrame({"run": run.run, "patch": np.arange(196), "row": row, "column": column,
                                   "depth": depth, "n": run.images}))  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def made_findings() -> pd.DataFrame:
    verdicts = [
        "supported for these data",
        "supported for these data",
        "contradicted",
        "not enough runs",
        "supported for these data",
    ]
    return pd.DataFrame([
        {"finding": i + 1, "claim": f"Claim {i + 1}", "statistic": "a mean", "value": 0.1 * i, "low": 0.1 * i - 0.2,
         "high": 0.1 * i + 0.2, "reference": 0.0, "n": 6, "verdict": verdict, "missing": "", "paragraph": "Because."}
        for i, verdict in enumerate(verdicts)
    ])  # fmt: skip
