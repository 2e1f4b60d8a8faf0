"""Patterns and accuracies against the numbers of the published analysis scripts (JoakimHaurum/TokenReduction@88fe07e).

`metrics/` of the golden folder holds per-image patterns and what the unmodified scripts wrote about them. The folder's
README says what each array and table is. Files and tables that are not there are skipped by name; a number that a
script could not give (NaN) is not compared.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tokenlens.analysis.metrics import heatmap, overlap, partition, ranks
from tokenlens.records.accuracy import average_precision, mean_average_precision, top_k

EXACT = {"rel": 0, "abs": 1e-9}
SURVIVED, COUNTED = 12, 196  # in the published token statistics these are constants, whatever the model
Row = dict[str, Any]
Part = Callable[[str], Path]


class Patterns:
    """Reads kept sets and composed groups out of an archive of recorded arrays."""

    def __init__(self, path: Path) -> None:
        self.arrays = np.load(path)
        ends = [int(self.arrays[name].max()) for name in self.arrays.files if "|kept_" in name]
        self.patches = max([COUNTED, *(end + 1 for end in ends)])

    def kept(self, run: str, stage: int) -> np.ndarray:
        index = self.arrays[f"{run}|kept_{stage}"].astype(int)
        mask = np.zeros((len(index), self.patches + 1), dtype=bool)
        np.put_along_axis(mask, index, True, axis=1)  # -1, fused or padded, lands in the extra column
        return mask[:, : self.patches]

    def group(self, run: str, stage: int) -> np.ndarray:
        """Token of each patch after a stage: the maps of the stages up to it, one after the other."""
        composed: np.ndarray | None = None
        for block in self.arrays[f"{run}|stages"]:
            step = self.arrays[f"{run}|assign_{block}"].astype(int)
            composed = step if composed is None else np.take_along_axis(step, composed, axis=1)
            if block == stage:
                return composed
        raise AssertionError(f"{run} has no stage {stage}")


@pytest.fixture(scope="module")
def patterns(part: Part) -> Patterns:
    return Patterns(part("patterns.npz"))


def stages_of(row: Row, prefix: str) -> list[int]:
    return [int(k.split("Stage-")[1].split("-")[0]) for k in row if k.startswith(prefix) and "-Mean" in k]


@pytest.mark.parametrize("table", ["pruning_models", "pruning_rates"])
def test_iou_and_ioa_of_kept_patches(table: str, recorded: Any, runs: dict[str, str], patterns: Patterns) -> None:
    for row in recorded.rows(table):
        a, b = runs[row["Model A"]], runs[row["Model B"]]
        for stage in sorted(set(stages_of(row, "Stage-"))):
            kept_a, kept_b = patterns.kept(a, stage), patterns.kept(b, stage)
            for measure, name in ((overlap.iou, "IoU"), (overlap.ioa, "IoA")):
                suffix = "" if table == "pruning_models" else f"-{name}"
                if f"Stage-{stage}-Mean{suffix}" not in row or (name == "IoA" and not suffix):
                    continue
                # where nothing is shared the scripts say 0, of two empty patterns too, which to us are the same: 1
                value = np.where((kept_a & kept_b).any(1), measure(kept_a, kept_b), 0)
                assert value.mean() == pytest.approx(row[f"Stage-{stage}-Mean{suffix}"], **EXACT)
                assert value.std() == pytest.approx(row[f"Stage-{stage}-std{suffix}"], **EXACT)


@pytest.mark.parametrize("table", ["merging_models", "merging_rates"])
def test_homogeneity_completeness_and_nmi_of_groups(
    table: str, recorded: Any, runs: dict[str, str], patterns: Patterns
) -> None:
    for row in recorded.rows(table):
        a, b = runs[row["Model A"]], runs[row["Model B"]]
        if table == "merging_rates":  # that script calls the measure with its arguments the other way round
            a, b = b, a
        for stage in stages_of(row, "NMI"):
            group_a, group_b = patterns.group(a, stage), patterns.group(b, stage)
            found = partition.homogeneity_completeness_vmeasure(group_a, group_b)
            for value, name in zip(found, ("Homogeneity", "Completeness", "NMI"), strict=True):
                assert value.mean() == pytest.approx(row[f"{name}-Stage-{stage}-Mean"], **EXACT)
                assert value.std() == pytest.approx(row[f"{name}-Stage-{stage}-std"], **EXACT)


def test_adjusted_measures_are_scikit_learns(patterns: Patterns) -> None:
    from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

    names = sorted({name.split("|")[0] for name in patterns.arrays.files if "|assign_" in name})
    if len(names) < 2:
        pytest.skip("patterns.npz has groups of fewer than two runs")
    a, b = (patterns.group(name, patterns.arrays[f"{name}|stages"][0])[:8] for name in names[:2])
    ami = [adjusted_mutual_info_score(x, y) for x, y in zip(a, b, strict=True)]
    ari = [adjusted_rand_score(x, y) for x, y in zip(a, b, strict=True)]
    assert partition.adjusted_mutual_information(a, b) == pytest.approx(ami, **EXACT)
    assert partition.adjusted_rand(a, b) == pytest.approx(ari, **EXACT)


def test_mean_depth_of_patches(part: Part, recorded: Any, runs: dict[str, str]) -> None:
    pools = [key.removeprefix("token_stats_") for key in recorded if key.startswith("token_stats_")]
    checked = 0
    for pool in pools:
        one = pool == "pool96"
        source = Patterns(part("patterns.npz" if one else "patterns_datasets.npz"))
        for long, row in recorded[f"token_stats_{pool}"].items():
            if "Mean-Token-Depth-Spatial" not in row or long not in runs:
                continue  # a merging method, or the un-reduced model
            name = runs[long] if one else f"{pool}|{runs[long]}"
            stages = [int(s.removeprefix("Stage-")) for s in row["Stages"]]
            kept = np.stack([source.kept(name, s)[:, :COUNTED] for s in stages], axis=1)
            depth = heatmap.depth(kept, stages, survived=SURVIVED)
            mean, std = (np.ravel(row[f"{measure}-Token-Depth-Spatial"]) for measure in ("Mean", "Std"))
            assert depth.mean(0) == pytest.approx(mean, **EXACT)
            assert depth.std(0) == pytest.approx(std, **EXACT)
            assert heatmap.mean_depth(kept, stages, SURVIVED) == pytest.approx(mean, **EXACT)
            assert (depth.mean(), depth.std()) == pytest.approx(
                (row["Mean-Token-Depth"], row["Std-Token-Depth"]), **EXACT
            )
            shares = kept.mean(2)
            assert shares.mean(0) == pytest.approx(row["Mean-Reduction"], **EXACT)
            assert shares.std(0) == pytest.approx(row["Std-Reduction"], **EXACT)
            checked += 1
    if not checked:
        pytest.skip("metrics.json has no token statistics of kept patches")


def test_accuracy(patterns: Patterns) -> None:
    names = [name.removesuffix("|pred_top5") for name in patterns.arrays.files if name.endswith("|pred_top5")]
    if not names:
        pytest.skip("patterns.npz has no predictions")
    for name in names:
        right = patterns.arrays[f"{name}|pred_top5"] == patterns.arrays[f"{name}|target"][:, None]
        rank = np.where(right.any(1), right.argmax(1), right.shape[1])
        for k in (1, 5):
            assert top_k(rank, k) == pytest.approx(float(patterns.arrays[f"{name}|top{k}_acc"]), rel=0, abs=1e-4)


def test_mean_average_precision(part: Part, recorded: Any) -> None:
    there, arrays = recorded["mAP"], np.load(part("synthetic.npz"))
    score, label = arrays["map_preds"], arrays["map_targets"] > 0
    assert average_precision(score, label) == pytest.approx(there["AP"], **EXACT)
    assert mean_average_precision(score, label) == pytest.approx(there["mAP"], **EXACT)


def test_rank_correlations_are_scipys() -> None:
    from scipy.stats import kendalltau, spearmanr

    rng = np.random.default_rng(0)
    for levels in (2, 5, 1000):
        a, b = rng.integers(0, levels, size=(2, 6, 40))
        for i in range(6):
            assert ranks.spearman(a, b)[i] == pytest.approx(spearmanr(a[i], b[i]).statistic, **EXACT)
            assert ranks.kendall(a, b)[i] == pytest.approx(kendalltau(a[i], b[i]).statistic, **EXACT)
