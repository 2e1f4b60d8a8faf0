"""Heat maps, class-token features and the proxy against the published analysis scripts; see test_metrics.py."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tokenlens.analysis.accuracy_proxy import correlate
from tokenlens.analysis.metrics import features, heatmap

EXACT = {"rel": 0, "abs": 1e-9}
SINGLE = 1e-5
Part = Callable[[str], Path]

HEAT = {"KLD12": heatmap.kl, "JSD": heatmap.js_published, "PCC": heatmap.pcc, "SCC": heatmap.scc,
        "EMD": heatmap.emd, "SIM": heatmap.sim}  # fmt: skip


QUANTISED = 5e-4  # the integers that pyemd's C++ computes the EMD in


@pytest.mark.parametrize("table", ["heatmaps_cpp", "heatmaps_pot", "heatmaps_all_pot"])
def test_heat_maps_across_data_sets_methods_and_rates(table: str, recorded: Any) -> None:
    maps = {
        (key.removeprefix("token_stats_"), long): np.ravel(row["Mean-Token-Depth-Spatial"])
        for key in recorded
        if key.startswith("token_stats_")
        for long, row in recorded[key].items()
        if "Mean-Token-Depth-Spatial" in row
    }
    for row in recorded.rows(table):
        a, b = maps[row["Dataset1"], row["Model1"]], maps[row["Dataset2"], row["Model2"]]
        for name, measure in ((n, m) for n, m in HEAT.items() if n in row):
            close = {"rel": 0, "abs": QUANTISED} if name == "EMD" and "cpp" in table else EXACT
            assert measure(a, b) == pytest.approx(row[name], **close), name
        assert heatmap.kl(b, a) == pytest.approx(row["KLD21"], **EXACT)


def test_heat_maps_of_synthetic_numbers(part: Part, recorded: Any) -> None:
    rows, arrays = recorded.rows("heatmap_synthetic"), np.load(part("synthetic.npz"))
    columns = {"KL12": heatmap.kl, "JS": heatmap.js_published, "PCC": heatmap.pcc, "SCC": heatmap.scc,
               "SIM": heatmap.sim, **dict.fromkeys(("EMD_ot_emd2", "EMD_pot", "EMD_cpp"), heatmap.emd)}  # fmt: skip
    for i, row in enumerate(rows):
        a, b = arrays[f"map1_{i}"].ravel(), arrays[f"map2_{i}"].ravel()
        for name, measure in ((n, m) for n, m in columns.items() if n in row):
            close = {"rel": 0, "abs": QUANTISED} if name == "EMD_cpp" else EXACT
            assert measure(a, b) == pytest.approx(row[name], **close), name
        assert heatmap.kl(b, a) == pytest.approx(row["KL21"], **EXACT)


FEATURE = {"Procrustes": features.procrustes, "CKA": features.cka, "PWCCA": features.pwcca,
           "mean_cca_corr": features.mean_cca, "mean_sq_cca_corr": features.mean_squared_cca}  # fmt: skip


@pytest.mark.parametrize("table", ["cls_models_float64", "cls_models", "cls_rates"])
def test_class_token_features(table: str, part: Part, recorded: Any, runs: dict[str, str]) -> None:
    double, unreduced = table.endswith("float64"), "deit"
    rows, arrays = recorded.rows(table), np.load(part("cls_features.npz"))
    exact = {(row["A"], row["B"]): row for row in recorded.get("cls_models_float64", [])}
    seen: set[tuple[str, str]] = set()
    for row in rows:
        a, b = (row["A"], row["B"]) if double else (runs.get(row[k], unreduced) for k in ("Model A", "Model B"))
        mirrored = not double and (b, a) in seen  # these rows repeat the numbers of (b, a)
        seen.add((a, b))
        a, b = (b, a) if mirrored else (a, b)
        for column in (c for c in row if c.split("-")[-1] in FEATURE and c.split("-")[0].isdigit()):
            layer, name = column.split("-")
            # how far off the recorded float32 number is itself is known where the same was done in float64
            off = abs(row[column] - exact[a, b][column]) if (a, b) in exact else SINGLE
            close = EXACT if double else {"rel": 0, "abs": SINGLE + off}
            x, y = (arrays[f"{run}|{layer}"].T.astype(np.float64) for run in (a, b))
            assert FEATURE[name](x, y) == pytest.approx(row[column], **close), (a, b, column)


def test_features_of_synthetic_numbers(part: Part, recorded: Any) -> None:
    rows, arrays = recorded.rows("features_synthetic"), np.load(part("synthetic.npz"))
    for i, row in enumerate(rows):
        a, b = arrays[f"feat1_{i}"], arrays[f"feat2_{i}"]
        for name in ("Procrustes", "CKA", "mean_cca_corr", "mean_sq_cca_corr"):
            assert FEATURE[name](a, b) == pytest.approx(row[name], **EXACT), name
        assert features.canonical_correlations(a, b) == pytest.approx(row["rho"], **EXACT)
        assert features.pwcca(a, b) == pytest.approx(row["PWCCA_12"], **EXACT)
        assert features.pwcca(b, a) == pytest.approx(row["PWCCA_21"], **EXACT)


@pytest.mark.parametrize("table", ["correlation_models", "correlation_rates"])
def test_correlation_of_accuracy_difference_and_similarity(table: str, golden: Path, recorded: Any) -> None:
    kind, rows = table.removeprefix("correlation_"), recorded.rows(table)
    collated = [pd.read_csv(path, sep=";") for path in sorted((golden / "metrics").glob(f"collated*_{kind}_*.csv"))]
    if not collated:
        pytest.skip(f"{golden} has no metrics/collated_comparison_{kind}_*.csv")

    def found(inputs: pd.DataFrame, row: dict[str, Any]) -> dict[str, float]:
        whole = inputs["Model A"] == row["Model"]
        rows = inputs[whole if kind == "models" else inputs["Model A"].str.startswith(row["Model"] + "-")]
        names = [c.removesuffix("-Spearman") for c in row if c.endswith("-Spearman")]
        each = {name: correlate(rows["Acc Diff"].to_numpy(), rows[name].to_numpy()) for name in names}
        both = {f"{name}-{way}": getattr(r, way.lower()) for name, r in each.items() for way in ("Spearman", "Kendall")}
        return {column: value for column, value in both.items() if column in row}

    for row in rows:  # a table does not say which of several inputs its row is of
        there = {c: row[c] for c in row if c.endswith(("-Spearman", "-Kendall"))}
        assert any(found(inputs, row) == pytest.approx(there, **EXACT) for inputs in collated), row["Model"]
