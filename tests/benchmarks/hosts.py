"""What a host costs where nothing is reduced: `python tests/benchmarks/hosts.py [--threads 1] [--rounds 15] [NAME ..]`.

The model of `tokenlens.reduce(..., "none")` over timm's own forward, float32, random weights, one process: the median
over rounds of the ratio within a round, in which both sides take turns and every other round the second begins. Seconds
are the process's own (CPU time), so that what else runs on the machine stays out of them as far as it can. By default
of each kind of positions in timm's Eva one, and of each further family of timm's one. Eva is to take at most 1.03.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import timm
import torch

import tokenlens
from tokenlens.core.host import host_of

EVA = (
    "vit_small_patch16_dinov3", "vit_small_patch16_rope_mixed_224", "vit_pe_core_tiny_patch16_384",
    "eva02_tiny_patch14_224",
)  # fmt: skip
OTHERS = ("deit_small_patch16_224", "beit_base_patch16_224", "naflexvit_base_patch16_gap", "vit_tiny_r_s16_p8_224")
LIMIT = 1.03


def seconds(side: Callable[[], object]) -> float:
    """Of the process, for one call."""
    began = time.process_time()
    side()
    return time.process_time() - began


@torch.inference_mode()
def ratio(name: str, batch: int, rounds: int) -> float:
    """The reduced model without reducers over timm's own forward."""
    vit = timm.create_model(name).eval()
    images = torch.randn(batch, *host_of(vit).image)
    ours = tokenlens.reduce(vit, "none", blocks=(3, 6, 9))
    found = []
    for turn in range(rounds + 1):
        sides = {"ours": lambda: ours(images), "timm": lambda: vit(images)}
        took = {side: seconds(sides[side]) for side in (sides if turn % 2 else reversed(sides))}
        if turn:  # the first warms up
            found.append(took["ours"] / took["timm"])
    return statistics.median(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=[*EVA, *OTHERS])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch", type=int, default=4)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, {arguments.threads} thread(s), batch {arguments.batch}")
    ratios = {}
    for name in arguments.names:
        ratios[name] = ratio(name, arguments.batch, arguments.rounds)
        limit = f"   at most {LIMIT}" if name in EVA else ""
        print(f"{name:36}{ratios[name]:8.3f}{limit}", flush=True)
    print(json.dumps({"threads": arguments.threads, **ratios}))


if __name__ == "__main__":
    main()
