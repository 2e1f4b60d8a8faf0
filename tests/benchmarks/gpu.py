"""Every method on a GPU: do its kernels work, is it what the CPU gives, and how fast is it beside what was asked for.

DeiT-S with random weights. Un-reduced is the method none, so that patches are a matrix product on both sides; ratios
are x its speed, both as one CUDA graph, and beside them both as they run. Keep rate 0.5 at blocks 3, 6, 9 and, off the
shelf, 13 tokens fewer at every block; a batch of 256 and one image. Sides take turns; least of some rounds, each of a
few passes, by the GPU's own clock. In this order:

1. kernels beside their twins in plain torch, on the device and in the precision;
2. speed of a batch, with the bar of each value; ToMe beside its published form (eager, fused attention);
3. clustering, features to labels as a walk asks for it: milliseconds, whether labels are the CPU's, and whether they
   are of the same distances, which rounding does not touch;
4. in float32, 16 images: patterns and logits beside the CPU's, and logits of a graph beside those of the walk;
5. speed of one image.

Usage: python tests/benchmarks/gpu.py [--precision float16] [--batch 256] [--rounds 5] [--methods topk ...]
           [--results [FOLDER]]
What fails is a row that says so, and the others go on; the exit code is then 1. What --seconds leaves no time for is
said. The last line is JSON of ratios. --results writes each line as it is found into FOLDER (else results/ beside this
script) under the chip's name, so that what is killed leaves what it has measured. --dry tries the script without a GPU
on a model of four blocks, where numbers mean nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import timm
import torch
from published_tome import PublishedToMe
from torch import Tensor, nn
from torch.nn import functional

import tokenlens
from tokenlens.clustering import agglomerative
from tokenlens.core.graph import graphed
from tokenlens.kernels import attention, match, merge, peaks, tally
from tokenlens.methods import method, methods

HALF, FEWER = "0.5", "13 a block"
SETTINGS: dict[str, dict[str, Any]] = {HALF: {"keep_rate": 0.5}, FEWER: {"remove": 13}}
MERGERS = ("tome", "atc-average", "atc-complete", "atc-single")
BARS = {
    **dict.fromkeys(("topk", "l1", "l2", "linf"), 1.55), "tome": 1.6,
    **dict.fromkeys(("evit", "sit", "patchmerger", "sinkhorn", "dynamicvit"), 1.45),
    **dict.fromkeys(("kmedoids", "dpcknn", "ats", "random"), 1.25),
}  # fmt: skip
BARS_FEWER = {"tome": 1.2, "atc-average": 0.75, "atc-complete": 0.75}
OF_TOME = {"atc-average": 0.95, "atc-complete": 0.95}  # of ToMe's ratio
ALONE = 1 / 1.6  # one image, of what neither clusters nor adapts
OVER_PUBLISHED = 1.6
MILLISECONDS = {  # images, tokens, channels: by linkage
    (256, 196, 64): {"average": 0.6, "complete": 0.4}, (2, 4096, 320): {"average": 35, "complete": 20, "single": 9},
    (8, 4096, 320): {},
}  # fmt: skip
Run = Callable[[], Any]
COMPILED = """import numpy, tokenlens.clustering
for linkage in ("complete", "average"):
    tokenlens.clustering.agglomerative(numpy.eye(9, dtype=numpy.float32)[None], 3, linkage)
"""


class Report:
    """What was found: printed, written to a file as it comes, and as ratios for the last line."""

    def __init__(self, given: argparse.Namespace, chip: str) -> None:
        self.given, self.began = given, time.monotonic()
        self.device = torch.device("cpu" if given.dry else "cuda")
        self.dtype: torch.dtype = torch.float32 if given.dry else getattr(torch, given.precision)
        self.file: TextIO | None = None
        if given.results:
            given.results.mkdir(parents=True, exist_ok=True)
            name = f"gpu_{'_'.join(chip.lower().split())}_{given.precision}.txt"
            self.file = (given.results / name).open("w", buffering=1)
        self.found: dict[str, dict[str, float]] = {}
        self.failures: list[str] = []

    def say(self, line: str = "") -> None:
        print(line, flush=True)
        if self.file:
            print(line, file=self.file)

    def part(self, title: str) -> None:
        """A heading, and how long it took to get there."""
        self.say(f"\n{title}   [{time.monotonic() - self.began:.0f} s]")

    def ratio(self, section: str, name: str, value: float, bar: float | None = None, more: str = "") -> None:
        """A row, and whether it reaches its bar."""
        self.found.setdefault(section, {})[name] = round(value, 4)
        verdict = "" if bar is None else f"{bar:8.2f}  {'ok' if value >= bar else 'below'}"
        self.say(f"{name:22s}{value:10.4g}{more}{verdict}")

    def tried(self, name: str, run: Callable[[], Any]) -> Any:
        """What a part gives; None where it fails or there is no time for it, which is said."""
        if time.monotonic() - self.began > self.given.seconds:
            self.say(f"{name:22s}left out: no time")
            return None
        try:
            return run()
        except Exception as error:
            reason = (str(error) or type(error).__name__).strip().split("\n")[0]
            self.failures.append(name)
            self.say(f"{name:22s}FAILED: {type(error).__name__}: {reason}")
            return None


def backbone(dry: bool) -> nn.Module:
    torch.manual_seed(0)
    small = {"depth": 4, "embed_dim": 64, "num_heads": 2, "img_size": 64, "patch_size": 8}
    return timm.create_model("deit_small_patch16_224", **(small if dry else {})).eval()


def images_of(report: Report, count: int) -> Tensor:
    side = 64 if report.given.dry else 224
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def reduced(report: Report, vit: nn.Module, name: str, setting: str) -> tokenlens.ReducedViT:
    torch.manual_seed(0)
    how = {"keep_rate": 0.5, "blocks": (1, 2)} if report.given.dry and setting == HALF else SETTINGS[setting]
    return tokenlens.reduce(vit, name, **how).eval()


def kernels(report: Report) -> None:
    """Each beside its twin, in the precision and at the sizes of the walk."""
    rng = torch.Generator(report.device).manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, device=report.device)

    images = min(report.given.batch, 64)
    queries, keys, _ = drawn(images, 197, 3, 6, 64).to(report.dtype).permute(2, 0, 3, 1, 4)
    x, group = drawn(images, 197, 384).to(report.dtype), match.plain(keys[:, :, 1:], 1, 98)
    size = drawn(images, 196).abs() + 1
    share, kept, summed = tally.plain(group, 98, None, size, 0.0)

    def off(found: Tensor, twin: Tensor) -> float:
        return float((found.double() - twin.double()).abs().max())

    def same(found: Tensor, twin: Tensor) -> float:
        return float((found == twin).double().mean())

    def attended(part: Any, twin: Any) -> float:
        return max(off(part(queries, keys, m, 0.125), twin(queries, keys, m, 0.125)) for m in (None, size))

    def tallies() -> float:
        found = tally.tallied(group, 98, None, size, 0.0)
        assert found[2] is not None and summed is not None
        return max(off(found[0], share), off(found[2], summed), 1 - same(found[1], kept))

    def peaking() -> float:
        distance, near, far = peaks.neighbourhoods(x[:, 1:].float(), 5)
        twin = peaks.plain(x[:, 1:].float(), 5)
        apart, wanted = peaks.separation(distance, -near, far), peaks.plain_separation(distance, -near, far)
        return max(off(far, twin[2]), off(near, twin[1]), off(apart, wanted))

    near = 1e-4 if report.dtype == torch.float32 else 4e-3 if report.dtype == torch.float16 else 4e-2
    checks: dict[str, tuple[Callable[[], float], float]] = {
        "match": (lambda: 1 - same(match.matched(keys[:, :, 1:], 1, 98), group), 2e-3),  # near-ties
        "tally": (tallies, 1e-4),
        "peaks": (peaking, 1e-3),
        "merge": (lambda: off(merge.merged(x, share, group, 98, 1), merge.plain(x, share, group, 98, 1)), 4 * near),
    }
    if report.dtype != torch.float32:  # which they leave alone
        checks["first row"] = (lambda: attended(attention.first_row, attention.plain_first_row), 1e-4)
        checks["received"] = (lambda: attended(attention.received, attention.plain_received), 1e-2)
    report.part(f"{'kernels beside twins':22s}{'off by':>10s}{'at most':>10s}")
    for name, (run, most) in checks.items():
        value = report.tried(name, run)
        if value is not None:
            report.found.setdefault("kernels", {})[name] = value
            report.say(f"{name:22s}{value:10.1e}{most:10.1e}  {'ok' if value <= most else 'WRONG'}")
            report.failures += [name] * (not value <= most)


@torch.no_grad()
def agreement(report: Report) -> None:
    """Share of patches with one fate on both, largest differences of logits."""
    images = images_of(report, 16)
    report.part(f"{'float32, 16 images':22s}{'same fate':>12s}{'logits off':>12s}{'by a graph':>12s}")

    def one(name: str) -> tuple[float, float, float]:
        model = reduced(report, backbone(report.given.dry), name, HALF)
        logits, trace = model.trace(images)
        there, given = model.to(report.device), images.to(report.device)
        far_logits, far = there.trace(given)
        same = (trace.kept == far.kept.cpu()) & (trace.group == far.group.cpu())
        captured = there.graphed(torch.zeros_like(given))(given)
        offs = (logits - far_logits.cpu()).abs().max(), (captured - far_logits).abs().max()
        return float(same.float().mean()), float(offs[0]), float(offs[1])

    for name in report.given.methods:
        if (row := report.tried(name, lambda name=name: one(name))) is not None:
            report.found.setdefault("same fate", {})[name] = round(row[0], 5)
            report.say(f"{name:22s}{row[0]:12.4f}{row[1]:12.1e}{row[2]:12.1e}")


def seconds(run: Run, passes: int, device: torch.device) -> float:
    """Of one pass, from when the GPU begins until it has ended."""
    if device.type != "cuda":
        began = time.perf_counter()
        for _ in range(passes):
            run()
        return (time.perf_counter() - began) / passes
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    for _ in range(passes):
        run()
    end.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end)) / 1e3 / passes


def least(ready: dict[str, Run], rounds: int, passes: int, device: torch.device) -> dict[str, float]:
    """Least seconds of each, all in turns; the first round warms up."""
    found: dict[str, float] = {}
    for turn in range(rounds + 1):
        for name, run in ready.items():
            took = seconds(run, passes, device)
            if turn:
                found[name] = min(found.get(name, math.inf), took)
    return found


def sides(report: Report, setting: str) -> Iterator[tuple[str, nn.Module]]:
    vit = backbone(report.given.dry)
    yield "none", reduced(report, vit, "none", HALF)
    for name in report.given.methods:
        if setting == HALF or name in MERGERS:
            model = report.tried(name, lambda name=name: reduced(report, vit, name, setting))
            if model is not None:
                yield name, model


@torch.no_grad()
def speeds(report: Report, batch: int, passes: int, setting: str) -> None:
    """Each method x the un-reduced model, in a graph and as it runs, and ToMe x its published form."""
    inputs = images_of(report, batch).to(report.device, report.dtype)
    graphs: dict[str, Run] = {}
    eager: dict[str, Run] = {}

    def ready(name: str, model: nn.Module) -> None:
        model = model.to(report.device, report.dtype)
        model(inputs)
        fast = graphed(model, inputs)
        eager[name], graphs[name] = (lambda: model(inputs)), (lambda: fast(inputs))

    report.part(f"batch {batch}, {setting}: x un-reduced\n{'':22s}{'graph':>10s}{'eager':>10s}{'bar':>8s}")
    for name, model in sides(report, setting):
        report.tried(name, lambda name=name, model=model: ready(name, model))
    if "none" not in graphs:
        return

    def published() -> Run:
        vit = reduced(report, backbone(report.given.dry), "none", HALF).vit.to(report.device, report.dtype)
        asked = reduced(report, backbone(report.given.dry), "tome", setting)
        model = PublishedToMe(vit, dict(zip(asked.blocks, asked.keep, strict=True)))
        model(inputs)
        return lambda: model(inputs)

    if "tome" in graphs and (run := report.tried("published", published)):
        eager["published"] = run
    took = report.tried("timing", lambda: (
        least(graphs, report.given.rounds, passes, report.device),
        least(eager, report.given.rounds, passes, report.device),
    ))  # fmt: skip
    if took is None:
        return
    fast, slow = took
    section = f"batch {batch}, {setting}"
    report.say(f"{'none, images/s':22s}{batch / fast['none']:10.0f}{batch / slow['none']:10.0f}")
    bars = bars_of(batch, setting)
    for name in graphs:
        if name != "none":
            value, other = fast["none"] / fast[name], slow["none"] / slow[name]
            report.ratio(section, name, value, bars.get(name), f"{other:10.4g}")
    for name, bar in OF_TOME.items():
        if batch > 1 and setting == HALF and name in fast and "tome" in fast:
            report.ratio(
                section, f"{name} / tome", fast["tome"] / fast[name], bar, f"{slow['tome'] / slow[name]:10.4g}"
            )
    if "published" in slow:
        other = slow["published"] / slow["tome"]
        report.ratio(section, "tome / published", slow["published"] / fast["tome"],
                     OVER_PUBLISHED if batch > 1 else None, f"{other:10.4g}")  # fmt: skip


def bars_of(batch: int, setting: str) -> dict[str, float]:
    if batch > 1:
        return BARS if setting == HALF else BARS_FEWER
    quick = [name for name in methods() if method(name).reducer.family in ("pruning", "soft") or name == "tome"]
    return dict.fromkeys(quick, ALONE) if setting == HALF else {}


@torch.no_grad()
def clustered(report: Report, x: Tensor, linkage: Any) -> tuple[float, bool, bool]:
    """Milliseconds; whether labels are those of the CPU; and whether they are of distances that are the same there."""
    there, clusters = x.to(report.device), x.shape[1] // 2
    run = {"": lambda: agglomerative(there, clusters, linkage, check=False)}
    took = 1e3 * least(run, 3, 1 if x.shape[1] > 1000 else 3, report.device)[""]
    x, there = (part[: 8 if x.shape[1] < 1000 else 1] for part in (x, there))
    unit = functional.normalize(there, dim=-1)
    away = 1 - unit @ unit.mT

    def labels(part: Tensor, metric: Any) -> Tensor:
        return agglomerative(part, clusters, linkage, metric).cpu()

    same = torch.equal(labels(there, "cosine"), labels(x, "cosine"))
    given = torch.equal(labels(away, "precomputed"), labels(away.cpu(), "precomputed"))
    return took, same, given


def clustering(report: Report) -> None:
    """Features to labels of half as many clusters."""
    report.part(f"{'clustering':32s}{'ms':>8s}{'at most':>9s}{'as on the CPU':>15s}{'of the same distances':>23s}")
    for (images, tokens, channels), bars in MILLISECONDS.items():
        tokens = min(tokens, 64) if report.given.dry else tokens
        x = torch.randn(images, tokens, channels, generator=torch.Generator().manual_seed(2))
        for linkage in ("average", "complete", "single"):
            name, bar = f"{images} x {tokens} x {channels}, {linkage}", bars.get(linkage)
            row = report.tried(name, lambda x=x, linkage=linkage: clustered(report, x, linkage))
            if row is None:
                continue
            took, same, given = row
            verdict = "" if bar is None else "  ok" if took <= bar else "  above"
            report.found.setdefault("clustering, ms", {})[name] = round(took, 3)
            report.say(f"{name:32s}{took:8.2f}{bar or '':>9}{same!s:>15}{given!s:>23}{verdict}")
            report.failures += [name] * (not given)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", default="float16", choices=["float16", "bfloat16", "float32"])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=210, help="after which no further part is begun")
    study = [name for name in (*BARS, "atc-average", "atc-complete", "atc-single")]
    parser.add_argument("--methods", nargs="*", default=study, choices=[name for name in methods() if name != "none"])
    own = Path(__file__).parent / "results"
    parser.add_argument("--results", nargs="?", type=Path, const=own, help="a folder to write it into too")
    parser.add_argument("--dry", action="store_true", help="without a GPU")
    given = parser.parse_args()
    if not given.dry and not torch.cuda.is_available():
        sys.exit("there is no CUDA device here; try the script with --dry")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended from outside"))  # by way of the last line
    torch.backends.cudnn.allow_tf32 = False  # which is the default, and not float32
    chip = "no GPU" if given.dry else torch.cuda.get_device_name()
    report = Report(given, chip)
    report.say(f"{chip}, torch {torch.__version__}, {given.precision}, batch {given.batch}")
    beside = subprocess.Popen([sys.executable, "-c", COMPILED])  # half a minute, by the time that the CPU clusters
    try:
        kernels(report)
        speeds(report, given.batch, 3, HALF)
        speeds(report, given.batch, 3, FEWER)
        beside.wait()
        clustering(report)
        agreement(report)
        speeds(report, 1, 20, HALF)
        speeds(report, 1, 20, FEWER)
    finally:
        beside.kill()
        report.part("end")
        if report.failures:
            report.say(f"FAILED: {', '.join(report.failures)}")
        report.say(json.dumps({"device": chip, "precision": given.precision, "batch": given.batch, **report.found}))
    sys.exit(bool(report.failures))


if __name__ == "__main__":
    main()
