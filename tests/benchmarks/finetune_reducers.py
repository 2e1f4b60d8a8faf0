"""What learned reducers gain while the backbone rests: `python tests/benchmarks/finetune_reducers.py [--out DIR]`.

The trainings of `tokenlens.workflows.nano.reducers`, from the shipped nano ViT, at keep rate 0.25 and with three seeds.
Before: parameters untrained, as `finetune` starts. The claim: the mean rises by more than the seeds' spread, which is
the largest less the smallest after training. Operations are shares of the un-reduced model's: methods that choose their
own tokens are held to those of 0.25, and may gain or lose some on the way there. Top-1 in percent on 2,000 pictures of
the split test, whose standard error is about 0.4. Runs go on where they were stopped; the table beside this script is
written anew after each, and ends with a line of JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import torch

import tokenlens
from tokenlens.core.reduced_vit import ReducedViT
from tokenlens.extraction.flops import gflops, mean_gflops
from tokenlens.extraction.pretrained import open_host
from tokenlens.workflows.nano.reducers import JOBS, recipe_of, trained
from tokenlens.workflows.nano.train import Batches, accuracy, normalised

SEEDS = (0, 1, 2)
RATE, PICTURES = 0.25, 2000
TABLE = Path(__file__).with_suffix(".md")
HEAD = ("method", "before", "after (seeds)", "mean", "operations before", "after", "claim", "holds")
Found = dict[str, float]


@torch.no_grad()
def seen(model: ReducedViT, pictures: int) -> Found:
    """Top-1, and the share of the un-reduced model's operations."""
    images = normalised(next(iter(Batches("test", 200, 0, 1)))[0])
    left = model.eval().trace(images)[1].tokens_left.numpy()
    share = mean_gflops(model, left) / gflops(model.vit, {})
    return {"top1": round(100 * accuracy(model, "test", pictures), 2), "operations": round(share, 3)}


def tested(out: Path, name: str, seed: int, pictures: int) -> dict[str, Found]:
    """Before and after; kept in the run's folder."""
    recipe = recipe_of(name, RATE, seed)
    after = trained(recipe, out)
    there = out / recipe.title / "tested.json"
    if not there.is_file():
        torch.manual_seed(seed)  # as `finetune` starts
        before = tokenlens.reduce(open_host("nano").vit, name, RATE)
        there.write_text(json.dumps({"before": seen(before, pictures), "after": seen(after, pictures)}))
    found: dict[str, Found] = json.loads(there.read_text())
    return found


def row(name: str, runs: list[dict[str, Found]]) -> list[str]:
    """The cells of one method."""
    top1, cost = ({when: [run[when][key] for run in runs] for when in ("before", "after")} for key in runs[0]["after"])
    before, mean = statistics.fmean(top1["before"]), statistics.fmean(top1["after"])
    spread = max(top1["after"]) - min(top1["after"])
    claim = f"rise {mean - before:.2f} > spread {spread:.2f}"
    holds = "" if len(runs) == 1 else "yes" if mean - before > spread else "no"
    costs = [f"{statistics.fmean(cost[when]):.3f}" for when in ("before", "after")]
    return [name, f"{before:.2f}", " ".join(f"{v:.2f}" for v in top1["after"]), f"{mean:.2f}", *costs, claim, holds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("finetuned"))
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="so many of them")
    parser.add_argument("--pictures", type=int, default=PICTURES)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, list[Any]] = {name: [] for name in JOBS}
    for seed in SEEDS[: arguments.seeds]:
        for name, runs in results.items():
            runs.append(tested(arguments.out, name, seed, arguments.pictures))
            rows = [HEAD, ["---"] * len(HEAD), *(row(name, runs) for name, runs in results.items() if runs)]
            told = f"Written by `{Path(__file__).name}`: keep rate {RATE}, {arguments.pictures} test pictures."
            arguments.table.write_text(told + "\n\n" + "\n".join(f"| {' | '.join(cells)} |" for cells in rows) + "\n")
            print(name, seed, runs[-1], flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
