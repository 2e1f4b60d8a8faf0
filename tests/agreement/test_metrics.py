"""Metrics against the numbers of the published analysis scripts (JoakimHaurum/TokenReduction@88fe07e).

`metrics/` of the golden folder holds per-image patterns and what the unmodified scripts wrote about them. Tolerance is
1e-9; 1e-5 where the scripts computed in float32. Its README says what each array and table is.
"""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tokenlens.analysis import features, heatmap, overlap, partition, ranks
from tokenlens.analysis.accuracy import correlate

PATCHES = 196
EXACT = {"rel": 0, "abs": 1e-9}
SINGLE = {"rel": 0, "abs": 1e-5}


@pytest.fixture(scope="module")
def recorded(golden: Path) -> dict[str, Any]:
    return dict(json.loads((golden / "metrics" / "metrics.json").read_text()))


@pytest.fixture(scope="module")
def runs(golden: Path) -> dict[str, str]:
    """Short run name of each long name that the tables use."""
    names = {}
    with (golden / "metrics" / "runs.csv").open() as file:
        for row in csv.DictReader(file):
            stages = "_".join(str(s) for s in json.loads(row["reduction_loc"]))
            ring = f"-{row['heuristic_pattern']}" if row["heuristic_pattern"] else ""
            names[f"{row['model']}{ring}-{stages}-_{json.loads(row['keep_rate'])[0]}"] = row["Name"]
    return names


class Patterns:
    """Reads kept sets and composed groups out of an archive of recorded arrays."""

    def __init__(self, path: Path) -> None:
        self.arrays = np.load(path)

    def kept(self, run: str, stage: int) -> np.ndarray:
        index = self.arrays[f"{run}|kept_{stage}"].astype(int)
        mask = np.zeros((len(index), PATCHES + 1), dtype=bool)
        np.put_along_axis(mask, index, True, axis=1)  # -1, fused or padded, lands in the extra column
        return mask[:, :PATCHES]

    def group(self, run: str, stage: int) -> np.ndarray:
        """Token of each patch after a stage: the maps of the stages up to it, one after the other."""
        composed: np.ndarray | None = None
        for block in self.arrays[f"{run}|stages"]:
            step = self.arrays[f"{run}|assign_{block}"].astype(int)
            composed = step if composed is None else np.take_along_axis(step, composed, axis=1)
            if block == stage:
                return composed
        raise AssertionError(f"{run} has no stage {stage}")

    def has(self, run: str, kind: str) -> bool:
        return any(name.startswith(f"{run}|{kind}") for name in self.arrays.files)


@pytest.fixture(scope="module")
def patterns(golden: Path) -> Patterns:
    return Patterns(golden / "metrics" / "patterns.npz")


def stages_of(row: dict[str, Any], prefix: str) -> list[int]:
    return [int(k.split("Stage-")[1].split("-")[0]) for k in row if k.startswith(prefix) and "-Mean" in k]


@pytest.mark.parametrize("table", ["pruning_models", "pruning_rates"])
def test_iou_and_ioa_of_kept_patches(
    table: str, recorded: dict[str, Any], runs: dict[str, str], patterns: Patterns
) -> None:
    rows = recorded[table]
    assert rows
    for row in rows:
        a, b = runs[row["Model A"]], runs[row["Model B"]]
        for stage in sorted(set(stages_of(row, "Stage-"))):
            kept_a, kept_b = patterns.kept(a, stage), patterns.kept(b, stage)
            for measure, name in ((overlap.iou, "IoU"), (overlap.ioa, "IoA")):
                suffix = "" if table == "pruning_models" else f"-{name}"
                if f"Stage-{stage}-Mean{suffix}" not in row or (name == "IoA" and not suffix):
                    continue
                value = measure(kept_a, kept_b)
                assert value.mean() == pytest.approx(row[f"Stage-{stage}-Mean{suffix}"], **EXACT)
                assert value.std() == pytest.approx(row[f"Stage-{stage}-std{suffix}"], **EXACT)


@pytest.mark.parametrize("table", ["merging_models", "merging_rates"])
def test_homogeneity_completeness_and_nmi_of_groups(
    table: str, recorded: dict[str, Any], runs: dict[str, str], patterns: Patterns
) -> None:
    rows = recorded[table]
    assert rows
    for row in rows:
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

    names = sorted({name.split("|")[0] for name in patterns.arrays.files if "|assign_3" in name})
    a, b = (patterns.group(name, 3)[:8] for name in names[:2])
    ami = [adjusted_mutual_info_score(x, y) for x, y in zip(a, b, strict=True)]
    ari = [adjusted_rand_score(x, y) for x, y in zip(a, b, strict=True)]
    assert partition.adjusted_mutual_information(a, b) == pytest.approx(ami, **EXACT)
    assert partition.adjusted_rand(a, b) == pytest.approx(ari, **EXACT)


def test_mean_depth_of_patches(
    golden: Path, recorded: dict[str, Any], runs: dict[str, str], patterns: Patterns
) -> None:
    pools = Patterns(golden / "metrics" / "patterns_datasets.npz")
    checked = 0
    for key in (k for k in recorded if k.startswith("token_stats_")):
        pool = key.removeprefix("token_stats_")
        for long, row in recorded[key].items():
            if "Mean-Token-Depth-Spatial" not in row:
                continue
            name = runs[long] if pool == "pool96" else f"{pool}|{runs[long]}"
            source = patterns if pool == "pool96" else pools
            stages = [int(s.removeprefix("Stage-")) for s in row["Stages"]]
            kept = np.stack([source.kept(name, s) for s in stages], axis=1)
            depth = heatmap.depth(kept, stages, survived=12)
            assert depth.mean(0) == pytest.approx(np.ravel(row["Mean-Token-Depth-Spatial"]), **EXACT)
            assert depth.std(0) == pytest.approx(np.ravel(row["Std-Token-Depth-Spatial"]), **EXACT)
            assert heatmap.mean_depth(kept, stages, 12).mean() == pytest.approx(row["Mean-Token-Depth"], **EXACT)
            checked += 1
    assert checked


HEAT = {"KLD12": heatmap.kl, "JSD": heatmap.js_published, "PCC": heatmap.pcc, "SCC": heatmap.scc,
        "EMD": heatmap.emd, "SIM": heatmap.sim}  # fmt: skip


def test_heat_maps_across_data_sets_methods_and_rates(golden: Path, recorded: dict[str, Any]) -> None:
    rows = recorded.get("heatmaps_all_pot") or recorded["heatmaps_pot"]
    maps = {
        (pool, long): np.ravel(row["Mean-Token-Depth-Spatial"])
        for pool in ("IM", "NAB", "COCO", "NUS")
        for long, row in recorded[f"token_stats_{pool}"].items()
        if "Mean-Token-Depth-Spatial" in row
    }
    for row in rows:
        a, b = maps[row["Dataset1"], row["Model1"]], maps[row["Dataset2"], row["Model2"]]
        for name, measure in HEAT.items():
            assert measure(a, b) == pytest.approx(row[name], **EXACT), name
        assert heatmap.kl(b, a) == pytest.approx(row["KLD21"], **EXACT)


def test_heat_maps_of_synthetic_numbers(golden: Path, recorded: dict[str, Any]) -> None:
    arrays = np.load(golden / "metrics" / "synthetic.npz")
    columns = {"KL12": heatmap.kl, "JS": heatmap.js_published, "PCC": heatmap.pcc, "SCC": heatmap.scc,
               "SIM": heatmap.sim, "EMD_ot_emd2": heatmap.emd}  # fmt: skip
    for i, row in enumerate(recorded["heatmap_synthetic"]):
        a, b = arrays[f"map1_{i}"].ravel(), arrays[f"map2_{i}"].ravel()
        for name, measure in columns.items():
            assert measure(a, b) == pytest.approx(row[name], **EXACT), name
        assert heatmap.kl(b, a) == pytest.approx(row["KL21"], **EXACT)


FEATURE = {"Procrustes": features.procrustes, "CKA": features.cka, "PWCCA": features.pwcca,
           "mean_cca_corr": features.mean_cca, "mean_sq_cca_corr": features.mean_squared_cca}  # fmt: skip


@pytest.mark.parametrize("table", ["cls_models_float64", "cls_models", "cls_rates"])
def test_class_token_features(table: str, golden: Path, recorded: dict[str, Any], runs: dict[str, str]) -> None:
    arrays = np.load(golden / "metrics" / "cls_features.npz")
    unreduced = "deit"
    seen: set[tuple[str, str]] = set()
    assert recorded[table]
    for row in recorded[table]:
        if table == "cls_models_float64":
            a, b, close = row["A"], row["B"], EXACT
        else:
            a, b = (runs.get(row[k], unreduced) for k in ("Model A", "Model B"))
            close = dict(SINGLE)
        mirrored = table != "cls_models_float64" and (b, a) in seen  # these rows repeat the numbers of (b, a)
        seen.add((a, b))
        for column in (c for c in row if c.split("-")[-1] in FEATURE and c.split("-")[0].isdigit()):
            layer, name = column.split("-")
            if table != "cls_models_float64":  # the recorded float32 PWCCA is itself up to 1.003e-5 off its float64
                close = SINGLE | {"abs": 2e-5 if name == "PWCCA" else 1e-5}
            x, y = (arrays[f"{run}|{layer}"].T.astype(np.float64) for run in ((b, a) if mirrored else (a, b)))
            assert FEATURE[name](x, y) == pytest.approx(row[column], **close), (a, b, column)


def test_features_of_synthetic_numbers(golden: Path, recorded: dict[str, Any]) -> None:
    arrays = np.load(golden / "metrics" / "synthetic.npz")
    for i, row in enumerate(recorded["features_synthetic"]):
        a, b = arrays[f"feat1_{i}"], arrays[f"feat2_{i}"]
        for name in ("Procrustes", "CKA", "mean_cca_corr", "mean_sq_cca_corr"):
            assert FEATURE[name](a, b) == pytest.approx(row[name], **EXACT), name
        assert features.canonical_correlations(a, b) == pytest.approx(row["rho"], **EXACT)
        assert features.pwcca(a, b) == pytest.approx(row["PWCCA_12"], **EXACT)
        assert features.pwcca(b, a) == pytest.approx(row["PWCCA_21"], **EXACT)


@pytest.mark.parametrize("table", ["correlation_models", "correlation_rates"])
def test_correlation_of_accuracy_difference_and_similarity(table: str, golden: Path, recorded: dict[str, Any]) -> None:
    kind = table.removeprefix("correlation_")
    (path,) = sorted((golden / "metrics").glob(f"collated_comparison_{kind}_*.csv"))
    collated = pd.read_csv(path, sep=";")
    for row in recorded[table]:
        whole = collated["Model A"] == row["Model"]
        part = collated[whole if kind == "models" else collated["Model A"].str.startswith(row["Model"] + "-")]
        for column in (c.removesuffix("-Spearman") for c in row if c.endswith("-Spearman")):
            found = correlate(part["Acc Diff"].to_numpy(), part[column].to_numpy())
            assert found.spearman == pytest.approx(row[f"{column}-Spearman"], **EXACT)
            assert found.kendall == pytest.approx(row[f"{column}-Kendall"], **EXACT)


def test_rank_correlations_are_scipys() -> None:
    from scipy.stats import kendalltau, spearmanr

    rng = np.random.default_rng(0)
    for levels in (2, 5, 1000):
        a, b = rng.integers(0, levels, size=(2, 6, 40))
        for i in range(6):
            assert ranks.spearman(a, b)[i] == pytest.approx(spearmanr(a[i], b[i]).statistic, **EXACT)
            assert ranks.kendall(a, b)[i] == pytest.approx(kendalltau(a[i], b[i]).statistic, **EXACT)
