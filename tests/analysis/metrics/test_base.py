"""The registry of metrics: what it takes, what it refuses, and the rule for what lies above chance."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tokenlens.analysis.metrics import overlap
from tokenlens.analysis.metrics.base import METRICS, Metric, above_chance, as_metric, metric
from tokenlens.errors import BadInput, UnknownName


def mine(a: Any, b: Any) -> Any:
    return (a & b).mean(axis=-1)


def test_above_chance_is_one_rule_for_similarities_and_distances() -> None:
    assert above_chance([0.2, 0.6, 1.0, 0.1], 0.2, "iou") == pytest.approx([0, 0.5, 1, -0.125])
    assert above_chance([4.0, 1.0, 0.0], [4.0, 2.0, 2.0], "emd") == pytest.approx([0, 0.5, 1])
    assert np.isnan(above_chance([1.0, 1.0], [1.0, 1 - 1e-14], "iou")).all()
    assert np.isnan(above_chance(0.0, 0.0, "kl"))
    assert np.isnan(above_chance(np.nan, 0.3, "iou")) and np.isnan(above_chance(0.3, np.nan, "iou"))


def test_a_metric_is_had_by_name_by_itself_and_by_its_function() -> None:
    iou = METRICS["iou"]
    assert as_metric("iou") is as_metric(iou) is as_metric(overlap.iou) is iou
    own = as_metric(mine)
    assert (own.name, own.of, own.chance, own.value) == ("mine", "kept", None, mine)
    with pytest.raises(UnknownName, match="did you mean iou"):
        as_metric("iuo")
    with pytest.raises(BadInput, match="3 is no metric; give a name, or a function"):
        as_metric(3)

    def iou_again(a: Any, b: Any) -> Any: ...

    iou_again.__name__ = "iou"
    with pytest.raises(BadInput, match=r"iou is a metric already \(tokenlens.*overlap\.iou\); rename your function"):
        as_metric(iou_again)


def test_facts_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(BadInput, match="metric mine is of 'patches'; a metric is of kept, group,"):
        Metric("mine", mine, "patches")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="of kept and cannot be taken along dataset; leave axes out, or choose"):
        Metric("mine", mine, "kept", axes=("method", "dataset"))
    with pytest.raises(BadInput, match="which are streamed as sums over images; write it as a function of these sums"):
        Metric("mine", mine, "feature")


def test_another_thing_of_the_same_name_is_refused() -> None:
    with pytest.raises(BadInput, match=r"registers a metric 'iou', and tokenlens\..*overlap\.iou has that name"):
        metric("iou", of="kept")(mine)
    assert METRICS["iou"].label == "IoU"


DICE = """
from tokenlens.analysis.metrics.base import metric

@metric("dice", of="kept", label="Dice", chance=0.5)
def dice(a, b):
    return 2 * (a & b).sum(-1) / (a.sum(-1) + b.sum(-1))
"""
PLAIN = """
def overlap(a, b):
    return (a & b).sum(-1)

def iou(a, b):
    return (a & b).sum(-1)
"""
USE = """
from tokenlens.analysis.metrics.base import METRICS
print(*METRICS)
print(METRICS["dice"].title, METRICS["shared-patches"].name, METRICS["iou"].label)
"""


def install(folder: Path, module: str, points: str, name: str) -> None:
    """What an installed package leaves in site-packages."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[tokenlens.metrics]\n{points}")
    (folder / f"{name}.py").write_text(module)


def test_metrics_of_other_packages_are_like_our_own_and_a_broken_one_takes_nothing_away(tmp_path: Path) -> None:
    install(tmp_path, DICE, "dice = dices\n", "dices")
    install(tmp_path, PLAIN, "shared-patches = plain:overlap\niou = plain:iou\n", "plain")
    install(tmp_path, "import no_such_package\n", "broken = faulty\n", "faulty")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", USE], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    listed, named = done.stdout.splitlines()
    assert listed.split()[0] == "iou" and listed.split()[-2:] == ["dice", "shared-patches"]
    assert named == "Dice shared-patches IoU"
    assert "the metric broken of faulty is left out: its import failed (ModuleNotFoundError" in done.stderr
    assert "the metric iou of plain:iou is left out: iou is a metric already" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_puts_a_map_beside_the_radius_is_not_taken_of_two_runs() -> None:
    """Along several axes together any metric of two runs' heat maps is taken; this one would be SCC by another name."""
    assert METRICS["scc"].takes("dataset+capacity") and not METRICS["scc"].takes("radial")
    assert METRICS["heatmap_spearman"].takes("radial") and not METRICS["heatmap_spearman"].takes("capacity+keep_rate")
